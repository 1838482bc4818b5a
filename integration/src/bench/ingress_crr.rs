//! From outside through a published port, against a process on the node itself.
//!
//! Two kinds of node are the measure: the very node, on which netd's program looks at every packet
//! and its firewall table has the kernel track connections; and a bare one, which has neither.

use anyhow::Result;

use super::crr::{PORT, Path};
use super::fabric::{Fabric, at};
use super::report::Row;
use super::rounds::Comparison;
use super::{Effort, progress};
use crate::lab::Family;
use crate::lab::topology::{Port, Service};

const NETWORK: &str = "bench";
/// Published for the backend on the node that is asked.
const NEAR_PORT: u16 = 8080;
/// Published for the backend on the other node.
const FAR_PORT: u16 = 8081;

const COMPARISONS: &[Comparison] = &[
    comparison("local", "local", "host process"),
    comparison("local-v6", "local v6", "host process v6"),
    comparison("local-bare", "local", "process on a bare host"),
    comparison("remote", "remote", "host process"),
    comparison("remote-v6", "remote v6", "host process v6"),
    comparison("remote-bare", "remote", "process on a bare host"),
];

const fn comparison(variant: &'static str, ours: &'static str, peer: &'static str) -> Comparison {
    Comparison {
        name: "ingress-crr",
        variant,
        ours,
        peer,
    }
}

pub(super) fn run(effort: &Effort) -> Result<Vec<Row>> {
    progress("ingress-crr: published ports of a node, their backends there and elsewhere");
    let mut fabric = Fabric::new(3, 2)?;
    fabric.add_tasks(&[("near", "n1"), ("far", "n2")])?;
    let mut topology = fabric.topology();
    topology.add_network(NETWORK, 1);
    for (task, host, port) in [("near", 11, NEAR_PORT), ("far", 12, FAR_PORT)] {
        topology.attach(fabric.lab(), task, NETWORK, host);
        topology.service.push(Service {
            vips: topology.addresses(NETWORK, host - 9),
            publish: vec![Port::tcp(port, PORT)],
            ..Service::new(&format!("to-{task}"), NETWORK, &[task])
        });
    }
    fabric.start(&topology)?;
    fabric.ask_from("client")?;
    for server in ["near", "far", "n1", "n3"] {
        fabric.serve(server)?;
    }
    let document = fabric.lab().document().clone();
    let path = |name, node: &str, family: Family, port| {
        let addresses = document.node(node).map(|node| node.addresses.clone());
        Ok::<_, anyhow::Error>(Path {
            name,
            namespace: document.client.namespace.clone(),
            target: at(family.of(&addresses.unwrap_or_default()), port)?,
        })
    };
    let paths = [
        path("local", "n1", Family::V4, NEAR_PORT)?,
        path("host process", "n1", Family::V4, PORT)?,
        path("remote", "n1", Family::V4, FAR_PORT)?,
        path("process on a bare host", "n3", Family::V4, PORT)?,
        path("local v6", "n1", Family::V6, NEAR_PORT)?,
        path("host process v6", "n1", Family::V6, PORT)?,
        path("remote v6", "n1", Family::V6, FAR_PORT)?,
    ];
    fabric.compare(&paths, COMPARISONS, effort)
}
