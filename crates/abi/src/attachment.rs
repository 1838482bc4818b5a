//! Where tasks are: interfaces, endpoints, networks and tunnel end points.

use crate::{Address, Mac, NetId};

/// Value of `ifaces`, keyed by the ifindex (u32) of the host's end of a task's veth.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Iface {
    /// The network; [`NetId::GATEWAY`] for a gateway attachment.
    pub net: NetId,
    /// Bits of [`iface`].
    pub flags: u32,
    /// The task's IPv4 address here (mapped), unspecified when it has none.
    pub v4: Address,
    /// The task's IPv6 address here, unspecified when it has none.
    pub v6: Address,
    /// On a gateway attachment, the task's IPv4 address in the ingress network, or unspecified.
    pub ingress_v4: Address,
    /// On a gateway attachment, the task's IPv6 address in the ingress network, or unspecified.
    pub ingress_v6: Address,
    /// The Ethernet address of the task's end.
    pub mac: Mac,
    /// Zero.
    pub reserved: u16,
}

const _: () = assert!(size_of::<Iface>() == 80);

/// Flags of [`Iface`].
pub mod iface {
    /// The attachment is a gateway attachment.
    pub const GATEWAY: u32 = 1 << 0;
    /// The endpoint is a backend of some VIP: replies from here may need translation.
    pub const BACKS: u32 = 1 << 1;
    /// The attachment is the node's own: both its ends are in the node's namespace.
    pub const NODE: u32 = 1 << 2;
}

/// Key of `endpoints`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointKey {
    /// The network.
    pub net: NetId,
    /// The address inside it.
    pub address: Address,
}

const _: () = assert!(size_of::<EndpointKey>() == 20);

/// Value of `endpoints`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The host's end of the veth when the endpoint is on this node, else 0.
    pub ifindex: u32,
    /// The node that has it, a key of `vteps`; 0 when it is this node, or when nobody has it (VIPs
    /// and gateways are on every node).
    pub vtep: u32,
    /// The Ethernet address of the task's end, when it is on this node.
    pub mac: Mac,
    /// An [`EndpointKind`] as u8.
    pub kind: u8,
    /// Bits of [`endpoint`].
    pub flags: u8,
}

const _: () = assert!(size_of::<Endpoint>() == 16);

/// Flags of [`Endpoint`].
pub mod endpoint {
    /// The endpoint is a backend of some VIP.
    pub const BACKS: u8 = 1 << 0;
    /// The VIP has at least one backend: echo requests are answered. Never set on a task.
    pub const ANSWERS: u8 = 1 << 1;
}

/// What an address stands for.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointKind {
    /// A task's attachment.
    Task = 1,
    /// The network's own address on every node: answers echo requests, and is the client that a
    /// task sees when it is picked for its own request.
    Gateway = 2,
    /// A service's virtual address.
    Vip = 3,
    /// A node's own attachment to the ingress network.
    Node = 4,
}

impl EndpointKind {
    /// Reads the field of a map value; `None` for a number that no kind has.
    #[inline(always)]
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Task),
            2 => Some(Self::Gateway),
            3 => Some(Self::Vip),
            4 => Some(Self::Node),
            _ => None,
        }
    }
}

/// Value of `networks`, keyed by [`NetId`]: exists for every network that this node knows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The network's gateway address, IPv4 (mapped), or unspecified.
    pub gateway_v4: Address,
    /// The network's gateway address, IPv6, or unspecified.
    pub gateway_v6: Address,
}

const _: () = assert!(size_of::<Network>() == 32);

/// Value of `vteps`, an array indexed by the node-local number of a tunnel end point (1 and up; 0
/// is this node itself and holds its own addresses). An unused slot is all zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vtep {
    /// The node's underlay address; IPv4 mapped, or IPv6.
    pub address: Address,
    /// The neighbour on `ifindex` that packets for the node are handed to: a router's address, or the
    /// node's own. Unspecified where the carrier is the device.
    pub next_hop: Address,
    /// The uplink that packets for the node leave by; 0 where the carrier is the device.
    pub ifindex: u32,
    /// Bits of [`vtep`].
    pub flags: u32,
}

const _: () = assert!(size_of::<Vtep>() == 40);

/// Flags of [`Vtep`].
pub mod vtep {
    /// The programs themselves wrap what is sent to this node; in slot 0, they unwrap what is sent to
    /// this one. Without it the device does.
    pub const NATIVE: u32 = 1 << 0;
}
