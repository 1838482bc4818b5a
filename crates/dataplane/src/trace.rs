//! What the kernel programs would do with a packet, told step by step from the tables as they are,
//! without sending anything.
//!
//! It is an explainer written beside the programs, not the programs themselves: tests compare what it
//! says with what they do. It speaks of the first packet of a connection (a SYN, a datagram), and of
//! a later one where the tables hold its flow.

mod algorithm;
mod balance;
mod flows;
mod kernel;
mod network;
mod published;

pub use self::algorithm::algorithm_name;
pub use self::kernel::{Place, TraceError};

use std::net::{IpAddr, SocketAddr};

use abi::{
    Address, Backend, DropReason, Endpoint, Flow, FlowKey, Iface, NetId, Network, PublishedKey,
    Service, ServiceKey, Settings, Vtep, vtep,
};

/// The tables, one entry at a time.
pub trait Tables {
    /// This node's settings.
    fn settings(&self) -> Option<Settings>;
    /// The attachment at an interface.
    fn iface(&self, ifindex: u32) -> Option<Iface>;
    /// Where an address is.
    fn endpoint(&self, net: NetId, address: Address) -> Option<Endpoint>;
    /// A network's own addresses.
    fn network(&self, net: NetId) -> Option<Network>;
    /// How a node is reached, by its number; 0 is this node.
    fn vtep(&self, number: u32) -> Option<Vtep>;
    /// A node's number by its underlay address.
    fn node_number(&self, address: Address) -> Option<u32>;
    /// Whether the node has this address itself.
    fn is_own(&self, address: Address) -> bool;
    /// A frontend inside a network.
    fn service(&self, key: ServiceKey) -> Option<Service>;
    /// A published port.
    fn published(&self, key: PublishedKey) -> Option<Service>;
    /// What a service's cursor says next.
    fn cursor(&self, service: u32) -> Option<u32>;
    /// A place of the flat array of picks.
    fn pick(&self, index: u32) -> Option<u32>;
    /// A backend by its number.
    fn backend(&self, id: u32) -> Option<Backend>;
    /// A flow's entry, established ones before openings.
    fn flow(&self, key: FlowKey) -> Option<Flow>;
    /// The clock of the flows, in nanoseconds.
    fn now_ns(&self) -> u64;
}

/// The packet that is spoken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// TCP or UDP, as on the wire.
    pub protocol: u8,
    /// The sender.
    pub source: SocketAddr,
    /// Where it is sent to.
    pub destination: SocketAddr,
}

/// Where a packet meets the first program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A task sends it; the number is that of the node's end of the attachment.
    Task(u32),
    /// It arrives on this uplink.
    Uplink(u32),
    /// It comes from another node.
    Overlay {
        /// The network that it comes in.
        net: NetId,
        /// The sending node's underlay address.
        from: IpAddr,
        /// The backend that the sending node has chosen, of a packet through the mesh.
        backend: u32,
    },
}

/// One lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The table.
    pub table: &'static str,
    /// What was looked for.
    pub key: String,
    /// What was found, and what follows from it.
    pub found: String,
}

/// What becomes of the packet on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes into the task behind this interface.
    Task(u32),
    /// It goes to another node.
    Node {
        /// That node's underlay address.
        to: IpAddr,
        /// The network that it travels in.
        net: NetId,
        /// The backend that travels with it through the mesh, else 0.
        backend: u32,
        /// Whether the programs write the tunnel's headers themselves; else the device does.
        native: bool,
    },
    /// It leaves by this uplink.
    Uplink(u32),
    /// It goes to one of the node's own processes, by the node's attachment.
    Own,
    /// It is left to the node's own stack.
    Stack,
    /// It is dropped.
    Dropped {
        /// Why.
        reason: DropReason,
        /// Whether the sender is told.
        told: bool,
    },
    /// The tables hold something that this explainer cannot follow.
    Unknown(&'static str),
}

/// A packet's way on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The program that decides.
    pub program: &'static str,
    /// Its lookups, in their order.
    pub steps: Vec<Step>,
    /// What becomes of the packet.
    pub outcome: Outcome,
    /// The packet as it goes on.
    pub packet: Packet,
    /// The backend's number, 0 when there is none.
    pub backend: u32,
    /// Whether the packet opens a flow.
    pub opens: bool,
}

/// Follows a packet through the program at `entry`.
#[must_use]
pub fn follow(tables: &dyn Tables, entry: Entry, packet: Packet) -> Path {
    let program = match entry {
        Entry::Task(_) => "from_task",
        Entry::Uplink(_) => "from_uplink",
        Entry::Overlay { .. } => "from_overlay",
    };
    let mut walk = Walk {
        tables,
        avoid: 0,
        path: Path {
            program,
            steps: Vec::new(),
            outcome: Outcome::Stack,
            packet,
            backend: 0,
            opens: false,
        },
    };
    let end = match entry {
        Entry::Task(ifindex) => walk.task_sends(ifindex),
        Entry::Uplink(ifindex) => walk.outside_sends(ifindex),
        Entry::Overlay { net, from, backend } => walk.node_sends(net, from, backend),
    };
    walk.path.outcome = match end {
        Ok(outcome) => outcome,
        Err(Stop::Dropped { reason, told }) => Outcome::Dropped { reason, told },
        Err(Stop::Unknown(what)) => Outcome::Unknown(what),
    };
    walk.path
}

/// Why a packet goes no further.
enum Stop {
    Dropped { reason: DropReason, told: bool },
    Unknown(&'static str),
}

impl From<DropReason> for Stop {
    fn from(reason: DropReason) -> Self {
        let told = false;
        Self::Dropped { reason, told }
    }
}

impl Stop {
    /// The sender of what is refused here is told, if ever senders are.
    fn told(self) -> Self {
        match self {
            Self::Dropped { reason, .. } => Self::Dropped {
                reason,
                told: reason.is_told(),
            },
            unknown @ Self::Unknown(_) => unknown,
        }
    }
}

/// A packet on its way.
struct Walk<'a> {
    tables: &'a dyn Tables,
    path: Path,
    /// The backend that has not answered the same packet, 0 for none.
    avoid: u32,
}

impl Walk<'_> {
    fn note(&mut self, table: &'static str, key: impl Into<String>, found: impl Into<String>) {
        self.path.steps.push(Step {
            table,
            key: key.into(),
            found: found.into(),
        });
    }

    fn source(&self) -> Address {
        self.path.packet.source.ip().into()
    }

    fn destination(&self) -> Address {
        self.path.packet.destination.ip().into()
    }

    fn settings(&mut self) -> Result<Settings, Stop> {
        let settings = self.tables.settings().unwrap_or_default();
        if settings.vxlan_ifindex == 0 {
            self.note("settings", "", "no tunnel yet");
            return Err(DropReason::NotReady.into());
        }
        Ok(settings)
    }

    /// Hands the packet to the carrier.
    fn carry(&mut self, net: NetId, number: u32, backend: u32) -> Result<Outcome, Stop> {
        self.settings()?;
        let vtep = |number| {
            let found = self.tables.vtep(number);
            found.filter(|it| !it.address.is_unspecified())
        };
        let (Some(there), Some(_)) = (vtep(number), vtep(0)) else {
            self.note("vteps", number.to_string(), "no node has this number");
            return Err(DropReason::NoVtep.into());
        };
        let to = IpAddr::from(there.address);
        let native = there.flags & vtep::NATIVE != 0;
        let carrier = if native { "native" } else { "device" };
        self.note(
            "vteps",
            number.to_string(),
            format!("{to}, carrier {carrier}"),
        );
        Ok(Outcome::Node {
            to,
            net,
            backend,
            native,
        })
    }

    /// A node's underlay address.
    fn node(&self, number: u32) -> Option<Address> {
        Some(self.tables.vtep(number)?.address)
    }
}

/// How a network is called.
fn network(net: NetId) -> String {
    match net {
        NetId::GATEWAY => "gateway".to_owned(),
        NetId(number) => number.to_string(),
    }
}
