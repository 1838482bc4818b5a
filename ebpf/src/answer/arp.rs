//! ARP (RFC 826): every address that somebody has is at the router's Ethernet address.

use abi::{Address, Bytes, DropReason, Iface, ROUTER_MAC, Verdict, iface};

use super::Back;
use crate::{deliver, skb::Skb};

const FRAME: u32 = 14;
/// Ethernet, IPv4, six and four octets, request.
const REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];

/// Answers a request for an address that somebody in the network has. Behind a gateway attachment
/// everything is at the router.
#[inline(never)]
pub(crate) fn answer(skb: Skb, iface: &Iface) -> Result<Verdict, DropReason> {
    let packet: [u8; 28] = skb.load(FRAME as usize).ok_or(DropReason::Truncated)?;
    let [p0, p1, p2, p3, p4, p5, p6, p7, rest @ ..] = packet;
    if [p0, p1, p2, p3, p4, p5, p6, p7] != REQUEST {
        return Err(DropReason::NeighbourNoise);
    }
    let [
        h0,
        h1,
        h2,
        h3,
        h4,
        h5,
        s0,
        s1,
        s2,
        s3,
        _,
        _,
        _,
        _,
        _,
        _,
        t0,
        t1,
        t2,
        t3,
    ] = rest;
    let sender = Address::from_v4_word(u32::from_ne_bytes([s0, s1, s2, s3]));
    let target = Address::from_v4_word(u32::from_ne_bytes([t0, t1, t2, t3]));
    // A probe for a duplicate has no sender; a task announcing itself asks for its own address.
    if sender == Address::ANY_V4 || target == iface.v4 || target == iface.ingress_v4 {
        return Err(DropReason::NeighbourNoise);
    }
    if iface.flags & iface::GATEWAY == 0 && deliver::endpoint(iface.net, &target).is_none() {
        return Err(DropReason::NoEndpoint);
    }
    let [r0, r1, r2, r3, r4, r5] = ROUTER_MAC;
    let reply = [
        0, 1, 8, 0, 6, 4, 0, 2, r0, r1, r2, r3, r4, r5, t0, t1, t2, t3, h0, h1, h2, h3, h4, h5, s0,
        s1, s2, s3,
    ];
    skb.store(FRAME, &reply)?;
    Back::Task {
        ifindex: skb.ifindex(),
        mac: iface.mac,
    }
    .send(skb)
}
