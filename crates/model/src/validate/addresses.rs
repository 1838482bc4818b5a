//! Decides who has which address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::endpoints::{Endpoints, INGRESS};
use super::networks::Networks;
use super::nodes::Nodes;
use super::report::Report;
use super::services;
use super::space::{Refusal, Space};
use crate::raw::Located;
use crate::{Family, NetworkName, NodeName, PerFamily, ProblemKind};

/// Everything that wants addresses.
#[derive(Debug)]
pub(super) struct Users<'a> {
    pub(super) nodes: &'a Nodes,
    pub(super) networks: &'a Networks,
    pub(super) endpoints: &'a Endpoints,
    pub(super) services: &'a [services::Draft],
}

/// The addresses of everything, by position in what was read. Those that a task does not need are
/// here too.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    pub(super) vips: Vec<PerFamily<IpAddr>>,
    pub(super) endpoints: Vec<PerFamily<IpAddr>>,
    pub(super) ingress: Vec<PerFamily<IpAddr>>,
    pub(super) gateway: Vec<PerFamily<IpAddr>>,
    /// Those that nodes have in the ingress network.
    pub(super) nodes: BTreeMap<NodeName, PerFamily<IpAddr>>,
}

/// The subnets of one network, and what messages call it.
struct Spaces {
    label: String,
    families: PerFamily<Space>,
    subnets: PerFamily<IpNetwork>,
}

/// From which end of a subnet an address is taken.
#[derive(Clone, Copy)]
enum From {
    Start,
    Middle,
}

/// Decides every address that has not been asked for.
pub(super) fn decide(users: &Users<'_>, report: &mut Report) -> Addresses {
    let mut spaces: BTreeMap<&NetworkName, Spaces> = BTreeMap::new();
    for (name, network) in &users.networks.all {
        let label = format!("network `{name}`");
        spaces.insert(
            name,
            Spaces::new(label, network.subnets.iter().map(|it| it.value)),
        );
    }
    for service in users.services {
        if let Some(space) = spaces.get_mut(&service.network) {
            space.reserve(&service.vips, report);
        }
    }
    for endpoint in &users.endpoints.all {
        if let Some(space) = spaces.get_mut(&endpoint.network) {
            space.reserve(&endpoint.addresses, report);
        }
    }
    let mut addresses = Addresses::default();
    for service in users.services {
        let user = (format!("a VIP of service `{}`", service.name), service.line);
        let space = spaces.get_mut(&service.network);
        let vips = space.map(|it| it.complete(&service.vips, From::Middle, user, report));
        addresses.vips.push(vips.unwrap_or_default());
    }
    for endpoint in &users.endpoints.all {
        let user = (format!("endpoint `{}`", endpoint.name), endpoint.line);
        let space = spaces.get_mut(&endpoint.network);
        let all = space.map(|it| it.complete(&endpoint.addresses, From::Start, user, report));
        addresses.endpoints.push(all.unwrap_or_default());
    }
    (addresses.ingress, addresses.nodes) = ingress(users, report);
    addresses.gateway = gateway(users, report);
    addresses
}

/// Every task has an ingress address set aside, so that publishing one more port moves nobody. Only
/// those who need one complain when there is none.
///
/// Nodes have theirs from the middle, in the order of the file.
fn ingress(users: &Users<'_>, report: &mut Report) -> (Vec<PerFamily<IpAddr>>, NodeAddresses) {
    let subnets = users
        .networks
        .ingress
        .iter()
        .flat_map(|ingress| ingress.subnets.iter());
    let mut space = Spaces::new(INGRESS.to_owned(), subnets.map(|it| it.value));
    let tasks = &users.endpoints.tasks;
    for task in tasks {
        space.reserve(&task.ingress, report);
    }
    let serving = serving_tasks(users);
    let mut addresses = Vec::new();
    for (task, serves) in tasks.iter().zip(serving) {
        let quiet = &mut Report::default();
        let report = if serves { &mut *report } else { quiet };
        let user = (
            format!("the task in {}", task.id.namespace.display()),
            task.line,
        );
        addresses.push(space.complete(&task.ingress, From::Start, user, report));
    }
    (addresses, of_nodes(users, space))
}

type NodeAddresses = BTreeMap<NodeName, PerFamily<IpAddr>>;

/// A node that finds no place goes without: its own processes reach no published port on it.
fn of_nodes(users: &Users<'_>, mut space: Spaces) -> NodeAddresses {
    let mut nodes: Vec<_> = users.nodes.all.iter().collect();
    nodes.sort_by_key(|(_, node)| node.address.line);
    let quiet = &mut Report::default();
    let mut addresses = NodeAddresses::new();
    for (name, node) in nodes {
        let user = (format!("node `{name}`"), node.address.line);
        let taken = space.complete(&PerFamily::default(), From::Middle, user, quiet);
        addresses.insert(name.clone(), taken);
    }
    addresses
}

/// Which tasks are behind a published port.
pub(super) fn serving_tasks(users: &Users<'_>) -> Vec<bool> {
    let mut serving = vec![false; users.endpoints.tasks.len()];
    let publishing = users
        .services
        .iter()
        .filter(|service| !service.published.is_empty());
    for member in publishing.flat_map(|service| &service.members) {
        if let Some(endpoint) = users.endpoints.get(&member.endpoint) {
            serving[endpoint.task] = true;
        }
    }
    serving
}

/// Which tasks have a network by which they get out.
pub(super) fn outgoing_tasks(users: &Users<'_>) -> Vec<bool> {
    let is_open = |index: &usize| {
        let network = &users.endpoints.all[*index].network;
        users
            .networks
            .all
            .get(network)
            .is_some_and(|network| !network.internal)
    };
    users
        .endpoints
        .tasks
        .iter()
        .map(|task| task.endpoints.iter().any(is_open))
        .collect()
}

/// Every task has a gateway address set aside, so that attaching it to one more network moves
/// nobody. Only those who need one complain when there is none.
fn gateway(users: &Users<'_>, report: &mut Report) -> Vec<PerFamily<IpAddr>> {
    let mut blocks: BTreeMap<&NodeName, Spaces> = BTreeMap::new();
    for (name, node) in &users.nodes.all {
        let label = format!("the gateway block of node `{name}`");
        blocks.insert(
            name,
            Spaces::new(label, node.gateway.iter().map(|it| it.subnet)),
        );
    }
    let mut addresses = Vec::new();
    for (task, outgoing) in users.endpoints.tasks.iter().zip(outgoing_tasks(users)) {
        let quiet = &mut Report::default();
        let report = if outgoing { &mut *report } else { quiet };
        let user = (
            format!("the task in {}", task.id.namespace.display()),
            task.line,
        );
        let block = blocks.get_mut(&task.id.node);
        let taken = block.map(|it| it.complete(&PerFamily::default(), From::Start, user, report));
        addresses.push(taken.unwrap_or_default());
    }
    addresses
}

impl Spaces {
    fn new(label: String, all: impl Iterator<Item = IpNetwork>) -> Self {
        let (mut families, mut subnets) = (PerFamily::default(), PerFamily::default());
        for subnet in all {
            families.insert(Family::of_subnet(subnet), Space::new(subnet));
            subnets.insert(Family::of_subnet(subnet), subnet);
        }
        Self {
            label,
            families,
            subnets,
        }
    }

    /// Takes what was asked for.
    fn reserve(&mut self, asked: &PerFamily<Located<IpAddr>>, report: &mut Report) {
        for Located { line, value } in asked.iter() {
            let (line, address) = (*line, *value);
            let family = Family::of(address);
            let (Some(space), Some(subnet)) =
                (self.families.get_mut(family), self.subnets.get(family))
            else {
                continue;
            };
            let network = self.label.clone();
            match space.reserve(address, line) {
                Ok(()) => {}
                Err(Refusal::Taken(first)) => {
                    report.add(
                        line,
                        ProblemKind::DuplicateAddress {
                            address,
                            network,
                            first,
                        },
                    );
                }
                Err(Refusal::Never(role)) => {
                    let subnet = *subnet;
                    report.add(
                        line,
                        ProblemKind::ReservedAddress {
                            address,
                            role,
                            subnet,
                        },
                    );
                }
            }
        }
    }

    /// What was asked for, and an address in every other subnet.
    fn complete(
        &mut self,
        asked: &PerFamily<Located<IpAddr>>,
        from: From,
        (user, line): (String, usize),
        report: &mut Report,
    ) -> PerFamily<IpAddr> {
        let mut addresses = PerFamily::default();
        for family in Family::ALL {
            let (Some(space), Some(subnet)) =
                (self.families.get_mut(family), self.subnets.get(family))
            else {
                continue;
            };
            let taken = match (asked.get(family), from) {
                (Some(address), _) => Some(address.value),
                (None, From::Start) => space.take_from_start(),
                (None, From::Middle) => space.take_from_middle(),
            };
            match taken {
                Some(address) => {
                    addresses.insert(family, address);
                }
                None => {
                    let (network, user) = (self.label.clone(), user.clone());
                    let kind = ProblemKind::SubnetExhausted {
                        subnet: *subnet,
                        network,
                        user,
                    };
                    report.add(line, kind);
                }
            }
        }
        addresses
    }
}
