//! Noting what becomes of a probe's packets, for `netctl trace --send`.
//!
//! While nobody probes, a packet pays for one look at an array. A probe that was forgotten is so by the
//! first packet after its time.

use abi::{DropReason, Header, Observer, Probe, Sight, Sighting, decision};
use aya_ebpf::{
    bindings::{__sk_buff, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_ktime_get_ns, bpf_skb_load_bytes},
    maps::ring_buf::RingBufEntry,
};

use crate::{
    action::Decided,
    carrier,
    maps::{HEADER, NOTE, PROBE, SIGHTINGS, slot},
    skb::Skb,
    socket::Dial,
};

/// Whoever reads the sightings asks for them.
const NO_WAKEUP: u64 = BPF_RB_NO_WAKEUP as u64;

/// Why the packet at hand goes nowhere, as long as its program runs.
pub(crate) struct Note {
    /// A [`DropReason`] as u32 and one; else 0.
    reason: u32,
    /// The ports of the packet that this was about.
    ports: u32,
}

/// Whether packets are watched.
#[inline(always)]
pub(crate) fn is_armed() -> bool {
    PROBE.get(0).is_some_and(|probe| probe.until_ns != 0)
}

/// Notes a decision, and carries it out.
///
/// A global function: the verifier looks at it once, by itself, and not for each of the many states in
/// which a program may end.
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn note_and_finish(
    context: *mut __sk_buff,
    observer: u32,
    what: u32,
    target: u32,
) -> i32 {
    let decided = Decided { what, target };
    if let (Ok(note), Ok(header)) = (slot(&NOTE), slot(&HEADER)) {
        write(Skb::from_raw(context), note, header, observer, decided);
    }
    decided.carry_out()
}

/// Keeps why a packet is dropped, or its sender told, until the program ends.
#[inline(always)]
pub(crate) fn keep_reason(header: &Header, reason: u32) {
    if is_armed()
        && let Ok(note) = slot(&NOTE)
    {
        note.reason = reason + 1;
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

#[inline(always)]
fn write(skb: Skb, note: &mut Note, header: &Header, observer: u32, decided: Decided) {
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
    sighting.observer = observer;
    sighting.decision = decided.what;
    // Whatever was about another packet is of a time before.
    if reason != 0 && note.ports == ports(header) {
        sighting.reason = reason - 1;
        if decided.what != decision::DROPPED {
            sighting.decision = decision::REFUSED;
        }
    }
    sighting.target = decided.target;
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
    const { assert!(MOST.is_power_of_two()) };
    // From 1 to the most, which Linux 6.1 sees of no comparison: it learns nothing from one with zero.
    let length = (skb.len().min(MOST).wrapping_sub(1) & (MOST - 1)) + 1;
    let (from, to) = (skb.raw().cast_const().cast(), frame.as_mut_ptr().cast());
    // SAFETY: `frame` has room for that much; the helper checks the packet.
    let result = unsafe { bpf_skb_load_bytes(from, 0, to, length) };
    if result == 0 { length } else { 0 }
}
