//! What the explainer says, against what the programs do with the same packet and the same tables.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use abi::{
    Address, Backend, DropReason, Endpoint, EndpointKey, Flow, FlowKey, Fragment, Header, Iface,
    NetId, Network, PublishedKey, Service, ServiceKey, Settings, Side, Vtep, protocol, tcp,
};
use anyhow::{Context, Result, ensure};
use dataplane::trace::{self, Entry, Outcome, Path, Tables};
use integration::can_make_labs;
use integration::testrun::{Contents, FlowTable, Kernel, Packet, Ran, action};

use crate::compare;
use crate::dice::Dice;
use crate::oracle::Oracle;
use crate::traffic::{self, Lane};
use crate::trial::{self, Namespace};
use crate::world::World;

/// Lanes that have something to explain.
const LANES: [Lane; 4] = [Lane::Network, Lane::Gateway, Lane::Overlay, Lane::Uplink];
const PACKETS_PER_WORLD: usize = 400;

/// The tables that a program runs with.
struct View<'a> {
    contents: &'a Contents,
    kernel: &'a Kernel,
}

impl Tables for View<'_> {
    fn settings(&self) -> Option<Settings> {
        Some(self.contents.settings)
    }
    fn iface(&self, ifindex: u32) -> Option<Iface> {
        self.contents.ifaces.get(&ifindex).copied()
    }
    fn endpoint(&self, net: NetId, address: Address) -> Option<Endpoint> {
        let key = EndpointKey { net, address };
        self.contents.endpoints.get(&key).copied()
    }
    fn network(&self, net: NetId) -> Option<Network> {
        self.contents.networks.get(&net).copied()
    }
    fn vtep(&self, number: u32) -> Option<Vtep> {
        self.contents.vteps.get(&number).copied()
    }
    fn node_number(&self, address: Address) -> Option<u32> {
        self.contents.vtep_ids.get(&address).copied()
    }
    fn is_own(&self, address: Address) -> bool {
        self.contents.addresses.contains_key(&address)
    }
    fn service(&self, key: ServiceKey) -> Option<Service> {
        self.contents.services.get(&key).copied()
    }
    fn published(&self, key: PublishedKey) -> Option<Service> {
        self.contents.published.get(&key).copied()
    }
    fn cursor(&self, service: u32) -> Option<u32> {
        let cursors = self.kernel.tables.cursors().unwrap_or_default();
        cursors.get(&service).copied()
    }
    fn pick(&self, index: u32) -> Option<u32> {
        Some(self.contents.picks.get(&index).copied().unwrap_or(0))
    }
    fn backend(&self, id: u32) -> Option<Backend> {
        self.contents.backends.get(&id).copied()
    }
    fn flow(&self, key: FlowKey) -> Option<Flow> {
        let settled = self.kernel.tables.flow(FlowTable::Settled, &key);
        settled.or_else(|| self.kernel.tables.flow(FlowTable::Opening, &key))
    }
    fn now_ns(&self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
        let seconds = u64::try_from(now.tv_sec).unwrap();
        seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap()
    }
}

/// What the explainer is asked about a packet; `None` for one that it does not speak of: no opening,
/// a piece, too large, broken.
fn question(packet: &Packet, lane: Lane, world: &World) -> Option<(Entry, trace::Packet)> {
    let header = Header::read(packet.frame.as_slice()).ok()?;
    let opens = match header.protocol {
        protocol::TCP => tcp::is_initial(header.flags),
        protocol::UDP => true,
        _ => false,
    };
    let fits = packet.frame.len() <= usize::from(world.contents.settings.overlay_mtu);
    // Whose tunnel it is the carrier knows.
    let port = world.contents.settings.data_path_port;
    let is_tunnel =
        lane == Lane::Uplink && header.protocol == protocol::UDP && header.destination_port == port;
    if !opens || !fits || is_tunnel || header.fragment != Fragment::Whole {
        return None;
    }
    let entry = match lane {
        Lane::Network | Lane::Gateway => Entry::Task(packet.ifindex),
        Lane::Uplink => Entry::Uplink(packet.ifindex),
        Lane::Overlay | Lane::ToTask | Lane::Wrapped => overlay(packet, world)?,
    };
    let place = |address: Address, port| SocketAddr::new(IpAddr::from(address), port);
    let asked = trace::Packet {
        protocol: header.protocol,
        source: place(header.source, header.source_port),
        destination: place(header.destination, header.destination_port),
    };
    Some((entry, asked))
}

/// Of frames of the mesh only those that go to a backend.
fn overlay(packet: &Packet, world: &World) -> Option<Entry> {
    let [net, node] = packet.origin;
    let from = world.contents.vteps.get(&node)?.address;
    let addresses = packet.frame.first_chunk()?;
    let backend = match abi::Mesh::from_addresses(addresses) {
        Some(mesh) if mesh.direction == abi::MeshDirection::Forward && mesh.second == 0 => {
            mesh.backend
        }
        _ if net == world.ingress.0 => return None,
        _ => 0,
    };
    Some(Entry::Overlay {
        net: NetId(net),
        from: from.into(),
        backend,
    })
}

/// Whether the program did what was said, given what it counted.
fn check(said: &Path, ran: &Ran, counted: Option<DropReason>, view: &View<'_>) -> Result<()> {
    let (wanted, reason) = match said.outcome {
        Outcome::Task(_) | Outcome::Node { .. } | Outcome::Uplink(_) | Outcome::Own => {
            (action::REDIRECT, None)
        }
        Outcome::Stack => (action::PASS, None),
        // A sender whose packet cannot be answered, with options in its header, say, is not told.
        Outcome::Dropped { reason, told } if told && ran.action == action::REDIRECT => {
            (action::REDIRECT, Some(reason))
        }
        Outcome::Dropped { reason, .. } => (action::DROP, Some(reason)),
        Outcome::Unknown(_) => return Ok(()),
    };
    ensure!(ran.action == wanted, "action {}", ran.action);
    ensure!(counted == reason, "counted as {counted:?}");
    if reason.is_some() || said.outcome == Outcome::Stack {
        return Ok(());
    }
    let after = Header::read(ran.frame.as_slice())
        .ok()
        .context("a packet")?;
    let place = |address: Address, port| SocketAddr::new(IpAddr::from(address), port);
    let (source, destination) = (
        place(after.source, after.source_port),
        place(after.destination, after.destination_port),
    );
    if let Outcome::Node {
        to, native: true, ..
    } = said.outcome
        && destination == SocketAddr::new(to, view.contents.settings.data_path_port)
    {
        // Wrapped already, and for the right node.
        return Ok(());
    }
    ensure!(
        (source, destination) == (said.packet.source, said.packet.destination),
        "it leaves as {source} -> {destination}"
    );
    match said.outcome {
        Outcome::Task(ifindex) => {
            // Some tasks of these worlds have an interface that is nobody's.
            let iface = view.iface(ifindex);
            let mac = iface.map(|iface| iface.mac);
            ensure!(
                mac.is_none_or(|mac| ran.frame[..6] == mac),
                "into the task at {ifindex}"
            );
        }
        Outcome::Node { backend, .. } if backend != 0 => {
            let mesh = abi::Mesh::from_addresses(ran.frame.first_chunk().context("a frame")?);
            let mesh = mesh.context("a frame of the mesh")?;
            ensure!(mesh.backend == backend, "the mesh names {mesh:?}");
        }
        Outcome::Node { .. } | Outcome::Uplink(_) | Outcome::Own => {}
        Outcome::Stack | Outcome::Dropped { .. } | Outcome::Unknown(_) => {}
    }
    Ok(())
}

/// Whether the flow that the packet opened leads to the backend that was named, and to that node.
fn check_flow(said: &Path, asked: &trace::Packet, net: NetId, view: &View<'_>) -> Result<()> {
    let (Outcome::Task(_) | Outcome::Node { .. }, true) = (said.outcome, said.opens) else {
        return Ok(());
    };
    let key = FlowKey {
        net,
        client: asked.source.ip().into(),
        server: asked.destination.ip().into(),
        client_port: asked.source.port(),
        server_port: asked.destination.port(),
        protocol: asked.protocol,
        side: Side::Forward as u8,
        reserved: 0,
    };
    let flow = view.flow(key).context("the flow that it opens")?;
    ensure!(
        flow.backend == said.backend,
        "the flow leads to backend {}",
        flow.backend
    );
    if let Outcome::Node { to, .. } = said.outcome {
        let node = view
            .vtep(flow.delivery.target)
            .map(|it| IpAddr::from(it.address));
        ensure!(node == Some(to), "the flow leads to node {node:?}");
    }
    Ok(())
}

fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Task(_) => "task",
        Outcome::Node { backend: 0, .. } => "node",
        Outcome::Node { .. } => "mesh",
        Outcome::Uplink(_) => "uplink",
        Outcome::Own => "own",
        Outcome::Stack => "stack",
        Outcome::Dropped { reason, .. } => reason.name(),
        Outcome::Unknown(_) => "unknown",
    }
}

type Tally = BTreeMap<&'static str, usize>;

fn explain(kernel: &mut Kernel, seed: u64, tally: &mut Tally) -> Result<()> {
    let mut dice = Dice::new(seed);
    let mut world = World::new(&mut dice);
    // How a packet looks that the carrier has wrapped is not what is explained.
    world
        .contents
        .vteps
        .values_mut()
        .for_each(|vtep| vtep.flags = 0);
    let mut oracle = Oracle::new(world.contents.clone());
    kernel.tables.fill(&oracle.contents)?;
    for index in 0..PACKETS_PER_WORLD {
        let lane = dice.of(&LANES);
        let packet = traffic::packet(&mut dice, &world, &oracle, lane);
        let asked = question(&packet, lane, &world);
        let view = View {
            contents: &world.contents,
            kernel,
        };
        let said = asked.map(|(entry, asked)| trace::follow(&view, entry, asked));
        let reason = said.as_ref().and_then(|said| match said.outcome {
            Outcome::Dropped { reason, .. } => Some(reason),
            Outcome::Task(_) | Outcome::Node { .. } | Outcome::Uplink(_) => None,
            Outcome::Own | Outcome::Stack | Outcome::Unknown(_) => None,
        });
        let count = || reason.map_or(Ok(0), |reason| kernel.tables.dropped(reason));
        let before = count()?;
        let start = Instant::now();
        let ran = kernel.run(lane.program(), &packet)?;
        oracle.flows.clock.set(start, Instant::now());
        // The oracle knows which packets make good ones of those that follow.
        let _ = oracle.judge(lane.program(), &packet);
        let counted = reason.filter(|_| count().is_ok_and(|after| after == before + 1));
        let (Some((entry, asked)), Some(said)) = (asked, said) else {
            continue;
        };
        let net = match (lane, view.iface(packet.ifindex)) {
            (Lane::Network, Some(iface)) => iface.net,
            _ => world.contents.settings.ingress_net,
        };
        check(&said, &ran, counted, &view)
            .and_then(|()| {
                if lane == Lane::Overlay {
                    return Ok(());
                }
                check_flow(&said, &asked, net, &view)
            })
            .with_context(|| {
                let frame = compare::hex(&packet.frame);
                format!("packet {index} by {lane:?}: {entry:?} {asked:?}\n{frame}\n{said:#?}")
            })?;
        *tally.entry(outcome_word(&said.outcome)).or_default() += 1;
    }
    Ok(())
}

#[test]
fn the_explainer_says_what_the_programs_do() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let (first, wanted) = trial::extent()?;
    let wanted = wanted / 5;
    let tally = Namespace::new("explain")?.inside(|| {
        let mut kernel = Kernel::load()?;
        let mut tally = Tally::new();
        let mut seed = first;
        while tally.values().sum::<usize>() < wanted {
            explain(&mut kernel, seed, &mut tally)
                .with_context(|| format!("NETD_TEST_SEED={seed}"))?;
            seed += 1;
        }
        Ok(tally)
    })?;
    let count = |word| tally.get(word).copied().unwrap_or_default();
    for word in [
        "task",
        "node",
        "mesh",
        "stack",
        "no-backend",
        "no-port",
        "no-endpoint",
        "spoofed-source",
        "spoofed-inner",
        "not-local",
    ] {
        ensure!(count(word) > 0 || wanted < 20_000, "no {word}: {tally:?}");
    }
    ensure!(count("unknown") * 2 < wanted, "mostly explained: {tally:?}");
    Ok(())
}
