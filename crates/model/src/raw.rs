//! A topology as somebody wrote it: nothing checked but the shape, every value with its line.

/// A value and the line, from 1, on which it was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Located<T> {
    /// Line in the file.
    pub line: usize,
    /// What was written.
    pub value: T,
}

/// A value that may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// Nothing was written.
    #[default]
    Absent,
    /// Something was written that has not even the right shape. Whoever read it has said so
    /// already; it is passed over in silence, and whatever depends on it too.
    Malformed,
    /// A value was written.
    Given(Located<T>),
}

impl<T> Field<T> {
    /// The value, if there is one.
    pub const fn given(&self) -> Option<&Located<T>> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Malformed => None,
        }
    }
}

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// UDP port of VXLAN.
    pub data_path_port: Field<i64>,
    /// The `ingress` table.
    pub ingress: Option<Located<Ingress>>,
    /// The `gateway` table.
    pub gateway: Option<Located<Gateway>>,
    /// The nodes, in order.
    pub nodes: Vec<Located<Node>>,
    /// The networks, in order.
    pub networks: Vec<Located<Network>>,
    /// The endpoints, in order.
    pub endpoints: Vec<Located<Endpoint>>,
    /// The services, in order.
    pub services: Vec<Located<Service>>,
}

/// The network of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ingress {
    /// Its VNI.
    pub vni: Field<i64>,
    /// Its subnets.
    pub subnets: Field<Vec<Located<String>>>,
}

/// Where tasks' gateway addresses come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    /// The pools, at most one of each family. Without any, no task has a way out.
    pub pools: Vec<Located<String>>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Field<String>,
    /// Its underlay address.
    pub address: Field<String>,
    /// Its blocks of the gateway pool.
    pub gateway: Vec<Located<String>>,
    /// How its packets get to other nodes.
    pub carrier: Field<String>,
}

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub name: Field<String>,
    /// Its VNI.
    pub vni: Field<i64>,
    /// Its subnets.
    pub subnets: Field<Vec<Located<String>>>,
    /// Whether its tasks have no way out by it.
    pub internal: Field<bool>,
    /// Upper bound of its MTU in bytes.
    pub mtu: Field<i64>,
    /// Whether its VIPs are translated where a task dials them.
    pub socket_lb: Field<bool>,
}

/// An endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name.
    pub name: Field<String>,
    /// The node of its task.
    pub node: Field<String>,
    /// The namespace of its task: absolute, or a name in `/run/netns`.
    pub namespace: Field<String>,
    /// Its network.
    pub network: Field<String>,
    /// Its addresses.
    pub addresses: Vec<Located<String>>,
    /// Its task's addresses in the ingress network.
    pub ingress: Vec<Located<String>>,
    /// The name of its interface.
    pub interface: Field<String>,
}

/// A service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: Field<String>,
    /// Its network.
    pub network: Field<String>,
    /// Its VIPs.
    pub vips: Vec<Located<String>>,
    /// How its VIPs' backends are chosen.
    pub algorithm: Field<String>,
    /// How long a client of its VIPs stays with its backend, in seconds.
    pub affinity: Field<i64>,
    /// The ports of its VIPs.
    pub ports: Field<Vec<Located<Port>>>,
    /// The ports that it publishes.
    pub publish: Vec<Located<Publish>>,
    /// The endpoints behind it.
    pub backends: Vec<Located<Backend>>,
}

/// A port of a VIP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// What clients dial.
    pub port: Field<i64>,
    /// What backends listen on.
    pub target: Field<i64>,
    /// TCP or UDP.
    pub protocol: Field<String>,
}

/// A published port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publish {
    /// The port.
    pub port: Port,
    /// How its backends are chosen.
    pub algorithm: Field<String>,
    /// How long a client stays with its backend, in seconds.
    pub affinity: Field<i64>,
    /// Whose backends answer: `ingress` or `host`.
    pub mode: Field<String>,
    /// The nodes that answer.
    pub nodes: Field<Vec<Located<String>>>,
    /// The addresses on which they answer.
    pub addresses: Field<Vec<Located<String>>>,
    /// Which way replies take: `via` or `dsr`.
    pub returns: Field<String>,
}

/// A backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// The endpoint.
    pub endpoint: Field<String>,
    /// Its weight.
    pub weight: Field<i64>,
    /// Whether it takes new flows.
    pub state: Field<String>,
}
