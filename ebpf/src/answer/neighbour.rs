//! Neighbour discovery (RFC 4861 §4.3, §4.4): every address that somebody has is at the router's
//! Ethernet address.

use abi::{
    Address, Bytes, DropReason, Header, Iface, ROUTER_MAC, Verdict, checksum, iface, protocol,
};

use super::Back;
use crate::{deliver, skb::Skb};

const IPV6: u32 = 14;
const ICMPV6: u32 = 54;
const TARGET_END: u32 = ICMPV6 + 24;
/// Advertisement with one target link-layer address option.
const LENGTH: u16 = 32;
/// Solicited, override.
const FLAGS: u32 = 0x6000_0000u32.to_be();

/// Answers a solicitation for an address that somebody in the network has.
#[inline(never)]
pub(crate) fn answer(skb: Skb, iface: &Iface, header: &Header) -> Result<Verdict, DropReason> {
    if u32::from(header.l4) != ICMPV6 {
        return Err(DropReason::NeighbourNoise);
    }
    if header.end < TARGET_END {
        return Err(DropReason::Truncated);
    }
    let target: [u8; 16] = skb.load(ICMPV6 as usize + 8).ok_or(DropReason::Truncated)?;
    let target = Address::from_v6_octets(target);
    // A probe for a duplicate has no sender (RFC 4862 §5.4).
    if header.source.is_unspecified() || target == iface.v6 || target == iface.ingress_v6 {
        return Err(DropReason::NeighbourNoise);
    }
    if iface.flags & iface::GATEWAY == 0 && deliver::endpoint(iface.net, &target).is_none() {
        return Err(DropReason::NoEndpoint);
    }
    skb.resize(ICMPV6 + u32::from(LENGTH))?;
    write_ip(skb, &target, &header.source)?;
    write_advertisement(skb, &target, &header.source)?;
    Back::Task {
        ifindex: skb.ifindex(),
        mac: iface.mac,
    }
    .send(skb)
}

#[inline(always)]
fn write_ip(skb: Skb, source: &Address, destination: &Address) -> Result<(), DropReason> {
    let [high, low] = LENGTH.to_be_bytes();
    skb.store(IPV6 + 4, &[high, low, protocol::ICMPV6, 255])?;
    skb.store(IPV6 + 8, &[source.words, destination.words])
}

#[inline(always)]
fn write_advertisement(
    skb: Skb,
    target: &Address,
    destination: &Address,
) -> Result<(), DropReason> {
    let [a, b, c, d, e, f] = ROUTER_MAC;
    let option = [
        u32::from_ne_bytes([2, 1, a, b]),
        u32::from_ne_bytes([c, d, e, f]),
    ];
    let kind = u32::from_ne_bytes([136, 0, 0, 0]);
    let [t0, t1, t2, t3] = target.words;
    let mut words = [kind, FLAGS, t0, t1, t2, t3, option[0], option[1]];
    let pseudo =
        checksum::pseudo_header(&target.words, &destination.words, LENGTH, protocol::ICMPV6);
    let sum = !checksum::fold(checksum::add(pseudo, checksum::sum_words(&words)));
    let [high, low] = sum.to_ne_bytes();
    words[0] = u32::from_ne_bytes([136, 0, high, low]);
    skb.store(ICMPV6, &words)
}
