//! Names for what the kernel knows by number. Flows and drops are told without a topology, too:
//! the kernel goes on while its file is broken.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use dataplane::NetId;
use model::{Backend, BackendId, Topology};

use super::snapshot::INGRESS;

/// What the tasks' way out of the cluster is called.
const GATEWAY: &str = "gateway";

/// The names that a topology gives.
#[derive(Default)]
pub(super) struct Names<'a> {
    topology: Option<&'a Topology>,
    networks: BTreeMap<u32, &'a str>,
    services: BTreeMap<u32, &'a str>,
    nodes: BTreeMap<IpAddr, &'a str>,
}

impl<'a> Names<'a> {
    /// The names in `topology`; without one there are none.
    pub(super) fn new(topology: Option<&'a Topology>) -> Self {
        let Some(it) = topology else {
            return Self::default();
        };
        let ingress = it.ingress.iter().map(|it| (it.vni.get(), INGRESS));
        let networks = it.networks.iter();
        let services = it.services.iter();
        let nodes = it.nodes.iter();
        Self {
            topology,
            networks: networks
                .map(|(name, network)| (network.vni.get(), name.as_str()))
                .chain(ingress)
                .collect(),
            services: services
                .map(|(name, service)| (service.id.get(), name.as_str()))
                .collect(),
            nodes: nodes
                .map(|(name, node)| (node.address, name.as_str()))
                .collect(),
        }
    }

    /// A network's name, else its number. The tasks' way out is no network of the topology's.
    pub(super) fn network(&self, vni: u32) -> String {
        if vni == NetId::GATEWAY.0 {
            return GATEWAY.to_owned();
        }
        let name = self.networks.get(&vni);
        name.map_or_else(|| vni.to_string(), ToString::to_string)
    }

    /// A service's name, else that of the service behind which the backend stands (on the backend's
    /// node the mesh knows no more), else nothing.
    pub(super) fn service(&self, id: u32, backend: u32) -> String {
        let name = self.services.get(&id).copied();
        let behind = || Some(self.behind(backend)?.service.as_str());
        name.or_else(behind).unwrap_or_default().to_owned()
    }

    /// A node's name, else its underlay address.
    pub(super) fn node(&self, address: IpAddr) -> String {
        let name = self.nodes.get(&address);
        name.map_or_else(|| address.to_string(), ToString::to_string)
    }

    /// A backend's address, with the port that was dialled where it keeps that.
    pub(super) fn backend(&self, id: u32, dialled: Option<u16>) -> Option<SocketAddr> {
        let backend = self.behind(id)?;
        let port = backend.port.map(model::Port::get).or(dialled)?;
        Some(SocketAddr::new(backend.address, port))
    }

    fn behind(&self, id: u32) -> Option<&'a Backend> {
        let id = BackendId(NonZeroU32::new(id)?);
        self.topology?.backends.get(&id)
    }
}

/// A protocol's name, else its number.
pub(super) fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        number => number.to_string(),
    }
}
