//! Answers, made from scratch by etherparse where it knows the packet.

use std::net::IpAddr;

use abi::{Address, DropReason, ROUTER_MAC};
use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpDscp, IpNumber, Ipv4Header, Ipv6Header,
    TcpHeader, icmpv4, icmpv6,
};
use integration::testrun::Packet;

use super::read::{ICMP, ICMP6, Piece, Reading, TCP, word};
use super::{Sent, Sum};

/// The answer to an ARP request whose fields are good.
pub(super) fn arp(request: &[u8]) -> Sent {
    let mut frame = request.to_vec();
    frame[21] = 2;
    frame[22..28].copy_from_slice(&ROUTER_MAC);
    frame[28..32].copy_from_slice(&request[38..42]);
    frame[32..42].copy_from_slice(&request[22..32]);
    Sent::exactly(frame)
}

/// The neighbour advertisement for a solicitation.
pub(super) fn advertisement(request: &[u8], reading: &Reading) -> Sent {
    let target = &request[62..78];
    let mut body = target.to_vec();
    body.extend([2, 1]);
    body.extend(ROUTER_MAC);
    let kind = Icmpv6Type::Unknown {
        type_u8: 136,
        code_u8: 0,
        bytes5to8: [0x60, 0, 0, 0],
    };
    let target: [u8; 16] = target.try_into().unwrap();
    let asker = reading.source.octets();
    let head = Icmpv6Header::with_checksum(kind, target, asker, &body).unwrap();
    let mut ip = Ipv6Header::from_slice(&request[14..]).unwrap().0;
    ip.payload_length = 32;
    ip.hop_limit = 255;
    ip.source = target;
    ip.destination = asker;
    let mut frame = request[..14].to_vec();
    frame.extend(ip.to_bytes());
    frame.extend(head.to_bytes());
    frame.extend(body);
    Sent::exactly(frame)
}

/// The reply to an echo request.
pub(super) fn echo(request: &[u8], reading: &Reading) -> Sent {
    let mut frame = request.to_vec();
    turn(&mut frame, reading);
    frame[reading.l4] = if reading.v6 { 129 } else { 0 };
    Sent {
        upper: Some(Sum::Kept),
        ..Sent::exactly(frame)
    }
}

fn turn(frame: &mut [u8], reading: &Reading) {
    let (at, length) = if reading.v6 { (22, 16) } else { (26, 4) };
    let (from, to) = frame[at..at + 2 * length].split_at_mut(length);
    from.swap_with_slice(to);
}

/// Tells the sender that its packet goes nowhere.
///
/// # Errors
/// `reason`, when nobody is told of it, or such a packet is not answered.
pub(super) fn refuse(
    packet: &Packet,
    reading: &Reading,
    reason: DropReason,
) -> Result<Sent, DropReason> {
    let told = [
        DropReason::NoBackend,
        DropReason::NoPort,
        DropReason::NoFlow,
        DropReason::Collision,
        DropReason::NoEndpoint,
    ];
    let answer = if !told.contains(&reason) || !reading.has_upper() {
        None
    } else if reading.protocol == TCP {
        reset(packet, reading)
    } else {
        unreachable(&packet.frame, reading)
    };
    let sent = answer.ok_or(reason)?;
    Ok(Sent {
        told: Some(reason),
        ..sent
    })
}

/// RFC 9293 §3.10.7.1. The kernel cuts nothing that it counts as wrapped: there the reset has the rest of
/// the segment for its data.
fn reset(packet: &Packet, reading: &Reading) -> Option<Sent> {
    let (frame, l4) = (&packet.frame[..], reading.l4);
    if reading.kind & 0x04 != 0 || reading.piece != Piece::Whole {
        return None;
    }
    let mut tcp = TcpHeader::new(reading.dport, reading.sport, 0, 0);
    tcp.rst = true;
    if reading.kind & 0x10 != 0 {
        tcp.sequence_number = word(frame, l4 + 8);
    } else {
        let data = reading.end - l4 - usize::from(frame[l4 + 12] / 16) * 4;
        let data = u32::try_from(data).unwrap();
        let marks = u32::from(reading.kind & 1) + u32::from((reading.kind / 2) & 1);
        tcp.ack = true;
        tcp.acknowledgment_number = word(frame, l4 + 4).wrapping_add(data + marks);
    }
    let mut answer = frame[..l4].to_vec();
    turn(&mut answer, reading);
    let (rest, upper) = if packet.is_marked {
        (&frame[l4 + 20..], Sum::Kept)
    } else {
        (&[][..], Sum::Right)
    };
    let end = if packet.is_marked {
        reading.end
    } else {
        l4 + 20
    };
    let length = u16::try_from(end).unwrap();
    if reading.v6 {
        answer[18..20].copy_from_slice(&(length - 54).to_be_bytes());
        answer[21] = 64;
    } else {
        answer[16..18].copy_from_slice(&(length - 14).to_be_bytes());
        answer[22] = 64;
    }
    answer.extend(&tcp.to_bytes());
    answer.extend(rest);
    Some(Sent {
        ip: (!reading.v6).then_some(Sum::Kept),
        upper: Some(upper),
        ..Sent::exactly(answer)
    })
}

/// RFC 792, RFC 4443 §3.1: a quote of the packet's IP header and eight octets behind it. There is
/// none for a packet with IP options or extension headers, and none for ICMP but an echo request.
fn unreachable(frame: &[u8], reading: &Reading) -> Option<Sent> {
    let is_icmp = reading.protocol == ICMP || reading.protocol == ICMP6;
    if (is_icmp && !reading.is_echo()) || reading.l4 != if reading.v6 { 54 } else { 34 } {
        return None;
    }
    let quote = frame[..reading.end].get(14..reading.l4 + 8)?;
    let (asker, asked) = (reading.source, reading.destination);
    let mut answer = frame[..14].to_vec();
    if reading.v6 {
        let kind = Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port);
        let (from, to) = (asked.octets(), asker.octets());
        let head = Icmpv6Header::with_checksum(kind, from, to, quote).unwrap();
        let ip = Ipv6Header {
            payload_length: 56,
            next_header: IpNumber::IPV6_ICMP,
            hop_limit: 64,
            source: from,
            destination: to,
            ..Ipv6Header::default()
        };
        answer.extend(ip.to_bytes());
        answer.extend(head.to_bytes());
    } else {
        let kind = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port);
        let head = Icmpv4Header::with_checksum(kind, quote);
        let (from, to) = (v4_octets(asked), v4_octets(asker));
        let mut ip = Ipv4Header::new(36, 64, IpNumber::ICMP, from, to).unwrap();
        ip.dscp = IpDscp::try_new(48).unwrap();
        ip.dont_fragment = false;
        ip.header_checksum = ip.calc_header_checksum();
        answer.extend(&ip.to_bytes());
        answer.extend(&head.to_bytes());
    }
    answer.extend(quote);
    Some(Sent::exactly(answer))
}

/// RFC 1191 §4, RFC 4443 §3.2, with two octets behind it.
pub(super) fn too_big(packet: &Packet, reading: &Reading, from: Address, mtu: u16) -> Sent {
    let quote = &packet.frame[14..reading.l4 + 8];
    let to = reading.source;
    let mut answer = packet.frame[..14].to_vec();
    if reading.v6 {
        let kind = Icmpv6Type::PacketTooBig { mtu: mtu.into() };
        let (from, to) = (from.octets(), to.octets());
        let head = Icmpv6Header::with_checksum(kind, from, to, quote).unwrap();
        let ip = Ipv6Header {
            payload_length: 56,
            next_header: IpNumber::IPV6_ICMP,
            hop_limit: 64,
            source: from,
            destination: to,
            ..Ipv6Header::default()
        };
        answer.extend(ip.to_bytes());
        answer.extend(head.to_bytes());
    } else {
        let kind = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
        let head = Icmpv4Header::with_checksum(Icmpv4Type::DestinationUnreachable(kind), quote);
        let (from, to) = (v4_octets(from), v4_octets(to));
        let mut ip = Ipv4Header::new(36, 64, IpNumber::ICMP, from, to).unwrap();
        ip.dscp = IpDscp::try_new(48).unwrap();
        ip.dont_fragment = false;
        ip.header_checksum = ip.calc_header_checksum();
        answer.extend(&ip.to_bytes());
        answer.extend(&head.to_bytes());
    }
    answer.extend(quote);
    Sent {
        told: Some(DropReason::TooBig),
        padded: true,
        ..Sent::exactly(answer)
    }
}

fn v4_octets(address: Address) -> [u8; 4] {
    match IpAddr::from(address) {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(_) => [0; 4],
    }
}
