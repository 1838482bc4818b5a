//! The flow table in the packet path: find, open, pass, promote, end.
//!
//! A new flow lives among the `embryos`, a small table that evicts its oldest: a flood of openings
//! can only push out its own kind. The first answer moves the flow to `flows`, whose entries nothing
//! evicts.

use abi::{
    Address, Delivery, Direction, DropReason, Flow, FlowKey, FlowState, Header, Load, NetId, Seen,
    Side, TransferCount, delivery,
};
use aya_ebpf::bindings::BPF_NOEXIST;

use crate::{
    atomic,
    drops::now_ns,
    maps::{EMBRYOS, FLOWS, LOADS, NEW_FLOW, OPENING, TRANSLATION, TWIN, slot},
    skb::Skb,
};

/// A flow's entry, as long as the program runs.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    flow: *mut Flow,
    embryo: bool,
}

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
}

/// A flow to be opened by the client's packet at hand.
#[repr(C)]
#[derive(Clone, Copy)]
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
    /// The backend's port.
    pub(crate) port: u16,
    /// Zero.
    pub(crate) reserved: u16,
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

/// Looks a key up among the established flows, then among the openings.
#[inline(always)]
pub(crate) fn find(key: &FlowKey) -> Option<Entry> {
    if let Some(flow) = FLOWS.get_ptr_mut(key) {
        return Some(Entry {
            flow,
            embryo: false,
        });
    }
    EMBRYOS
        .get_ptr_mut(key)
        .map(|flow| Entry { flow, embryo: true })
}

impl Entry {
    /// The entry's value. Other CPUs may change it at the same time, field by field.
    #[inline(always)]
    pub(crate) fn flow(&self) -> &Flow {
        // SAFETY: the pointer came from a map during this run; entries are not freed before the
        // program ends, and every bit pattern is a value.
        unsafe { &*self.flow }
    }

    /// Whether the flow still counts: not expired, and not about to be replaced by this packet.
    #[inline(always)]
    pub(crate) fn takes(&self, header: &Header, now: u64) -> bool {
        let seen = Seen(self.flow().seen);
        !seen.is_expired(header.protocol, self.flow().last_ns, now)
            && !seen.is_reopened_by(header.protocol, header.flags)
    }

    /// What this entry does to a packet.
    #[inline(always)]
    fn translation(&self) -> Result<&'static Translation, DropReason> {
        let flow = self.flow();
        let translation = slot(&TRANSLATION)?;
        translation.peer = flow.peer;
        translation.client = flow.client;
        translation.peer_port = flow.peer_port;
        translation.client_port = flow.client_port;
        translation.delivery = flow.delivery;
        translation.backend = flow.backend;
        translation.via = flow.via;
        Ok(translation)
    }

    /// Makes `vtep` the node that the flow comes from: another ingress node has taken over.
    #[inline(always)]
    fn come_from(&self, vtep: u32) {
        if self.flow().via != vtep {
            // SAFETY: as in `flow`; the fields are aligned words that may be overwritten any time.
            unsafe {
                (*self.flow).via = vtep;
            }
            // SAFETY: as above.
            unsafe {
                (*self.flow).delivery.target = vtep;
            }
        }
    }

    /// Records a packet, and moves an opening to the established flows when it is an answer.
    #[inline(always)]
    pub(crate) fn pass(&self, key: &FlowKey, direction: Direction, skb: Skb, header: &Header) {
        let bits = Seen::of_packet(header.protocol, direction, header.flags);
        // SAFETY: as in `flow`; racing writers may lose a count, as its documentation says.
        let flow = unsafe { &mut *self.flow };
        flow.last_ns = now_ns();
        let count = match direction {
            Direction::Forward => &mut flow.forward,
            Direction::Reply => &mut flow.reply,
        };
        count.packets += 1;
        count.bytes += u64::from(skb.len());
        if flow.seen & bits != bits {
            set(self.flow, bits);
        }
        if self.embryo {
            if bits & Seen::REPLIED != 0 {
                self.promote(key);
            }
        } else if Seen(flow.seen).state() == FlowState::Closed {
            count_end(self.flow);
        }
    }

    #[inline(never)]
    fn promote(&self, key: &FlowKey) {
        let flow = self.flow();
        if FLOWS.insert(key, flow, u64::from(BPF_NOEXIST)).is_err() {
            // Full, or another CPU was faster. Where it is full the flow stays an opening, and
            // lives as long as nothing pushes it out.
            return;
        }
        let Some(twin_key) = twin(key, flow) else {
            return;
        };
        if let Some(other) = EMBRYOS.get_ptr(twin_key) {
            // SAFETY: as in `flow`.
            let other = unsafe { &*other };
            let _ = FLOWS.insert(twin_key, other, 0);
            let _ = EMBRYOS.remove(twin_key);
        }
        add_load(flow.backend, |load| &raw mut load.opened);
        if let Some(settled) = FLOWS.get_ptr_mut(key) {
            // SAFETY: as in `flow`.
            if Seen(unsafe { (*settled).seen }).state() == FlowState::Closed {
                count_end(settled);
            }
        }
        let _ = EMBRYOS.remove(key);
    }

    /// Forgets the flow, both its entries.
    #[inline(never)]
    pub(crate) fn remove(&self, key: &FlowKey) {
        let Some(twin_key) = twin(key, self.flow()) else {
            return;
        };
        if self.embryo {
            let _ = EMBRYOS.remove(key);
            let _ = EMBRYOS.remove(twin_key);
        } else {
            count_end(self.flow);
            let _ = FLOWS.remove(key);
            let _ = FLOWS.remove(twin_key);
        }
    }
}

/// The key of a translated flow's other entry. Of a flow that stands alone it names nothing.
#[inline(always)]
fn twin(key: &FlowKey, flow: &Flow) -> Option<&'static FlowKey> {
    let twin = slot(&TWIN).ok()?;
    twin.net = key.net;
    twin.client = flow.client;
    twin.server = flow.peer;
    twin.client_port = flow.client_port;
    twin.server_port = flow.peer_port;
    twin.protocol = key.protocol;
    twin.side = key.side ^ 1;
    Some(twin)
}

/// Passes one of the client's packets; `None` when it has no live flow.
#[inline(never)]
pub(crate) fn forward(skb: Skb, net: NetId, header: &Header) -> Option<&'static Translation> {
    let mut key = forward_key(net, header);
    let mut owner = find(&key)?;
    let translation = owner.translation().ok()?;
    if translation.delivery.kind != delivery::MESH {
        key = *twin(&key, owner.flow())?;
        owner = find(&key)?;
    }
    if !owner.takes(header, now_ns()) {
        owner.remove(&key);
        return None;
    }
    owner.pass(&key, Direction::Forward, skb, header);
    Some(translation)
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

/// Passes one packet through the flow whose entry `key` owns its state; `None` when there is no live
/// one.
#[inline(never)]
pub(crate) fn owned(
    skb: Skb,
    key: &FlowKey,
    direction: Direction,
    header: &Header,
) -> Option<&'static Translation> {
    let entry = find(key)?;
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
    entry.pass(key, direction, skb, header);
    entry.translation().ok()
}

/// Makes `vtep` the node that the flow of `key` comes from: another ingress node has taken over.
#[inline(never)]
pub(crate) fn come_from(key: &FlowKey, vtep: u32) {
    if let Some(entry) = find(key) {
        entry.come_from(vtep);
    }
}

impl Opening {
    /// Room for an opening outside the stack, one for each CPU.
    #[inline(always)]
    pub(crate) fn room() -> Result<&'static mut Self, DropReason> {
        slot(&OPENING)
    }

    /// Makes the open flow's translation the current one.
    #[inline(always)]
    pub(crate) fn settle(&self, header: &Header) -> Result<(), DropReason> {
        let translation = slot(&TRANSLATION)?;
        translation.peer = self.address;
        translation.client = self.client;
        translation.peer_port = self.port;
        translation.client_port = header.source_port;
        translation.delivery = self.forward;
        translation.backend = self.backend;
        translation.via = self.via;
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
/// [`DropReason::Collision`] when another live flow does, [`DropReason::TableFull`] when the kernel
/// has no room.
#[inline(always)]
pub(crate) fn open_pair(skb: Skb, header: &Header, opening: &Opening) -> Result<(), DropReason> {
    open_reverse(skb, header, opening)?;
    let forward = slot(&NEW_FLOW)?;
    forward.peer = opening.address;
    forward.peer_port = opening.port;
    forward.client = opening.client;
    forward.delivery = opening.forward;
    let key = forward_key(opening.net, header);
    EMBRYOS
        .insert(key, forward, 0)
        .map_err(|_| DropReason::TableFull)
}

/// Opens a flow of which this node has the backend's side only.
///
/// # Errors
/// As [`open_pair`].
#[inline(never)]
pub(crate) fn open_reverse(skb: Skb, header: &Header, opening: &Opening) -> Result<(), DropReason> {
    let mut key = reverse_key_of(opening.net, header, &opening.address, opening.port);
    key.client = opening.client;
    make_room(&key, header)?;
    let reverse = slot(&NEW_FLOW)?;
    fill(reverse, skb, header, opening);
    reverse.delivery = opening.reply;
    EMBRYOS
        .insert(key, reverse, u64::from(BPF_NOEXIST))
        .map_err(|_| DropReason::Collision)
}

/// Opens a flow of which this node has the client's side only.
///
/// # Errors
/// [`DropReason::TableFull`] when the kernel has no room.
#[inline(never)]
pub(crate) fn open_forward(skb: Skb, header: &Header, opening: &Opening) -> Result<(), DropReason> {
    let forward = slot(&NEW_FLOW)?;
    fill(forward, skb, header, opening);
    forward.delivery = opening.forward;
    let key = forward_key(opening.net, header);
    EMBRYOS
        .insert(key, forward, 0)
        .map_err(|_| DropReason::TableFull)
}

#[inline(always)]
fn fill(flow: &mut Flow, skb: Skb, header: &Header, opening: &Opening) {
    flow.last_ns = now_ns();
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
    flow.seen = Seen::of_packet(header.protocol, Direction::Forward, header.flags);
    flow.via = opening.via;
}

/// Removes what stands in the way of a new reverse entry, if it is over. A flow of the same client
/// to the same frontend that has lost its other half is over too.
#[inline(always)]
fn make_room(reverse: &FlowKey, header: &Header) -> Result<(), DropReason> {
    let Some(entry) = find(reverse) else {
        return Ok(());
    };
    let flow = entry.flow();
    let same = flow.peer == header.destination && flow.peer_port == header.destination_port;
    if same || !entry.takes(header, now_ns()) {
        entry.remove(reverse);
        return Ok(());
    }
    Err(DropReason::Collision)
}

#[inline(always)]
fn set(flow: *mut Flow, bits: u32) -> u32 {
    // SAFETY: `flow` points to a map value found during this run.
    let seen = unsafe { &raw mut (*flow).seen };
    // SAFETY: `seen` is an aligned word of it.
    unsafe { atomic::set_u32(seen, bits) }
}

/// Counts the end of a flow, once, whoever sees it first.
#[inline(always)]
fn count_end(flow: *mut Flow) {
    // SAFETY: as in `Entry::flow`.
    let Flow { seen, backend, .. } = *unsafe { &*flow };
    if seen & Seen::COUNTED == 0 && set(flow, Seen::COUNTED) & Seen::COUNTED == 0 {
        add_load(backend, |load| &raw mut load.closed);
    }
}

#[inline(always)]
fn add_load(backend: u32, field: impl Fn(&mut Load) -> *mut u64) {
    let Some(load) = LOADS.get_ptr_mut(backend) else {
        return;
    };
    // SAFETY: the pointer came from the map during this run.
    let field = field(unsafe { &mut *load });
    // SAFETY: `field` is an aligned word of it.
    unsafe { atomic::add_u64(field, 1) };
}
