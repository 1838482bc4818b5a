//! VIPs: a service's virtual addresses, its ports, its backends with their shares and connections.
//!
//! Addresses, weights and states come from the topology and are the same on every node. Connections
//! are those that the node that answers carries.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::Protocol;

/// The virtual addresses of a service in its network, and what stands behind them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Vip {
    /// Eight hexadecimal digits: the service's number in the kernel.
    #[serde(rename = "ID")]
    pub id: String,
    /// The service's name, unique in the cluster: a VIP has no other.
    pub name: String,
    /// The service's name.
    pub service: String,
    /// The network's name.
    pub network: String,
    /// The virtual addresses, at most one for each family.
    pub addresses: Vec<IpAddr>,
    /// The ports that are balanced; empty when every port is.
    pub ports: Vec<VipPort>,
    /// How a backend is chosen, by its IPVS name: `rr`, `wrr`, `lc`, `wlc`, `lblc`, `lblcr`, `dh`,
    /// `sh`, `sed`, `nq`, `mh` or `p2c`.
    pub algorithm: String,
    /// For how many seconds a client stays with its backend after its last new flow; 0 for no
    /// affinity.
    pub affinity: u32,
    /// The backends, one for each endpoint, address and target port.
    pub backends: Vec<Backend>,
    /// The same of the service's published ports, at their addresses in the ingress network.
    pub published: Vec<Backend>,
    /// How the published ports choose among them, each by itself.
    #[serde(default)]
    pub published_ports: Vec<PublishedPort>,
}

/// How a published port of a service chooses a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PublishedPort {
    /// Port and protocol, as in [`crate::Port`]: `8080/tcp`.
    #[serde(rename = "ID")]
    pub id: String,
    /// By its IPVS name, as in [`Vip`].
    pub algorithm: String,
    /// For how many seconds a client stays with its backend after its last new flow; 0 for no
    /// affinity.
    pub affinity: u32,
}

/// A balanced port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VipPort {
    /// What the client dials.
    pub port: u16,
    /// What the task listens on.
    pub target: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// An endpoint behind a frontend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Backend {
    /// Eight hexadecimal digits: the backend's number in the kernel, the same on every node.
    #[serde(rename = "ID")]
    pub id: String,
    /// The endpoint's name.
    pub endpoint: String,
    /// The node that it is on.
    pub node: String,
    /// The address that packets are sent to, with the port where one is set: `10.0.1.11:8080`,
    /// `[fd00:1::11]:8080`, `10.0.1.11`.
    pub address: String,
    /// Whether it is picked.
    pub state: BackendState,
    /// Its weight among the others, 0 to 65,535; 0 takes no new flows.
    pub weight: u16,
    /// The part of new flows that the algorithm gives it, of those to backends with the same port and
    /// family, in per cent: what is expected by weights and states, not what was counted.
    pub share: f64,
    /// Flows and sockets that this node carries to it, answered and not ended; `null` while the
    /// kernel cannot be asked.
    pub active: Option<u64>,
    /// Flows that this node carries to it and that were not answered yet; `null` likewise.
    pub inactive: Option<u64>,
    /// Flows and sockets that this node has ever given to it; `null` likewise.
    pub total: Option<u64>,
}

/// Whether a backend is picked for new flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendState {
    /// It is.
    Ready,
    /// It keeps what it has and gets nothing new while another backend takes it.
    Draining,
}

impl BackendState {
    /// The name on the wire: `ready` or `draining`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}
