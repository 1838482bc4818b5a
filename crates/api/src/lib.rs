//! netd's local API: what travels over its unix socket, and the client that netctl and tests use.
//!
//! Every noun has one file with its wire type. Keys are PascalCase, as in the Docker Engine API, so
//! that Go templates (`{{.Name}}`) fit; every key is always present, absent values are `null` or
//! empty. Values that a client decides by are enums; values that it only shows are strings, so that
//! a newer netd can say something new. Nothing here knows how the values come to be.

#![forbid(unsafe_code)]

mod client;
mod doctor;
mod drop;
mod endpoint;
mod error;
mod flow;
mod network;
pub mod path;
mod port;
mod probe;
mod protocol;
mod status;
mod timestamp;
mod trace;
mod vip;

pub use client::{Client, ClientError};
pub use doctor::{Finding, Verdict};
pub use drop::{DropCount, DropSample};
pub use endpoint::Endpoint;
pub use error::ErrorBody;
pub use flow::{Flow, FlowState, Transfer};
pub use network::{Network, NetworkDetail};
pub use port::{Port, PortMode};
pub use probe::{Probe, ProbeAnswer, ProbeSent, ProbeWait, Sighting, SightingKind, Watched};
pub use protocol::Protocol;
pub use status::{
    Audit, Counts, NodeState, Problem, Program, Repair, Status, Topology, TopologyError, Underlay,
    Vtep,
};
pub use timestamp::Timestamp;
pub use trace::{Hop, Next, Step, Trace, TraceQuestion, TraceVerdict};
pub use vip::{Backend, BackendState, PublishedPort, Vip, VipPort};
