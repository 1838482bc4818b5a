//! Address and port translation with incremental checksums (RFC 1624, RFC 3022 §4.2).

mod direct;

use abi::{Address, Bytes, DropReason, Family, Header, Mac, ROUTER_MAC, checksum, protocol};
use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};

use crate::skb::Skb;

const IPV4_CHECKSUM: u32 = 24;

/// Where one end of a packet stands, and in what state.
#[derive(Clone, Copy)]
struct End {
    address: Address,
    port: u16,
    /// Offset of the IPv4 address.
    v4: u32,
    /// Offset of the IPv6 address.
    v6: u32,
    /// Offset of the port inside the TCP or UDP header.
    port_offset: u32,
}

/// Gives the packet a new destination; the short way of ordinary packets is part of the caller.
#[inline(always)]
pub(crate) fn destination_here(
    skb: Skb,
    header: &Header,
    address: &Address,
    port: u16,
) -> Result<(), DropReason> {
    if direct::destination(skb, header, address, port) {
        Ok(())
    } else {
        destination_by_helper(skb, header, address, port)
    }
}

/// Gives the packet a new source, as [`destination_here`].
#[inline(always)]
pub(crate) fn source_here(
    skb: Skb,
    header: &Header,
    address: &Address,
    port: u16,
) -> Result<(), DropReason> {
    if direct::source(skb, header, address, port) {
        Ok(())
    } else {
        source_by_helper(skb, header, address, port)
    }
}

/// Gives the packet a new destination.
#[inline(never)]
pub(crate) fn destination(
    skb: Skb,
    header: &Header,
    address: &Address,
    port: u16,
) -> Result<(), DropReason> {
    destination_here(skb, header, address, port)
}

/// Gives the packet a new source.
#[inline(never)]
pub(crate) fn source(
    skb: Skb,
    header: &Header,
    address: &Address,
    port: u16,
) -> Result<(), DropReason> {
    source_here(skb, header, address, port)
}

/// Gives the packet a new destination, whatever its headers look like, and also after the other end
/// was given a new address: the header then no longer says how a checksum that is to be completed looks.
#[inline(never)]
pub(crate) fn destination_by_helper(
    skb: Skb,
    header: &Header,
    address: &Address,
    port: u16,
) -> Result<(), DropReason> {
    let end = End {
        address: header.destination,
        port: header.destination_port,
        v4: 30,
        v6: 38,
        port_offset: 2,
    };
    translate(skb, header, end, address, port)
}

/// Gives the packet a new source, whatever its headers look like, and also after the other end
/// was given a new address: the header then no longer says how a checksum that is to be completed looks.
#[inline(never)]
pub(crate) fn source_by_helper(
    skb: Skb,
    header: &Header,
    address: &Address,
    port: u16,
) -> Result<(), DropReason> {
    let end = End {
        address: header.source,
        port: header.source_port,
        v4: 26,
        v6: 22,
        port_offset: 0,
    };
    translate(skb, header, end, address, port)
}

/// Addresses the frame to a task's end of a veth.
#[inline(always)]
pub(crate) fn to_task(skb: Skb, mac: Mac) -> Result<(), DropReason> {
    let start = skb.start::<14>().ok_or(DropReason::Truncated)?;
    let [a, b, c, d, e, f] = mac;
    start.set_half::<0>(u16::from_ne_bytes([a, b]));
    start.set_half::<2>(u16::from_ne_bytes([c, d]));
    start.set_half::<4>(u16::from_ne_bytes([e, f]));
    let [a, b, c, d, e, f] = ROUTER_MAC;
    start.set_word::<6>(u32::from_ne_bytes([a, b, c, d]));
    start.set_half::<10>(u16::from_ne_bytes([e, f]));
    Ok(())
}

#[inline(always)]
fn translate(
    skb: Skb,
    header: &Header,
    end: End,
    address: &Address,
    port: u16,
) -> Result<(), DropReason> {
    match header.family {
        Family::V4 => {
            let (old, new) = ([end.address.v4_word()], [address.v4_word()]);
            let difference = checksum::difference(&old, &new);
            transport(skb, header, end, difference, port)?;
            let field = skb
                .load(IPV4_CHECKSUM as usize)
                .ok_or(DropReason::Truncated)?;
            let field = checksum::update(u16::from_ne_bytes(field), difference);
            skb.store(IPV4_CHECKSUM, &field)?;
            skb.store(end.v4, &address.v4_word())
        }
        Family::V6 => {
            let difference = checksum::difference(&end.address.words, &address.words);
            transport(skb, header, end, difference, port)?;
            skb.store(end.v6, &address.words)
        }
    }
}

/// The checksum above IP covers the addresses by its pseudo header, and the ports. The two are told
/// to the kernel apart: while a checksum is still to be completed by the device, the field holds
/// the pseudo header's sum alone.
#[inline(always)]
fn transport(
    skb: Skb,
    header: &Header,
    end: End,
    difference: u32,
    port: u16,
) -> Result<(), DropReason> {
    if !header.has_transport() {
        return Ok(());
    }
    let l4 = u32::from(header.l4);
    let (field, flags) = match header.protocol {
        protocol::TCP => (l4 + 16, 0),
        // An absent UDP checksum stays absent, and a computed zero is sent as 0xffff (RFC 768).
        protocol::UDP => (l4 + 6, u64::from(BPF_F_MARK_MANGLED_0)),
        protocol::ICMPV6 => (l4 + 2, 0),
        _ => return Ok(()),
    };
    skb.replace_in_checksum(field, 0, difference, u64::from(BPF_F_PSEUDO_HDR) | flags)?;
    if header.protocol == protocol::ICMPV6 || port == end.port {
        return Ok(());
    }
    let (from, to) = (end.port.to_be(), port.to_be());
    skb.replace_in_checksum(field, u32::from(from), u32::from(to), 2 | flags)?;
    skb.store(l4 + end.port_offset, &to)
}
