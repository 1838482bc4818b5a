//! The node's own attachment to the ingress network: a pair whose ends are both in its namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use abi::{Iface, Mac, NetId, Netns, NetnsNetwork, iface, netns};
use ipnetwork::IpNetwork;

use super::Facts;
use super::pairs::{node_end, task_sysctls};
use super::tables::by_family;
use crate::desired::Desired;
use crate::names::mac_of;
use crate::problem::{Problem, ProblemCode};
use crate::tables::LinkRef;
use crate::world::{End, LinkName, Pair};

/// Where the node's own namespace is, for whoever is in it.
const NAMESPACE: &str = "/proc/thread-self/ns/net";

/// This node's addresses in the ingress network.
pub(super) fn addresses(desired: &Desired) -> Vec<IpAddr> {
    let own = desired.node_addresses.iter();
    own.filter(|(_, node)| **node == desired.address)
        .map(|(address, _)| *address)
        .collect()
}

/// The Ethernet address of the end that has the addresses.
pub(super) fn mac() -> Mac {
    mac_of(NetId::GATEWAY, "node")
}

/// The pair; `None` for a node without an address.
pub(super) fn pair(desired: &Desired, facts: &Facts, mtu: u32) -> Option<(LinkName, Pair)> {
    let network = desired.networks.get(&desired.ingress?)?;
    let with_prefix = |address: IpAddr| {
        let subnets = network.subnets.iter();
        let subnet = subnets
            .map(|(subnet, _)| subnet)
            .find(|it| it.contains(address))?;
        IpNetwork::new(address, subnet.prefix()).ok()
    };
    let addresses: BTreeSet<IpNetwork> = addresses(desired)
        .into_iter()
        .filter_map(with_prefix)
        .collect();
    if addresses.is_empty() {
        return None;
    }
    let far = End {
        mac: mac(),
        mtu,
        up: true,
        sysctls: task_sysctls(&addresses),
        addresses,
        ..End::default()
    };
    let pair = Pair {
        namespace: Path::new(NAMESPACE).to_owned(),
        interface: facts.names.node_far(),
        node: node_end(mtu),
        task: far,
    };
    Some((facts.names.node(), pair))
}

/// What it means for this node that it has no address in the ingress network.
pub(crate) fn without_attachment(desired: &Desired) -> Option<Problem> {
    let lacks = !desired.published.is_empty() && addresses(desired).is_empty();
    lacks.then(|| {
        Problem::new(
            ProblemCode::Desired,
            "the ingress network has no address left for this node, whose own processes do not reach \
             published ports on it"
                .to_owned(),
            "a larger subnet",
        )
    })
}

/// What is behind the near end.
pub(super) fn iface(desired: &Desired, facts: &Facts) -> BTreeMap<LinkRef, Iface> {
    let addresses = addresses(desired);
    let Some(net) = desired.ingress.filter(|_| !addresses.is_empty()) else {
        return BTreeMap::new();
    };
    let (v4, v6) = by_family(&addresses);
    let iface = Iface {
        net,
        flags: iface::NODE,
        v4,
        v6,
        mac: mac(),
        ..Iface::default()
    };
    BTreeMap::from([(LinkRef::Named(facts.names.node()), iface)])
}

/// What the socket hooks know of the node's own namespace; `None` where nothing can be published.
pub(super) fn netns(desired: &Desired) -> Option<Netns> {
    let (v4, v6) = by_family(&addresses(desired));
    let mut namespace = Netns {
        flags: netns::NODE,
        ..Netns::default()
    };
    namespace.networks[0] = NetnsNetwork {
        net: desired.ingress?,
        flags: 0,
        v4,
        v6,
    };
    Some(namespace)
}
