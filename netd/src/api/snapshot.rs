//! The agent at one moment, for one request.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use model::{PerFamily, ServiceId, Topology};

use super::refusal::Refusal;
use crate::agent::{Handle, State};

/// What the ingress network is called. It has no name in a topology.
pub(super) const INGRESS: &str = "ingress";

/// The agent's state, and the topology in it.
pub(super) struct Snapshot {
    /// The state.
    pub(super) state: Arc<State>,
    /// The topology in force.
    pub(super) topology: Arc<Topology>,
}

impl Snapshot {
    /// The agent now; refused while there is no topology, which would look like an empty one.
    pub(super) fn of(agent: &Handle) -> Result<Self, Refusal> {
        let state = Arc::clone(&agent.state.borrow());
        let Some(topology) = state.topology.clone() else {
            let first = state.load.errors.first();
            return Err(Refusal::NoTopology(first.map_or_else(
                || format!("{} has not been read yet", state.load.file.display()),
                ToString::to_string,
            )));
        };
        Ok(Self { state, topology })
    }

    /// The networks' names by their numbers.
    pub(super) fn network_names(&self) -> BTreeMap<u32, &str> {
        let ingress = self.topology.ingress.iter();
        ingress
            .map(|ingress| (ingress.vni.get(), INGRESS))
            .chain(
                self.topology
                    .networks
                    .iter()
                    .map(|(name, network)| (network.vni.get(), name.as_str())),
            )
            .collect()
    }

    /// The services' names by their numbers.
    pub(super) fn service_names(&self) -> BTreeMap<u32, &str> {
        let services = self.topology.services.iter();
        services
            .map(|(name, service)| (service.id.get(), name.as_str()))
            .collect()
    }

    /// The nodes' names by their underlay addresses.
    pub(super) fn node_names(&self) -> BTreeMap<IpAddr, &str> {
        let nodes = self.topology.nodes.iter();
        nodes
            .map(|(name, node)| (node.address, name.as_str()))
            .collect()
    }
}

/// The values of both families, IPv4 first.
pub(super) fn values<T: Copy>(both: &PerFamily<T>) -> Vec<T> {
    both.iter().copied().collect()
}

/// How a service's number is shown.
pub(super) fn service_id(id: ServiceId) -> String {
    format!("{:08x}", id.get())
}

/// How a protocol is shown: its name, else its number.
pub(super) fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        number => number.to_string(),
    }
}

/// A protocol on the wire.
pub(super) const fn wire_protocol(protocol: model::Protocol) -> api::Protocol {
    match protocol {
        model::Protocol::Tcp => api::Protocol::Tcp,
        model::Protocol::Udp => api::Protocol::Udp,
    }
}
