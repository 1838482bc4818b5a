//! What the socket hooks know: whose namespace a socket is in, and where it was led.

use crate::{Address, NetId};

/// Value of `netns`, keyed by the cookie (u64) of a network namespace: a task's, or the node's own.
/// Sockets of any other namespace are none of our business.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Netns {
    /// Bits of [`netns`].
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
    /// The networks of a task, in the order in which their VIPs are looked for: by the names of its
    /// interfaces; the node has the ingress network. Number 0 ends the list. VIPs of networks beyond
    /// these are translated per packet.
    pub networks: [NetnsNetwork; Self::NETWORKS],
}

const _: () = assert!(size_of::<Netns>() == 328);

impl Netns {
    /// How many networks of a task the hooks look at.
    pub const NETWORKS: usize = 8;
}

/// Flags of [`Netns`].
pub mod netns {
    /// The node's own namespace: its processes dial published ports.
    pub const NODE: u32 = 1 << 0;
}

/// A network as seen from one namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetnsNetwork {
    /// The network.
    pub net: NetId,
    /// Bits of [`netns_network`].
    pub flags: u32,
    /// The task's IPv4 address in it (mapped), unspecified when it has none.
    pub v4: Address,
    /// The task's IPv6 address in it, unspecified when it has none.
    pub v6: Address,
}

const _: () = assert!(size_of::<NetnsNetwork>() == 40);

/// Flags of [`NetnsNetwork`].
pub mod netns_network {
    /// Its VIPs are translated per packet only.
    pub const PER_PACKET: u32 = 1 << 0;
}

/// What a socket dialled and where it was led: value of `connected` and, several at once, of
/// `unconnected`, both of which belong to the socket and go with it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lead {
    /// What the process dialled.
    pub frontend: Address,
    /// Whom it talks to.
    pub address: Address,
    /// The backend's number; 0 while this leads nowhere.
    pub backend: u32,
    /// The network of the VIP, or the ingress network.
    pub net: NetId,
    /// The port that goes with `frontend`.
    pub frontend_port: u16,
    /// The port that goes with `address`.
    pub port: u16,
    /// The service's number.
    pub service: u32,
}

const _: () = assert!(size_of::<Lead>() == 48);

/// Value of `unconnected`: a datagram socket that names the destination of each datagram.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leads {
    /// One for each frontend that it sends to.
    pub leads: [Lead; Self::MOST],
}

const _: () = assert!(size_of::<Leads>() == 384);

impl Leads {
    /// How many frontends one unconnected socket is led to at a time. Datagrams to others are
    /// translated per packet.
    pub const MOST: usize = 8;
}
