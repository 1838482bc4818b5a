//! Through a VIP, against straight to the same task over the same overlay.
//!
//! The direct connections go to another port of the same server: on the VIP's own port each would
//! have to clear away what a translated flow left behind, and vice versa.

use anyhow::Result;

use super::crr::{PORT, Path, SECOND_PORT};
use super::fabric::{Fabric, at};
use super::report::Row;
use super::rounds::Comparison;
use super::{Effort, progress};
use crate::lab::Family;
use crate::lab::topology::{Port, Service};

/// Its VIPs are translated per packet.
const NETWORK: &str = "bench";
/// Its VIPs are translated where they are dialled.
const BY_SOCKET: &str = "sockets";
/// The port of the VIPs.
const VIP_PORT: u16 = 80;

const COMPARISONS: &[Comparison] = &[
    comparison("packet", "vip", "direct"),
    comparison("packet-v6", "vip v6", "direct v6"),
    comparison("packet-local", "vip local", "direct local"),
    comparison("socket", "vip by socket", "direct by socket"),
    comparison("socket-v6", "vip by socket v6", "direct by socket v6"),
    // A task behind a VIP pays a little on its direct connections too: its replies might be a VIP's.
    comparison("packet-idle", "vip", "direct to a task without service"),
];

const fn comparison(variant: &'static str, ours: &'static str, peer: &'static str) -> Comparison {
    Comparison {
        name: "vip-crr",
        variant,
        ours,
        peer,
    }
}

pub(super) fn run(effort: &Effort) -> Result<Vec<Row>> {
    progress("vip-crr: one backend on another node, one on the client's");
    let mut fabric = Fabric::new(2, 2)?;
    fabric.add_tasks(&[("ask", "n1"), ("near", "n1"), ("far", "n2"), ("idle", "n2")])?;
    let mut topology = fabric.topology();
    topology.add_network(NETWORK, 1);
    topology.network[0].socket_lb = Some(false);
    topology.add_network(BY_SOCKET, 2);
    for (task, host) in [("ask", 11), ("near", 12), ("far", 13), ("idle", 14)] {
        topology.attach(fabric.lab(), task, NETWORK, host);
    }
    for (task, host) in [("ask", 11), ("far", 13)] {
        topology.attach(fabric.lab(), task, BY_SOCKET, host);
    }
    let far_by_socket = format!("far-{BY_SOCKET}");
    for (network, backend, host) in [
        (NETWORK, "far", 2),
        (NETWORK, "near", 3),
        (BY_SOCKET, &far_by_socket, 2),
    ] {
        topology.service.push(Service {
            vips: topology.addresses(network, host),
            ports: vec![Port::tcp(VIP_PORT, PORT)],
            ..Service::new(&format!("to-{backend}"), network, &[backend])
        });
    }
    fabric.start(&topology)?;
    fabric.ask_from("ask")?;
    for server in ["near", "far", "idle"] {
        fabric.serve(server)?;
    }
    let on = |network, name, host, family: Family, port| {
        Ok::<_, anyhow::Error>(Path {
            name,
            namespace: fabric.lab().namespace("ask"),
            target: at(family.of(&topology.addresses(network, host)), port)?,
        })
    };
    let path = |name, host, family, port| on(NETWORK, name, host, family, port);
    let by_socket = |name, host, family, port| on(BY_SOCKET, name, host, family, port);
    let paths = [
        path("vip", 2, Family::V4, VIP_PORT)?,
        path("direct", 13, Family::V4, SECOND_PORT)?,
        path(
            "direct to a task without service",
            14,
            Family::V4,
            SECOND_PORT,
        )?,
        path("vip v6", 2, Family::V6, VIP_PORT)?,
        path("direct v6", 13, Family::V6, SECOND_PORT)?,
        path("vip local", 3, Family::V4, VIP_PORT)?,
        path("direct local", 12, Family::V4, SECOND_PORT)?,
        by_socket("vip by socket", 2, Family::V4, VIP_PORT)?,
        by_socket("direct by socket", 13, Family::V4, SECOND_PORT)?,
        by_socket("vip by socket v6", 2, Family::V6, VIP_PORT)?,
        by_socket("direct by socket v6", 13, Family::V6, SECOND_PORT)?,
    ];
    fabric.compare(&paths, COMPARISONS, effort)
}
