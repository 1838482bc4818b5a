//! A probe: a real packet, and what the kernel programs have made of it on its way.
//!
//! [`Dataplane::watch`] tells this node's programs whose packets to note, for a short time; [`send`] dials
//! from where a task or the node is; [`Dataplane::sightings`] reads what was noted. The three may happen
//! on different nodes.

mod frame;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use abi::{Address, DropReason, Observer, Sight, TunnelKey, decision, protocol, tcp};

use crate::handle::Dataplane;
use crate::kernel::bpf::{TableError, clock_ns};
use crate::read::{ReadError, ReadFailure};
use crate::trace::{Outcome, Packet};
use crate::watch::link_name;

use self::frame::Frame;

pub use crate::kernel::dial::{Answer, Dial, DialError, Sent, send};

/// How often a probe that somebody else has ended is begun again.
const ATTEMPTS: usize = 8;

/// Whose packets are noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// TCP or UDP, as on the wire.
    pub protocol: u8,
    /// Its addresses, the second being what its own network shows of it when it dials itself; `None` when
    /// they are not known, and its port has to do.
    pub addresses: Option<[IpAddr; 2]>,
    /// Its port.
    pub port: u16,
    /// What it dials.
    pub dialled: SocketAddr,
}

/// What a program has made of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// When, by this node's clock.
    pub time: SystemTime,
    /// The program.
    pub program: &'static str,
    /// The interface on whose hook it ran; `None` for a socket hook, or when that is gone.
    pub interface: Option<String>,
    /// What the packet has to do with the probe.
    pub kind: Kind,
    /// The packet as it came in. An ICMP error has no ports.
    pub packet: Packet,
    /// What became of it.
    pub outcome: Outcome,
    /// The packet as it went on, inside the tunnel where there is one.
    pub left: Packet,
}

/// What a packet has to do with a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is the probe: the first packet, perhaps sent again.
    Probe,
    /// It is the answer: a SYN-ACK, a reset, a datagram.
    Answer,
    /// It is an ICMP error to the client.
    Error,
    /// It belongs to what follows.
    Later,
}

impl Dataplane {
    /// Has this node's programs note the packets of `client` for as long as `time` says, or until
    /// [`Self::sightings`] is called. Returns `false` when somebody else is watched.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn watch(&mut self, client: &Client, time: Duration) -> Result<bool, ReadError> {
        let now = clock_ns();
        let table = &self.maps.probe;
        let present = table.get(&0).map_err(failure)?.unwrap_or_default();
        if present.until_ns > now {
            return Ok(false);
        }
        // Of one that nobody has asked for.
        drop(self.samples.sightings());
        let until = now.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        let [address, alias] = client
            .addresses
            .map_or([Address::UNSPECIFIED; 2], |both| both.map(Address::from));
        let wanted = abi::Probe {
            until_ns: until,
            client: address,
            alias,
            dialled: client.dialled.ip().into(),
            port: client.port,
            dialled_port: client.dialled.port(),
            protocol: client.protocol,
            reserved: [0; 3],
        };
        // A program that ends what was forgotten may end this with it, one on each CPU.
        for _ in 0..ATTEMPTS {
            table.put(&0, &wanted).map_err(failure)?;
            if table.get(&0).map_err(failure)? == Some(wanted) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the programs have noted since [`Self::watch`], in order; they note nothing more.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn sightings(&mut self) -> Result<Vec<Sighting>, ReadError> {
        let table = &self.maps.probe;
        table.put(&0, &abi::Probe::default()).map_err(failure)?;
        let settings = self.maps.settings.get(&0).map_err(failure)?;
        let settings = settings.unwrap_or_default();
        // The wall clock may be set: it is asked soon.
        let (now, wall) = (clock_ns(), SystemTime::now());
        let mut noted = self.samples.sightings();
        noted.sort_by_key(|it| it.time_ns);
        let time = |noted: &abi::Sighting| {
            let age = Duration::from_nanos(now.saturating_sub(noted.time_ns));
            wall.checked_sub(age).unwrap_or(wall)
        };
        let read = |noted: &abi::Sighting| read(noted, &settings, time(noted));
        Ok(noted.iter().filter_map(read).collect())
    }
}

fn failure(error: TableError) -> ReadFailure {
    error.into()
}

fn read(noted: &abi::Sighting, settings: &abi::Settings, time: SystemTime) -> Option<Sighting> {
    let protocol = u8::try_from(noted.protocol).ok()?;
    let packet = Packet {
        protocol,
        source: SocketAddr::new(noted.source.into(), noted.source_port),
        destination: SocketAddr::new(noted.destination.into(), noted.destination_port),
    };
    let frame = Frame::of(noted);
    let (outcome, left) = outcome(noted, settings, &frame);
    Some(Sighting {
        time,
        program: program(noted.observer)?,
        interface: link_name(noted.ifindex),
        kind: kind(noted),
        packet,
        outcome,
        left: left.unwrap_or(packet),
    })
}

fn program(observer: u32) -> Option<&'static str> {
    const NAMES: [(Observer, &str); 5] = [
        (Observer::FromTask, "from_task"),
        (Observer::ToTask, "to_task"),
        (Observer::FromOverlay, "from_overlay"),
        (Observer::FromUplink, "from_uplink"),
        (Observer::Socket, "socket"),
    ];
    let found = NAMES.iter().find(|(it, _)| *it as u32 == observer);
    found.map(|(_, name)| *name)
}

fn kind(noted: &abi::Sighting) -> Kind {
    let is_tcp = noted.protocol == u32::from(protocol::TCP);
    let flags = noted.flags.to_le_bytes()[0];
    let first = noted.sight == Sight::Sent as u32;
    if noted.sight == Sight::Error as u32 {
        Kind::Error
    } else if first
        && (!is_tcp || noted.observer == Observer::Socket as u32 || tcp::is_initial(flags))
    {
        Kind::Probe
    } else if !first && (!is_tcp || flags & (tcp::SYN | tcp::RST) != 0) {
        Kind::Answer
    } else {
        Kind::Later
    }
}

/// What became of a packet, and how it went on as far as that can be read.
fn outcome(
    noted: &abi::Sighting,
    settings: &abi::Settings,
    frame: &Frame,
) -> (Outcome, Option<Packet>) {
    let dropped = |told| match DropReason::from_u32(noted.reason) {
        Some(reason) => Outcome::Dropped { reason, told },
        None => Outcome::Unknown("dropped, for a reason that this netd does not know"),
    };
    match noted.decision {
        decision::DROPPED => (dropped(noted.observer == Observer::Socket as u32), None),
        // What is left is the answer.
        decision::REFUSED => (dropped(true), None),
        decision::PASS => (Outcome::Stack, frame.packet()),
        decision::PEER => (Outcome::Task(noted.target), frame.packet()),
        decision::NEIGHBOUR | decision::ROUTED => (Outcome::Uplink(noted.target), frame.packet()),
        decision::DEVICE if noted.target == settings.vxlan_ifindex => {
            let key = TunnelKey::read(&noted.key, noted.key_family);
            let tunnel = key.map(|key| Outcome::Node {
                to: key.to.into(),
                net: key.net,
                backend: frame.backend(key.net, settings),
                native: false,
            });
            let lost = Outcome::Unknown("the tunnel's device, with no key");
            (tunnel.unwrap_or(lost), frame.packet())
        }
        decision::DEVICE => (Outcome::Own, frame.packet()),
        decision::ARRANGED => match frame.inside(settings) {
            Some((to, net, inner)) => {
                let tunnel = Outcome::Node {
                    to,
                    net,
                    backend: inner.backend(net, settings),
                    native: true,
                };
                (tunnel, inner.packet())
            }
            None => (Outcome::Uplink(noted.target), frame.packet()),
        },
        _ => (Outcome::Unknown("an action of another version"), None),
    }
}

#[cfg(test)]
mod tests;
