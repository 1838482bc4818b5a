//! Task to task on another node: netd's overlay against bridge and VXLAN of the kernel, between
//! nodes that are wired alike.

use anyhow::Result;

use super::crr::{PORT, Path};
use super::fabric::{Fabric, at};
use super::reference::{self, Member};
use super::report::Row;
use super::rounds::Comparison;
use super::{Effort, progress};
use crate::lab::Family;

const NETWORK: &str = "bench";

const COMPARISONS: &[Comparison] = &[
    Comparison {
        name: "overlay-crr",
        variant: "device",
        ours: "netd",
        peer: "bridge+vxlan",
    },
    Comparison {
        name: "overlay-crr",
        variant: "device-v6",
        ours: "netd v6",
        peer: "bridge+vxlan v6",
    },
];

pub(super) fn run(effort: &Effort) -> Result<Vec<Row>> {
    progress("overlay-crr: two nodes with netd, two with bridge and VXLAN");
    let mut fabric = Fabric::new(4, 2)?;
    fabric.add_tasks(&[
        ("ask", "n1"),
        ("answer", "n2"),
        ("kask", "n3"),
        ("kanswer", "n4"),
    ])?;
    let mut topology = fabric.topology();
    topology.add_network(NETWORK, 1);
    topology.attach(fabric.lab(), "ask", NETWORK, 11);
    topology.attach(fabric.lab(), "answer", NETWORK, 12);
    fabric.start(&topology)?;
    let kernel = [
        Member {
            task: "kask",
            node: "n3",
            host: 11,
        },
        Member {
            task: "kanswer",
            node: "n4",
            host: 12,
        },
    ];
    reference::connect(&fabric, &kernel)?;
    for (client, server) in [("ask", "answer"), ("kask", "kanswer")] {
        fabric.ask_from(client)?;
        fabric.serve(server)?;
    }
    let answer = topology.addresses(NETWORK, 12);
    let path = |name, task: &str, address| {
        let namespace = fabric.lab().namespace(task);
        Ok::<_, anyhow::Error>(Path {
            name,
            namespace,
            target: at(address, PORT)?,
        })
    };
    let paths = [
        path("netd", "ask", Family::V4.of(&answer))?,
        path("bridge+vxlan", "kask", Some(kernel[1].address(Family::V4)))?,
        path("netd v6", "ask", Family::V6.of(&answer))?,
        path(
            "bridge+vxlan v6",
            "kask",
            Some(kernel[1].address(Family::V6)),
        )?,
    ];
    fabric.compare(&paths, COMPARISONS, effort)
}
