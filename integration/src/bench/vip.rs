//! Through a VIP, against straight to the same task over the same overlay; and against a cluster
//! whose VIPs are nftables' or haproxy's.
//!
//! The direct connections go to another port of the same server: on the VIP's own port each would
//! have to clear away what a translated flow left behind, and vice versa.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::fabric::Fabric;
use super::report::Row;
use super::rounds::{Comparison, Contest};
use super::routed::{self, Pod, Rule};
use super::traffic::{PORT, Path, SECOND_PORT, Work};
use super::{Effort, progress};
use crate::lab::Family;
use crate::lab::topology::{Port, Service, Topology};

/// Its VIPs are translated per packet.
const NETWORK: &str = "bench";
/// Its VIPs are translated where they are dialled.
const BY_SOCKET: &str = "sockets";
/// The port of the VIPs.
const VIP_PORT: u16 = 80;

/// The cluster without netd: who asks, and who answers on the other node.
const PODS: [Pod; 2] = [pod("kask", 0, 11), pod("kfar", 1, 12)];
const FIREWALL_VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
const PROXY_VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 2);

const COMPARISONS: &[Comparison] = &[
    Comparison::new("packet", "vip", "direct"),
    Comparison::new("packet-v6", "vip v6", "direct v6"),
    Comparison::new("packet-local", "vip local", "direct local"),
    Comparison::new("packet-device", "vip by device", "direct by device"),
    Comparison::new("socket", "vip by socket", "direct by socket"),
    Comparison::new("packet-nftables", "vip", "nftables"),
    Comparison::new("packet-kernel-direct", "vip", "routed, direct"),
];

/// Of connections that come and go.
const OF_CONNECTIONS: &[Comparison] = &[
    Comparison::new("socket-v6", "vip by socket v6", "direct by socket v6"),
    // A task behind a VIP pays a little on its direct connections too: its replies might be a VIP's.
    Comparison::new("packet-idle", "vip", "direct to a task without service"),
];

const PROXY: Comparison = Comparison::new("packet-haproxy", "vip", "haproxy");

const fn pod(task: &'static str, node: u8, host: u8) -> Pod {
    Pod { task, node, host }
}

pub(super) fn run(name: &'static str, work: Work, effort: &Effort) -> Result<Vec<Row>> {
    progress(&format!(
        "{name}: one backend on another node, one on the client's; natively, by the device, and without netd"
    ));
    let mut fabric = Fabric::new(6, 4)?;
    fabric.add_tasks(&[
        ("ask", "n1"),
        ("near", "n1"),
        ("far", "n2"),
        ("idle", "n2"),
        ("dask", "n3"),
        ("dfar", "n4"),
        ("kask", "n5"),
        ("kfar", "n6"),
    ])?;
    let topology = topology(&fabric);
    fabric.start(&topology)?;
    routed::connect(&fabric, ["n5", "n6"], &PODS)?;
    let rule = |address| Rule {
        address: Some(address),
        port: VIP_PORT,
        backend: PODS[1].at(PORT),
    };
    routed::translate(&fabric, "n5", &[rule(FIREWALL_VIP)])?;
    let relayed = work != Work::Udp && {
        fabric.ask_from("n5")?;
        routed::relay(&fabric, "n5", &[rule(PROXY_VIP)])?
    };
    for client in ["ask", "dask", "kask"] {
        fabric.ask_from(client)?;
    }
    for server in ["near", "far", "idle", "dfar", "kfar"] {
        fabric.serve(server)?;
    }
    let mut paths = paths(&fabric, &topology)?;
    let mut comparisons = COMPARISONS.to_vec();
    if work == Work::Crr {
        paths.extend(paths_of_connections(&fabric, &topology)?);
        comparisons.extend_from_slice(OF_CONNECTIONS);
    }
    if relayed {
        let target = (Some(PROXY_VIP.into()), VIP_PORT);
        paths.push(fabric.path("haproxy", "kask", target)?);
        comparisons.push(PROXY);
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
    topology.network[0].socket_lb = Some(false);
    topology.add_network(BY_SOCKET, 2);
    let tasks = ["ask", "near", "far", "idle", "dask", "dfar"];
    for (task, host) in tasks.into_iter().zip(11..) {
        topology.attach(fabric.lab(), task, NETWORK, host);
    }
    for (task, host) in [("ask", 11), ("far", 13)] {
        topology.attach(fabric.lab(), task, BY_SOCKET, host);
    }
    let far_by_socket = format!("far-{BY_SOCKET}");
    for (network, backend, host) in [
        (NETWORK, "far", 2),
        (NETWORK, "near", 3),
        (NETWORK, "dfar", 4),
        (BY_SOCKET, &far_by_socket, 2),
    ] {
        topology.service.push(Service {
            vips: topology.addresses(network, host),
            ports: vec![Port::tcp(VIP_PORT, PORT), Port::udp(VIP_PORT, PORT)],
            ..Service::new(&format!("to-{backend}"), network, &[backend])
        });
    }
    topology
}

fn paths(fabric: &Fabric, topology: &Topology) -> Result<Vec<Path>> {
    let on = |network, from, name, family: Family, (host, port)| {
        fabric.path(
            name,
            from,
            (family.of(&topology.addresses(network, host)), port),
        )
    };
    let path = |name, family, target| on(NETWORK, "ask", name, family, target);
    let by_device = |name, target| on(NETWORK, "dask", name, Family::V4, target);
    let by_socket = |name, family, target| on(BY_SOCKET, "ask", name, family, target);
    let firewall = (Some(FIREWALL_VIP.into()), VIP_PORT);
    Ok(vec![
        path("vip", Family::V4, (2, VIP_PORT))?,
        path("direct", Family::V4, (13, SECOND_PORT))?,
        path("vip v6", Family::V6, (2, VIP_PORT))?,
        path("direct v6", Family::V6, (13, SECOND_PORT))?,
        path("vip local", Family::V4, (3, VIP_PORT))?,
        path("direct local", Family::V4, (12, SECOND_PORT))?,
        by_device("vip by device", (4, VIP_PORT))?,
        by_device("direct by device", (16, SECOND_PORT))?,
        by_socket("vip by socket", Family::V4, (2, VIP_PORT))?,
        by_socket("direct by socket", Family::V4, (13, SECOND_PORT))?,
        fabric.path("nftables", "kask", firewall)?,
        fabric.path("routed, direct", "kask", PODS[1].target(SECOND_PORT))?,
    ])
}

fn paths_of_connections(fabric: &Fabric, topology: &Topology) -> Result<Vec<Path>> {
    let path = |name, network, family: Family, (host, port)| {
        let address = family.of(&topology.addresses(network, host));
        fabric.path(name, "ask", (address, port))
    };
    let idle = "direct to a task without service";
    Ok(vec![
        path(idle, NETWORK, Family::V4, (14, SECOND_PORT))?,
        path("vip by socket v6", BY_SOCKET, Family::V6, (2, VIP_PORT))?,
        path(
            "direct by socket v6",
            BY_SOCKET,
            Family::V6,
            (13, SECOND_PORT),
        )?,
    ])
}
