//! From what is desired to what the kernel has to hold: pure.

pub(crate) mod carrier;
pub(crate) mod direct;
mod node;
mod pairs;
mod sockets;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use abi::{Address, MARK_UNSOLICITED};

use crate::desired::Desired;
use crate::lower::carrier::{Medium, NextHop};
use crate::lower::direct::Proof;
use crate::names::Names;
use crate::problem::{Problem, ProblemCode};
use crate::tables::LinkRef;
use crate::world::{Firewall, Hook, LinkName, Program, SocketHook, Tunnel, World};

pub(crate) use node::without_attachment;

/// What the planner must know of the node beyond what is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) names: Names,
    /// Every interface of the node that is not ours, loopback excepted, with its addresses.
    pub(crate) uplinks: BTreeMap<LinkName, Uplink>,
    /// The cookie of the node's namespace; `None` when the kernel does not tell.
    pub(crate) cookie: Option<u64>,
    /// The cookies of tasks' namespaces, as far as those can be entered.
    pub(crate) cookies: BTreeMap<PathBuf, u64>,
    /// The numbers that nodes have at present.
    pub(crate) vteps: BTreeMap<u32, Address>,
    /// How many numbers there are.
    pub(crate) vtep_capacity: u32,
    /// The ways to other nodes, by their addresses; those without a route are missing.
    pub(crate) next_hops: BTreeMap<IpAddr, NextHop>,
    /// Whether this host lets the programs wrap packets themselves, or why not.
    pub(crate) native: Result<(), String>,
    /// What asking other nodes has shown, those whose replies are to go straight to clients.
    pub(crate) direct: BTreeMap<IpAddr, Proof>,
    /// `net.ipv4.ip_local_reserved_ports` as it was before us.
    pub(crate) reserved_ports: String,
    /// Whether the node forwarded IPv6 before us; `None` when it has no IPv6.
    pub(crate) forwarded_v6: Option<bool>,
}

/// An interface of the node that is not ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uplink {
    /// In bytes.
    pub(crate) mtu: u32,
    /// Its global addresses.
    pub(crate) addresses: BTreeSet<IpAddr>,
    pub(crate) medium: Medium,
    /// Whether it took router advertisements before us, that is, while not forwarding.
    pub(crate) accepts_ra: bool,
}

/// The interface that carries the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Underlay {
    /// Its name.
    pub interface: String,
    /// The node's address on it.
    pub address: IpAddr,
    /// Its MTU in bytes.
    pub mtu: u32,
}

/// The smallest MTU that IPv6 works with.
const LEAST_MTU: u32 = 1280;

/// Decides what the kernel has to hold.
///
/// # Errors
/// Everything that is wrong, at once.
pub(crate) fn lower(desired: &Desired, facts: &Facts) -> Result<World, Vec<Problem>> {
    let mut problems = Vec::new();
    let mtu = match underlay(desired, facts) {
        Ok(underlay) => overlay_mtu(&underlay),
        Err(problem) => {
            problems.push(problem);
            LEAST_MTU
        }
    };
    if mtu < LEAST_MTU {
        problems.push(Problem::new(
            ProblemCode::Underlay,
            format!("the underlay leaves {mtu} bytes for the overlay"),
            format!("at least {LEAST_MTU}: a larger mtu on the underlay"),
        ));
    }
    let mut world = World {
        tunnel: Some((
            facts.names.tunnel(),
            Tunnel {
                port: desired.data_path_port,
                mtu,
                up: true,
                external: true,
            },
        )),
        sysctls: sysctls(desired, facts),
        firewall: firewall(desired, facts),
        ..World::default()
    };
    pairs::lower(desired, facts, mtu, &mut world, &mut problems);
    world.hooks = hooks(facts, &world);
    world.tables = tables::lower(desired, facts, mtu, &mut problems);
    // As many instances as the kernel runs programs can do so: none without need.
    if !world.tables.netns.is_empty() {
        world.sockets = SocketHook::ALL.into();
    }
    if problems.is_empty() {
        Ok(world)
    } else {
        Err(problems)
    }
}

/// Decides what the tables have to hold, and nothing else.
///
/// # Errors
/// Everything that is wrong, at once.
pub(crate) fn lower_tables(desired: &Desired, facts: &Facts) -> Result<World, Vec<Problem>> {
    let underlay = underlay(desired, facts).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let tables = tables::lower(desired, facts, overlay_mtu(&underlay), &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(World {
        tables,
        ..World::default()
    })
}

/// Finds the interface that has the node's underlay address.
pub(crate) fn underlay(desired: &Desired, facts: &Facts) -> Result<Underlay, Problem> {
    facts
        .uplinks
        .iter()
        .find(|(_, uplink)| uplink.addresses.contains(&desired.address))
        .map(|(name, uplink)| Underlay {
            interface: name.to_string(),
            address: desired.address,
            mtu: uplink.mtu,
        })
        .ok_or_else(|| {
            Problem::new(
                ProblemCode::Underlay,
                format!("no interface has the node's address {}", desired.address),
                "an interface that is up and has it",
            )
        })
}

/// What is left for inner packets after the outer headers: Ethernet 14, VXLAN 8, UDP 8, and IPv4 20
/// or IPv6 40.
pub(crate) fn overlay_mtu(underlay: &Underlay) -> u32 {
    let overhead = if underlay.address.is_ipv4() { 50 } else { 70 };
    underlay
        .mtu
        .min(u32::from(u16::MAX))
        .saturating_sub(overhead)
}

fn hooks(facts: &Facts, world: &World) -> BTreeSet<Hook> {
    let hook = |link: &LinkName, program| Hook {
        link: LinkRef::Named(link.clone()),
        program,
    };
    let mut hooks = BTreeSet::new();
    hooks.extend(
        world
            .tunnel
            .iter()
            .map(|(name, _)| hook(name, Program::FromOverlay)),
    );
    for name in world.pairs.keys() {
        hooks.insert(hook(name, Program::FromTask));
        if name.as_str().starts_with(&facts.names.gateway_prefix()) {
            hooks.insert(hook(name, Program::ToTask));
        }
    }
    let carriers = facts
        .uplinks
        .iter()
        .filter(|(_, uplink)| !uplink.addresses.is_empty());
    hooks.extend(carriers.map(|(name, _)| hook(name, Program::FromUplink)));
    hooks
}

fn ports(desired: &Desired) -> BTreeSet<u16> {
    let published = desired.published.keys().map(|published| published.port);
    published.chain([desired.data_path_port]).collect()
}

fn firewall(desired: &Desired, facts: &Facts) -> Option<Firewall> {
    // Any NAT rule makes the kernel track every connection of the node: no rule without need.
    if desired.gateways.is_empty() {
        return None;
    }
    Some(Firewall {
        table: facts.names.table(),
        gateways: facts.names.gateway_prefix(),
        sources: desired.gateway_blocks.iter().copied().collect(),
        ports: largest_gap(&ports(desired)),
        mark: MARK_UNSOLICITED,
        untracked: desired.data_path_port,
    })
}

/// The longest run of unprivileged ports without any of `taken`, first and last.
fn largest_gap(taken: &BTreeSet<u16>) -> (u16, u16) {
    let mut best = (0, 0);
    let mut start = 1024;
    for end in taken
        .range(1024..)
        .map(|port| u32::from(*port))
        .chain([65_536])
    {
        if end - start > best.1 - best.0 {
            best = (start, end);
        }
        start = end + 1;
    }
    let port = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    (port(best.0), port(best.1.saturating_sub(1)))
}

fn sysctls(desired: &Desired, facts: &Facts) -> BTreeMap<String, String> {
    let mut sysctls = BTreeMap::new();
    let mut set = |key: String, value: &str| sysctls.insert(key, value.to_owned());
    set("net/ipv4/ip_forward".to_owned(), "1");
    set(
        RESERVED_PORTS.to_owned(),
        &merge_ports(&facts.reserved_ports, &ports(desired)),
    );
    if let Some(forwarded) = facts.forwarded_v6 {
        set(FORWARDING_V6.to_owned(), "1");
        // A forwarding node ignores router advertisements unless told to take them all the same.
        for (name, uplink) in &facts.uplinks {
            if !forwarded && uplink.accepts_ra {
                set(format!("net/ipv6/conf/{name}/accept_ra"), "2");
            }
        }
    }
    sysctls
}

pub(crate) const RESERVED_PORTS: &str = "net/ipv4/ip_local_reserved_ports";
pub(crate) const FORWARDING_V6: &str = "net/ipv6/conf/all/forwarding";

/// Adds ports to a list like "80,1000-1010", in the form in which the kernel prints it.
fn merge_ports(text: &str, ports: &BTreeSet<u16>) -> String {
    let mut all = parse_ports(text);
    all.extend(ports);
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for port in all {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == port => *last = port,
            _ => runs.push((port, port)),
        }
    }
    let run = |(first, last): &(u16, u16)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    };
    runs.iter().map(run).collect::<Vec<_>>().join(",")
}

/// Reads a list like "80,1000-1010".
pub(crate) fn parse_ports(text: &str) -> BTreeSet<u16> {
    let mut all = BTreeSet::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            all.extend(first..=last);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_are_merged_as_the_kernel_prints_them() {
        let ports = BTreeSet::from([80, 81, 4789]);
        assert_eq!(merge_ports("", &ports), "80-81,4789");
        assert_eq!(merge_ports("79,82-90,4788\n", &ports), "79-90,4788-4789");
    }

    #[test]
    fn masquerading_keeps_off_published_ports() {
        assert_eq!(largest_gap(&BTreeSet::new()), (1024, 65_535));
        assert_eq!(
            largest_gap(&BTreeSet::from([80, 4789, 8080])),
            (8081, 65_535)
        );
        assert_eq!(largest_gap(&BTreeSet::from([40_000])), (1024, 39_999));
        assert_eq!(largest_gap(&BTreeSet::from([65_535])), (1024, 65_534));
    }
}
