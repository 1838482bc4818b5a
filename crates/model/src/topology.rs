//! A cluster whose every reference resolves and whose every address is decided.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;

use crate::{
    BackendId, BackendState, Balancing, Carrier, EndpointName, Family, Member, NetworkName,
    NodeName, PerFamily, Port, Protocol, ServiceId, ServiceName, Vni,
};

/// The whole cluster. Made by [`crate::validate`] only, so what it says of itself holds: keys of
/// one map that stand in another exist, and no two of anything share an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// UDP port of VXLAN on every node.
    pub data_path_port: Port,
    /// The network of the mesh; present when a service publishes a port.
    pub ingress: Option<Ingress>,
    /// The machines.
    pub nodes: BTreeMap<NodeName, Node>,
    /// The overlay networks, the ingress network excluded.
    pub networks: BTreeMap<NetworkName, Network>,
    /// The attachments of tasks to networks.
    pub endpoints: BTreeMap<EndpointName, Endpoint>,
    /// The tasks that the endpoints belong to.
    pub tasks: BTreeMap<TaskId, Task>,
    /// The services.
    pub services: BTreeMap<ServiceName, Service>,
    /// The backends that frontends name.
    pub backends: BTreeMap<BackendId, Backend>,
}

/// The network in which published ports meet their backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// Its number.
    pub vni: Vni,
    /// Its subnets; at least one.
    pub subnets: PerFamily<IpNetwork>,
    /// Its own address in each subnet: the first usable one.
    pub gateways: PerFamily<IpAddr>,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its underlay (VTEP) address; all nodes' are of one family.
    pub address: IpAddr,
    /// Its blocks of the gateway pool.
    pub gateway: PerFamily<IpNetwork>,
    /// How its packets get to other nodes.
    pub carrier: Carrier,
    /// Its own addresses in the ingress network, by which its processes reach published ports.
    pub ingress: PerFamily<IpAddr>,
}

/// An overlay network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its number.
    pub vni: Vni,
    /// Its subnets; at least one.
    pub subnets: PerFamily<IpNetwork>,
    /// The network's own address in each subnet: the first usable one.
    pub gateways: PerFamily<IpAddr>,
    /// Whether its tasks have no way out by it.
    pub internal: bool,
    /// Upper bound of the MTU in bytes, 1,280 to 65,485 (576 without IPv6).
    pub mtu: Option<u16>,
    /// Whether its VIPs are translated where a task dials them; else per packet only.
    pub socket_lb: bool,
}

/// A task: whatever runs in one network namespace of one node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// The node.
    pub node: NodeName,
    /// The network namespace, absolute.
    pub namespace: PathBuf,
}

/// What a task has besides its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its endpoints, in the order of the topology.
    pub endpoints: Vec<EndpointName>,
    /// Name of the interface that is its way out; present when there are gateway or ingress
    /// addresses.
    pub gateway_interface: Option<String>,
    /// Addresses in its node's gateway blocks; none when all its networks are internal.
    pub gateway: PerFamily<IpAddr>,
    /// Addresses in the ingress network; none when it serves no published port.
    pub ingress: PerFamily<IpAddr>,
}

/// A task's attachment to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The task, a key of [`Topology::tasks`].
    pub task: TaskId,
    /// The network.
    pub network: NetworkName,
    /// Its addresses: one for each subnet of the network.
    pub addresses: PerFamily<IpAddr>,
    /// Name of the interface in the task's namespace.
    pub interface: String,
}

/// A service: what backends do together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its number.
    pub id: ServiceId,
    /// The network of its VIPs and backends.
    pub network: NetworkName,
    /// Its VIPs: one for each subnet of the network.
    pub vips: PerFamily<IpAddr>,
    /// How a backend of a VIP is chosen.
    pub balancing: Balancing,
    /// The ports of the VIPs; empty for every port, translated to itself.
    pub ports: Vec<PortMapping>,
    /// The ports that it publishes.
    pub published: Vec<Published>,
    /// The endpoints behind it, in the order of the topology.
    pub members: Vec<Member>,
    /// What clients dial, with the backends of each: one for each VIP and port, and one for each
    /// published port and family of the ingress network.
    pub frontends: Vec<Frontend>,
}

/// A port and the port of the backends that it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortMapping {
    /// What clients dial.
    pub port: Port,
    /// What backends listen on.
    pub target: Port,
    /// Of both.
    pub protocol: Protocol,
}

/// A port that nodes answer on their own addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Published {
    /// The ports.
    pub mapping: PortMapping,
    /// How a backend is chosen.
    pub balancing: Balancing,
    /// Where it is answered.
    pub scope: Scope,
}

/// Where a published port is answered, and by whose backends.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// Whose backends answer.
    pub mode: PublishMode,
    /// The nodes; empty for all.
    pub nodes: BTreeSet<NodeName>,
    /// The addresses; empty for all of a node's own.
    pub addresses: BTreeSet<IpAddr>,
    /// Which way replies take.
    pub returns: Returns,
}

/// Which way replies of a published port take to a client outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Returns {
    /// Through the node that the client dialled.
    #[default]
    Via,
    /// From the backend's node, with the dialled address as their source.
    Direct,
}

impl Returns {
    /// Its name in the topology file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Via => "via",
            Self::Direct => "dsr",
        }
    }
}

/// Whose backends answer on a published port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PublishMode {
    /// Everybody's, on every node.
    #[default]
    Ingress,
    /// Those of the node that was dialled; nodes without one do not answer.
    Host,
}

impl PublishMode {
    /// Its name in the topology file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Host => "host",
        }
    }
}

impl Scope {
    /// Whether a node answers, as far as its name says.
    #[must_use]
    pub fn includes(&self, node: &NodeName) -> bool {
        self.nodes.is_empty() || self.nodes.contains(node)
    }

    /// Whether some node would have two answers to the same dialled address. An address that is named
    /// goes before all others.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let nodes = self.nodes.is_empty()
            || other.nodes.is_empty()
            || !self.nodes.is_disjoint(&other.nodes);
        let addresses = self.addresses.is_empty() && other.addresses.is_empty()
            || !self.addresses.is_disjoint(&other.addresses);
        nodes && addresses
    }
}

/// Something that a client dials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// Where it is.
    pub kind: FrontendKind,
    /// The port; `None` is every port of every protocol.
    pub port: Option<(Port, Protocol)>,
    /// How a backend is chosen.
    pub balancing: Balancing,
    /// Where it is answered, when it is a published port.
    pub scope: Scope,
    /// Keys of [`Topology::backends`], in the order of the service's members.
    pub backends: Vec<BackendId>,
}

/// Where a frontend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrontendKind {
    /// This VIP in the service's network.
    Vip(IpAddr),
    /// Nodes' own addresses of this family.
    Published(Family),
}

/// An endpoint's address and port behind a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The service.
    pub service: ServiceName,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Which side of the service it serves, and so in which network `address` is.
    pub kind: BackendKind,
    /// Where packets go: an address of the endpoint, or of its task in the ingress network.
    pub address: IpAddr,
    /// The port that packets go to; `None` keeps the one that was dialled.
    pub port: Option<Port>,
    /// The weight, 0 to 65,535.
    pub weight: u16,
    /// Whether it takes new flows.
    pub state: BackendState,
}

/// Which side of a service a backend serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackendKind {
    /// Its VIPs, in the service's network.
    Vip,
    /// Its published ports, in the ingress network.
    Published,
}

impl Topology {
    /// The task of an endpoint.
    #[must_use]
    pub fn task_of(&self, endpoint: &Endpoint) -> &Task {
        &self.tasks[&endpoint.task]
    }
}
