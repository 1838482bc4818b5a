//! ICMP errors about packets of flows.

use abi::{Address, DropReason, Flow, FlowKey, Iface, NetId};
use integration::testrun::Packet;

use super::flows::{self, FORWARD, REVERSE};
use super::read::{self, ICMP, ICMP6, Reading, TCP, UDP, short};
use super::{Fate, Oracle, Sent, Sum, Verdict};

/// What an error quotes: the beginning of a packet of TCP or UDP, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quote {
    pub(crate) source: (Address, u16),
    pub(crate) destination: (Address, u16),
    pub(crate) protocol: u8,
    /// Offset of the quoted IP header.
    pub(crate) ip: usize,
    /// Offset of the quoted ports.
    pub(crate) l4: usize,
}

impl Quote {
    /// What an error quotes; `None` when it is none, or quotes nothing of use.
    fn of(frame: &[u8], reading: &Reading) -> Option<Self> {
        let kinds: &[u8] = if reading.v6 {
            &[1, 2, 3, 4]
        } else {
            &[3, 11, 12]
        };
        let is_icmp = reading.protocol == if reading.v6 { ICMP6 } else { ICMP };
        if !is_icmp || reading.piece != read::Piece::Whole || !kinds.contains(&reading.kind) {
            return None;
        }
        let ip = reading.l4 + 8;
        // What follows is read from the frame, also where the IP packet has ended.
        let quoted = frame.get(ip..)?;
        let (source, destination, protocol, l4) = if reading.v6 {
            six(quoted)?
        } else {
            four(quoted)?
        };
        let l4 = ip + l4;
        if ![TCP, UDP].contains(&protocol) || l4 + 8 > reading.end {
            return None;
        }
        Some(Self {
            source: (source, short(frame, l4)),
            destination: (destination, short(frame, l4 + 2)),
            protocol,
            ip,
            l4,
        })
    }

    /// The key of the flow to whose server the quoted packet was sent.
    fn sent(&self, net: NetId, side: u8) -> FlowKey {
        flows::key(net, self.source, self.destination, (self.protocol, side))
    }

    /// The key of the flow from whose server the quoted packet came.
    fn received(&self, net: NetId, side: u8) -> FlowKey {
        flows::key(net, self.destination, self.source, (self.protocol, side))
    }
}

type Beginning = (Address, Address, u8, usize);

fn four(ip: &[u8]) -> Option<Beginning> {
    let header = ip.get(..20)?;
    let length = usize::from(header[0] % 16) * 4;
    let is_first = short(header, 6).is_multiple_of(0x2000);
    (header[0] / 16 == 4 && length >= 20 && is_first).then(|| {
        (
            read::v4(header, 12),
            read::v4(header, 16),
            header[9],
            length,
        )
    })
}

fn six(ip: &[u8]) -> Option<Beginning> {
    let header = ip.get(..40)?;
    let (source, destination) = (read::v6(header, 8), read::v6(header, 24));
    if header[0] / 16 != 6 {
        return None;
    }
    if header[6] != 44 {
        return Some((source, destination, header[6], 40));
    }
    let piece = ip.get(40..48)?;
    (short(piece, 2) < 8).then_some((source, destination, piece[0], 48))
}

impl Oracle {
    /// Looks a live flow up and leaves it alone.
    fn peek(&self, key: &FlowKey) -> Option<Flow> {
        let (_, entry) = self.flows.find(key)?;
        let mut owner = entry;
        if key.side == FORWARD && entry.flow.delivery.kind != flows::MESH {
            owner = self.flows.find(&flows::other(key, &entry.flow))?.1;
            let frontend = (owner.flow.peer, owner.flow.peer_port);
            if frontend != (key.server, key.server_port)
                || owner.flow.client_port != key.client_port
            {
                return None;
            }
        }
        (!owner.is_dead(key.protocol, &self.flows.clock)).then_some(entry.flow)
    }

    /// A task's packet to a VIP that is neither TCP, UDP nor an echo request.
    pub(super) fn vip_gets_error(
        &mut self,
        packet: &Packet,
        reading: &Reading,
        net: NetId,
    ) -> Verdict {
        let quote = Quote::of(&packet.frame, reading).ok_or(DropReason::UnknownProtocol)?;
        if quote.destination.0 != reading.source {
            return Err(DropReason::SpoofedSource);
        }
        let flow = self.peek(&quote.received(net, FORWARD));
        let flow = flow.ok_or(DropReason::NoFlow)?;
        let sent = Sent::error_onwards(packet, reading, &quote, &flow);
        self.hand_on(packet, sent, &flow.delivery, [0; 12])
    }

    /// The flow that a server's error is about.
    pub(super) fn error_of(&self, packet: &Packet, net: NetId, reading: &Reading) -> Option<Flow> {
        let quote = Quote::of(&packet.frame, reading)?;
        if quote.destination.0 != reading.source {
            return None;
        }
        self.peek(&quote.sent(net, REVERSE))
    }

    /// To this node, and neither TCP nor UDP.
    pub(super) fn error_enters(
        &mut self,
        packet: &Packet,
        reading: &Reading,
        task: Option<&Iface>,
    ) -> Verdict {
        let net = self.contents.settings.ingress_net;
        let Some(quote) = Quote::of(&packet.frame, reading) else {
            return Ok(Fate::Pass);
        };
        if task.is_some() && quote.destination.0 != reading.source {
            return Ok(Fate::Pass);
        }
        let Some(flow) = self.peek(&quote.received(net, FORWARD)) else {
            return Ok(Fate::Pass);
        };
        let sent = if flow.delivery.kind == flows::MESH {
            Sent::unchanged(packet)
        } else {
            Sent::error_onwards(packet, reading, &quote, &flow)
        };
        let mesh = super::mesh::onwards(&flow);
        self.hand_on(packet, sent, &flow.delivery, mesh)
    }

    /// An error through the mesh.
    pub(super) fn error_arrives(
        &mut self,
        packet: &Packet,
        reading: &Reading,
        node: u32,
    ) -> Verdict {
        let frame = &packet.frame;
        let quote = Quote::of(frame, reading).ok_or(DropReason::UnknownProtocol)?;
        let net = self.contents.settings.ingress_net;
        if frame[7] == 1 {
            let flow = self.peek(&quote.sent(net, FORWARD));
            return self.to_client(packet, reading, flow.ok_or(DropReason::NoFlow)?, node);
        }
        let backend = self.contents.backends.get(&read::word(frame, 2));
        let backend = *backend.ok_or(DropReason::UnknownBackend)?;
        if backend.vtep != 0 || backend.net != net {
            return Err(DropReason::NotLocal);
        }
        let port = if backend.port == 0 {
            quote.source.1
        } else {
            backend.port
        };
        let key = FlowKey {
            server: backend.address,
            server_port: port,
            ..quote.received(net, REVERSE)
        };
        let same = |flow: &Flow| {
            (flow.peer, flow.peer_port) == quote.source && flow.client_port == quote.destination.1
        };
        let onwards = if self.peek(&key).is_some_and(|flow| same(&flow)) {
            Flow {
                peer: backend.address,
                peer_port: port,
                client: quote.destination.0,
                client_port: quote.destination.1,
                ..Flow::default()
            }
        } else {
            let id = read::word(frame, 2);
            let flow = self.peek(&quote.received(net, FORWARD));
            flow.filter(|flow| flow.backend == id && flow.delivery.kind == flows::TASK)
                .ok_or(DropReason::NoFlow)?
        };
        let sent = Sent::error_onwards(packet, reading, &quote, &onwards);
        self.deliver_here(packet, sent, net, backend.address)
    }
}

impl Sent {
    /// An error about a server's packet: to the server, about what that has sent.
    fn error_onwards(packet: &Packet, reading: &Reading, quote: &Quote, flow: &Flow) -> Self {
        let (server, client) = ((flow.peer, flow.peer_port), (flow.client, flow.client_port));
        let source = if reading.source == quote.destination.0 {
            flow.client
        } else {
            reading.source
        };
        Self::error(
            packet,
            reading,
            quote,
            [source, flow.peer],
            [server, client],
        )
    }

    /// A server's error: from the frontend, about what the client has sent.
    pub(super) fn error_reply(packet: &Packet, reading: &Reading, flow: &Flow) -> Self {
        let quote = Quote::of(&packet.frame, reading).unwrap();
        let (server, client) = ((flow.peer, flow.peer_port), (flow.client, flow.client_port));
        let ends = [flow.peer, flow.client];
        Self::error(packet, reading, &quote, ends, [client, server])
    }

    /// An error with other addresses, about a packet with other ends: source and destination.
    fn error(
        packet: &Packet,
        reading: &Reading,
        quote: &Quote,
        outer: [Address; 2],
        inner: [(Address, u16); 2],
    ) -> Self {
        let mut frame = packet.frame.clone();
        let addresses = |frame: &mut [u8], ip: usize, [source, destination]: [Address; 2]| {
            let (at, skip) = if reading.v6 { (8, 0) } else { (12, 12) };
            let octets = [source.octets(), destination.octets()];
            let octets = octets.map(|octets| octets[skip..].to_vec()).concat();
            frame[ip + at..ip + at + octets.len()].copy_from_slice(&octets);
        };
        addresses(&mut frame, 14, outer);
        addresses(&mut frame, quote.ip, [inner[0].0, inner[1].0]);
        for (at, (_, port)) in [quote.l4, quote.l4 + 2].into_iter().zip(inner) {
            frame[at..at + 2].copy_from_slice(&port.to_be_bytes());
        }
        Self {
            ip: (!reading.v6).then_some(Sum::Kept),
            upper: Some(Sum::Kept),
            quote: Some(*quote),
            ..Self::exactly(frame)
        }
    }
}
