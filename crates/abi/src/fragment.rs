//! Fragments after the first have no ports: the first one leaves them here.

use crate::{Address, NetId};

/// Key of `fragments`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    /// The network that the packet belongs to.
    pub net: NetId,
    /// The IPv4 identification, or that of the IPv6 fragment header (RFC 8200 §4.5).
    pub id: u32,
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// IP protocol number of the whole packet.
    pub protocol: u32,
}

const _: () = assert!(size_of::<FragmentKey>() == 44);

/// Value of `fragments`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentPorts {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
}

const _: () = assert!(size_of::<FragmentPorts>() == 4);
