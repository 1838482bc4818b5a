//! From outside through a published port, against a process on the node itself; and against a
//! cluster whose ports are nftables' or haproxy's.
//!
//! Two kinds of node are the measure: the very node, on which netd's program looks at every packet
//! and its firewall table has the kernel track connections; and a bare one, which has neither.

use anyhow::Result;

use super::fabric::Fabric;
use super::report::Row;
use super::rounds::{Comparison, Contest};
use super::routed::{self, Pod, Rule};
use super::traffic::{PORT, Path, Work};
use super::{Effort, progress};
use crate::lab::Family;
use crate::lab::topology::{Port, Service, Topology};

const NETWORK: &str = "bench";
/// Published for the backend on the node that is asked.
const NEAR_PORT: u16 = 8080;
/// Published for a backend on another node.
const FAR_PORT: u16 = 8081;
/// The same between nodes with the device carrier.
const DEVICE_PORT: u16 = 8082;
/// Published for a backend on another node, which answers clients itself.
const DIRECT_PORT: u16 = 8083;
/// haproxy's.
const NEAR_PROXY_PORT: u16 = 8090;
const FAR_PROXY_PORT: u16 = 8091;

/// The cluster without netd: a task on each node.
const PODS: [Pod; 2] = [pod("knear", 0, 11), pod("kfar", 1, 12)];

const COMPARISONS: &[Comparison] = &[
    Comparison::new("local", "local", "host process"),
    Comparison::new("local-v6", "local v6", "host process v6"),
    Comparison::new("local-bare", "local", "process on a bare host"),
    Comparison::new("local-nftables", "local", "nftables local"),
    Comparison::new("remote", "remote", "host process"),
    Comparison::new("remote-v6", "remote v6", "host process v6"),
    Comparison::new("remote-device", "remote by device", "host process"),
    Comparison::new("remote-bare", "remote", "process on a bare host"),
    Comparison::new("remote-nftables", "remote", "nftables remote"),
];

const DIRECT: Comparison = Comparison::new("dsr", "remote, direct return", "host process");

const PROXY: [Comparison; 2] = [
    Comparison::new("local-haproxy", "local", "haproxy local"),
    Comparison::new("remote-haproxy", "remote", "haproxy remote"),
];

const fn pod(task: &'static str, node: u8, host: u8) -> Pod {
    Pod { task, node, host }
}

pub(super) fn run(name: &'static str, work: Work, effort: &Effort) -> Result<Vec<Row>> {
    progress(&format!(
        "{name}: published ports of a node, their backends there and elsewhere"
    ));
    let mut fabric = Fabric::new(6, 4)?;
    fabric.add_tasks(&[
        ("near", "n1"),
        ("far", "n2"),
        ("dfar", "n4"),
        ("knear", "n5"),
        ("kfar", "n6"),
    ])?;
    let topology = topology(&fabric);
    fabric.start(&topology)?;
    let relayed = without_netd(&fabric)?;
    fabric.ask_from("client")?;
    for server in ["near", "far", "dfar", "knear", "kfar", "n1", "n6"] {
        fabric.serve(server)?;
    }
    let mut paths = paths(&fabric)?;
    let mut comparisons = COMPARISONS.to_vec();
    if fabric.returns_directly("n1") {
        paths.push(path(&fabric, "remote, direct return", "n1", DIRECT_PORT)?);
        comparisons.push(DIRECT);
    }
    if relayed {
        paths.push(path(&fabric, "haproxy local", "n5", NEAR_PROXY_PORT)?);
        paths.push(path(&fabric, "haproxy remote", "n5", FAR_PROXY_PORT)?);
        comparisons.extend(PROXY);
    }
    let contest = Contest {
        name,
        work,
        paths: &paths,
        comparisons: &comparisons,
    };
    fabric.compare(contest, effort)
}

fn topology(fabric: &Fabric) -> Topology {
    let mut topology = fabric.topology();
    topology.add_network(NETWORK, 1);
    for (task, host, port) in [
        ("near", 11, NEAR_PORT),
        ("far", 12, FAR_PORT),
        ("dfar", 13, DEVICE_PORT),
    ] {
        topology.attach(fabric.lab(), task, NETWORK, host);
        let mut publish = vec![Port::tcp(port, PORT)];
        if task == "far" {
            publish.push(Port {
                returns: Some("dsr".to_owned()),
                ..Port::tcp(DIRECT_PORT, PORT)
            });
        }
        topology.service.push(Service {
            vips: topology.addresses(NETWORK, host - 9),
            publish,
            ..Service::new(&format!("to-{task}"), NETWORK, &[task])
        });
    }
    topology
}

/// Makes the cluster without netd; whether it has haproxy.
fn without_netd(fabric: &Fabric) -> Result<bool> {
    routed::connect(fabric, ["n5", "n6"], &PODS)?;
    let rules = |ports: [u16; 2]| {
        [0, 1].map(|pod| Rule {
            address: None,
            port: ports[pod],
            backend: PODS[pod].at(PORT),
        })
    };
    routed::translate(fabric, "n5", &rules([NEAR_PORT, FAR_PORT]))?;
    fabric.ask_from("n5")?;
    routed::relay(fabric, "n5", &rules([NEAR_PROXY_PORT, FAR_PROXY_PORT]))
}

fn paths(fabric: &Fabric) -> Result<Vec<Path>> {
    Ok(vec![
        path(fabric, "local", "n1", NEAR_PORT)?,
        path(fabric, "host process", "n1", PORT)?,
        path(fabric, "remote", "n1", FAR_PORT)?,
        path(fabric, "remote by device", "n3", DEVICE_PORT)?,
        path(fabric, "process on a bare host", "n6", PORT)?,
        path(fabric, "nftables local", "n5", NEAR_PORT)?,
        path(fabric, "nftables remote", "n5", FAR_PORT)?,
        path_v6(fabric, "local v6", "n1", NEAR_PORT)?,
        path_v6(fabric, "host process v6", "n1", PORT)?,
        path_v6(fabric, "remote v6", "n1", FAR_PORT)?,
    ])
}

fn path(fabric: &Fabric, name: &'static str, node: &str, port: u16) -> Result<Path> {
    fabric.path(name, "client", (fabric.address(node, Family::V4), port))
}

fn path_v6(fabric: &Fabric, name: &'static str, node: &str, port: u16) -> Result<Path> {
    fabric.path(name, "client", (fabric.address(node, Family::V6), port))
}
