//! Published ports: what nodes answer on their own addresses, and in which way.
//!
//! They come from the topology, of the whole cluster; how many flows a port has is what the node
//! that answers knows.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::Protocol;

/// A published port: open on nodes' own addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Port {
    /// Port and protocol, unique in the cluster: `8080/tcp`.
    #[serde(rename = "ID")]
    pub id: String,
    /// The service's name; a service may have several ports.
    pub name: String,
    /// The service's name.
    pub service: String,
    /// What the client dials.
    pub port: u16,
    /// What the task listens on.
    pub target: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// How a backend is chosen, by its IPVS name, as in [`crate::Vip`].
    pub algorithm: String,
    /// For how many seconds a client stays with its backend after its last new flow; 0 for no
    /// affinity.
    pub affinity: u32,
    /// Which nodes answer, and with which backends.
    pub mode: PortMode,
    /// The only nodes that answer; empty for all.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// The only addresses on which they answer; empty for all of their own.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Which way replies take to clients outside: `via` the node that was dialled, or `dsr`, straight
    /// from the backend's node.
    #[serde(default = "via")]
    pub r#return: String,
    /// How many endpoints stand behind it.
    pub backends: u64,
    /// Flows by it that this node knows, as the way in or as the backend's node, and that have not
    /// ended; `null` while the kernel cannot be asked.
    pub active: Option<u64>,
}

fn via() -> String {
    "via".to_owned()
}

/// Which nodes answer on a published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortMode {
    /// All of them, or those that are named, with every backend.
    Ingress,
    /// Those that run a backend, with their own.
    Host,
}

impl PortMode {
    /// The name on the wire: `ingress` or `host`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Host => "host",
        }
    }
}
