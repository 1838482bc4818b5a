//! Counting and sampling what was dropped or refused.

use abi::{DropCounter, DropReason, DropSample, Header, NetId};
use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_ktime_get_coarse_ns};

use crate::{
    atomic,
    maps::{DROPS, HEADER, IFACES, SAMPLES, slot},
    sight,
    skb::Skb,
};

/// Counts the packet at hand under `reason`, and samples it unless that was just done. The packet was
/// `length` bytes long.
#[inline(always)]
pub(crate) fn count(skb: Skb, reason: DropReason, length: u32) {
    count_packet(skb.raw(), reason as u32, length);
}

/// A global function: the verifier looks at it once, by itself, and not for each of the many ways on
/// which packets are dropped.
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn count_packet(context: *mut __sk_buff, reason: u32, length: u32) -> u32 {
    if let Ok(header) = slot(&HEADER) {
        write(Skb::from_raw(context), reason, header, length);
    }
    // What a program calls has to return something.
    0
}

#[inline(always)]
fn write(skb: Skb, reason: u32, header: &Header, length: u32) {
    sight::keep_reason(header, reason);
    let Some(counter) = DROPS.get_ptr_mut(reason) else {
        return;
    };
    let now = now_ns();
    // SAFETY: a per-CPU array's slot outlives the program, and only this CPU writes it.
    let counter: &mut DropCounter = unsafe { &mut *counter };
    counter.count += 1;
    if now.wrapping_sub(counter.sampled_ns) < DropCounter::SAMPLE_INTERVAL_NS {
        return;
    }
    counter.sampled_ns = now;
    let Some(mut entry) = SAMPLES.reserve_untyped::<DropSample>(0) else {
        return;
    };
    entry.write(sample(skb, reason, header, (length, now)));
    entry.submit(0);
}

/// Counts one refusal of what a process wanted of a socket, and samples it like a packet.
///
/// The hook may be interrupted by a packet's on the same CPU.
#[inline(never)]
pub(crate) fn count_dial(reason: DropReason, header: &Header) {
    let Some(counter) = DROPS.get_ptr_mut(reason as u32) else {
        return;
    };
    let now = now_ns();
    // SAFETY: as in `count`.
    let count = unsafe { &raw mut (*counter).count };
    // SAFETY: `count` is an aligned word of a map value.
    unsafe { atomic::add_u64(count, 1) };
    // SAFETY: as in `count`.
    let counter: &mut DropCounter = unsafe { &mut *counter };
    if now.wrapping_sub(counter.sampled_ns) < DropCounter::SAMPLE_INTERVAL_NS {
        return;
    }
    counter.sampled_ns = now;
    let Some(mut entry) = SAMPLES.reserve_untyped::<DropSample>(0) else {
        return;
    };
    entry.write(DropSample {
        time_ns: now,
        reason: reason as u32,
        ifindex: 0,
        net: NetId(0),
        length: 0,
        source: header.source,
        destination: header.destination,
        source_port: 0,
        destination_port: header.destination_port,
        protocol: u32::from(header.protocol),
    });
    entry.submit(0);
}

#[inline(always)]
fn sample(skb: Skb, reason: u32, header: &Header, (length, time_ns): (u32, u64)) -> DropSample {
    DropSample {
        time_ns,
        reason,
        ifindex: skb.ifindex(),
        net: network(skb.ifindex()),
        length,
        source: header.source,
        destination: header.destination,
        source_port: header.source_port,
        destination_port: header.destination_port,
        protocol: u32::from(header.protocol),
    }
}

#[inline(always)]
fn network(ifindex: u32) -> NetId {
    IFACES.get_ptr(ifindex).map_or(NetId(0), |iface| {
        // SAFETY: the pointer came from the map during this run.
        unsafe { (*iface).net }
    })
}

/// Nanoseconds of the monotonic clock in steps of a timer tick: cheap, and exact enough for
/// timeouts of seconds.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: takes nothing and only reads the clock.
    unsafe { bpf_ktime_get_coarse_ns() }
}
