//! Whether this kernel lets programs do what the native carrier does, shown on one frame.

use abi::ethertype;
use aya_ebpf::bindings::{BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6};

use super::native::{GROWTH_V4, GROWTH_V6, WRAP, adjust, shrink};
use crate::skb::Skb;

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
    if !adjust(skb, growth, WRAP | u64::from(family)) {
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
