//! The flow table in the packet path: find, open, pass, promote, end.
//!
//! A new flow lives among the `embryos`, a small table that evicts its oldest: a flood of openings
//! can only push out its own kind. The first answer moves the flow to `flows`, whose entries nothing
//! evicts; when both sides are done it goes back, so that flows that are over never fill the table of
//! those that are not.

mod entry;
mod opening;
mod peek;
mod settled;

use abi::{
    Address, Delivery, Direction, DropReason, FlowKey, FlowState, Header, NetId, Seen, Side,
    delivery,
};

pub(crate) use self::entry::ticks;
use self::entry::{Entry, find, find_for, twin};
pub(crate) use self::opening::{Opening, open_arrival, open_forward, open_pair, translation};
pub(crate) use self::peek::{knows, leads_to, peek};
pub(crate) use self::settled::{Glance, glance, glance_at_one, may_change};
use crate::{
    balance,
    drops::now_ns,
    maps::{KEY, slot},
    skb::Skb,
};

/// What becomes of a packet of one direction of a flow.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Translation {
    /// The other end's new address.
    pub peer: Address,
    /// The client's new address.
    pub client: Address,
    /// The other end's new port.
    pub peer_port: u16,
    /// The client's new port.
    pub client_port: u16,
    /// Where the packet goes.
    pub delivery: Delivery,
    /// The backend's number.
    pub backend: u32,
    /// The node that the flow came from; see [`Flow::via`].
    pub via: u32,
    /// Bits of [`Seen`].
    pub seen: u32,
}

/// Passes one of the client's packets; `None` when it has no live flow.
///
/// A client that asks again because its backend has not answered loses its flow, and its next one
/// avoids that backend. Datagrams leave a backend that drains: nothing tells when they end.
#[inline(never)]
pub(crate) fn forward(skb: Skb, net: NetId, header: &Header) -> Option<&'static Translation> {
    let opening = Opening::room().ok()?;
    opening.avoid = 0;
    let mut key = keep(forward_key(net, header)).ok()?;
    let entry = find_for(key, header)?;
    let mut owner = entry;
    let translation = entry.translation().ok()?;
    if translation.delivery.kind != delivery::MESH {
        key = twin(key, entry.flow())?;
        owner = find_for(key, header)?;
        if !owner.is_for(header) {
            return None;
        }
        // The key of the other entry of the owner's is made in the same place.
        key = keep(*key).ok()?;
    }
    let now = now_ns();
    if !owner.takes(header, now) {
        owner.remove(key);
        return None;
    }
    // At the backend's node it is not to be decided who the backend is.
    let is_arrival =
        key.side == Side::Reverse as u8 && owner.flow().delivery.kind == delivery::MESH;
    if !is_arrival && owner.is_forlorn(header, now) && may_be_given_up(&owner) {
        opening.avoid = owner.flow().backend;
        owner.remove(key);
        return None;
    }
    if !is_arrival && owner.has_to_move(header) {
        owner.remove(key);
        return None;
    }
    entry.count(Direction::Forward, skb);
    entry.confirm();
    owner.confirm();
    owner.pass(key, Direction::Forward, header);
    Some(translation)
}

/// Passes one packet through the flow whose entry `key` owns its state; `None` when there is no live
/// one.
#[inline(never)]
pub(crate) fn owned(
    skb: Skb,
    key: &FlowKey,
    direction: Direction,
    header: &Header,
) -> Option<&'static Translation> {
    let entry = find_for(key, header)?;
    if !entry.owns(key) {
        return None;
    }
    let live = match direction {
        Direction::Forward => entry.takes(header, now_ns()),
        Direction::Reply => {
            let flow = entry.flow();
            !Seen(flow.seen).is_expired(header.protocol, flow.last_ns, now_ns())
        }
    };
    if !live {
        entry.remove(key);
        return None;
    }
    if direction == Direction::Forward && !entry.is_for(header) {
        return None;
    }
    // First: when the packet is the flow's last, its entry moves.
    let translation = entry.translation().ok()?;
    entry.count(direction, skb);
    if !entry.has_to_move(header) {
        entry.confirm();
    }
    entry.pass(key, direction, header);
    Some(translation)
}

/// Whether an opening may go to another backend: one that is sent on untranslated only if its backend
/// is on its way out. That one's answer may be on its way too, and from the same node.
#[inline(always)]
fn may_be_given_up(owner: &Entry) -> bool {
    let flow = owner.flow();
    flow.delivery.kind != delivery::MESH || balance::is_leaving(flow.backend)
}

/// Keeps a key where the stack need not hold it: one at a time for each CPU.
#[inline(always)]
pub(crate) fn keep(key: FlowKey) -> Result<&'static FlowKey, DropReason> {
    let kept = slot(&KEY)?;
    *kept = key;
    Ok(kept)
}

/// Makes way for a direct connection that looks like the flow of `key` to its server.
///
/// # Errors
/// [`DropReason::Collision`] while that flow is alive on both sides.
#[inline(never)]
pub(crate) fn yield_to(key: &FlowKey, header: &Header) -> Result<(), DropReason> {
    let Some(entry) = find(key) else {
        return Ok(());
    };
    let is_opening = Seen(entry.flow().seen).state() == FlowState::Opening;
    if is_opening || !entry.takes(header, now_ns()) {
        entry.remove(key);
        return Ok(());
    }
    Err(DropReason::Collision)
}

/// Makes `vtep` the node that the flow of `key` comes from, and `back` the way of its replies: another
/// ingress node has taken over, or the way has changed.
#[inline(never)]
pub(crate) fn come_from(key: &FlowKey, vtep: u32, back: &Delivery) {
    if let Some(entry) = find(key) {
        entry.come_from(vtep, back);
    }
}

/// The key of the client's packets.
#[inline(always)]
pub(crate) fn forward_key(net: NetId, header: &Header) -> FlowKey {
    FlowKey {
        net,
        client: header.source,
        server: header.destination,
        client_port: header.source_port,
        server_port: header.destination_port,
        protocol: header.protocol,
        side: Side::Forward as u8,
        reserved: 0,
    }
}

/// The key of the backend's packets.
#[inline(always)]
pub(crate) fn reverse_key(net: NetId, header: &Header) -> FlowKey {
    FlowKey {
        net,
        client: header.destination,
        server: header.source,
        client_port: header.destination_port,
        server_port: header.source_port,
        protocol: header.protocol,
        side: Side::Reverse as u8,
        reserved: 0,
    }
}

/// The key of the backend's packets, given one of the client's that was already translated.
#[inline(always)]
pub(crate) fn reverse_key_of(net: NetId, header: &Header, server: &Address, port: u16) -> FlowKey {
    FlowKey {
        server: *server,
        server_port: port,
        side: Side::Reverse as u8,
        ..forward_key(net, header)
    }
}
