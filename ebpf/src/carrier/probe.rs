//! What the native carrier does, done to one frame: to show that this kernel lets programs do it, and to
//! leave the marks of it.

use abi::ethertype;
use aya_ebpf::bindings::{BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6};

use super::native::{GROWTH_V4, GROWTH_V6, UNWRAP, WRAP, shrink};
use crate::skb::Skb;

/// Wraps the frame and unwraps it again, after which the kernel still counts it as wrapped: for test runs,
/// which cannot bring that along. Does nothing to what cannot be wrapped.
#[inline(never)]
pub(crate) fn mark(skb: Skb) {
    let family = if skb.protocol() == u32::from(ethertype::IPV6.to_be()) {
        BPF_F_ADJ_ROOM_ENCAP_L3_IPV6
    } else {
        BPF_F_ADJ_ROOM_ENCAP_L3_IPV4
    };
    if skb.adjust_room(GROWTH_V4, WRAP | u64::from(family)) {
        skb.adjust_room(-GROWTH_V4, UNWRAP);
    }
}

/// Wraps the frame as if for IPv6 (control word 0 not zero) or IPv4, and unwraps it again. Returns 0 when
/// it is what it was, else the step that failed.
#[inline(always)]
pub(crate) fn run(skb: Skb) -> i32 {
    let is_over_v6 = skb.control(0) != 0;
    let inner = skb.protocol();
    let (family, growth) = if is_over_v6 {
        (BPF_F_ADJ_ROOM_ENCAP_L3_IPV6, GROWTH_V6)
    } else {
        (BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, GROWTH_V4)
    };
    if !skb.adjust_room(growth, WRAP | u64::from(family)) {
        return 1;
    }
    let outer = if is_over_v6 {
        ethertype::IPV6
    } else {
        ethertype::IPV4
    };
    if skb.protocol() != u32::from(outer.to_be()) {
        return 2;
    }
    let is_v6 = inner == u32::from(ethertype::IPV6.to_be());
    if !shrink(skb, -growth, is_v6) {
        return 3;
    }
    if skb.protocol() == inner { 0 } else { 4 }
}
