//! Flows between packets: how long they may rest, and what wakes them.

use std::time::Duration;

use abi::Flow;

use super::super::read::{Reading, TCP};
use super::clock::{Clock, Moment};
use super::{CLIENT_DONE, PLACE, REPLIED, RESET, SERVER_DONE};

/// When a client that has heard nothing asks again, and not because a packet was doubled on the way.
const IMPATIENCE: Duration = Duration::from_millis(500);

/// A flow and the seconds for which it has rested, besides the time that has really passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resting {
    pub(crate) flow: Flow,
    pub(crate) idle: u64,
    since: Moment,
}

pub(super) fn over(seen: u32) -> bool {
    seen & RESET != 0 || (seen & CLIENT_DONE != 0 && seen & SERVER_DONE != 0)
}

pub(super) fn half_over(seen: u32) -> bool {
    seen & (CLIENT_DONE | SERVER_DONE | RESET) != 0
}

/// How long a flow may rest, in seconds.
pub(crate) fn patience(seen: u32, protocol: u8) -> u64 {
    if over(seen) {
        10
    } else if protocol == TCP && half_over(seen) {
        120
    } else if seen & REPLIED == 0 {
        30
    } else if protocol == TCP {
        2 * 3600 + 240
    } else {
        60
    }
}

/// SYN without ACK, RST or FIN.
pub(crate) fn begins(packet: &Reading) -> bool {
    packet.protocol == TCP && packet.kind & 0x17 == 0x02
}

impl Resting {
    pub(super) const fn new(flow: Flow, clock: &Clock) -> Self {
        Self {
            flow,
            idle: 0,
            since: clock.now(),
        }
    }

    /// Something has come.
    pub(super) const fn touch(&mut self, clock: &Clock) {
        self.idle = 0;
        self.since = clock.now();
    }

    /// Whether the client asks again, and nobody has answered.
    pub(super) fn is_forlorn(&self, packet: &Reading, clock: &Clock) -> bool {
        let waits = self.flow.seen & (REPLIED | CLIENT_DONE | SERVER_DONE | RESET) == 0;
        waits && begins(packet) && self.has_rested(IMPATIENCE, clock)
    }

    pub(crate) fn is_dead(&self, protocol: u8, clock: &Clock) -> bool {
        let patience = Duration::from_secs(patience(self.flow.seen, protocol));
        self.flow.seen & PLACE != 0 || self.has_rested(patience, clock)
    }

    fn has_rested(&self, limit: Duration, clock: &Clock) -> bool {
        clock.has_passed(limit, self.since, Duration::from_secs(self.idle))
    }

    /// Whether the client's packet is for the frontend by which this flow came.
    pub(crate) fn is_for(&self, packet: &Reading) -> bool {
        (self.flow.peer, self.flow.peer_port) == (packet.destination, packet.dport)
            && self.flow.client_port == packet.sport
    }

    pub(crate) fn takes(&self, packet: &Reading, clock: &Clock) -> bool {
        let replaced = begins(packet) && half_over(self.flow.seen);
        !replaced && !self.is_dead(packet.protocol, clock)
    }
}
