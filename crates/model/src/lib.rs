//! The cluster's nouns: validated names, numbers and addresses, and the topology made of them.
//!
//! Everything here is a value. Input arrives as [`raw::Topology`], whoever read it; [`validate`]
//! turns it into a [`Topology`] in which every reference resolves and every address is decided, or
//! into the complete list of what is wrong with it. There are no files, sockets, clocks or random
//! numbers, and nothing depends on the order of a hash: the same input gives the same topology on
//! every node.
#![forbid(unsafe_code)]

mod balancing;
mod carrier;
mod family;
mod name;
mod port;
mod problem;
pub mod raw;
mod topology;
mod validate;
mod vni;

pub use balancing::{
    Affinity, Algorithm, BackendId, BackendState, BadAffinity, Balancing, Member, ServiceId,
    UnknownAlgorithm, UnknownState,
};
pub use carrier::{Carrier, UnknownCarrier};
pub use family::{Family, PerFamily};
pub use name::{BadName, EndpointName, NetworkName, NodeName, ServiceName};
pub use port::{BadPort, Port, Protocol, UnknownProtocol};
pub use problem::{Problem, ProblemKind};
pub use topology::{
    Backend, BackendKind, Endpoint, Frontend, FrontendKind, Ingress, Network, Node, PortMapping,
    PublishMode, Published, Returns, Scope, Service, Task, TaskId, Topology,
};
pub use validate::{NAMESPACES, validate};
pub use vni::{BadVni, Vni};
