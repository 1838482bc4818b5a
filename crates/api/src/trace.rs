//! What would become of a packet: one hop for each program that it meets, with its lookups.
//!
//! A node tells what its own tables say, and who knows what comes next ([`Next`]); the client asks
//! on from node to node. Nothing is sent. Where a real packet was sent as well, what became of it
//! is a [`Probe`].

use serde::{Deserialize, Serialize};

use crate::Probe;

/// What would become of a packet, node by node; and what became of one, if one was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Trace {
    /// The packet's protocol and ends: `tcp 10.0.1.3:40000 -> 10.0.1.2:80`.
    #[serde(rename = "ID")]
    pub id: String,
    /// The packet as it was asked for: `probe -> web:80`.
    pub name: String,
    /// The nodes that it meets, in order.
    pub hops: Vec<Hop>,
    /// Who knows what comes next; `null` when everything is told. What [`Self::hops`] say of that
    /// node is then a guess.
    pub next: Option<Next>,
    /// What became of a real packet; `null` when none was sent.
    #[serde(default)]
    pub probe: Option<Probe>,
}

/// A packet's way on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Hop {
    /// The node's name.
    pub node: String,
    /// Whether it was read from that node's tables; else it is what another node expects of it.
    pub verified: bool,
    /// The kernel program that decides.
    pub program: String,
    /// The packet as it comes in.
    pub packet: String,
    /// Where it is going as it goes on: `10.0.1.12:8080`.
    pub destination: String,
    /// Its lookups, in order.
    pub steps: Vec<Step>,
    /// What becomes of the packet.
    pub verdict: TraceVerdict,
    /// The drop reason, as `netctl drop ls` has it; empty when it is not dropped.
    pub reason: String,
    /// Eight hexadecimal digits: the backend that it goes to; empty for none.
    pub backend: String,
    /// What becomes of the packet, one sentence without full stop.
    pub message: String,
}

/// One lookup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Step {
    /// The table.
    pub table: String,
    /// What was looked for.
    pub key: String,
    /// What was found, and what follows from it.
    pub found: String,
}

/// What becomes of a packet on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceVerdict {
    /// It goes into a task.
    Deliver,
    /// It goes to another node.
    Tunnel,
    /// It leaves by an uplink.
    Uplink,
    /// It is left to the node's own stack.
    Stack,
    /// It is dropped, and its sender is told.
    Refuse,
    /// It is dropped.
    Drop,
    /// The tables hold something that cannot be followed.
    Unknown,
}

impl TraceVerdict {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deliver => "deliver",
            Self::Tunnel => "tunnel",
            Self::Uplink => "uplink",
            Self::Stack => "stack",
            Self::Refuse => "refuse",
            Self::Drop => "drop",
            Self::Unknown => "unknown",
        }
    }
}

/// Who knows what comes next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Next {
    /// The node's name.
    pub node: String,
    /// What to ask its netd.
    pub question: TraceQuestion,
}

/// What is to be traced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TraceQuestion {
    /// An endpoint's name, a node's, an address in a network, an address outside; of a packet that arrives
    /// from another node, its source with its port.
    pub source: String,
    /// A name or an address, and a port: `web:80`, `10.0.1.2:80`, `[fd00:1::2]:80`.
    pub destination: String,
    /// `tcp` or `udp`; empty for TCP.
    pub protocol: String,
    /// The sender's port; 0 for one of netd's choice.
    pub source_port: u16,
    /// The network in which an address is meant; empty where it is clear.
    pub network: String,
    /// Of a packet that arrives from another node: the underlay address of that node.
    pub from: String,
    /// Of such a packet: the VNI that it travels with.
    pub vni: u32,
    /// Of such a packet through the mesh: the backend's number, else 0.
    pub backend: u32,
}
