//! Packets with another source or destination.

use abi::{Address, Flow};
use integration::testrun::Packet;

use super::read::{ICMP, ICMP6, Reading};
use super::{Sent, Sum};

/// Which end of a packet.
#[derive(Clone, Copy)]
enum End {
    Source,
    Destination,
}

impl Sent {
    /// A client's packet by its flow: on to the server, and where the flow says so from somebody
    /// else.
    pub(super) fn forward(packet: &Packet, reading: &Reading, flow: &Flow) -> Self {
        let mut sent = Self::to(packet, reading, flow.peer, flow.peer_port);
        let client = (flow.client, flow.client_port);
        if client != (reading.source, reading.sport) {
            write(&mut sent.frame, reading, End::Source, client);
        }
        sent
    }

    /// A server's packet by its flow: from the frontend, to the client.
    pub(super) fn reply(packet: &Packet, reading: &Reading, flow: &Flow) -> Self {
        if [ICMP, ICMP6].contains(&reading.protocol) {
            return Self::error_reply(packet, reading, flow);
        }
        let mut sent = Self::translated(packet, reading);
        let (server, client) = ((flow.peer, flow.peer_port), (flow.client, flow.client_port));
        write(&mut sent.frame, reading, End::Source, server);
        if client != (reading.destination, reading.dport) {
            write(&mut sent.frame, reading, End::Destination, client);
        }
        sent
    }

    /// A packet to another address and port.
    pub(super) fn to(packet: &Packet, reading: &Reading, address: Address, port: u16) -> Self {
        let mut sent = Self::translated(packet, reading);
        write(&mut sent.frame, reading, End::Destination, (address, port));
        sent
    }

    /// A packet from another address, of the same port.
    pub(super) fn from(packet: &Packet, reading: &Reading, address: Address) -> Self {
        let mut sent = Self::translated(packet, reading);
        let end = (address, reading.sport);
        write(&mut sent.frame, reading, End::Source, end);
        sent
    }

    fn translated(packet: &Packet, reading: &Reading) -> Self {
        let summed = reading.has_ports() || (reading.v6 && reading.protocol == ICMP6);
        Self {
            ip: (!reading.v6).then_some(Sum::Kept),
            upper: (summed && reading.has_upper()).then_some(Sum::Kept),
            ..Self::unchanged(packet)
        }
    }
}

fn write(frame: &mut [u8], reading: &Reading, end: End, (address, port): (Address, u16)) {
    let octets = address.octets();
    let (at, octets) = match (reading.v6, end) {
        (false, End::Source) => (26, &octets[12..]),
        (false, End::Destination) => (30, &octets[12..]),
        (true, End::Source) => (22, &octets[..]),
        (true, End::Destination) => (38, &octets[..]),
    };
    frame[at..at + octets.len()].copy_from_slice(octets);
    if reading.has_ports() && reading.has_upper() {
        let at = match end {
            End::Source => reading.l4,
            End::Destination => reading.l4 + 2,
        };
        frame[at..at + 2].copy_from_slice(&port.to_be_bytes());
    }
}
