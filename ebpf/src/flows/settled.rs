//! The short way of a packet that belongs to a live flow and changes nothing about it: one look-up.

use abi::{Direction, Flow, FlowKey, Fragment, Header, Seen, Side, delivery, protocol, tcp};

use super::entry::{count, is_for, owns, ticks};
use crate::{
    drops::now_ns,
    maps::{EMBRYOS, FLOWS},
    size,
    skb::Skb,
};

/// TCP flags of packets that may change a flow's state.
const CHANGES: u8 = tcp::SYN | tcp::FIN | tcp::RST;

/// What the flow tables know about a packet at the first look.
pub(crate) enum Glance {
    /// It belongs to this flow, which lives and goes on as it did; it has been counted.
    Settled(&'static Flow),
    /// It belongs to no flow.
    Stranger,
    /// Somebody has to look closer.
    Unclear,
}

/// Whether the packet may change what is known of its flow's state; of datagrams none does.
#[inline(always)]
pub(crate) const fn may_change(header: &Header) -> bool {
    header.flags & CHANGES != 0
}

/// Looks at a packet of the flow whose entry for its direction is `key`. Entries whose client is
/// given another address or port are not for this way.
#[inline(always)]
pub(crate) fn glance(skb: Skb, key: &FlowKey, direction: Direction, header: &Header) -> Glance {
    look(skb, key, direction, header, false)
}

/// The same where flows may stand alone: of those also what comes after the end is counted here.
#[inline(always)]
pub(crate) fn glance_at_one(
    skb: Skb,
    key: &FlowKey,
    direction: Direction,
    header: &Header,
) -> Glance {
    look(skb, key, direction, header, true)
}

#[inline(always)]
fn look(
    skb: Skb,
    key: &FlowKey,
    direction: Direction,
    header: &Header,
    may_be_alone: bool,
) -> Glance {
    let has_ports = header.protocol == protocol::TCP || header.protocol == protocol::UDP;
    if !has_ports || may_change(header) || header.fragment != Fragment::Whole {
        return Glance::Unclear;
    }
    let (flow, is_settled) = match FLOWS.get_ptr_mut(key) {
        Some(flow) => (flow, true),
        None => match EMBRYOS.get_ptr_mut(key) {
            Some(flow) if may_be_alone => (flow, false),
            Some(_) => return Glance::Unclear,
            None => return Glance::Stranger,
        },
    };
    // SAFETY: the pointer came from the map during this run; entries are not freed before the program
    // ends, every bit pattern is a value, and racing writers may lose a count.
    let flow = unsafe { &mut *flow };
    let owns = owns(key, flow);
    if direction == Direction::Reply && !owns {
        return Glance::Unclear;
    }
    let is_known = if is_settled {
        flow.is_confirmed(ticks())
    } else {
        is_late(flow, header)
    };
    if !is_known
        || (owns && flow.seen & Seen::REPLIED == 0)
        || flow.client != key.client
        || flow.client_port != key.client_port
        || (key.side == Side::Reverse as u8
            && direction == Direction::Forward
            && !is_for(flow, header))
    {
        return Glance::Unclear;
    }
    // Of the other direction's packets the entry says where they come from.
    let leads = (key.side == Side::Reverse as u8) == (direction == Direction::Reply);
    let is_tunnelled = matches!(flow.delivery.kind, delivery::TUNNEL | delivery::MESH);
    if leads && is_tunnelled && !size::fits_plainly(skb) {
        return Glance::Unclear;
    }
    if !is_settled {
        flow.last_ns = now_ns();
    }
    count(flow, direction, skb);
    Glance::Settled(flow)
}

/// Whether the packet is one that comes after the end of its connection: the last acknowledgement does.
/// Only of a flow that stands alone the entry at hand says all there is to know.
#[inline(always)]
fn is_late(flow: &Flow, header: &Header) -> bool {
    let seen = Seen(flow.seen);
    header.protocol == protocol::TCP
        && flow.seen & Seen::ALONE != 0
        && flow.seen & Seen::COUNTED != 0
        && !seen.is_expired(header.protocol, flow.last_ns, now_ns())
}
