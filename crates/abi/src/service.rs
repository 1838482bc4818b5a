//! Frontends and what stands behind them.

use crate::{Address, NetId};

/// Key of `services`. Port and protocol 0 are the whole-VIP wildcard.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    /// The network of the VIP.
    pub net: NetId,
    /// The VIP.
    pub address: Address,
    /// Destination port.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
}

const _: () = assert!(size_of::<ServiceKey>() == 24);

/// Key of `published`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublishedKey {
    /// One address of the node, or its family's any: `::ffff:0.0.0.0` or `::`.
    pub address: Address,
    /// Destination port.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
}

const _: () = assert!(size_of::<PublishedKey>() == 20);

/// Value of `services` and `published`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Cluster-wide service number, never 0; key of `cursors`.
    pub id: u32,
    /// First of the service's entries in `picks`, when there are more than [`Service::INLINE`]. They
    /// are numbers of backends, or pairs of a number and a weight
    /// ([`crate::Algorithm::is_live`]).
    pub pick_offset: u32,
    /// Number of entries; 0 while the service has no backend.
    pub pick_length: u32,
    /// Rises with every change of the picks.
    pub generation: u32,
    /// An [`crate::Algorithm`] as u32.
    pub algorithm: u32,
    /// Bits of [`service_flag`].
    pub flags: u32,
    /// How long a client stays with its backend after its last new flow; 0 for no affinity.
    pub affinity_seconds: u32,
    /// First entry in `picks` of the table before this one.
    pub second_offset: u32,
    /// Length of the table before this one; 0 when it is not kept. Only Maglev tables are, for
    /// half a minute: flows that this node does not know may have been picked from them.
    pub second_length: u32,
    /// The picks themselves when there are at most [`Service::INLINE`].
    pub inline: [u32; 8],
}

const _: () = assert!(size_of::<Service>() == 68);

impl Service {
    /// How many picks fit into the value itself.
    pub const INLINE: u32 = 8;
}

/// Flags of [`Service`].
pub mod service_flag {
    /// Replies leave from the backend's own node.
    pub const DSR: u32 = 1 << 0;
    /// Sockets are not translated when they connect; packets are.
    pub const DIRECT_SOCKETS_OFF: u32 = 1 << 1;
    /// The frontend is every port of its address.
    pub const EVERY_PORT: u32 = 1 << 2;
    /// The frontend is a published port.
    pub const PUBLISHED: u32 = 1 << 3;
}

/// Value of `backends`, keyed by the cluster-wide backend number (u32, never 0).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// The address that packets are sent to.
    pub address: Address,
    /// The network of that address.
    pub net: NetId,
    /// The node that has it, a key of `vteps`; 0 for this node.
    pub vtep: u32,
    /// The port that packets are sent to; 0 keeps the frontend's port.
    pub port: u16,
    /// Weight, 0 to 65,535.
    pub weight: u16,
    /// One of [`backend_state`].
    pub state: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

const _: () = assert!(size_of::<Backend>() == 32);

/// States of [`Backend`].
pub mod backend_state {
    /// Takes new flows.
    pub const READY: u8 = 1;
    /// Takes no new flows; those that it has go on.
    pub const DRAINING: u8 = 2;
}
