//! What the kernel programs and user space share: the keys and values of every map, the wire
//! format of the mesh, and the packet arithmetic.
//!
//! Everything here is plain data and pure functions over it, compiled for the kernel by `ebpf` and
//! for user space by `dataplane`; the same code is tested natively and by test runs in the kernel.
//! Layouts are `repr(C)` without implicit padding, since the kernel compares keys byte by byte.
//! Unless a field says otherwise, numbers and ports are in host byte order.
#![no_std]

mod address;
mod affinity;
mod algorithm;
mod attachment;
pub mod checksum;
mod collision;
mod drops;
mod flow;
mod fragment;
pub mod hash;
mod header;
mod load;
mod mac;
mod mesh;
mod node;
mod pick;
mod pod;
mod probe;
mod quote;
mod segment;
mod service;
mod socket;
mod verdict;
pub mod vxlan;

pub use address::Address;
pub use affinity::{Affinity, AffinityKey, Locality};
pub use algorithm::{Algorithm, Candidate};
pub use attachment::{
    Endpoint, EndpointKey, EndpointKind, Iface, Network, Vtep, endpoint, iface, vtep,
};
pub use collision::{PORT_TRIES, other_port};
pub use drops::{DropCounter, DropReason, DropSample};
pub use flow::{
    Delivery, Direction, Flow, FlowKey, FlowState, Seen, Side, TransferCount, delivery,
};
pub use fragment::{FragmentKey, FragmentPorts};
pub use header::{
    Bytes, Family, Fragment, Head, Header, HeaderError, ethertype, icmp, protocol, tcp,
};
pub use load::{Correction, Load};
pub use mac::{Mac, ROUTER_MAC};
pub use mesh::{Mesh, MeshDirection, STRAIGHT};
pub use node::{ErrorCredit, LAYOUT, MARK_UNSOLICITED, NetId, Settings};
pub use pick::{client_hash, connection_hash, pick_index};
pub use probe::{Observer, Probe, Sight, Sighting, TunnelKey, decision};
pub use quote::Quote;
pub use segment::{SegmentSize, TcpOption, packet_length};
pub use service::{Backend, PublishedKey, Service, ServiceKey, backend_state, service_flag};
pub use socket::{Lead, Leads, Netns, NetnsNetwork, netns, netns_network};
pub use verdict::{Action, Verdict};
