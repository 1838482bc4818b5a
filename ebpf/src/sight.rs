//! Noting what becomes of a probe's packets, for `netctl trace --send`.
//!
//! While nobody probes, a packet pays for one look at an array. A probe that was forgotten is so by the
//! first packet after its time.

use abi::{DropReason, Header, Observer, Probe, Sight, Sighting, decision};
use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::generated::{bpf_ktime_get_ns, bpf_skb_load_bytes},
    maps::ring_buf::RingBufEntry,
};

use crate::{
    action::Decided,
    carrier,
    maps::{NOTE, PROBE, SIGHTINGS, slot},
    skb::Skb,
    socket::Dial,
};

/// Whoever reads the sightings asks for them.
const NO_WAKEUP: u64 = BPF_RB_NO_WAKEUP as u64;

/// What the note of a packet is made of, kept where the verifier does not follow it: its programs end in
/// many states, and each would be walked through the note.
pub(crate) struct Note {
    what: u32,
    target: u32,
    observer: u32,
    /// Why a packet goes nowhere, a [`DropReason`] as u32 and one; else 0.
    reason: u32,
    /// The ports of the packet that this was about.
    ports: u32,
}

const NOWHERE: Decided = Decided {
    what: decision::DROPPED,
    target: 0,
};

/// Whether packets are watched.
#[inline(always)]
pub(crate) fn is_armed() -> bool {
    PROBE.get(0).is_some_and(|probe| probe.until_ns != 0)
}

/// Notes a decision that is about to be carried out, and gives it back.
#[inline(always)]
pub(crate) fn note(skb: Skb, header: &Header, observer: Observer, decided: Decided) -> Decided {
    // Never happens, nor does the other: what was decided must not be used after the note, or the verifier
    // tells the states apart by it.
    let Ok(note) = slot(&NOTE) else {
        return NOWHERE;
    };
    note.what = decided.what;
    note.target = decided.target;
    note.observer = observer as u32;
    write(skb, header);
    let Some(note) = NOTE.get_ptr_mut(0) else {
        return NOWHERE;
    };
    // SAFETY: as in `slot`: what was given before is not used any more.
    let note: &Note = unsafe { &*note };
    Decided {
        what: note.what,
        target: note.target,
    }
}

/// Keeps why a packet is dropped, or its sender told, until the program ends.
#[inline(always)]
pub(crate) fn keep_reason(header: &Header, reason: DropReason) {
    if is_armed()
        && let Ok(note) = slot(&NOTE)
    {
        note.reason = reason as u32 + 1;
        note.ports = ports(header);
    }
}

/// Notes that a process may not dial what it wants to.
#[inline(always)]
pub(crate) fn dial_refused(reason: DropReason, dial: Dial) {
    if is_armed() {
        note_dial(reason as u32, &dial.header());
    }
}

#[inline(always)]
fn ports(header: &Header) -> u32 {
    u32::from(header.source_port) << 16 | u32::from(header.destination_port)
}

/// What is watched at this time.
#[inline(always)]
fn probe(now: u64) -> Option<&'static Probe> {
    let probe = PROBE.get_ptr_mut(0)?;
    // SAFETY: an array's slot outlives the program, and of programs only this one writes, one word. While
    // user space writes, a packet may be missed, or noted in vain.
    let probe = unsafe { &mut *probe };
    if now > probe.until_ns {
        // User space looks whether it was there first.
        probe.until_ns = 0;
        return None;
    }
    Some(probe)
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: takes nothing and only reads the clock.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(never)]
fn write(skb: Skb, header: &Header) {
    let Ok(note) = slot(&NOTE) else {
        return;
    };
    let reason = core::mem::take(&mut note.reason);
    let now = now_ns();
    let Some(probe) = probe(now) else {
        return;
    };
    let sight = probe.sight(header);
    if sight == Sight::Other {
        return;
    }
    let Some(mut entry) = SIGHTINGS.reserve_untyped::<Sighting>(0) else {
        return;
    };
    let sighting = begin(&mut entry, now, header, sight);
    sighting.observer = note.observer;
    sighting.decision = note.what;
    // Whatever was about another packet is of a time before.
    if reason != 0 && note.ports == ports(header) {
        sighting.reason = reason - 1;
        if note.what != decision::DROPPED {
            sighting.decision = decision::REFUSED;
        }
    }
    sighting.target = note.target;
    sighting.ifindex = skb.ifindex();
    sighting.length = skb.len();
    sighting.captured = capture(skb, &mut sighting.frame);
    sighting.key_family = carrier::raw_key(skb, &mut sighting.key);
    entry.submit(NO_WAKEUP);
}

#[inline(never)]
fn note_dial(reason: u32, header: &Header) {
    let now = now_ns();
    let Some(probe) = probe(now) else {
        return;
    };
    if !probe.is_dial(header) {
        return;
    }
    let Some(mut entry) = SIGHTINGS.reserve_untyped::<Sighting>(0) else {
        return;
    };
    let sighting = begin(&mut entry, now, header, Sight::Sent);
    sighting.observer = Observer::Socket as u32;
    sighting.decision = decision::DROPPED;
    sighting.reason = reason;
    entry.submit(NO_WAKEUP);
}

/// Writes what all sightings have, and that there is nothing else but the frame's beginning, of which so
/// far nothing counts.
#[inline(always)]
fn begin<'a>(
    entry: &'a mut RingBufEntry<Sighting>,
    now: u64,
    header: &Header,
    sight: Sight,
) -> &'a mut Sighting {
    // SAFETY: every pattern of bits is a value, and the kernel's memory has some.
    let sighting = unsafe { entry.assume_init_mut() };
    sighting.time_ns = now;
    sighting.observer = 0;
    sighting.sight = sight as u32;
    sighting.reason = 0;
    sighting.target = 0;
    sighting.ifindex = 0;
    sighting.key_family = 0;
    sighting.reserved = 0;
    sighting.length = 0;
    sighting.captured = 0;
    sighting.flags = u32::from(header.flags);
    sighting.protocol = u32::from(header.protocol);
    sighting.source_port = header.source_port;
    sighting.destination_port = header.destination_port;
    sighting.source = header.source;
    sighting.destination = header.destination;
    sighting
}

/// Copies the beginning of the frame; returns how much.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a few headers")]
fn capture(skb: Skb, frame: &mut [u64; Sighting::FRAME / 8]) -> u32 {
    const MOST: u32 = Sighting::FRAME as u32;
    let length = skb.len().min(MOST);
    if length == 0 {
        return 0;
    }
    let (from, to) = (skb.raw().cast_const().cast(), frame.as_mut_ptr().cast());
    // SAFETY: `frame` has room for that much; the helper checks the packet.
    let result = unsafe { bpf_skb_load_bytes(from, 0, to, length) };
    if result == 0 { length } else { 0 }
}
