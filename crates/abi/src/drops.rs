//! Why a packet was dropped, and how that is counted.

use crate::{Address, NetId};

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $text:literal;)+) => {
        /// Why a packet was dropped. The number is the index into `drops`.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl DropReason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The reason's name in listings: lowercase words joined by hyphens.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// One sentence for the operator.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

reasons! {
    /// The packet ends before the header that it announces.
    Truncated = 0, "truncated";
    /// A header contradicts itself: version, header length or total length.
    BadHeader = 1, "bad-header";
    /// The chain of IPv6 extension headers is longer than six, or holds a type 0 routing header.
    ExtensionHeaders = 2, "extension-headers";
    /// Neither IPv4, IPv6 nor ARP.
    UnknownEtherType = 3, "unknown-ether-type";
    /// The interface is not in the tables: its task has just been removed.
    UnknownInterface = 4, "unknown-interface";
    /// Multicast and broadcast are not carried.
    Multicast = 5, "multicast";
    /// Router solicitations, multicast listener reports and other chatter of a task's IPv6 stack.
    NeighbourNoise = 6, "neighbour-noise";
    /// The task used a source address that is not its own.
    SpoofedSource = 7, "spoofed-source";
    /// Nobody in this network has the destination address; a task that sent to it was told.
    NoEndpoint = 8, "no-endpoint";
    /// The destination is a network's gateway address, which answers nothing but echo requests.
    ToGateway = 9, "to-gateway";
    /// A task sent to another task's gateway address, or to one of the ingress network.
    CrossNetwork = 10, "cross-network";
    /// A task sent UDP to the data-path port of a node: it may not forge VXLAN.
    VxlanFromTask = 11, "vxlan-from-task";
    /// The VXLAN network identifier is not known here.
    UnknownVni = 12, "unknown-vni";
    /// The VXLAN packet came from an address that is no node's.
    UnknownVtep = 13, "unknown-vtep";
    /// The inner source address does not live on the node that sent the packet.
    SpoofedInner = 14, "spoofed-inner";
    /// The packet was tunnelled here, but its destination is not on this node.
    NotLocal = 15, "not-local";
    /// The tunnel's metadata is missing or unreadable.
    NoTunnelKey = 16, "no-tunnel-key";
    /// The service has no backend; the client was told.
    NoBackend = 17, "no-backend";
    /// The VIP does not have this port; the client was told.
    NoPort = 18, "no-port";
    /// A packet in the middle of a connection that this node does not know; the sender was told.
    NoFlow = 19, "no-flow";
    /// Two live connections would look the same to one backend.
    Collision = 20, "collision";
    /// A later fragment whose first fragment was not seen.
    OrphanFragment = 21, "orphan-fragment";
    /// The flow table is full.
    TableFull = 22, "table-full";
    /// Larger than the tunnel can carry; the sender was told.
    TooBig = 23, "too-big";
    /// The frame of the mesh names a backend that this node does not know, yet or any more.
    UnknownBackend = 24, "unknown-backend";
    /// The frame of the mesh carries no valid metadata.
    BadMesh = 25, "bad-mesh";
    /// A reply through the mesh whose source is no published port of this node.
    BadReply = 26, "bad-reply";
    /// Nobody inside asked for this packet: gateway attachments take replies only.
    Unsolicited = 27, "unsolicited";
    /// The protocol cannot be balanced.
    UnknownProtocol = 28, "unknown-protocol";
    /// The kernel refused to change the packet.
    Rewrite = 29, "rewrite";
    /// The node that has the destination is not in the table of nodes.
    NoVtep = 30, "no-vtep";
    /// This node's settings are not loaded.
    NotReady = 31, "not-ready";
    /// VXLAN that was sent to an address of this node other than the one that other nodes use.
    WrongVtep = 32, "wrong-vtep";
    /// A process of the node wanted to bind a port that a service publishes; it was told.
    PortReserved = 33, "port-reserved";
    /// Nobody outside can have the source address: loopback, unspecified, a group, or this node's own.
    Martian = 34, "martian";
}

impl DropReason {
    /// Length of `drops`.
    pub const COUNT: usize = Self::ALL.len();

    /// Whether the sender is told, by a reset or an error message, instead of being left to wait.
    #[inline(always)]
    #[must_use]
    pub const fn is_told(self) -> bool {
        matches!(
            self,
            Self::NoBackend
                | Self::NoPort
                | Self::NoFlow
                | Self::Collision
                | Self::PortReserved
                | Self::NoEndpoint
        )
    }

    /// Reads the number in a sample; `None` for a number that no reason has.
    #[must_use]
    pub fn from_u32(number: u32) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| *reason as u32 == number)
    }
}

/// Value of `drops`, per CPU, indexed by reason.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropCounter {
    /// Packets dropped.
    pub count: u64,
    /// When the last sample was written, nanoseconds of the coarse monotonic clock.
    pub sampled_ns: u64,
}

const _: () = assert!(size_of::<DropCounter>() == 16);

impl DropCounter {
    /// At most one sample in this time, for each reason and CPU.
    pub const SAMPLE_INTERVAL_NS: u64 = 100_000_000;
}

/// Entry of the ring buffer `samples`: one dropped packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropSample {
    /// Nanoseconds of the monotonic clock.
    pub time_ns: u64,
    /// A [`DropReason`] as u32.
    pub reason: u32,
    /// The interface on whose hook it was dropped.
    pub ifindex: u32,
    /// The network, as far as it was known; 0 otherwise.
    pub net: NetId,
    /// Length of the frame in bytes.
    pub length: u32,
    /// Source address, as far as it was read.
    pub source: Address,
    /// Destination address, as far as it was read.
    pub destination: Address,
    /// Source port, 0 when there is none.
    pub source_port: u16,
    /// Destination port, 0 when there is none.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u32,
}

const _: () = assert!(size_of::<DropSample>() == 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert_eq!(DropReason::from_u32(*reason as u32), Some(*reason));
            assert!(reason.description().ends_with('.'), "{}", reason.name());
        }
        assert_eq!(DropReason::from_u32(u32::MAX), None);
    }
}
