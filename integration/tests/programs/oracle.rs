//! What each program must do to a packet, from the design and the RFCs. Types of keys and values
//! are shared with the programs; reading, picking, translating and answering are not.

mod answers;
mod carrier;
mod direct;
mod errors;
pub(crate) mod flows;
mod from_overlay;
mod from_task;
mod live;
mod mesh;
mod node;
mod pick;
pub(crate) mod read;
mod second;
mod size;
mod translate;
mod vip;

use std::collections::BTreeMap;

use abi::{Address, AffinityKey, DropReason, Endpoint, EndpointKey, Mac, NetId, ROUTER_MAC, iface};
use integration::testrun::{Contents, Packet, Program};

pub(crate) use errors::Quote;
use flows::Flows;
use read::{Piece, Reading, UDP, Unreadable};

/// What must become of a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sum {
    /// Right if it was right, and wrong by as much as it was.
    Kept,
    Right,
}

/// A packet that is sent on.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// The frame; the checksums named below count as zero.
    pub(crate) frame: Vec<u8>,
    /// The IPv4 header's checksum, when it is not to be as in `frame`.
    pub(crate) ip: Option<Sum>,
    /// The checksum above IP, when it is not to be as in `frame`.
    pub(crate) upper: Option<Sum>,
    /// Counted like a drop, since the sender is told that its packet was.
    pub(crate) told: Option<DropReason>,
    /// What an error quotes, whose checksums stay as right as they were.
    pub(crate) quote: Option<Quote>,
    /// Two octets follow that a device which completes the checksum of the packet that came can sum
    /// up without harm.
    pub(crate) padded: bool,
    /// The network in which it goes to a node, and the node's number.
    pub(crate) carried: Option<(NetId, u32)>,
}

/// What becomes of a packet that is not dropped.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    Pass,
    Sent(Sent),
}

pub(crate) type Verdict = Result<Fate, DropReason>;

/// The pieces of one packet: network, identification, source, destination, protocol.
type Pieces = (NetId, u32, Address, Address, u8);

/// The oracle with what it remembers.
#[derive(Clone, Debug)]
pub(crate) struct Oracle {
    pub(crate) contents: Contents,
    pub(crate) flows: Flows,
    ports: BTreeMap<Pieces, (u16, u16)>,
    /// Where clients stay.
    pub(crate) clients: BTreeMap<AffinityKey, u32>,
    /// What destinations lead to.
    pub(crate) destinations: BTreeMap<AffinityKey, [u32; 8]>,
}

impl Oracle {
    pub(crate) fn new(contents: Contents) -> Self {
        let backends = contents.backends.iter();
        let flows = Flows {
            loads: contents.loads.clone(),
            staying: backends
                .filter(|(_, backend)| backend.state == 1)
                .map(|(id, _)| *id)
                .collect(),
            ..Flows::default()
        };
        Self {
            contents,
            flows,
            ports: BTreeMap::new(),
            clients: BTreeMap::new(),
            destinations: BTreeMap::new(),
        }
    }

    /// What the program must do to the packet.
    pub(crate) fn judge(&mut self, program: Program, packet: &Packet) -> Verdict {
        let reading = Reading::of(&packet.frame);
        match program {
            Program::FromTask => self.task_sends(packet, reading),
            Program::ToTask => self.task_gets(packet, reading),
            Program::FromOverlay => self.node_sends(packet, reading),
            Program::FromUplink => self.outside_sends(packet, reading),
        }
    }

    fn task_gets(&self, packet: &Packet, reading: Result<Reading, Unreadable>) -> Verdict {
        let reading = match reading {
            Ok(reading) => reading,
            Err(Unreadable::Broken(reason)) => return Err(reason),
            Err(_) => return Err(DropReason::NeighbourNoise),
        };
        let Some(iface) = self.contents.ifaces.get(&packet.ifindex) else {
            return Err(DropReason::UnknownInterface);
        };
        if is_group(&reading.destination) {
            Err(DropReason::Multicast)
        } else if ![iface.v4, iface.v6].contains(&reading.destination) {
            Err(DropReason::NoEndpoint)
        } else if packet.mark == 0x6e65_7464 {
            Err(DropReason::Unsolicited)
        } else {
            Ok(Fate::Pass)
        }
    }

    fn outside_sends(&mut self, packet: &Packet, reading: Result<Reading, Unreadable>) -> Verdict {
        let settings = self.contents.settings;
        let Ok(reading) = reading else {
            return Ok(Fate::Pass);
        };
        let is_tunnel = reading.protocol == UDP && reading.dport == settings.data_path_port;
        if settings.ingress_net == NetId(0) || is_tunnel {
            return Ok(Fate::Pass);
        }
        self.enter(packet, reading, None)
    }

    fn ready(&self) -> Result<(), DropReason> {
        if self.contents.settings.vxlan_ifindex == 0 {
            return Err(DropReason::NotReady);
        }
        Ok(())
    }

    fn endpoint(&self, net: NetId, address: Address) -> Option<Endpoint> {
        let key = EndpointKey { net, address };
        self.contents.endpoints.get(&key).copied()
    }

    /// The underlay address of a node.
    fn node(&self, number: u32) -> Option<Address> {
        let vtep = self.contents.vteps.get(&number)?;
        (vtep.address != Address::default()).then_some(vtep.address)
    }

    /// Keeps the ports of a first piece and finds those of a later one.
    fn pieces(&mut self, net: NetId, reading: &mut Reading) -> Result<(), DropReason> {
        self.keep_ports(net, reading);
        self.find_ports(net, reading)
    }

    fn keep_ports(&mut self, net: NetId, reading: &Reading) {
        if reading.piece == Piece::First {
            let ports = (reading.sport, reading.dport);
            self.ports.insert(pieces(net, reading), ports);
        }
    }

    fn find_ports(&self, net: NetId, reading: &mut Reading) -> Result<(), DropReason> {
        if reading.piece == Piece::Later {
            let ports = self.ports.get(&pieces(net, reading));
            let (sport, dport) = *ports.ok_or(DropReason::OrphanFragment)?;
            (reading.sport, reading.dport) = (sport, dport);
        }
        Ok(())
    }

    /// To the endpoint that `frame` is addressed to.
    fn deliver(&self, packet: &Packet, sent: Sent, endpoint: &Endpoint) -> Verdict {
        if endpoint.kind != 1 {
            return Err(DropReason::NoEndpoint);
        }
        if endpoint.vtep != 0 {
            return self.tunnel(packet, sent, endpoint.vtep);
        }
        Ok(Fate::Sent(to_mac(sent, endpoint.mac)))
    }

    /// To another node, which is possible when it is known and the packet fits.
    fn tunnel(&self, packet: &Packet, sent: Sent, node: u32) -> Verdict {
        self.ready()?;
        if self.node(node).is_none() || self.node(0).is_none() {
            return Err(DropReason::NoVtep);
        }
        let limit = usize::from(self.contents.settings.overlay_mtu) + 14;
        if packet.gso_size == 0 && packet.frame.len() > limit {
            return Err(DropReason::TooBig);
        }
        let iface = self.contents.ifaces.get(&packet.ifindex);
        let net = iface
            .filter(|iface| !is_gateway(iface))
            .map_or(self.contents.settings.ingress_net, |iface| iface.net);
        Ok(Fate::Sent(Sent {
            carried: Some((net, node)),
            ..sent
        }))
    }
}

fn pieces(net: NetId, reading: &Reading) -> Pieces {
    (
        net,
        reading.id,
        reading.source,
        reading.destination,
        reading.protocol,
    )
}

/// Addresses a frame to a task.
fn to_mac(mut sent: Sent, mac: Mac) -> Sent {
    sent.frame[..6].copy_from_slice(&mac);
    sent.frame[6..12].copy_from_slice(&ROUTER_MAC);
    sent
}

impl Sent {
    /// The packet as it is.
    fn unchanged(packet: &Packet) -> Self {
        Self::exactly(packet.frame.clone())
    }

    fn exactly(frame: Vec<u8>) -> Self {
        Self {
            frame,
            ip: None,
            upper: None,
            told: None,
            quote: None,
            padded: false,
            carried: None,
        }
    }
}

/// Multicast, or the reserved and broadcast addresses above it.
fn is_group(address: &Address) -> bool {
    let octets = address.octets();
    if address.is_v4() {
        octets[12] >= 224
    } else {
        octets[0] == 0xff
    }
}

const fn is_gateway(iface: &abi::Iface) -> bool {
    iface.flags & iface::GATEWAY != 0
}

const fn backs(iface: &abi::Iface) -> bool {
    iface.flags & iface::BACKS != 0
}
