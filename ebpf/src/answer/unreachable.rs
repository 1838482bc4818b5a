//! Destination unreachable, port unreachable (RFC 792, RFC 4443 §3.1).

use abi::{DropReason, Family, Header, checksum, icmp, protocol};

use super::{quote, quoted};
use crate::skb::Skb;

const IP: u32 = 14;
const TTL: u8 = 64;
const V4_ICMP: u32 = 34;
const V6_ICMP: u32 = 54;
/// Octets above IP that are quoted: a packet with fewer cannot be told apart by its sender.
const QUOTED: u32 = 8;
/// Words of the packet that are quoted: the IP header and eight octets of what follows.
const V4_QUOTE: usize = 7;
const V6_QUOTE: usize = 12;
/// Octets of the ICMP message: its header and the quote.
const V4_LENGTH: u16 = 8 + 7 * 4;
const V6_LENGTH: u16 = 8 + 12 * 4;

/// Whether the packet may be answered so: no ICMP but echo requests, no IP options or extensions, and
/// enough to quote.
#[inline(always)]
pub(super) fn is_due(header: &Header) -> bool {
    let is_icmp = header.protocol == protocol::ICMP || header.protocol == protocol::ICMPV6;
    if is_icmp && !header.is_echo_request() {
        return false;
    }
    let l4 = match header.family {
        Family::V4 => V4_ICMP,
        Family::V6 => V6_ICMP,
    };
    u32::from(header.l4) == l4 && header.end >= l4 + QUOTED
}

/// Turns a packet into the error message that answers it.
#[inline(always)]
pub(super) fn write(skb: Skb, header: &Header) -> Result<(), DropReason> {
    match header.family {
        Family::V4 => {
            quoted::<V4_QUOTE>(skb)?;
            skb.renew(V4_ICMP + u32::from(V4_LENGTH))?;
            write_v4(skb, header)
        }
        Family::V6 => {
            quoted::<V6_QUOTE>(skb)?;
            skb.renew(V6_ICMP + u32::from(V6_LENGTH))?;
            super::swap_addresses(skb, header)?;
            write_v6(skb, header)
        }
    }
}

#[inline(never)]
fn write_v4(skb: Skb, header: &Header) -> Result<(), DropReason> {
    let quote: &[u32; V4_QUOTE] = quote()?;
    let [high, low] = (20 + V4_LENGTH).to_be_bytes();
    let mut ip = [
        u32::from_ne_bytes([0x45, 0xc0, high, low]),
        0,
        u32::from_ne_bytes([TTL, protocol::ICMP, 0, 0]),
        header.destination.v4_word(),
        header.source.v4_word(),
    ];
    let [high, low] = (!checksum::fold(checksum::sum_words(&ip))).to_ne_bytes();
    ip[2] = u32::from_ne_bytes([TTL, protocol::ICMP, high, low]);
    let [high, low] = (!checksum::fold(checksum::add(
        u32::from(u16::from_ne_bytes([
            icmp::UNREACHABLE,
            icmp::PORT_UNREACHABLE,
        ])),
        checksum::sum_words(quote),
    )))
    .to_ne_bytes();
    skb.store(IP, &ip)?;
    skb.store(
        V4_ICMP,
        &[
            icmp::UNREACHABLE,
            icmp::PORT_UNREACHABLE,
            high,
            low,
            0,
            0,
            0,
            0,
        ],
    )?;
    skb.store(V4_ICMP + 8, quote)
}

#[inline(never)]
fn write_v6(skb: Skb, header: &Header) -> Result<(), DropReason> {
    let quote: &[u32; V6_QUOTE] = quote()?;
    let [high, low] = V6_LENGTH.to_be_bytes();
    let pseudo = checksum::pseudo_header(
        &header.source.words,
        &header.destination.words,
        V6_LENGTH,
        protocol::ICMPV6,
    );
    let kind = u16::from_ne_bytes([icmp::V6_UNREACHABLE, icmp::V6_PORT_UNREACHABLE]);
    let sum = checksum::add(super::sum(quote, pseudo), u32::from(kind));
    let [sum_high, sum_low] = (!checksum::fold(sum)).to_ne_bytes();
    skb.store(IP, &[0x60u8, 0, 0, 0, high, low, protocol::ICMPV6, TTL])?;
    let head = [
        icmp::V6_UNREACHABLE,
        icmp::V6_PORT_UNREACHABLE,
        sum_high,
        sum_low,
        0,
        0,
        0,
        0,
    ];
    skb.store(V6_ICMP, &head)?;
    skb.store(V6_ICMP + 8, quote)
}
