//! One entry of the flow table: what a packet does to it.

use abi::{
    Delivery, Direction, DropReason, Flow, FlowKey, FlowState, Header, Seen, Side, delivery,
    protocol, tcp,
};
use aya_ebpf::{bindings::BPF_NOEXIST, helpers::generated::bpf_jiffies64};

use super::Translation;
use crate::{
    atomic, balance,
    drops::now_ns,
    loads,
    maps::{EMBRYOS, FLOWS, TRANSLATION, TWIN, slot},
    skb::Skb,
};

/// What an entry that has become an established flow's is among the openings: nothing that counts.
const LEFT_BEHIND: u32 = Seen::PLACE | Seen::COUNTED;

/// A flow's entry, as long as the program runs.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    flow: *mut Flow,
    embryo: bool,
}

/// Looks a key up for a packet: one that opens a connection, or answers an opening, belongs to what is
/// being opened or is over, and not to an established flow.
#[inline(always)]
pub(crate) fn find_for(key: &FlowKey, header: &Header) -> Option<Entry> {
    if header.protocol != protocol::TCP || header.flags & tcp::SYN == 0 {
        return find(key);
    }
    let opening = among_openings(key);
    if let Some(entry) = opening
        && Seen(entry.flow().seen).is_flow()
    {
        return opening;
    }
    established(key).or(opening)
}

/// Looks a key up among the established flows, then among the openings.
#[inline(always)]
pub(crate) fn find(key: &FlowKey) -> Option<Entry> {
    established(key).or_else(|| among_openings(key))
}

#[inline(always)]
fn established(key: &FlowKey) -> Option<Entry> {
    let flow = FLOWS.get_ptr_mut(key)?;
    Some(Entry {
        flow,
        embryo: false,
    })
}

#[inline(always)]
fn among_openings(key: &FlowKey) -> Option<Entry> {
    let flow = EMBRYOS.get_ptr_mut(key)?;
    Some(Entry { flow, embryo: true })
}

impl Entry {
    /// The entry's value. Other CPUs may change it at the same time, field by field.
    #[inline(always)]
    pub(crate) fn flow(&self) -> &Flow {
        // SAFETY: the pointer came from a map during this run; entries are not freed before the
        // program ends, and every bit pattern is a value.
        unsafe { &*self.flow }
    }

    /// Whether the entry owns its flow's state.
    #[inline(always)]
    pub(super) fn owns(&self, key: &FlowKey) -> bool {
        owns(key, self.flow())
    }

    /// Whether the flow still counts: not expired, and not about to be replaced by this packet.
    #[inline(always)]
    pub(crate) fn takes(&self, header: &Header, now: u64) -> bool {
        let seen = Seen(self.flow().seen);
        !seen.is_expired(header.protocol, self.flow().last_ns, now)
            && !seen.is_reopened_by(header.protocol, header.flags)
    }

    /// Whether nobody has answered the client, which asks again.
    #[inline(always)]
    pub(crate) fn is_forlorn(&self, header: &Header, now: u64) -> bool {
        let flow = self.flow();
        Seen(flow.seen).is_forlorn(header.protocol, header.flags, flow.last_ns, now)
    }

    /// Whether a packet of the client's is of this entry's flow: the key says how the backend sees the
    /// client, which may by now be another connection, by another frontend or from another port.
    #[inline(always)]
    pub(super) fn is_for(&self, header: &Header) -> bool {
        is_for(self.flow(), header)
    }

    /// What this entry does to a packet.
    #[inline(always)]
    pub(super) fn translation(&self) -> Result<&'static mut Translation, DropReason> {
        let flow = self.flow();
        let translation = slot(&TRANSLATION)?;
        translation.peer = flow.peer;
        translation.client = flow.client;
        translation.peer_port = flow.peer_port;
        translation.client_port = flow.client_port;
        translation.delivery = flow.delivery;
        translation.backend = flow.backend;
        translation.via = flow.via;
        translation.seen = flow.seen;
        Ok(translation)
    }

    /// Makes `vtep` the node that the flow comes from, and `back` the way of its replies.
    #[inline(always)]
    pub(super) fn come_from(&self, vtep: u32, back: &Delivery) {
        // SAFETY: as in `flow`; the fields may be overwritten any time. Who reads them meanwhile has
        // half of each, and loses a reply.
        let flow = unsafe { &mut *self.flow };
        flow.via = vtep;
        flow.delivery = *back;
    }

    /// Counts a packet that names this entry.
    #[inline(always)]
    pub(super) fn count(&self, direction: Direction, skb: Skb) {
        // SAFETY: as in `flow`; racing writers may lose a count, as its documentation says.
        count(unsafe { &mut *self.flow }, direction, skb);
    }

    /// Takes the entry at its word for a while.
    #[inline(always)]
    pub(super) fn confirm(&self) {
        // SAFETY: as in `flow`; an aligned word that may be overwritten any time.
        unsafe {
            (*self.flow).confirmed = ticks();
        }
    }

    /// Whether the client's next packet goes to another backend, though the flow lives.
    #[inline(always)]
    pub(super) fn has_to_move(&self, header: &Header) -> bool {
        header.protocol != protocol::TCP && balance::is_leaving(self.flow().backend)
    }

    /// Records a packet, and moves the flow to the table where its new state belongs.
    #[inline(always)]
    pub(super) fn pass(&self, key: &FlowKey, direction: Direction, header: &Header) {
        // SAFETY: as in `flow`.
        let flow = unsafe { &mut *self.flow };
        flow.last_ns = now_ns();
        let mut seen = flow.seen;
        let mut bits = Seen::of_packet(header.protocol, direction, header.flags);
        let is_one_way = seen & Seen::ONE_WAY != 0;
        if is_one_way {
            bits |= Seen::of_one_way(header.protocol, header.flags);
        }
        if seen & bits != bits {
            seen = set(self.flow, bits) | bits;
        }
        match (self.embryo, Seen(seen).state()) {
            (true, FlowState::Established) => self.promote(key),
            // A client that leaves without an answer fills no table.
            (true, FlowState::Closing) if seen & Seen::REPLIED != 0 && !is_one_way => {
                self.promote(key);
            }
            (false, FlowState::Closed) => self.retire(key),
            // That the server is done too will not be seen here.
            (false, FlowState::Closing) if is_one_way => self.retire(key),
            (true, FlowState::Closed) => self.count_end(),
            _ => {}
        }
    }

    /// What it leaves among the openings is its place for when it is over: most connections are so
    /// short that the place is still there then, and need not be made a second time.
    #[inline(never)]
    fn promote(&self, key: &FlowKey) {
        let flow = self.flow();
        if FLOWS.insert(key, flow, u64::from(BPF_NOEXIST)).is_err() {
            // Full, or another CPU was faster. Where it is full the flow stays an opening, and
            // lives as long as nothing pushes it out.
            return;
        }
        loads::opened(flow.backend);
        set(self.flow, LEFT_BEHIND);
        if flow.seen & Seen::ALONE != 0 {
            return;
        }
        let Some(twin_key) = twin(key, flow) else {
            return;
        };
        if let Some(other) = EMBRYOS.get_ptr_mut(twin_key) {
            // SAFETY: as in `flow`.
            let there = unsafe { &*other };
            // Where the table has just become full it stays where it is, and is found there.
            if FLOWS.insert(twin_key, there, 0).is_ok() {
                set(other, LEFT_BEHIND);
            }
        }
    }

    /// Makes room among the established flows: what is over is kept for late segments only, and may
    /// be pushed out.
    #[inline(never)]
    fn retire(&self, key: &FlowKey) {
        let flow = self.flow();
        self.count_end();
        if flow.seen & Seen::ALONE == 0 {
            let Some(twin_key) = twin(key, flow) else {
                return;
            };
            if let Some(other) = FLOWS.get_ptr(twin_key) {
                // SAFETY: as in `flow`.
                put_back(twin_key, unsafe { &*other });
            }
        }
        put_back(key, flow);
    }

    /// Counts the end of the flow, once, whoever sees it first. What was promoted was answered; what
    /// is over before has failed.
    #[inline(always)]
    fn count_end(&self) {
        let Flow { seen, backend, .. } = *self.flow();
        if seen & Seen::COUNTED != 0 || set(self.flow, Seen::COUNTED) & Seen::COUNTED != 0 {
            return;
        }
        if self.embryo {
            loads::failed(backend);
        } else {
            loads::closed(backend);
        }
    }

    /// Forgets the flow, both its entries.
    #[inline(never)]
    pub(crate) fn remove(&self, key: &FlowKey) {
        self.count_end();
        let is_alone = self.flow().seen & Seen::ALONE != 0;
        if !is_alone && let Some(twin_key) = twin(key, self.flow()) {
            if !self.embryo {
                let _ = FLOWS.remove(twin_key);
            }
            let _ = EMBRYOS.remove(twin_key);
        }
        if !self.embryo {
            let _ = FLOWS.remove(key);
        }
        let _ = EMBRYOS.remove(key);
    }
}

/// Moves an entry from the established flows to where it was opened.
#[inline(always)]
fn put_back(key: &FlowKey, flow: &Flow) {
    if let Some(place) = EMBRYOS.get_ptr_mut(key) {
        // SAFETY: as in `Entry::flow`; whoever writes there too counts a packet of a flow that is over.
        unsafe { *place = *flow };
    } else {
        let _ = EMBRYOS.insert(key, flow, 0);
    }
    let _ = FLOWS.remove(key);
}

#[inline(always)]
pub(super) fn owns(key: &FlowKey, flow: &Flow) -> bool {
    key.side == Side::Reverse as u8 || flow.delivery.kind == delivery::MESH
}

#[inline(always)]
pub(super) fn is_for(flow: &Flow, header: &Header) -> bool {
    flow.peer == header.destination
        && flow.peer_port == header.destination_port
        && flow.client_port == header.source_port
}

#[inline(always)]
pub(super) fn count(flow: &mut Flow, direction: Direction, skb: Skb) {
    let count = match direction {
        Direction::Forward => &mut flow.forward,
        Direction::Reply => &mut flow.reply,
    };
    count.packets += 1;
    count.bytes += u64::from(skb.len());
}

/// The kernel's clock in ticks. Reading it is one load where asking for the time is a call.
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    // SAFETY: takes nothing and only reads the clock.
    unsafe { bpf_jiffies64() }
}

/// The key of a translated flow's other entry. Of a flow that stands alone it names nothing.
#[inline(always)]
pub(super) fn twin(key: &FlowKey, flow: &Flow) -> Option<&'static FlowKey> {
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

#[inline(always)]
fn set(flow: *mut Flow, bits: u32) -> u32 {
    // SAFETY: `flow` points to a map value found during this run.
    let seen = unsafe { &raw mut (*flow).seen };
    // SAFETY: `seen` is an aligned word of it.
    unsafe { atomic::set_u32(seen, bits) }
}
