//! What frames between nodes look like, read by etherparse.

use abi::{Address, NetId, vtep};
use anyhow::{Context, Result, ensure};
use etherparse::{IpNumber, Ipv4Header, Ipv6Header, UdpHeader};
use integration::testrun::Packet;
use std::net::IpAddr;

use super::{Oracle, Sent};

/// A number that no node has.
const NOBODY: u32 = 15;

/// An outer packet without its Ethernet header.
struct Outer<'a> {
    source: Address,
    destination: Address,
    ecn: u8,
    udp: UdpHeader,
    /// From the VXLAN header on.
    payload: &'a [u8],
}

/// Reads IP and UDP where there is nothing but what a tunnel's packet has.
fn read(packet: &[u8]) -> Option<Outer<'_>> {
    let (source, destination, ecn, rest) = if packet.first()? >> 4 == 4 {
        let (ip, rest) = Ipv4Header::from_slice(packet).ok()?;
        let whole = !ip.more_fragments && ip.fragment_offset.value() == 0 && packet[6] < 0x80;
        let good = ip.header_checksum == ip.calc_header_checksum()
            && ip.options.is_empty()
            && usize::from(ip.total_len) == packet.len()
            && ip.protocol == IpNumber::UDP;
        if !whole || !good {
            return None;
        }
        let addresses = [ip.source, ip.destination].map(IpAddr::from);
        (addresses[0], addresses[1], ip.ecn.value(), rest)
    } else {
        let (ip, rest) = Ipv6Header::from_slice(packet).ok()?;
        let good =
            usize::from(ip.payload_length) + 40 == packet.len() && ip.next_header == IpNumber::UDP;
        if !good {
            return None;
        }
        let addresses = [ip.source, ip.destination].map(IpAddr::from);
        (addresses[0], addresses[1], ip.traffic_class & 3, rest)
    };
    let (udp, payload) = UdpHeader::from_slice(rest).ok()?;
    (usize::from(udp.length) == rest.len()).then(|| Outer {
        source: source.into(),
        destination: destination.into(),
        ecn,
        udp,
        payload,
    })
}

/// The network, and the frame inside.
fn open(payload: &[u8]) -> Option<(NetId, &[u8])> {
    let (header, frame) = payload.split_first_chunk::<8>()?;
    let [8, 0, 0, 0, a, b, c, 0] = *header else {
        return None;
    };
    Some((NetId(u32::from_be_bytes([0, a, b, c])), frame))
}

impl Oracle {
    /// What is inside a packet on the uplink that the program unwraps itself.
    pub(crate) fn unwrap(&self, packet: &Packet) -> Option<Packet> {
        let own = self.contents.vteps.get(&0)?;
        let (ethernet, ip) = packet.frame.split_at_checked(14)?;
        let kind = if ip.first()? >> 4 == 4 {
            [8, 0]
        } else {
            [0x86, 0xdd]
        };
        if own.flags & vtep::NATIVE == 0 || packet.gso_size != 0 || ethernet[12..] != kind {
            return None;
        }
        let outer = read(ip)?;
        let good = outer.destination == own.address
            && outer.udp.destination_port == self.contents.settings.data_path_port
            && outer.udp.checksum == 0
            && outer.ecn != 3;
        let (net, frame) = open(outer.payload).filter(|_| good)?;
        let least = match frame.get(12..14)? {
            [8, 0] => 34,
            [0x86, 0xdd] => 54,
            _ => return None,
        };
        if frame.len() < least {
            return None;
        }
        let vteps = self.contents.vteps.iter();
        let mut senders = vteps.filter(|(_, vtep)| vtep.address == outer.source);
        let sender = senders.next().map_or(NOBODY, |(number, _)| *number);
        Some(Packet {
            frame: frame.to_vec(),
            origin: [net.0, sender],
            ..packet.clone()
        })
    }

    /// Takes the outer headers from what was sent, which has to have them, or has to have none.
    pub(crate) fn strip(&self, packet: &Packet, sent: &Sent, frame: &[u8]) -> Result<Vec<u8>> {
        let Some((net, number)) = sent.carried else {
            return Ok(frame.to_vec());
        };
        let node = self.contents.vteps.get(&number).context("a node")?;
        let own = self.contents.vteps.get(&0).context("this node")?;
        // What is yet to be cut is marked as TCP's outside of test runs only.
        let is_cut = packet.gso_size == 0 || sent.told.is_some();
        // The kernel sends frames to groups nowhere, unless they come from the device, and wraps nothing
        // that it counts as wrapped.
        let is_to_group = sent.frame[0] & 1 != 0;
        if node.flags & vtep::NATIVE == 0 || !is_cut || is_to_group || packet.is_marked {
            return Ok(frame.to_vec());
        }
        let outer = read(&frame[14..]).context("no outer headers")?;
        ensure!(
            (outer.source, outer.destination) == (own.address, node.address),
            "outer addresses"
        );
        let tunnel_port = self.contents.settings.data_path_port;
        ensure!(
            outer.udp.destination_port == tunnel_port && outer.udp.source_port >= 49_152,
            "outer ports"
        );
        ensure!(outer.udp.checksum == 0, "outer checksum");
        let ttl = frame[14 + if own.address.is_v4() { 8 } else { 7 }];
        ensure!(ttl == 64, "outer TTL");
        ensure!(!own.address.is_v4() || frame[20] == 0x40, "may be cut");
        let (inside, frame) = open(outer.payload).context("no VXLAN header")?;
        ensure!(inside == net, "network {inside:?}, should be {net:?}");
        let class = match frame[14] >> 4 {
            4 => frame[15],
            _ => frame[15] >> 4,
        };
        let ecn = [0, 1, 2, 2][usize::from(class & 3)];
        ensure!(outer.ecn == ecn, "outer ECN {}", outer.ecn);
        Ok(frame.to_vec())
    }
}
