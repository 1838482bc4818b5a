//! The node as a whole: what it runs by, whether that is in place, what is missing.
//!
//! State and problem codes are to decide by; messages are for people.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// What a node is doing, as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Status {
    /// The node's name.
    pub node: String,
    /// netd's version.
    pub version: String,
    /// Where the desired state comes from: `static`.
    pub mode: String,
    /// Whether everything that was asked for is in place.
    pub state: NodeState,
    /// When this netd was started.
    pub since: Timestamp,
    /// The interface that carries the overlay; `null` while none has the node's address.
    pub underlay: Option<Underlay>,
    /// MTU of the overlay in bytes: the underlay's less what VXLAN adds; `null` without underlay.
    pub overlay_mtu: Option<u32>,
    /// How packets travel between nodes: `native`, written and taken by the kernel programs, or
    /// `device`, by the kernel's VXLAN device.
    pub carrier: String,
    /// Why it is the device; `null` where it is not.
    pub carrier_reason: Option<String>,
    /// How packets travel to each other node.
    pub vteps: Vec<Vtep>,
    /// The kernel programs.
    pub programs: Vec<Program>,
    /// The topology in force, and what is wrong with its file.
    pub topology: Topology,
    /// What keeps the node from being ready, or will surprise its operator.
    pub problems: Vec<Problem>,
    /// What was found other than netd had left it.
    pub audit: Audit,
    /// How much there is of everything.
    pub counts: Counts,
}

/// Whether a node does all that it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// The kernel is as desired.
    Ready,
    /// Something is missing: see the problems and the topology's errors.
    Degraded,
}

impl NodeState {
    /// The name on the wire: `ready` or `degraded`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded => "degraded",
        }
    }
}

/// The interface that carries the overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Underlay {
    /// The interface's name.
    pub interface: String,
    /// The node's address there.
    pub address: IpAddr,
    /// The interface's MTU in bytes.
    pub mtu: u32,
}

/// How packets travel to another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Vtep {
    /// The node's name.
    pub node: String,
    /// Its underlay address.
    pub address: IpAddr,
    /// `native` or `device`.
    pub carrier: String,
    /// Why it is the device; `null` where it is not.
    pub carrier_reason: Option<String>,
    /// The interface that the route leads to; `null` where no route is known.
    pub interface: Option<String>,
    /// The neighbour there: a router, or the node itself.
    pub next_hop: Option<IpAddr>,
}

/// A kernel program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Program {
    /// The program's name.
    pub name: String,
    /// The interfaces that it is attached to.
    pub attached: Vec<String>,
}

/// The topology that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Topology {
    /// Path of the file.
    pub file: String,
    /// When the version in force was read; `null` until there is one.
    pub loaded_at: Option<Timestamp>,
    /// Counts the versions that came into force; 0 until there is one.
    pub generation: u64,
    /// Why the file as it stands is not in force; empty when it is.
    pub errors: Vec<TopologyError>,
}

/// A mistake in a topology file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TopologyError {
    /// Path of the file.
    pub file: String,
    /// The line, from 1; `null` when the mistake has no line.
    pub line: Option<u32>,
    /// What is wrong.
    pub message: String,
}

/// Something that the operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Problem {
    /// A short name for scripts, words joined by hyphens.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What would be needed.
    pub needed: String,
}

/// Comparisons of the kernel with what it should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Audit {
    /// When the last one was; `null` until there was one.
    pub last: Option<Timestamp>,
    /// How many objects and tables were repaired since netd was started.
    pub repaired: u64,
    /// The last repairs, newest first, at most 20.
    pub recent: Vec<Repair>,
}

/// Something that somebody else had changed and that is as it should be again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Repair {
    /// When it was put right.
    pub time: Timestamp,
    /// What it was: an object, or entries of a table.
    pub what: String,
}

/// How much there is of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Counts {
    /// Networks, the ingress network included.
    pub networks: u64,
    /// Endpoints in the cluster.
    pub endpoints: u64,
    /// Endpoints on this node.
    pub local_endpoints: u64,
    /// Services.
    pub services: u64,
    /// Backends behind all services; an endpoint that backs two services counts twice.
    pub backends: u64,
    /// Published ports.
    pub published_ports: u64,
    /// Flows in this node's table, expired ones excluded.
    pub flows: u64,
    /// How many flow table entries there can be; a translated flow takes two.
    pub flow_capacity: u64,
    /// Packets dropped since the programs were loaded.
    pub drops: u64,
}
