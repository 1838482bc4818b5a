//! The flow table: its keys, its values, and what a packet does to a flow.
//!
//! A translated flow has two entries. The *reverse* entry {client, backend} owns the state and the
//! counters, and says how replies are rewritten; the *forward* entry {client, frontend} says how
//! the client's packets are. A forward entry without its reverse entry is a miss. On an ingress
//! node whose chosen backend is elsewhere nothing is rewritten: there the forward entry stands alone
//! and owns the state itself. On the backend's node the reverse entry stands alone, unless the client's
//! port is translated, which takes both.

use crate::{Address, Mac, NetId, protocol, tcp};

/// Key of `flows` and `embryos`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// The network in which the client and the server meet.
    pub net: NetId,
    /// The client, as the server sees it.
    pub client: Address,
    /// The backend in a reverse entry, the frontend in a forward one.
    pub server: Address,
    /// The client's port.
    pub client_port: u16,
    /// The server's port.
    pub server_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// A [`Side`] as u8.
    pub side: u8,
    /// Zero.
    pub reserved: u16,
}

const _: () = assert!(size_of::<FlowKey>() == 44);

/// Which of the two entries a key names.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// {client, backend}: rewrites replies, owns state and counters.
    Reverse = 0,
    /// {client, frontend}: rewrites the client's packets.
    Forward = 1,
}

/// Value of `flows`, which holds what is established or half-closed, and of `embryos`, which holds
/// what is not answered yet and what is over.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// When the last packet passed, nanoseconds of the coarse monotonic clock; while packets follow
    /// one another, not more than [`Flow::CONFIRMED_TICKS`] behind. Only the entry that owns the
    /// state keeps it.
    pub last_ns: u64,
    /// When this entry was last seen to belong to a live flow, in ticks of the kernel (`jiffies`); 0
    /// when it was not yet.
    pub confirmed: u64,
    /// Packets and bytes from the client: the first counts in the entry that owns the state, the
    /// others in the one that they name. Two CPUs that count at once may lose one.
    pub forward: TransferCount,
    /// Packets and bytes to the client.
    pub reply: TransferCount,
    /// What packets of this entry's direction are rewritten to: in a forward entry the backend (new
    /// destination), in a reverse entry the frontend (new source).
    pub peer: Address,
    /// The client in the other entry: differs from the key's only for a task that was picked for
    /// its own request, whose address is replaced by its network's gateway.
    pub client: Address,
    /// Port that goes with `peer`.
    pub peer_port: u16,
    /// Port that goes with `client`: differs from the key's only where another live connection of the
    /// client's would look the same to the backend (see [`crate::other_port`]).
    pub client_port: u16,
    /// The backend; 0 for a connection that dials one directly, and is translated because a balanced
    /// one looks the same.
    pub backend: u32,
    /// The service; 0 when it is not known here.
    pub service: u32,
    /// Bits of [`Seen`].
    pub seen: u32,
    /// Where packets of this entry's direction go.
    pub delivery: Delivery,
    /// The node that the flow came from through the mesh, a key of `vteps`; 0 when it entered here. In
    /// a forward entry that stands alone: the uplink that the client's packets came in by, 0 for a
    /// task on this node.
    pub via: u32,
}

const _: () = assert!(size_of::<Flow>() == 112);

impl Flow {
    /// For how many ticks after it was confirmed an entry among the established flows is taken at
    /// its word by packets that change nothing: 32 to 320 ms, a tick being 1 to 10.
    pub const CONFIRMED_TICKS: u64 = 32;

    /// Whether the entry is taken at its word at the tick `now`.
    #[inline(always)]
    #[must_use]
    pub const fn is_confirmed(&self, now: u64) -> bool {
        now.wrapping_sub(self.confirmed) < Self::CONFIRMED_TICKS
    }
}

/// Packets and bytes of one direction.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransferCount {
    /// Packets; a segment of up to 64 kB that the kernel has not cut yet counts once.
    pub packets: u64,
    /// Bytes of whole frames.
    pub bytes: u64,
}

/// Where a flow's packets go.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// An interface for [`delivery::TASK`], [`delivery::UPLINK`] and [`delivery::DIRECT`], a key of
    /// `vteps` for [`delivery::TUNNEL`] and [`delivery::MESH`].
    pub target: u32,
    /// The Ethernet address of the task's end, for [`delivery::TASK`]; for [`delivery::MESH`] the second
    /// number of its frames, see [`Delivery::set_second`].
    pub mac: Mac,
    /// One of [`delivery`].
    pub kind: u16,
}

const _: () = assert!(size_of::<Delivery>() == 12);

impl Delivery {
    /// The second number of frames through the mesh: [`crate::Mesh::second`].
    #[inline(always)]
    #[must_use]
    pub const fn second(&self) -> u32 {
        let [a, b, c, d, _, _] = self.mac;
        u32::from_ne_bytes([a, b, c, d])
    }

    /// Gives frames through the mesh a second number.
    #[inline(always)]
    pub const fn set_second(&mut self, second: u32) {
        let [a, b, c, d] = second.to_ne_bytes();
        self.mac = [a, b, c, d, 0, 0];
    }
}

/// Kinds of [`Delivery`].
pub mod delivery {
    /// Look the destination up among the endpoints of the network.
    pub const ENDPOINT: u16 = 0;
    /// Into a task on this node.
    pub const TASK: u16 = 1;
    /// To another node, in the flow's own network.
    pub const TUNNEL: u16 = 2;
    /// To another node, through the mesh.
    pub const MESH: u16 = 3;
    /// Out of the interface that the client's packets came in by.
    pub const UPLINK: u16 = 4;
    /// Out of the interface by which this node, where the backend is, reaches the client: not through
    /// the node that the flow came from.
    pub const DIRECT: u16 = 5;
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Forward,
    /// From the server to the client.
    Reply,
}

/// What has been seen of a flow: bits that are only ever set, so that packets of both directions
/// may be handled on two CPUs at once, in any order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen(pub u32);

/// Where a flow is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlowState {
    /// Nothing has come back yet.
    Opening,
    /// Both sides have spoken.
    Established,
    /// One side has said that it is done.
    Closing,
    /// Both sides are done, or one has reset the connection.
    Closed,
}

const SECOND_NS: u64 = 1_000_000_000;

impl Seen {
    /// The server has answered.
    pub const REPLIED: u32 = 1 << 0;
    /// The client has sent FIN.
    pub const FORWARD_FIN: u32 = 1 << 1;
    /// The server has sent FIN.
    pub const REPLY_FIN: u32 = 1 << 2;
    /// Either side has sent RST.
    pub const RESET: u32 = 1 << 3;
    /// The end of the flow is in the counts of `loads`.
    pub const COUNTED: u32 = 1 << 4;
    /// Replies go past this node: of such a flow, which entered here, it sees the client's side only.
    pub const ONE_WAY: u32 = 1 << 5;
    /// The flow has no other entry.
    pub const ALONE: u32 = 1 << 6;
    /// Not a flow, but its place among the openings, for when it is over: the flow itself is among the
    /// established ones.
    pub const PLACE: u32 = 1 << 7;

    /// How long the client has to wait before its second opening packet counts as a sign that nobody
    /// will answer the first, in nanoseconds. TCP repeats a SYN after a second (RFC 6298 §2.1); what
    /// comes sooner is a duplicate on the wire.
    pub const FORLORN_NS: u64 = 500_000_000;

    /// Whether a client's packet with these TCP flags asks again for what it asked for long ago, and
    /// nobody has answered: it may ask somebody else.
    #[inline(always)]
    #[must_use]
    pub const fn is_forlorn(self, protocol: u8, tcp_flags: u8, last_ns: u64, now_ns: u64) -> bool {
        protocol == protocol::TCP
            && tcp::is_initial(tcp_flags)
            && matches!(self.state(), FlowState::Opening)
            && now_ns.saturating_sub(last_ns) >= Self::FORLORN_NS
    }

    /// The bits that a packet adds.
    #[inline(always)]
    #[must_use]
    pub const fn of_packet(protocol: u8, direction: Direction, tcp_flags: u8) -> u32 {
        let mut bits = match direction {
            Direction::Forward => 0,
            Direction::Reply => Self::REPLIED,
        };
        if protocol == protocol::TCP {
            if tcp_flags & tcp::FIN != 0 {
                bits |= match direction {
                    Direction::Forward => Self::FORWARD_FIN,
                    Direction::Reply => Self::REPLY_FIN,
                };
            }
            if tcp_flags & tcp::RST != 0 {
                bits |= Self::RESET;
            }
        }
        bits
    }

    /// The bits that a client's packet adds to a flow whose replies go past this node: who
    /// acknowledges has been answered.
    #[inline(always)]
    #[must_use]
    pub const fn of_one_way(protocol: u8, tcp_flags: u8) -> u32 {
        let is_answer = tcp_flags & (tcp::SYN | tcp::ACK) == tcp::ACK;
        if protocol == protocol::TCP && is_answer {
            Self::REPLIED
        } else {
            0
        }
    }

    /// The state that these bits amount to.
    #[inline(always)]
    #[must_use]
    pub const fn state(self) -> FlowState {
        let fins = self.0 & (Self::FORWARD_FIN | Self::REPLY_FIN);
        if self.0 & Self::RESET != 0 || fins == (Self::FORWARD_FIN | Self::REPLY_FIN) {
            FlowState::Closed
        } else if fins != 0 {
            FlowState::Closing
        } else if self.0 & Self::REPLIED != 0 {
            FlowState::Established
        } else {
            FlowState::Opening
        }
    }

    /// How long a flow is kept after its last packet, in nanoseconds.
    ///
    /// An established TCP connection outlives the default keepalive interval of two hours
    /// (RFC 5382 REQ-5 asks for 2 h 4 min); a half-closed one gets as long as the kernel's own
    /// connection tracking gives FIN_WAIT; a closed one stays for late segments.
    #[inline(always)]
    #[must_use]
    pub const fn timeout_ns(self, protocol: u8) -> u64 {
        let seconds = match (protocol == protocol::TCP, self.state()) {
            (true, FlowState::Established) => 7_440,
            (true, FlowState::Closing) => 120,
            (_, FlowState::Closed) => 10,
            (false, FlowState::Established) => 60,
            (_, FlowState::Opening | FlowState::Closing) => 30,
        };
        seconds * SECOND_NS
    }

    /// Whether these are the bits of a flow, not of the place that one has left behind.
    #[inline(always)]
    #[must_use]
    pub const fn is_flow(self) -> bool {
        self.0 & Self::PLACE == 0
    }

    /// Whether a flow last seen at `last_ns` has ended by `now_ns`. A place of one is none.
    #[inline(always)]
    #[must_use]
    pub const fn is_expired(self, protocol: u8, last_ns: u64, now_ns: u64) -> bool {
        !self.is_flow() || now_ns.saturating_sub(last_ns) > self.timeout_ns(protocol)
    }

    /// Whether a client's packet with these TCP flags begins a new connection in the place of this
    /// one: a SYN on a connection that one side has already left.
    #[inline(always)]
    #[must_use]
    pub const fn is_reopened_by(self, protocol: u8, tcp_flags: u8) -> bool {
        protocol == protocol::TCP
            && tcp::is_initial(tcp_flags)
            && matches!(self.state(), FlowState::Closing | FlowState::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packets() -> impl Strategy<Value = std::vec::Vec<(bool, u8)>> {
        proptest::collection::vec((any::<bool>(), any::<u8>()), 0..12)
    }

    extern crate std;

    fn after(packets: &[(bool, u8)]) -> Seen {
        packets
            .iter()
            .fold(Seen::default(), |seen, (reply, flags)| {
                let direction = if *reply {
                    Direction::Reply
                } else {
                    Direction::Forward
                };
                Seen(seen.0 | Seen::of_packet(protocol::TCP, direction, *flags))
            })
    }

    proptest! {
        #[test]
        fn states_never_go_back(packets in packets()) {
            let mut last = FlowState::Opening;
            for end in 0..=packets.len() {
                let state = after(&packets[..end]).state();
                prop_assert!(state >= last, "{last:?} then {state:?}");
                last = state;
            }
        }

        #[test]
        fn order_does_not_matter(packets in packets()) {
            let mut reversed = packets.clone();
            reversed.reverse();
            prop_assert_eq!(after(&packets), after(&reversed));
        }

        #[test]
        fn a_flow_lives_exactly_its_timeout(bits in 0u32..64, proto in any::<u8>(), last in 0u64..1 << 60) {
            let seen = Seen(bits);
            let end = last + seen.timeout_ns(proto);
            prop_assert!(!seen.is_expired(proto, last, end));
            prop_assert!(seen.is_expired(proto, last, end + 1));
            prop_assert!(!seen.is_expired(proto, last, last.saturating_sub(1)), "clocks of CPUs differ");
        }
    }

    #[test]
    fn one_fin_closes_one_side_only() {
        let seen = after(&[
            (false, tcp::SYN),
            (true, tcp::SYN | tcp::ACK),
            (false, tcp::FIN | tcp::ACK),
        ]);
        assert_eq!(seen.state(), FlowState::Closing);
        assert!(seen.is_reopened_by(protocol::TCP, tcp::SYN));
        assert!(!seen.is_reopened_by(protocol::TCP, tcp::SYN | tcp::ACK));
        assert!(!seen.is_reopened_by(protocol::UDP, tcp::SYN));
    }

    #[test]
    fn only_an_opening_that_waits_may_ask_somebody_else() {
        let (begin, later) = (1_000_000_000, 1_000_000_000 + Seen::FORLORN_NS);
        let is_forlorn = |seen: Seen, flags, now| seen.is_forlorn(protocol::TCP, flags, begin, now);
        let waiting = after(&[(false, tcp::SYN)]);
        assert!(is_forlorn(waiting, tcp::SYN, later));
        assert!(!is_forlorn(waiting, tcp::SYN, later - 1), "a duplicate");
        assert!(!is_forlorn(waiting, tcp::ACK, later));
        assert!(!waiting.is_forlorn(protocol::UDP, tcp::SYN, begin, later));
        let answered = after(&[(false, tcp::SYN), (true, tcp::SYN | tcp::ACK)]);
        assert!(!is_forlorn(answered, tcp::SYN, later));
        assert!(!is_forlorn(waiting, tcp::SYN, 0), "clocks of CPUs differ");
    }

    #[test]
    fn udp_has_no_flags() {
        let bits = Seen::of_packet(protocol::UDP, Direction::Reply, tcp::FIN | tcp::RST);
        assert_eq!(Seen(bits).state(), FlowState::Established);
    }
}
