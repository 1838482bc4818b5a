//! The demo's lab: a service with a task on every node but the last, a VIP, published ports.

use std::net::SocketAddr;

use anyhow::{Context, Result};

use super::topology::{Port, Service, Topology};
use super::{Family, Lab, Spec};
use crate::load::{self, Mode, Plan, Running};
use crate::netns;

/// The network of the demo.
pub const NETWORK: &str = "app";
/// Published for HTTP, on every node.
pub const HTTP_PORT: u16 = 8080;
/// Published for UDP, on every node.
pub const UDP_PORT: u16 = 8081;
/// The task that only asks: `probe` on the first node.
pub const PROBE: &str = "probe";

/// Makes a lab with the demo's topology and waits until it works.
///
/// # Errors
/// When a step fails; the lab is taken down again.
pub fn up(spec: Spec) -> Result<Lab> {
    let mut lab = prepare(spec)?;
    lab.start_all()?;
    Ok(lab)
}

/// Makes a lab with the demo's tasks and topology, and starts no netd yet.
///
/// # Errors
/// As [`up`].
pub fn prepare(spec: Spec) -> Result<Lab> {
    let mut lab = Lab::up(spec)?;
    let nodes = lab.nodes();
    // Whoever has one node only wants a service all the same.
    let serving = &nodes[..nodes.len().saturating_sub(1).max(1)];
    for (node, number) in serving.iter().zip(1..) {
        lab.add_task(&format!("web-{number}"), node)?;
    }
    lab.add_task(PROBE, &nodes[0])?;
    let topology = topology(&lab);
    lab.write_topology(&topology)?;
    Ok(lab)
}

/// Starts load in a lab that works: from outside to the port that `node` publishes and from inside to the
/// VIP, of both families, with a connection for each request and on kept ones. Each has succeeded some
/// times already.
///
/// # Errors
/// When one does not.
pub fn requests(lab: &Lab, node: &str) -> Result<Vec<Running>> {
    let topology = topology(lab);
    let node = lab.document().node(node).context("a node")?;
    let mut all = Vec::new();
    for family in Family::BOTH {
        let address = family.of(&node.addresses).context("an address")?;
        let vip = topology.vip("web", family).context("a VIP")?;
        for (member, target) in [
            ("client", SocketAddr::new(address, HTTP_PORT)),
            (PROBE, SocketAddr::new(vip, 80)),
        ] {
            for mode in [Mode::Crr, Mode::Rr] {
                let plan = Plan::beside(mode, target);
                let running = netns::inside(&lab.namespace(member), || load::start(&plan))?;
                running.more(20)?;
                all.push(running);
            }
        }
    }
    Ok(all)
}

/// The demo's topology for a lab that has the demo's tasks.
#[must_use]
pub fn topology(lab: &Lab) -> Topology {
    let mut topology = Topology::of(lab);
    topology.add_network(NETWORK, 1);
    let tasks: Vec<String> = lab
        .document()
        .tasks
        .iter()
        .map(|task| task.name.clone())
        .collect();
    for (task, host) in tasks.iter().zip(11..) {
        topology.attach(lab, task, NETWORK, host);
    }
    let backends: Vec<&str> = tasks
        .iter()
        .map(String::as_str)
        .filter(|task| *task != PROBE)
        .collect();
    topology.service = vec![
        Service {
            vips: topology.addresses(NETWORK, 2),
            ports: vec![Port::tcp(80, 8080)],
            publish: vec![Port::tcp(HTTP_PORT, 8080)],
            ..Service::new("web", NETWORK, &backends)
        },
        Service {
            vips: topology.addresses(NETWORK, 3),
            ports: vec![Port::udp(7, 8080)],
            publish: vec![Port::udp(UDP_PORT, 8080)],
            ..Service::new("echo", NETWORK, &backends)
        },
    ];
    topology
}
