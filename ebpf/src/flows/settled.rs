//! The short way of a packet that belongs to a live flow and changes nothing about it: one look-up.

use abi::{Direction, Flow, FlowKey, Fragment, Header, Seen, Side, delivery, protocol, tcp};

use super::entry::{count, is_for, owns, ticks};
use crate::{
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

/// Looks at a packet of the flow whose entry for its direction is `key`. Entries whose client is
/// given another address or port are not for this way.
#[inline(always)]
pub(crate) fn glance(skb: Skb, key: &FlowKey, direction: Direction, header: &Header) -> Glance {
    let has_ports = header.protocol == protocol::TCP || header.protocol == protocol::UDP;
    if !has_ports || header.flags & CHANGES != 0 || header.fragment != Fragment::Whole {
        return Glance::Unclear;
    }
    let Some(flow) = FLOWS.get_ptr_mut(key) else {
        return if EMBRYOS.get_ptr(key).is_some() {
            Glance::Unclear
        } else {
            Glance::Stranger
        };
    };
    // SAFETY: the pointer came from the map during this run; entries are not freed before the program
    // ends, every bit pattern is a value, and racing writers may lose a count.
    let flow = unsafe { &mut *flow };
    let owns = owns(key, flow);
    if direction == Direction::Reply && !owns {
        return Glance::Unclear;
    }
    if !flow.is_confirmed(ticks())
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
    count(flow, direction, skb);
    Glance::Settled(flow)
}
