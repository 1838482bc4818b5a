//! A packet that is watched on its way: how the programs know it, and what each notes of it.
//!
//! Only the client's end of a connection stays the same on every node and in both directions: its address
//! and port are the source of what it sends and the destination of what it gets.

use crate::{Address, Header, NetId};

/// The one entry of `probe`: whose packets are noted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Until when, nanoseconds of the monotonic clock; 0 when nobody is watched.
    pub until_ns: u64,
    /// The client's address; unspecified where only its port is known.
    pub client: Address,
    /// Another address that it has on its way: that of the gateway when it dials itself; else the same.
    pub alias: Address,
    /// What it dials.
    pub dialled: Address,
    /// The client's port.
    pub port: u16,
    /// The port that it dials.
    pub dialled_port: u16,
    /// TCP or UDP.
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

const _: () = assert!(size_of::<Probe>() == 64);

/// What a packet has to do with a probe.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Nothing.
    Other = 0,
    /// The client sends it.
    Sent = 1,
    /// It is an answer to the client.
    Answer = 2,
    /// It is an ICMP error to the client.
    Error = 3,
}

impl Probe {
    /// What a packet has to do with it.
    #[inline(always)]
    #[must_use]
    pub fn sight(&self, header: &Header) -> Sight {
        if header.protocol == self.protocol {
            if header.source_port == self.port && self.is_client(&header.source) {
                return Sight::Sent;
            }
            if header.destination_port == self.port && self.is_client(&header.destination) {
                return Sight::Answer;
            }
        } else if header.is_error()
            && !self.client.is_unspecified()
            && self.is_client(&header.destination)
        {
            return Sight::Error;
        }
        Sight::Other
    }

    /// Whether a socket dials what the probe does.
    #[inline(always)]
    #[must_use]
    pub fn is_dial(&self, header: &Header) -> bool {
        header.protocol == self.protocol
            && header.destination_port == self.dialled_port
            && header.destination == self.dialled
    }

    #[inline(always)]
    fn is_client(&self, address: &Address) -> bool {
        self.client.is_unspecified() || *address == self.client || *address == self.alias
    }
}

/// Who has noted something.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observer {
    /// The program `from_task`.
    FromTask = 0,
    /// The program `to_task`.
    ToTask = 1,
    /// The program `from_overlay`, or `from_uplink` in its place after the packet was unwrapped.
    FromOverlay = 2,
    /// The program `from_uplink`.
    FromUplink = 3,
    /// A socket hook.
    Socket = 4,
}

/// What becomes of a packet, in numbers: what programs end with, and [`Sighting::decision`] says.
pub mod decision {
    use crate::Action;

    /// [`Action::Pass`].
    pub const PASS: u32 = Action::Pass as u32;
    /// [`Action::Peer`].
    pub const PEER: u32 = Action::Peer as u32;
    /// [`Action::Device`].
    pub const DEVICE: u32 = Action::Device as u32;
    /// [`Action::Neighbour`].
    pub const NEIGHBOUR: u32 = Action::Neighbour as u32;
    /// [`Action::Arranged`].
    pub const ARRANGED: u32 = Action::Arranged as u32;
    /// [`Action::Routed`].
    pub const ROUTED: u32 = Action::Routed as u32;
    /// The packet was dropped, or the dial refused, for `reason`.
    pub const DROPPED: u32 = 16;
    /// The sender is told that the packet goes nowhere, for `reason`; what leaves is the answer.
    pub const REFUSED: u32 = 17;
}

/// Entry of the ring buffer `sightings`: what a program has made of one packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// Nanoseconds of the monotonic clock.
    pub time_ns: u64,
    /// An [`Observer`] as u32.
    pub observer: u32,
    /// A [`Sight`] as u32.
    pub sight: u32,
    /// A [`crate::Action`] as u32, or one of [`decision`].
    pub decision: u32,
    /// A [`crate::DropReason`] as u32, of drops and refusals.
    pub reason: u32,
    /// The interface that the action is done with.
    pub target: u32,
    /// The interface on whose hook the program ran; 0 for a socket hook.
    pub ifindex: u32,
    /// Length of the frame as it leaves, in bytes.
    pub length: u32,
    /// Bytes of it in `frame`.
    pub captured: u32,
    /// TCP flags or ICMP type; this and the next five are of the packet as it came.
    pub flags: u32,
    /// IP protocol.
    pub protocol: u32,
    /// In the byte order of the host, as the next one.
    pub source_port: u16,
    /// The port that it is sent to.
    pub destination_port: u16,
    /// Who has sent it.
    pub source: Address,
    /// Where it is going.
    pub destination: Address,
    /// The family of the tunnel key's addresses, 4 or 6; 0 when the packet carries none.
    pub key_family: u32,
    /// The tunnel key that the packet carries, as it came or as it goes; see [`TunnelKey::read`].
    pub key: [u32; TunnelKey::WORDS],
    /// Zero.
    pub reserved: u32,
    /// The beginning of the frame as it leaves.
    pub frame: [u64; Self::FRAME / 8],
}

const _: () = assert!(size_of::<Sighting>() == 136 + Sighting::FRAME);

impl Sighting {
    /// Bytes of a frame that are kept: outer headers of IPv6, and inner ones with a SYN's options.
    pub const FRAME: usize = 256;
}

/// What the kernel says of a tunnel's packet: `struct bpf_tunnel_key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelKey {
    /// The network.
    pub net: NetId,
    /// The second of the two addresses: where a packet goes to. Of one that has arrived that is this
    /// node, of one that is about to leave the other: the kernel reads both in one way.
    pub to: Address,
}

impl TunnelKey {
    /// Length of the kernel's structure in words.
    pub const WORDS: usize = 11;

    /// Reads a key whose addresses are of this family; `None` when there is none.
    #[must_use]
    pub const fn read(key: &[u32; Self::WORDS], family: u32) -> Option<Self> {
        let [net, _, _, _, _, _, _, a, b, c, d] = *key;
        let to = match family {
            4 => Address::from_v4_word(a.to_be()),
            6 => Address {
                words: [a, b, c, d],
            },
            _ => return None,
        };
        Some(Self {
            net: NetId(net),
            to,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Family, Fragment, icmp, protocol};

    fn address(last: u8) -> Address {
        Address::from_v4_word(u32::from_ne_bytes([10, 0, 1, last]))
    }

    fn header(source: (u8, u16), destination: (u8, u16)) -> Header {
        Header {
            family: Family::V4,
            source: address(source.0),
            destination: address(destination.0),
            protocol: protocol::TCP,
            flags: 0,
            source_port: source.1,
            destination_port: destination.1,
            l4: 34,
            end: 54,
            fragment_id: 0,
            fragment: Fragment::Whole,
        }
    }

    fn probe() -> Probe {
        Probe {
            until_ns: 1,
            client: address(3),
            alias: address(1),
            dialled: address(2),
            port: 4000,
            dialled_port: 80,
            protocol: protocol::TCP,
            reserved: [0; 3],
        }
    }

    #[test]
    fn a_probe_is_known_by_its_clients_end_whatever_the_other_becomes() {
        let probe = probe();
        for far in [(2, 80), (12, 8080)] {
            assert_eq!(probe.sight(&header((3, 4000), far)), Sight::Sent);
            assert_eq!(probe.sight(&header(far, (3, 4000))), Sight::Answer);
            assert_eq!(probe.sight(&header((1, 4000), far)), Sight::Sent);
            assert_eq!(probe.sight(&header((3, 4001), far)), Sight::Other);
            assert_eq!(probe.sight(&header((4, 4000), far)), Sight::Other);
        }
        let mut datagram = header((3, 4000), (2, 80));
        datagram.protocol = protocol::UDP;
        assert_eq!(probe.sight(&datagram), Sight::Other);
    }

    #[test]
    fn errors_to_the_client_count_and_nobody_elses() {
        let mut error = header((9, 0), (3, 0));
        error.protocol = protocol::ICMP;
        error.flags = icmp::UNREACHABLE;
        assert_eq!(probe().sight(&error), Sight::Error);
        error.flags = icmp::ECHO_REPLY;
        assert_eq!(probe().sight(&error), Sight::Other);
    }

    #[test]
    fn a_client_without_an_address_is_known_by_its_port() {
        let probe = Probe {
            client: Address::UNSPECIFIED,
            ..probe()
        };
        assert_eq!(probe.sight(&header((9, 4000), (2, 80))), Sight::Sent);
        assert_eq!(probe.sight(&header((9, 4001), (2, 80))), Sight::Other);
    }
}
