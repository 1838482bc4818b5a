//! Faults of a laboratory's wire: loss, duplication, and holding packets back. An object of its own;
//! netd never loads it.
//!
//! It runs where the wire hands a frame to a member. Frames that are held back go to a device whose
//! other end is a process, which gives them to the member later.
#![no_std]
#![no_main]

use aya_ebpf::{
    EbpfContext as _,
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC},
    btf_maps::HashMap,
    helpers::generated::{bpf_clone_redirect, bpf_get_prandom_u32, bpf_redirect},
    macros::{btf_map, classifier},
    programs::TcContext,
};

/// What happens to frames from one port of the wire to another. Chances are in 2^32.
#[repr(C)]
#[derive(Clone, Copy)]
struct Rule {
    /// The chance to be lost.
    loss: u32,
    /// The chance to come twice.
    duplicate: u32,
    /// The chance to be held back.
    hold: u32,
    /// The device for those that are held back.
    device: u32,
    /// How many were lost, came twice, were held back.
    counts: [u64; 3],
}

/// By the numbers of the ports: from, to.
#[btf_map]
static RULES: HashMap<[u32; 2], Rule, 4096> = HashMap::new();

/// By the number of a device that frames come back from: the port that they were on their way to.
#[btf_map]
static PORTS: HashMap<u32, u32, 256> = HashMap::new();

/// What marks a frame that has been judged: the second of two equal ones, one that was held back.
const JUDGED: u32 = 0x7477_696e;

/// IPv4 and IPv6, as the context has them; what finds neighbours is left alone.
const PROTOCOLS: [u32; 2] = [0x0800_u16.to_be() as u32, 0x86dd_u16.to_be() as u32];

/// Egress of a port of the wire.
#[classifier]
pub(crate) fn fault(context: TcContext) -> i32 {
    // SAFETY: the context is that of this run; its fields may be read.
    let skb = unsafe { &*context.skb.skb };
    let (mark, from, to) = (skb.mark, skb.ingress_ifindex, skb.ifindex);
    if mark == JUDGED || !PROTOCOLS.contains(&skb.protocol) {
        return TC_ACT_UNSPEC;
    }
    let Some(rule) = RULES.get_ptr_mut([from, to]) else {
        return TC_ACT_UNSPEC;
    };
    // SAFETY: the pointer came from the map during this run; racing writers may lose a count.
    let rule = unsafe { &mut *rule };
    if happens(rule.loss) {
        rule.counts[0] += 1;
        return TC_ACT_SHOT;
    }
    if happens(rule.duplicate) {
        rule.counts[1] += 1;
        context.set_mark(JUDGED);
        // SAFETY: the context is that of this run; the device is the one that the frame is on.
        let _ = unsafe { bpf_clone_redirect(context.as_ptr().cast(), to, 0) };
        context.set_mark(mark);
    }
    if happens(rule.hold) {
        rule.counts[2] += 1;
        // SAFETY: takes numbers only, and checks them.
        return done(unsafe { bpf_redirect(rule.device, 0) });
    }
    TC_ACT_UNSPEC
}

/// Ingress of a device that frames come back from.
#[classifier]
pub(crate) fn release(context: TcContext) -> i32 {
    // SAFETY: the context is that of this run; its fields may be read.
    let device = unsafe { (*context.skb.skb).ifindex };
    let Some(port) = PORTS.get_ptr(device) else {
        return TC_ACT_SHOT;
    };
    // SAFETY: the pointer came from the map during this run; an aligned word.
    let port = unsafe { *port };
    context.set_mark(JUDGED);
    // SAFETY: takes numbers only, and checks them.
    done(unsafe { bpf_redirect(port, 0) })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the helpers return actions"
)]
#[inline(always)]
const fn done(result: i64) -> i32 {
    result as i32
}

#[inline(always)]
fn happens(chance: u32) -> bool {
    // SAFETY: takes nothing and returns a number.
    chance == u32::MAX || (chance != 0 && unsafe { bpf_get_prandom_u32() } < chance)
}

/// License the kernel reads: GPL-only helpers need one that it takes for GPL-compatible.
// SAFETY: the section is read by the loader alone and no other symbol is placed in it.
#[unsafe(link_section = "license")]
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
