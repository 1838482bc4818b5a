//! What a connection costs with so many services or published ports, against ten of them.
//!
//! Of however many there are ten are dialled, so that nothing differs but how many there are; the
//! backend is always the same. `…-spread` dials a thousand in turn instead: tables are as cold as with
//! traffic for all, and the client's kernel has a thousand destinations to keep in mind as well.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};

use super::fabric::{self, Fabric};
use super::report::Row;
use super::rounds::{Comparison, Contest, Ratio};
use super::traffic::{PORT, Path, Work};
use super::{Effort, progress};
use crate::command;
use crate::lab::Family;
use crate::lab::topology::{Network, Port, Service, Topology};

const NETWORK: &str = "bench";
const VIP_PORT: u16 = 80;
/// The first VIP, in the network's subnet.
const FIRST_VIP: Ipv4Addr = Ipv4Addr::new(10, 65, 0, 0);
/// What VIPs lie in.
const VIP_SUBNETS: [&str; 2] = ["10.65.0.0/16", "10.66.0.0/16"];
/// The network's own address, which answers ARP as all of it do.
const GATEWAY: &str = "10.64.0.1";
/// The first published port; the client's own are below.
const FIRST_PORT: u16 = 30_000;
/// So many are dialled, evenly spread over all.
const DIALLED: u32 = 10;
/// So many are in `…-spread`.
const SPREAD: u32 = 1_000;

const FEW: Size = Size {
    services: 10,
    ports: 10,
    names: ["10 services", "10 ports"],
    spread: [None, None],
};
const THOUSAND: Size = Size {
    services: 1_000,
    ports: 1_000,
    names: ["1,000 services", "1,000 ports"],
    spread: [None, None],
};
const TEN_THOUSAND: Size = Size {
    services: 10_000,
    ports: 10_000,
    names: ["10,000 services", "10,000 ports"],
    spread: [
        Some("10,000 services, spread"),
        Some("10,000 ports, spread"),
    ],
};
const HUNDRED_THOUSAND: Size = Size {
    services: 100_000,
    ports: 10,
    names: ["100,000 services", "10 ports beside"],
    spread: [Some("100,000 services, spread"), None],
};

/// How much there is.
#[derive(Clone, Copy, Debug)]
struct Size {
    services: u32,
    ports: u16,
    /// What the paths to services and to ports are called.
    names: [&'static str; 2],
    /// And those that dial more of them.
    spread: [Option<&'static str>; 2],
}

/// `flat-10k`.
pub(super) fn to_10k(effort: &Effort) -> Result<Vec<Row>> {
    let comparisons = [
        grown("vip-1k", THOUSAND.names[0], FEW.names[0]),
        grown("vip-10k", TEN_THOUSAND.names[0], FEW.names[0]),
        grown("ingress-1k", THOUSAND.names[1], FEW.names[1]),
        grown("ingress-10k", TEN_THOUSAND.names[1], FEW.names[1]),
        grown("vip-10k-spread", "10,000 services, spread", FEW.names[0]),
        grown("ingress-10k-spread", "10,000 ports, spread", FEW.names[1]),
    ];
    run(
        "flat-10k",
        &[FEW, THOUSAND, TEN_THOUSAND],
        &comparisons,
        effort,
    )
}

/// `flat-100k`.
pub(super) fn to_100k(effort: &Effort) -> Result<Vec<Row>> {
    let comparisons = [
        grown("vip-100k", HUNDRED_THOUSAND.names[0], FEW.names[0]),
        grown("ingress-beside", HUNDRED_THOUSAND.names[1], FEW.names[1]),
        grown("vip-100k-spread", "100,000 services, spread", FEW.names[0]),
    ];
    run("flat-100k", &[FEW, HUNDRED_THOUSAND], &comparisons, effort)
}

const fn grown(variant: &'static str, ours: &'static str, peer: &'static str) -> Comparison {
    Comparison {
        ratio: Ratio::OursByPeer,
        ..Comparison::new(variant, ours, peer)
    }
}

fn run(
    name: &'static str,
    sizes: &[Size],
    comparisons: &[Comparison],
    effort: &Effort,
) -> Result<Vec<Row>> {
    let (mut fabrics, mut paths) = (Vec::new(), Vec::new());
    for size in sizes {
        progress(&format!("{name}: two nodes, {}", size.names[0]));
        let fabric = size.fabric()?;
        paths.extend(size.paths(&fabric)?);
        fabrics.push(fabric);
    }
    let contest = Contest {
        name,
        work: Work::Crr,
        paths: &paths,
        comparisons,
    };
    fabric::compare_across(fabrics, contest, effort)
}

impl Size {
    fn fabric(self) -> Result<Fabric> {
        let mut fabric = Fabric::new(2, 2)?;
        fabric.add_tasks(&[("ask", "n1"), ("far", "n2")])?;
        let topology = self.topology(&fabric);
        fabric.start(&topology)?;
        by_one_neighbour(fabric.lab().namespace("ask").as_str())?;
        fabric.ask_from("ask")?;
        fabric.ask_from("client")?;
        fabric.serve("far")?;
        Ok(fabric)
    }

    fn topology(self, fabric: &Fabric) -> Topology {
        let mut topology = fabric.topology();
        topology.network.push(Network {
            name: NETWORK.to_owned(),
            vni: 4097,
            subnets: vec!["10.64.0.0/12".to_owned()],
            socket_lb: Some(false),
            ..Network::default()
        });
        topology.attach(fabric.lab(), "ask", NETWORK, 11);
        topology.attach(fabric.lab(), "far", NETWORK, 12);
        for number in 0..self.services {
            topology.service.push(Service {
                vips: vec![vip(number).into()],
                ports: vec![Port::tcp(VIP_PORT, PORT)],
                ..Service::new(&format!("s{number}"), NETWORK, &["far"])
            });
        }
        if let Some(first) = topology.service.first_mut() {
            let ports = FIRST_PORT..FIRST_PORT + self.ports;
            first.publish = ports.map(|port| Port::tcp(port, PORT)).collect();
        }
        topology
    }

    fn paths(self, fabric: &Fabric) -> Result<Vec<Path>> {
        let node = fabric.address("n1", Family::V4).context("an address")?;
        let service = |number| (vip(number).into(), VIP_PORT);
        let port = |number| (node, u16::try_from(number).unwrap_or(0) + FIRST_PORT);
        let to_services = |dialled| spread(self.services, dialled, service);
        let to_ports = |dialled| spread(self.ports.into(), dialled, port);
        let [services, ports] = self.names;
        let [more_services, more_ports] = self.spread;
        let paths = [
            (Some(services), "ask", to_services(DIALLED)),
            (Some(ports), "client", to_ports(DIALLED)),
            (more_services, "ask", to_services(SPREAD)),
            (more_ports, "client", to_ports(SPREAD)),
        ];
        let paths = paths.into_iter().filter_map(|(name, from, targets)| {
            Some(Path {
                name: name?,
                namespace: fabric.lab().namespace(from),
                targets,
            })
        });
        Ok(paths.collect())
    }
}

/// The kernel keeps 1,024 neighbours for all namespaces together (`gc_thresh3`): of thousands of VIPs
/// on the link many could not be dialled, and each would have an entry where ten have ten.
fn by_one_neighbour(namespace: &str) -> Result<()> {
    for subnet in VIP_SUBNETS {
        let route = ["route", "replace", subnet, "via", GATEWAY];
        command::run_inside(namespace, "ip", &route)?;
    }
    Ok(())
}

/// At most `dialled` of `count`, far from each other in turn.
fn spread(count: u32, dialled: u32, target: impl Fn(u32) -> (IpAddr, u16)) -> Vec<SocketAddr> {
    let step = (count / dialled).max(1);
    let numbers = (0..count).step_by(usize::try_from(step).unwrap_or(1));
    numbers.map(|number| target(number).into()).collect()
}

fn vip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(FIRST_VIP) + number)
}
