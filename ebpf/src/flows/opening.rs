//! Opening a flow.

use abi::{
    Address, Delivery, Direction, DropReason, Flow, FlowKey, Header, NetId, PORT_TRIES, Seen, Side,
    TransferCount, other_port, protocol,
};
use aya_ebpf::bindings::BPF_NOEXIST;

use super::{Translation, entry::find, forward_key, keep};
use crate::{
    balance::Request,
    drops::now_ns,
    loads,
    maps::{EMBRYOS, NEW_FLOW, OPENED, OPENING, TRANSLATION, slot},
    skb::Skb,
};

/// A flow to be opened by the client's packet at hand.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Opening {
    /// The network in which client and backend meet.
    pub(crate) net: NetId,
    /// The client as the backend will see it.
    pub(crate) client: Address,
    /// The backend's number.
    pub(crate) backend: u32,
    /// The backend's address.
    pub(crate) address: Address,
    /// The service's number, 0 when it is not known here.
    pub(crate) service: u32,
    /// Where the client's packets go.
    pub(crate) forward: Delivery,
    /// Where the replies go.
    pub(crate) reply: Delivery,
    /// The node that the flow came from; see [`Flow::via`].
    pub(crate) via: u32,
    /// What is known of the flow before its first packet: bits of [`Seen`].
    pub(crate) seen: u32,
    /// The backend that has not answered this client, 0 for none.
    pub(crate) avoid: u32,
    /// The backend's port.
    pub(crate) port: u16,
    /// The client's port as the backend will see it; found when the flow is opened.
    pub(crate) client_port: u16,
    /// What the backend was picked by. It is here because the stack has no room for it.
    pub(crate) request: Request,
}

impl Opening {
    /// Room for an opening outside the stack, one for each CPU.
    #[inline(always)]
    pub(crate) fn room() -> Result<&'static mut Self, DropReason> {
        slot(&OPENING)
    }

    /// Makes the open flow's translation the current one.
    #[inline(always)]
    pub(crate) fn settle(&self) -> Result<(), DropReason> {
        let translation = slot(&TRANSLATION)?;
        translation.peer = self.address;
        translation.client = self.client;
        translation.peer_port = self.port;
        translation.client_port = self.client_port;
        translation.delivery = self.forward;
        translation.backend = self.backend;
        translation.via = self.via;
        translation.seen = self.seen;
        Ok(())
    }
}

/// The translation of the flow that was opened last in this run.
#[inline(always)]
pub(crate) fn translation() -> Result<&'static Translation, DropReason> {
    Ok(slot(&TRANSLATION)?)
}

/// Opens a translated flow: the reverse entry first, which proves that no other flow looks the same
/// to the backend, then the forward entry.
///
/// # Errors
/// As [`open_reverse`], and [`DropReason::TableFull`] when the kernel has no room.
#[inline(always)]
pub(crate) fn open_pair(
    skb: Skb,
    header: &Header,
    opening: &mut Opening,
) -> Result<(), DropReason> {
    open_reverse(skb, header, opening)?;
    add_forward(header, opening)
}

/// Opens a flow of which this node has the backend's side. Only one whose client's port is translated
/// needs the forward entry as well.
///
/// # Errors
/// As [`open_pair`].
#[inline(always)]
pub(crate) fn open_arrival(
    skb: Skb,
    header: &Header,
    opening: &mut Opening,
) -> Result<(), DropReason> {
    opening.seen |= Seen::ALONE;
    open_reverse(skb, header, opening)?;
    if opening.seen & Seen::ALONE != 0 {
        return Ok(());
    }
    add_forward(header, opening)
}

/// Adds the forward entry to the reverse one that was just made.
#[inline(never)]
fn add_forward(header: &Header, opening: &Opening) -> Result<(), DropReason> {
    let forward = slot(&NEW_FLOW)?;
    forward.peer = opening.address;
    forward.peer_port = opening.port;
    forward.client = opening.client;
    forward.client_port = opening.client_port;
    forward.delivery = opening.forward;
    forward.forward = TransferCount::default();
    let key = keep(forward_key(opening.net, header))?;
    EMBRYOS
        .insert(key, forward, 0)
        .map_err(|_| DropReason::TableFull)
}

/// Makes the reverse entry, under another port of the client's where its own leads there already.
///
/// # Errors
/// [`DropReason::Collision`] when every port that was tried is taken by a live flow.
#[inline(never)]
fn open_reverse(skb: Skb, header: &Header, opening: &mut Opening) -> Result<(), DropReason> {
    let key = slot(&OPENED)?;
    key.net = opening.net;
    key.client = opening.client;
    key.server = opening.address;
    key.server_port = opening.port;
    key.protocol = header.protocol;
    key.side = Side::Reverse as u8;
    key.reserved = 0;
    let has_ports = header.protocol == protocol::TCP || header.protocol == protocol::UDP;
    let tries = if has_ports { PORT_TRIES } else { 0 };
    let mut attempt = 0;
    while attempt <= tries {
        let port = if attempt == 0 {
            header.source_port
        } else {
            opening.seen &= !Seen::ALONE;
            port_instead(header, attempt)
        };
        key.client_port = port;
        if add_reverse(skb, header, opening, key) {
            opening.client_port = port;
            return Ok(());
        }
        attempt += 1;
    }
    Err(DropReason::Collision)
}

#[inline(never)]
fn port_instead(header: &Header, attempt: u32) -> u16 {
    let client = (&header.source, header.source_port);
    let frontend = (&header.destination, header.destination_port);
    other_port(client, frontend, header.protocol, attempt)
}

/// Makes the reverse entry, unless a live flow has its key.
#[inline(never)]
fn add_reverse(skb: Skb, header: &Header, opening: &Opening, key: &FlowKey) -> bool {
    if !make_room(key, header) {
        return false;
    }
    let Ok(reverse) = slot(&NEW_FLOW) else {
        return false;
    };
    fill(reverse, skb, header, opening);
    reverse.delivery = opening.reply;
    let is_new = EMBRYOS.insert(key, reverse, u64::from(BPF_NOEXIST)).is_ok();
    if is_new {
        loads::picked(opening.backend);
    }
    is_new
}

/// Opens a flow of which this node has the client's side only.
///
/// # Errors
/// [`DropReason::TableFull`] when the kernel has no room.
#[inline(never)]
pub(crate) fn open_forward(skb: Skb, header: &Header, opening: &Opening) -> Result<(), DropReason> {
    let forward = slot(&NEW_FLOW)?;
    fill(forward, skb, header, opening);
    forward.seen |= Seen::ALONE;
    forward.delivery = opening.forward;
    let key = keep(forward_key(opening.net, header))?;
    EMBRYOS
        .insert(key, forward, 0)
        .map_err(|_| DropReason::TableFull)?;
    loads::picked(opening.backend);
    Ok(())
}

#[inline(always)]
fn fill(flow: &mut Flow, skb: Skb, header: &Header, opening: &Opening) {
    flow.last_ns = now_ns();
    flow.confirmed = 0;
    flow.forward = TransferCount {
        packets: 1,
        bytes: u64::from(skb.len()),
    };
    flow.reply = TransferCount::default();
    flow.peer = header.destination;
    flow.client = header.source;
    flow.peer_port = header.destination_port;
    flow.client_port = header.source_port;
    flow.backend = opening.backend;
    flow.service = opening.service;
    flow.seen = opening.seen | Seen::of_packet(header.protocol, Direction::Forward, header.flags);
    flow.via = opening.via;
}

/// Removes what stands in the way of a new reverse entry, if it is over; false when it is not. A flow
/// of the same client to the same frontend that has lost its other half is over too.
#[inline(always)]
fn make_room(reverse: &FlowKey, header: &Header) -> bool {
    let Some(entry) = find(reverse) else {
        return true;
    };
    let is_over = entry.is_for(header) || !entry.takes(header, now_ns());
    if is_over {
        entry.remove(reverse);
    }
    is_over
}
