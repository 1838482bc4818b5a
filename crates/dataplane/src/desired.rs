//! What the kernel of this node should look like, as values: the input of the planner.
//!
//! Whoever builds a [`Desired`] has validated it: references resolve, addresses are unique in
//! their network, ids are unique. It says nothing of services' specs or of how the values came to
//! be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use abi::{Algorithm, NetId};
use ipnetwork::IpNetwork;

/// The whole desired state of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// This node's underlay address; the interface that has it is the underlay.
    pub address: IpAddr,
    /// How packets get to other nodes.
    pub carrier: Carrier,
    /// UDP port of VXLAN.
    pub data_path_port: u16,
    /// The network of the ingress mesh; `None` when nothing is ever published.
    pub ingress: Option<NetId>,
    /// This node's blocks of the gateway pool, at most one for each family.
    pub gateway_blocks: Vec<IpNetwork>,
    /// The underlay addresses of the other nodes.
    pub vteps: BTreeSet<IpAddr>,
    /// Every network, the ingress network included.
    pub networks: BTreeMap<NetId, Network>,
    /// The addresses that nodes have in the ingress network, this one included: each with the node's
    /// underlay address.
    pub node_addresses: BTreeMap<IpAddr, IpAddr>,
    /// Every endpoint address of every network, here and elsewhere (VIPs and gateways excluded,
    /// they follow from the networks and services).
    pub endpoints: BTreeMap<(NetId, IpAddr), Endpoint>,
    /// The attachments of tasks on this node, by the endpoint's name.
    pub attachments: BTreeMap<String, Attachment>,
    /// The gateway attachments of tasks on this node, by the task's namespace.
    pub gateways: BTreeMap<PathBuf, Gateway>,
    /// The frontends inside networks.
    pub services: BTreeMap<Frontend, Service>,
    /// The frontends on the nodes' own addresses.
    pub published: BTreeMap<Published, Service>,
    /// Every backend that a service names, by its cluster-wide number.
    pub backends: BTreeMap<u32, Backend>,
}

impl Desired {
    /// A node with this underlay address on which nothing is desired: VXLAN by its registered port
    /// (RFC 7348).
    #[must_use]
    pub fn empty(address: IpAddr) -> Self {
        Self {
            address,
            carrier: Carrier::default(),
            data_path_port: 4789,
            ingress: None,
            gateway_blocks: Vec::new(),
            vteps: BTreeSet::new(),
            networks: BTreeMap::new(),
            node_addresses: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            attachments: BTreeMap::new(),
            gateways: BTreeMap::new(),
            services: BTreeMap::new(),
            published: BTreeMap::new(),
            backends: BTreeMap::new(),
        }
    }

    /// The namespaces of the tasks on this node.
    pub(crate) fn namespaces(&self) -> BTreeSet<&Path> {
        let attached = self.attachments.values();
        attached
            .map(|attachment| attachment.namespace.as_path())
            .chain(self.gateways.keys().map(PathBuf::as_path))
            .collect()
    }
}

/// How packets get to other nodes, and are taken from them. On the wire both ways are the same VXLAN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carrier {
    /// Natively wherever that has been proven to work on this host and uplink, else by the device.
    #[default]
    Auto,
    /// Natively wherever that is possible at all.
    Native,
    /// By the kernel's VXLAN device.
    Device,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The name, for messages.
    pub name: String,
    /// Its subnets with the network's own (gateway) address in each.
    pub subnets: Vec<(IpNetwork, IpAddr)>,
    /// Upper bound of the MTU in bytes; the underlay may ask for less.
    pub mtu: Option<u16>,
    /// Whether its VIPs are translated where a task dials them; else per packet only.
    pub socket_lb: bool,
}

/// An address that a task has in a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where the task is.
    pub location: Location,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// On this node, at the attachment of this name.
    Attachment(String),
    /// On this node, at the gateway attachment of this namespace (ingress addresses).
    Gateway(PathBuf),
    /// On the node with this underlay address.
    Node(IpAddr),
}

/// A task's attachment to a network: a veth whose far end is in the task's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The task's network namespace.
    pub namespace: PathBuf,
    /// Name of the task's end.
    pub interface: String,
    /// The network.
    pub net: NetId,
    /// The task's addresses, each with its subnet's prefix length; at most one for each family.
    pub addresses: Vec<IpNetwork>,
}

/// A task's way out: a veth with the default route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Name of the task's end.
    pub interface: String,
    /// The task's gateway addresses, at most one for each family.
    pub addresses: Vec<IpAddr>,
    /// The task's addresses in the ingress network, at most one for each family; empty when it
    /// serves no published port.
    pub ingress: Vec<IpAddr>,
}

/// What a client dials inside a network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// The network.
    pub net: NetId,
    /// The VIP.
    pub address: IpAddr,
    /// Port and IP protocol number; `None` is every port of every protocol.
    pub port: Option<(u16, u8)>,
}

/// What a client dials from outside: a port on one of this node's addresses, or on all of a family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Published {
    /// One address, or `0.0.0.0` or `::`: any own address of that family that has no entry of its own.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

/// How a frontend is balanced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Cluster-wide number, never 0; several frontends may share it.
    pub id: u32,
    /// How backends are chosen.
    pub algorithm: Algorithm,
    /// How long a client stays with its backend after its last new flow, in seconds; 0 for no
    /// affinity.
    pub affinity_seconds: u32,
    /// Whether replies to clients outside go straight from the backend's node, where nodes can send so.
    pub returns_direct: bool,
    /// The backends, keys of [`Desired::backends`]. IPv4 and IPv6 frontends name different ones.
    pub backends: Vec<u32>,
}

/// One address and port behind frontends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The network: that of the service for VIPs, the ingress network for published ports.
    pub net: NetId,
    /// The address; an endpoint of `net`.
    pub address: IpAddr,
    /// The port; 0 keeps the frontend's.
    pub port: u16,
    /// The weight, 0 to 65,535; 0 takes no new flows.
    pub weight: u16,
    /// Whether it takes no new flows while another backend does; those that it has go on.
    pub is_draining: bool,
}
