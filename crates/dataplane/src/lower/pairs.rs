//! Attachments and gateway attachments.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use abi::{NetId, ROUTER_MAC};
use ipnetwork::IpNetwork;

use super::{Facts, node};
use crate::desired::{Attachment, Desired, Gateway};
use crate::names::mac_of;
use crate::problem::{Problem, ProblemCode};
use crate::world::{End, LinkName, Namespace, Pair, Route, Rule, World};

/// The next hops of every task's default routes. Nobody has these addresses: the neighbour entries
/// beside the routes are permanent.
const NEXT_HOP_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));
const NEXT_HOP_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));

/// `RT_TABLE_MAIN`.
const MAIN: u32 = 254;
/// The table of packets from an ingress address, in the task's namespace.
const INGRESS: u32 = 0x6e64;
/// Before the main table, in which an overlay's subnet may hold the client's address.
const INGRESS_PRIORITY: u32 = 100;

pub(super) fn lower(
    desired: &Desired,
    facts: &Facts,
    mtu: u32,
    world: &mut World,
    problems: &mut Vec<Problem>,
) {
    for (name, attachment) in &desired.attachments {
        if let Some(interface) = interface(&attachment.interface, problems) {
            let mtu = attachment_mtu(desired, attachment, mtu);
            let pair = attachment_pair(name, attachment, interface, mtu);
            world.pairs.insert(facts.names.attachment(name), pair);
        }
    }
    for (namespace, gateway) in &desired.gateways {
        if let Some(interface) = interface(&gateway.interface, problems) {
            let pair = gateway_pair(namespace, gateway, interface, mtu);
            world.pairs.insert(facts.names.gateway(namespace), pair);
        }
        if !gateway.ingress.is_empty() {
            world
                .namespaces
                .insert(namespace.clone(), ingress_namespace(gateway));
        }
    }
    let own = node::pair(desired, facts, mtu);
    let pairs = desired.attachments.len() + desired.gateways.len() + usize::from(own.is_some());
    world.pairs.extend(own);
    if problems.is_empty() && world.pairs.len() != pairs {
        problems.push(Problem::new(
            ProblemCode::Desired,
            "two attachments have the same interface name on the node".to_owned(),
            "another name for one of the endpoints",
        ));
    }
}

fn interface(name: &str, problems: &mut Vec<Problem>) -> Option<LinkName> {
    let link = LinkName::new(name);
    if link.is_none() {
        problems.push(Problem::new(
            ProblemCode::Desired,
            format!("{name:?} cannot be the name of an interface"),
            "1 to 15 bytes without spaces, slashes or colons",
        ));
    }
    link
}

fn attachment_mtu(desired: &Desired, attachment: &Attachment, mtu: u32) -> u32 {
    let network = desired.networks.get(&attachment.net);
    network
        .and_then(|network| network.mtu)
        .map_or(mtu, |bound| mtu.min(bound.into()))
}

fn attachment_pair(name: &str, attachment: &Attachment, interface: LinkName, mtu: u32) -> Pair {
    let addresses: BTreeSet<IpNetwork> = attachment.addresses.iter().copied().collect();
    Pair {
        namespace: attachment.namespace.clone(),
        interface,
        node: node_end(mtu),
        task: End {
            mac: mac_of(attachment.net, name),
            mtu,
            up: true,
            sysctls: task_sysctls(&addresses),
            addresses,
            ..End::default()
        },
    }
}

fn gateway_pair(namespace: &Path, gateway: &Gateway, interface: LinkName, mtu: u32) -> Pair {
    let mac = mac_of(NetId::GATEWAY, &namespace.to_string_lossy());
    let addresses: BTreeSet<IpNetwork> = gateway
        .addresses
        .iter()
        .chain(&gateway.ingress)
        .copied()
        .map(IpNetwork::from)
        .collect();
    let mut task = End {
        mac,
        mtu,
        up: true,
        sysctls: task_sysctls(&addresses),
        neighbours: BTreeMap::from([(NEXT_HOP_V4, ROUTER_MAC), (NEXT_HOP_V6, ROUTER_MAC)]),
        addresses,
        ..End::default()
    };
    task.sysctls.insert("ipv4/rp_filter", "0".to_owned());
    task.routes
        .extend(gateway.addresses.iter().map(|address| Route {
            source: Some(*address),
            ..default_route(MAIN, *address)
        }));
    task.routes.extend(
        gateway
            .ingress
            .iter()
            .map(|address| default_route(INGRESS, *address)),
    );
    let node = End {
        routes: gateway.addresses.iter().copied().map(host_route).collect(),
        neighbours: gateway
            .addresses
            .iter()
            .map(|address| (*address, mac))
            .collect(),
        ..node_end(mtu)
    };
    Pair {
        namespace: namespace.to_owned(),
        interface,
        node,
        task,
    }
}

fn ingress_namespace(gateway: &Gateway) -> Namespace {
    let rule = |from: &IpAddr| Rule {
        from: *from,
        table: INGRESS,
        priority: INGRESS_PRIORITY,
    };
    Namespace {
        rules: gateway.ingress.iter().map(rule).collect(),
        // The stricter of this and the interface's own setting counts.
        sysctls: BTreeMap::from([("net/ipv4/conf/all/rp_filter".to_owned(), "0".to_owned())]),
    }
}

pub(super) fn node_end(mtu: u32) -> End {
    End {
        mac: ROUTER_MAC,
        mtu,
        up: true,
        sysctls: quiet_sysctls(),
        ..End::default()
    }
}

/// No address of the kernel's own making, and no router but the one we set.
fn quiet_sysctls() -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("ipv6/accept_ra", "0".to_owned()),
        ("ipv6/addr_gen_mode", "1".to_owned()),
    ])
}

pub(super) fn task_sysctls(addresses: &BTreeSet<IpNetwork>) -> BTreeMap<&'static str, String> {
    let mut sysctls = quiet_sysctls();
    if addresses.iter().any(IpNetwork::is_ipv6) {
        sysctls.insert("ipv6/disable_ipv6", "0".to_owned());
    }
    sysctls
}

/// The default route of the family of `like`.
fn default_route(table: u32, like: IpAddr) -> Route {
    let (any, gateway): (IpAddr, IpAddr) = match like {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), NEXT_HOP_V4),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), NEXT_HOP_V6),
    };
    let destination = IpNetwork::new(any, 0).expect("zero is a prefix length of both families");
    Route {
        table,
        destination,
        gateway: Some(gateway),
        source: None,
    }
}

fn host_route(address: IpAddr) -> Route {
    Route {
        table: MAIN,
        destination: address.into(),
        gateway: None,
        source: None,
    }
}
