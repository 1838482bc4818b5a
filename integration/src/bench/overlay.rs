//! Task to task on another node: netd's overlay by each carrier against bridge and VXLAN of the
//! kernel, between nodes that are wired alike.

use anyhow::Result;

use super::fabric::Fabric;
use super::reference::{self, Member};
use super::report::Row;
use super::rounds::{Comparison, Contest};
use super::traffic::{PORT, Work};
use super::{Effort, progress};
use crate::lab::Family;

const NETWORK: &str = "bench";

const COMPARISONS: &[Comparison] = &[
    Comparison::new("native", "native", "bridge+vxlan"),
    Comparison::new("native-v6", "native v6", "bridge+vxlan v6"),
    Comparison::new("device", "device", "bridge+vxlan"),
    Comparison::new("device-v6", "device v6", "bridge+vxlan v6"),
];

/// Tasks by node, the asking one of each pair before the one that answers.
const TASKS: [(&str, &str); 6] = [
    ("ask", "n1"),
    ("answer", "n2"),
    ("dask", "n3"),
    ("danswer", "n4"),
    ("kask", "n5"),
    ("kanswer", "n6"),
];

pub(super) fn run(name: &'static str, work: Work, effort: &Effort) -> Result<Vec<Row>> {
    progress(&format!(
        "{name}: two nodes with netd for each carrier, two with bridge and VXLAN"
    ));
    let mut fabric = Fabric::new(6, 4)?;
    fabric.add_tasks(&TASKS)?;
    let mut topology = fabric.topology();
    topology.add_network(NETWORK, 1);
    for ((task, _), host) in TASKS.into_iter().take(4).zip(11..) {
        topology.attach(fabric.lab(), task, NETWORK, host);
    }
    fabric.start(&topology)?;
    let kernel = [("kask", "n5", 11), ("kanswer", "n6", 12)];
    let kernel = kernel.map(|(task, node, host)| Member { task, node, host });
    reference::connect(&fabric, &kernel)?;
    for pair in TASKS.chunks(2) {
        fabric.ask_from(pair[0].0)?;
        fabric.serve(pair[1].0)?;
    }
    let mut paths = Vec::new();
    for (family, names) in [
        (Family::V4, ["native", "device", "bridge+vxlan"]),
        (Family::V6, ["native v6", "device v6", "bridge+vxlan v6"]),
    ] {
        let targets = [
            family.of(&topology.addresses(NETWORK, 12)),
            family.of(&topology.addresses(NETWORK, 14)),
            Some(kernel[1].address(family)),
        ];
        for ((name, task), target) in names.into_iter().zip(["ask", "dask", "kask"]).zip(targets) {
            paths.push(fabric.path(name, task, (target, PORT))?);
        }
    }
    let contest = Contest {
        name,
        work,
        paths: &paths,
        comparisons: COMPARISONS,
    };
    fabric.compare(contest, effort)
}
