//! Rewriting an error and the packet that it quotes, so that every checksum stays as right as it was.

use abi::{Address, Bytes, DropReason, Family, Header, Quote, checksum, protocol};
use aya_ebpf::bindings::BPF_F_PSEUDO_HDR;

use crate::{
    flows::Translation,
    maps::{QUOTE, slot},
    skb::{Deep, Skb},
};

/// Offset of the checksum in the IPv4 header, and of the addresses in both.
const V4_CHECKSUM: u32 = 10;
const V4_ADDRESSES: u32 = 12;
const V6_ADDRESSES: u32 = 8;
/// Offset of the frame's own IP header, and of the checksum in ICMP's.
const IP: u32 = 14;
const ICMP_CHECKSUM: u32 = 2;
/// Offset of the checksum in UDP's header; TCP's is not promised to be there.
const UDP_CHECKSUM: u32 = 6;

/// The packet that is quoted, as it is to be.
#[derive(Clone, Copy)]
struct Ends<'a> {
    source: &'a Address,
    destination: &'a Address,
    source_port: u16,
    destination_port: u16,
}

/// An error from the client's side, about what it was answered: to the backend, about what that has
/// sent.
#[inline(never)]
pub(crate) fn apply_forward(
    skb: Skb,
    header: &Header,
    quote: &Quote,
    flow: &Translation,
) -> Result<(), DropReason> {
    let ends = Ends {
        source: &flow.peer,
        destination: &flow.client,
        source_port: flow.peer_port,
        destination_port: flow.client_port,
    };
    let source = if header.source == quote.destination {
        &flow.client
    } else {
        &header.source
    };
    write(skb, header, quote, ends)?;
    readdress(skb, header, source, &flow.peer)
}

/// A backend's error about what the client asked: from the frontend, about what the client has sent.
/// The quote is the one that was read last.
#[inline(never)]
pub(crate) fn apply_reply(skb: Skb, header: &Header, flow: &Translation) -> Result<(), DropReason> {
    let quote: &Quote = slot(&QUOTE)?;
    let ends = Ends {
        source: &flow.client,
        destination: &flow.peer,
        source_port: flow.client_port,
        destination_port: flow.peer_port,
    };
    write(skb, header, quote, ends)?;
    readdress(skb, header, &flow.peer, &flow.client)
}

/// Rewrites the quote, and brings the error's checksum in line.
#[inline(always)]
fn write(skb: Skb, header: &Header, quote: &Quote, ends: Ends<'_>) -> Result<(), DropReason> {
    let ip = u32::from(quote.ip);
    let (addresses, change) = match header.family {
        Family::V4 => {
            let old = [quote.source.v4_word(), quote.destination.v4_word()];
            let new = [ends.source.v4_word(), ends.destination.v4_word()];
            let addresses = checksum::difference(&old, &new);
            let change = update(skb, ip + V4_CHECKSUM, addresses, false)?;
            skb.store_anywhere(ip + V4_ADDRESSES, &new)?;
            (addresses, change)
        }
        Family::V6 => {
            let source = checksum::difference(&quote.source.words, &ends.source.words);
            let destination =
                checksum::difference(&quote.destination.words, &ends.destination.words);
            skb.store_anywhere(ip + V6_ADDRESSES, ends.source)?;
            skb.store_anywhere(ip + V6_ADDRESSES + 16, ends.destination)?;
            (checksum::add(source, destination), 0)
        }
    };
    let ports = ports(skb, quote, ends)?;
    let inner = checksum::add(addresses, ports);
    let mut change = checksum::add(change, inner);
    if quote.protocol == protocol::UDP {
        let field = u32::from(quote.l4) + UDP_CHECKSUM;
        change = checksum::add(change, update(skb, field, inner, true)?);
    }
    skb.replace_in_checksum(u32::from(header.l4) + ICMP_CHECKSUM, 0, change, 0)
}

/// Writes the ports; returns what that adds to a sum over them.
#[inline(always)]
fn ports(skb: Skb, quote: &Quote, ends: Ends<'_>) -> Result<u32, DropReason> {
    let old = word(quote.source_port, quote.destination_port);
    let new = word(ends.source_port, ends.destination_port);
    skb.store_anywhere(u32::from(quote.l4), &new)?;
    Ok(checksum::difference(&[old], &[new]))
}

#[inline(always)]
const fn word(source: u16, destination: u16) -> u32 {
    let [a, b] = source.to_be_bytes();
    let [c, d] = destination.to_be_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

/// Adds a difference to a checksum inside the quote; returns what that adds to a sum over it. UDP's
/// zero says that there is none: it stays, and no other becomes one.
#[inline(always)]
fn update(skb: Skb, field: u32, difference: u32, is_udp: bool) -> Result<u32, DropReason> {
    let old = Deep(skb)
        .load(field as usize)
        .ok_or(DropReason::Truncated)?;
    let old = u16::from_ne_bytes(old);
    if is_udp && old == 0 {
        return Ok(0);
    }
    let mut new = checksum::update(old, difference);
    if is_udp && new == 0 {
        new = 0xffff;
    }
    skb.store_anywhere(field, &new)?;
    Ok(checksum::add(u32::from(!old), u32::from(new)))
}

/// Gives the error itself its addresses. ICMPv6 has them in its checksum, IPv4 in its header's.
#[inline(always)]
pub(crate) fn readdress(
    skb: Skb,
    header: &Header,
    source: &Address,
    destination: &Address,
) -> Result<(), DropReason> {
    match header.family {
        Family::V4 => {
            let old = [header.source.v4_word(), header.destination.v4_word()];
            let new = [source.v4_word(), destination.v4_word()];
            let field = IP + V4_CHECKSUM;
            let sum = skb.load(field as usize).ok_or(DropReason::Truncated)?;
            let difference = checksum::difference(&old, &new);
            let sum = checksum::update(u16::from_ne_bytes(sum), difference);
            skb.store(field, &sum)?;
            skb.store(IP + V4_ADDRESSES, &new)
        }
        Family::V6 => {
            let from = checksum::difference(&header.source.words, &source.words);
            let to = checksum::difference(&header.destination.words, &destination.words);
            let field = u32::from(header.l4) + ICMP_CHECKSUM;
            let flags = u64::from(BPF_F_PSEUDO_HDR);
            skb.replace_in_checksum(field, 0, checksum::add(from, to), flags)?;
            skb.store(IP + V6_ADDRESSES, source)?;
            skb.store(IP + V6_ADDRESSES + 16, destination)
        }
    }
}
