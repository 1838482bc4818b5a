//! Whose replies go straight to clients, with this node's address as their source: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Facts;
use crate::desired::{Desired, Location, Service};
use crate::problem::{Problem, ProblemCode};

/// What asking a node to answer from this node's address has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The answer arrived.
    Arrives,
    /// It did not, though the node answers from its own address.
    Lost,
    /// The node does not answer at all.
    Silent,
}

/// The other nodes that are to answer clients themselves.
pub(crate) fn nodes(desired: &Desired) -> BTreeSet<IpAddr> {
    let direct = desired.published.values().filter(|it| it.returns_direct);
    direct.flat_map(|service| homes(desired, service)).collect()
}

/// Whether every node that answers for the service can do so straight. Where one cannot, none does: a
/// service's clients have one way.
pub(super) fn is_proven(desired: &Desired, facts: &Facts, service: &Service) -> bool {
    homes(desired, service).all(|node| facts.direct.get(&node) == Some(&Proof::Arrives))
}

/// What keeps replies from going straight, one problem for each node.
pub(crate) fn hindrances(desired: &Desired, facts: &Facts) -> Vec<Problem> {
    let mut ports: BTreeMap<IpAddr, BTreeSet<u16>> = BTreeMap::new();
    for (published, service) in &desired.published {
        if !service.returns_direct {
            continue;
        }
        for node in homes(desired, service) {
            if facts.direct.get(&node) != Some(&Proof::Arrives) {
                ports.entry(node).or_default().insert(published.port);
            }
        }
    }
    let own = desired.address;
    let problem = |(node, ports): (IpAddr, BTreeSet<u16>)| {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let why = match facts.direct.get(&node) {
            Some(Proof::Lost) => format!("what {node} sends from {own} does not arrive"),
            _ => format!("{node} does not answer"),
        };
        Problem::new(
            ProblemCode::DirectReturn,
            format!(
                "dsr is refused for published ports {}, whose replies return by this node: {why}",
                ports.join(", ")
            ),
            "an underlay that lets nodes send from each other's addresses, or `return = \"via\"`",
        )
    };
    ports.into_iter().map(problem).collect()
}

/// The other nodes that run the service's backends.
fn homes<'a>(desired: &'a Desired, service: &'a Service) -> impl Iterator<Item = IpAddr> + 'a {
    service.backends.iter().filter_map(|id| {
        let backend = desired.backends.get(id)?;
        let endpoint = desired.endpoints.get(&(backend.net, backend.address))?;
        match endpoint.location {
            Location::Node(address) => Some(address),
            Location::Attachment(_) | Location::Gateway(_) => None,
        }
    })
}
