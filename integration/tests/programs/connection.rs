//! Whole connections, packet by packet: what stands in the flow tables and in the counts at every
//! step, on the client's node and on the backend's.

mod forlorn;
mod tables;

use abi::{Address, FlowState, Seen};
use anyhow::{Context, Result, ensure};
use integration::can_make_labs;
use integration::testrun::{FlowTable, Kernel, Packet, Program};

use crate::oracle::Oracle;
use crate::oracle::flows::REVERSE;
use crate::sketch::Sketch;
use crate::trial::{self, Namespace};
use crate::world::{INGRESS, NETWORK, NODES, OUTSIDE, UPLINK, pair};

use tables::{CLIENT, FAR, FAR_PORT, MESH, NEAR, NET, NODE, PORT, PUBLISHED, TARGET};

pub(crate) use tables::{TCP, UDP, contents};

pub(crate) const SYN: u8 = 0x02;
pub(crate) const SYN_ACK: u8 = 0x12;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const FIN: u8 = 0x11;
pub(crate) const RST: u8 = 0x04;
/// What other tests need of these tables.
pub(crate) const CLIENT_IFINDEX: u32 = CLIENT.1;
pub(crate) const NETWORK_NUMBER: u32 = NET.0;
pub(crate) const MESH_NUMBER: u32 = MESH.0;

/// The client's address.
pub(crate) fn client(family: usize) -> Address {
    pair(NETWORK, CLIENT.0)[family]
}

/// Backends: four of IPv4, four of IPv6.
const BACKENDS: u32 = 8;

/// One end of a connection as this node sees it.
#[derive(Clone, Copy)]
pub(crate) struct Side {
    pub(crate) program: Program,
    pub(crate) ifindex: u32,
    pub(crate) origin: [u32; 2],
    /// Source and destination of its packets.
    pub(crate) from: (Address, u16),
    pub(crate) to: (Address, u16),
    pub(crate) link: Option<[u8; 12]>,
}

/// A connection: the client's packets, the server's, and the backend that is counted.
pub(crate) struct Road {
    pub(crate) client: Side,
    pub(crate) server: Side,
    pub(crate) backend: u32,
    /// Entries that it has in a flow table.
    entries: usize,
    pub(crate) protocol: u8,
}

pub(crate) struct Node {
    pub(crate) kernel: Kernel,
    oracle: Oracle,
    counted: Vec<u64>,
}

impl Node {
    pub(crate) fn new() -> Result<Self> {
        let mut kernel = Kernel::load()?;
        let oracle = Oracle::new(contents());
        kernel.tables.fill(&oracle.contents)?;
        let counted = trial::counts(&kernel)?;
        Ok(Self {
            kernel,
            oracle,
            counted,
        })
    }

    pub(crate) fn send(&mut self, side: &Side, protocol: u8, flags: u8) -> Result<()> {
        let became = self.try_send(side, protocol, flags)?;
        ensure!(became.starts_with("sent"), "flags {flags:#x}: {became}");
        Ok(())
    }

    /// Sends a packet; returns what became of it.
    pub(crate) fn try_send(
        &mut self,
        side: &Side,
        protocol: u8,
        flags: u8,
    ) -> Result<&'static str> {
        let mut sketch = Sketch::new(side.from, side.to, protocol);
        sketch.kind = flags;
        sketch.link = side.link.unwrap_or(sketch.link);
        let packet = Packet {
            frame: sketch.frame(),
            ifindex: side.ifindex,
            origin: side.origin,
            ..Packet::default()
        };
        self.pass(side, &packet)
    }

    /// Sends any packet on the side's way; returns what became of it.
    pub(crate) fn pass(&mut self, side: &Side, packet: &Packet) -> Result<&'static str> {
        let (oracle, counted) = (&mut self.oracle, &mut self.counted);
        let became = trial::send(&self.kernel, oracle, side.program, packet, counted)?;
        trial::same_tables(&self.kernel, &self.oracle)?;
        Ok(became)
    }

    /// The connection's entries among the settled flows, those among the openings, and its state.
    fn state(&self, road: &Road) -> Result<(usize, usize, FlowState)> {
        let tables = &self.kernel.tables;
        let settled = tables.flows(FlowTable::Settled)?;
        let mut opening = tables.flows(FlowTable::Opening)?;
        opening.retain(|_, flow| Seen(flow.seen).is_flow());
        let all = settled.iter().chain(&opening);
        let mut owners = all.filter(|(key, _)| key.side == REVERSE || road.entries == 1);
        let (_, owner) = owners.next().context("no flow")?;
        Ok((settled.len(), opening.len(), Seen(owner.seen).state()))
    }

    /// How many flows of a backend were opened and closed.
    pub(crate) fn load(&self, backend: u32) -> Result<(u64, u64)> {
        let loads = self.kernel.tables.loads()?;
        let load = loads.get(&backend).context("no load")?;
        Ok((load.opened, load.closed))
    }

    /// Forgets every flow.
    pub(crate) fn clear(&mut self) -> Result<()> {
        self.oracle = Oracle::new(contents());
        self.counted = trial::counts(&self.kernel)?;
        self.kernel.tables.fill(&self.oracle.contents)
    }
}

fn from_task(ifindex: u32, from: (Address, u16), to: (Address, u16)) -> Side {
    Side {
        program: Program::FromTask,
        ifindex,
        origin: [0, 0],
        from,
        to,
        link: None,
    }
}

fn mesh(backend: u32, reply: bool, from: (Address, u16), to: (Address, u16)) -> Side {
    let [a, b, c, d] = backend.to_be_bytes();
    let link = [2, 1, a, b, c, d, 6, u8::from(reply), 0, 0, 0, 0];
    Side {
        program: Program::FromOverlay,
        ifindex: UPLINK,
        origin: [MESH.0, NODE],
        from,
        to,
        link: Some(link),
    }
}

/// A client's packets through the mesh.
pub(crate) fn from_the_mesh(backend: u32, from: (Address, u16), to: (Address, u16)) -> Side {
    mesh(backend, false, from, to)
}

/// Every road that a connection can take through a node, in one family and protocol.
pub(crate) fn roads(family: usize, protocol: u8) -> [Road; 5] {
    let host = |third: u8, host: u8| pair(third, host)[family];
    let base = 4 * u32::try_from(family).unwrap();
    let client = (host(NETWORK, CLIENT.0), 1000);
    let outside = (host(OUTSIDE, 1), 1000);
    let (vip, own) = (host(NETWORK, 2), host(NODES, 10));
    let near = (host(NETWORK, NEAR.0), TARGET);
    let far = (host(NETWORK, FAR), TARGET);
    let published = (host(INGRESS, PUBLISHED.0), TARGET);
    let from_far = Side {
        program: Program::FromOverlay,
        ifindex: UPLINK,
        origin: [NET.0, NODE],
        ..from_task(0, far, client)
    };
    let uplink = |port: u16| Side {
        program: Program::FromUplink,
        ..from_task(UPLINK, outside, (own, port))
    };
    // Another node's address, by which the client came.
    let there = (host(NODES, 11), FAR_PORT);
    let road = |client: Side, server: Side, backend: u32, entries: usize| Road {
        client,
        server,
        backend: base + backend,
        entries,
        protocol,
    };
    let to_vip = |port: u16| from_task(CLIENT.1, client, (vip, port));
    let back = from_task(PUBLISHED.1, published, outside);
    [
        road(to_vip(PORT), from_task(NEAR.1, near, client), 1, 2),
        road(to_vip(FAR_PORT), from_far, 2, 2),
        road(uplink(PORT), back, 3, 2),
        road(
            uplink(FAR_PORT),
            mesh(base + 4, true, (own, FAR_PORT), outside),
            4,
            1,
        ),
        road(mesh(base + 3, false, outside, there), back, 3, 1),
    ]
}

pub(crate) fn on_every_road(
    name: &str,
    protocol: u8,
    walk: impl Fn(&mut Node, &Road) -> Result<()> + Send + Sync,
) -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    Namespace::new(name)?.inside(|| {
        let mut node = Node::new()?;
        ensure!(
            node.oracle.contents.backends.len() == BACKENDS as usize,
            "backends"
        );
        for family in [0, 1] {
            for (index, road) in roads(family, protocol).iter().enumerate() {
                node.clear()?;
                walk(&mut node, road).with_context(|| format!("road {index}, family {family}"))?;
            }
        }
        Ok(())
    })
}

/// Expects entries among the settled flows and the openings, a state, and counted flows.
fn expect(node: &Node, road: &Road, wanted: (bool, FlowState), load: (u64, u64)) -> Result<()> {
    let (is_settled, state) = wanted;
    let entries = if is_settled {
        (road.entries, 0)
    } else {
        (0, road.entries)
    };
    let found = node.state(road)?;
    ensure!(
        found == (entries.0, entries.1, state),
        "(settled, opening, state) is {found:?}, should be {entries:?} {state:?}"
    );
    let counted = node.load(road.backend)?;
    ensure!(
        counted == load,
        "(opened, closed) is {counted:?}, should be {load:?}"
    );
    Ok(())
}

#[test]
fn a_tcp_connection_opens_settles_and_ends_once() -> Result<()> {
    on_every_road("tcp", TCP, |node, road| {
        let (client, server) = (&road.client, &road.server);
        node.send(client, TCP, SYN)?;
        expect(node, road, (false, FlowState::Opening), (0, 0))?;
        node.send(client, TCP, SYN)?;
        expect(node, road, (false, FlowState::Opening), (0, 0))?;
        node.send(server, TCP, SYN_ACK)?;
        expect(node, road, (true, FlowState::Established), (1, 0))?;
        node.send(client, TCP, ACK)?;
        node.send(server, TCP, ACK)?;
        expect(node, road, (true, FlowState::Established), (1, 0))?;
        node.send(client, TCP, FIN)?;
        expect(node, road, (true, FlowState::Closing), (1, 0))?;
        node.send(server, TCP, ACK)?;
        node.send(server, TCP, FIN)?;
        expect(node, road, (false, FlowState::Closed), (1, 1))?;
        node.send(client, TCP, ACK)?;
        node.send(server, TCP, FIN)?;
        expect(node, road, (false, FlowState::Closed), (1, 1))?;
        // The same ports again.
        node.send(client, TCP, SYN)?;
        expect(node, road, (false, FlowState::Opening), (1, 1))?;
        node.send(server, TCP, SYN_ACK)?;
        expect(node, road, (true, FlowState::Established), (2, 1))
    })
}

#[test]
fn a_reset_ends_a_connection_at_once() -> Result<()> {
    on_every_road("reset", TCP, |node, road| {
        node.send(&road.client, TCP, SYN)?;
        node.send(&road.server, TCP, SYN_ACK)?;
        node.send(&road.client, TCP, RST)?;
        expect(node, road, (false, FlowState::Closed), (1, 1))?;
        // A server that answers nothing else refuses.
        node.clear()?;
        node.send(&road.client, TCP, SYN)?;
        node.send(&road.server, TCP, RST)?;
        expect(node, road, (false, FlowState::Closed), (0, 0))
    })
}

#[test]
fn udp_settles_with_the_first_answer() -> Result<()> {
    on_every_road("udp", UDP, |node, road| {
        node.send(&road.client, road.protocol, 0)?;
        node.send(&road.client, road.protocol, 0)?;
        expect(node, road, (false, FlowState::Opening), (0, 0))?;
        node.send(&road.server, road.protocol, 0)?;
        node.send(&road.client, road.protocol, 0)?;
        expect(node, road, (true, FlowState::Established), (1, 0))
    })
}
