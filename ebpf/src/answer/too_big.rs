//! Fragmentation needed (RFC 1191 §4) and packet too big (RFC 4443 §3.2).

use abi::{Address, Bytes, DropReason, Family, Header, checksum, icmp, protocol};

use super::quoted;
use crate::skb::{Deep, Skb};

const IP: u32 = 14;
const TTL: u8 = 64;
const V4_ICMP: u32 = 34;
const V6_ICMP: u32 = 54;
/// Words of the packet that are quoted: the IP header and eight octets of what follows.
const V4_QUOTE: usize = 7;
const V6_QUOTE: usize = 12;
/// Octets of the ICMP message: its header and the quote.
const V4_LENGTH: u16 = 8 + 7 * 4;
const V6_LENGTH: u16 = 8 + 12 * 4;
/// Octets of padding behind the IP packet; see [`pad`].
const PADDING: u32 = 2;

/// Whether the packet may be answered so: a packet of TCP or UDP, or its first piece, without IP
/// options or extensions. An IPv4 packet that may be fragmented is answered as well: nobody here
/// will fragment it, and its sender can.
#[inline(always)]
pub(super) fn is_due(header: &Header) -> bool {
    let is_known = header.protocol == protocol::TCP || header.protocol == protocol::UDP;
    let l4 = match header.family {
        Family::V4 => V4_ICMP,
        Family::V6 => V6_ICMP,
    };
    is_known && header.has_transport() && u32::from(header.l4) == l4
}

/// Turns a packet into the error message that answers it.
#[inline(always)]
pub(super) fn write(
    skb: Skb,
    header: &Header,
    source: &Address,
    mtu: u16,
) -> Result<(), DropReason> {
    match header.family {
        Family::V4 => write_v4(skb, header, source, mtu),
        Family::V6 => write_v6(skb, header, source, mtu),
    }
}

#[inline(never)]
fn write_v4(skb: Skb, header: &Header, source: &Address, mtu: u16) -> Result<(), DropReason> {
    let quote: &[u32; V4_QUOTE] = quoted(skb)?;
    skb.renew(V4_ICMP + u32::from(V4_LENGTH) + PADDING)?;
    let [high, low] = (20 + V4_LENGTH).to_be_bytes();
    let mut ip = [
        u32::from_ne_bytes([0x45, 0xc0, high, low]),
        0,
        u32::from_ne_bytes([TTL, protocol::ICMP, 0, 0]),
        source.v4_word(),
        header.source.v4_word(),
    ];
    let [high, low] = (!checksum::fold(checksum::sum_words(&ip))).to_ne_bytes();
    ip[2] = u32::from_ne_bytes([TTL, protocol::ICMP, high, low]);
    let [mtu_high, mtu_low] = mtu.to_be_bytes();
    let mut head = [
        u32::from_ne_bytes([icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, 0, 0]),
        u32::from_ne_bytes([0, 0, mtu_high, mtu_low]),
    ];
    let sum = checksum::add(checksum::sum_words(&head), checksum::sum_words(quote));
    let [high, low] = (!checksum::fold(sum)).to_ne_bytes();
    head[0] = u32::from_ne_bytes([icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, high, low]);
    skb.store(IP, &ip)?;
    skb.store(V4_ICMP, &head)?;
    skb.store(V4_ICMP + 8, quote)?;
    pad(skb, header, V4_ICMP + u32::from(V4_LENGTH), 0)
}

#[inline(never)]
fn write_v6(skb: Skb, header: &Header, source: &Address, mtu: u16) -> Result<(), DropReason> {
    let quote: &[u32; V6_QUOTE] = quoted(skb)?;
    skb.renew(V6_ICMP + u32::from(V6_LENGTH) + PADDING)?;
    let pseudo = checksum::pseudo_header(
        &source.words,
        &header.source.words,
        V6_LENGTH,
        protocol::ICMPV6,
    );
    let mut head = [
        u32::from_ne_bytes([icmp::V6_TOO_BIG, 0, 0, 0]),
        u32::from(mtu).to_be(),
    ];
    let sum = checksum::add(checksum::sum_words(&head), checksum::sum_words(quote));
    let [high, low] = (!checksum::fold(checksum::add(pseudo, sum))).to_ne_bytes();
    head[0] = u32::from_ne_bytes([icmp::V6_TOO_BIG, 0, high, low]);
    let [high, low] = V6_LENGTH.to_be_bytes();
    skb.store(IP, &[0x60u8, 0, 0, 0, high, low, protocol::ICMPV6, TTL])?;
    skb.store(IP + 8, source)?;
    skb.store(IP + 24, &header.source)?;
    skb.store(V6_ICMP, &head)?;
    skb.store(V6_ICMP + 8, quote)?;
    pad(skb, header, V6_ICMP + u32::from(V6_LENGTH), pseudo)
}

/// Two octets behind the IP packet, which receivers cut off.
///
/// The checksum of the packet that came may have been left to a device (`CHECKSUM_PARTIAL`), and no
/// program can take that order back: from the place of the old header above IP to the end of the
/// frame it will sum, and write the complement where the old checksum stood, in the midst of the
/// message. That sum is the message's, which is nothing less the pseudo header's, and the padding's: it
/// is chosen such that what is written there is what stands there.
#[inline(always)]
fn pad(skb: Skb, header: &Header, end: u32, pseudo: u32) -> Result<(), DropReason> {
    let field = match header.protocol {
        protocol::TCP => 16,
        _ => 6,
    };
    let there = Deep(skb)
        .load(usize::from(header.l4) + field)
        .ok_or(DropReason::Truncated)?;
    let complement = u32::from(!u16::from_ne_bytes(there));
    skb.store(end, &checksum::fold(checksum::add(complement, pseudo)))
}
