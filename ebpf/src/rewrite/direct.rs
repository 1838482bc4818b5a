//! Ordinary packets, written directly: IPv4 without options or IPv6 without extension headers, and TCP
//! or UDP above.
//!
//! A program cannot ask in which state a checksum is, but it can tell. While the rest of it is left to
//! a device (`CHECKSUM_PARTIAL`), the field holds the pseudo header's sum, or the packet would be
//! wrong on the wire. A field that holds anything else is complete, and covers addresses and ports.
//! The few complete ones that happen to look like the pseudo header's sum are left to the kernel's
//! helper, which knows; so are packets that are still to be cut.

use abi::{Address, Family, Fragment, Head, Header, checksum, protocol};

use crate::skb::Skb;

/// A computed zero is sent as this by UDP, where zero means none (RFC 768).
const UDP_ZERO: u16 = 0xffff;

/// One end's address and port.
#[derive(Clone, Copy)]
struct End<'a> {
    address: &'a Address,
    port: u16,
}

/// Gives the packet a new destination; false, and nothing is changed, if it is not an ordinary one.
#[inline(always)]
pub(super) fn destination(skb: Skb, header: &Header, address: &Address, port: u16) -> bool {
    let old = End {
        address: &header.destination,
        port: header.destination_port,
    };
    let new = End { address, port };
    if header.fragment != Fragment::Whole {
        return false;
    }
    match (header.family, header.l4, header.protocol) {
        (Family::V4, 34, protocol::TCP) => v4::<54, 30, 36, 50>(skb, header, old, new),
        (Family::V4, 34, protocol::UDP) => v4::<42, 30, 36, 40>(skb, header, old, new),
        (Family::V6, 54, protocol::TCP) => v6::<74, 38, 42, 46, 50, 56, 70>(skb, header, old, new),
        (Family::V6, 54, protocol::UDP) => v6::<62, 38, 42, 46, 50, 56, 60>(skb, header, old, new),
        _ => false,
    }
}

/// Gives the packet a new source, as [`destination`].
#[inline(always)]
pub(super) fn source(skb: Skb, header: &Header, address: &Address, port: u16) -> bool {
    let old = End {
        address: &header.source,
        port: header.source_port,
    };
    let new = End { address, port };
    if header.fragment != Fragment::Whole {
        return false;
    }
    match (header.family, header.l4, header.protocol) {
        (Family::V4, 34, protocol::TCP) => v4::<54, 26, 34, 50>(skb, header, old, new),
        (Family::V4, 34, protocol::UDP) => v4::<42, 26, 34, 40>(skb, header, old, new),
        (Family::V6, 54, protocol::TCP) => v6::<74, 22, 26, 30, 34, 54, 70>(skb, header, old, new),
        (Family::V6, 54, protocol::UDP) => v6::<62, 22, 26, 30, 34, 54, 60>(skb, header, old, new),
        _ => false,
    }
}

#[inline(always)]
fn v4<const N: usize, const ADDRESS: usize, const PORT: usize, const CHECK: usize>(
    skb: Skb,
    header: &Header,
    old: End<'_>,
    new: End<'_>,
) -> bool {
    let Some(start) = skb.start::<N>() else {
        return false;
    };
    let difference = checksum::difference(&[old.address.v4_word()], &[new.address.v4_word()]);
    let field = start.half::<CHECK>();
    if !is_absent(header, field) {
        let Some(field) = above(skb, header, field, difference, (old.port, new.port)) else {
            return false;
        };
        start.set_half::<CHECK>(field);
        // A device that has summed the whole packet knows it with the old pseudo header's share of
        // the field. (That of an IPv6 packet cancels out with the addresses themselves.)
        skb.add_to_sum(!difference);
    }
    start.set_half::<24>(checksum::update(start.half::<24>(), difference));
    start.set_word::<ADDRESS>(new.address.v4_word());
    start.set_half::<PORT>(new.port.to_be());
    true
}

#[inline(always)]
fn v6<
    const N: usize,
    const A: usize,
    const B: usize,
    const C: usize,
    const D: usize,
    const PORT: usize,
    const CHECK: usize,
>(
    skb: Skb,
    header: &Header,
    old: End<'_>,
    new: End<'_>,
) -> bool {
    let Some(start) = skb.start::<N>() else {
        return false;
    };
    let difference = checksum::difference(&old.address.words, &new.address.words);
    let field = start.half::<CHECK>();
    if !is_absent(header, field) {
        let Some(field) = above(skb, header, field, difference, (old.port, new.port)) else {
            return false;
        };
        start.set_half::<CHECK>(field);
    }
    let [a, b, c, d] = new.address.words;
    start.set_word::<A>(a);
    start.set_word::<B>(b);
    start.set_word::<C>(c);
    start.set_word::<D>(d);
    start.set_half::<PORT>(new.port.to_be());
    true
}

/// The new checksum above IP; `None` when the old one may be incomplete.
#[inline(always)]
fn above(
    skb: Skb,
    header: &Header,
    field: u16,
    difference: u32,
    (from, to): (u16, u16),
) -> Option<u16> {
    if skb.gso_size() != 0 || may_be_partial(header, field) {
        return None;
    }
    let ports = checksum::difference(&[u32::from(from.to_be())], &[u32::from(to.to_be())]);
    let field = checksum::update(field, checksum::add(difference, ports));
    if header.protocol == protocol::UDP && field == 0 {
        return Some(UDP_ZERO);
    }
    Some(field)
}

#[inline(always)]
const fn is_absent(header: &Header, field: u16) -> bool {
    header.protocol == protocol::UDP && field == 0
}

/// Whether the field holds the pseudo header's sum, of which there are two ways to write zero.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "an IP packet has at most 65,575 bytes"
)]
fn may_be_partial(header: &Header, field: u16) -> bool {
    let length = (header.end - u32::from(header.l4)) as u16;
    let Header {
        source,
        destination,
        ..
    } = header;
    let sum = checksum::pseudo_header(&source.words, &destination.words, length, header.protocol);
    let pseudo = checksum::fold(sum);
    field == pseudo || (field == 0 && pseudo == 0xffff)
}
