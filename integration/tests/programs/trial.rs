//! Worlds of packets, one after the other.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use abi::{DropReason, Flow, FlowKey};
use anyhow::{Context, Result, ensure};
use integration::testrun::{FlowTable, Kernel, Packet, Program, action};
use integration::{can_make_labs, command, netns};

use crate::compare;
use crate::dice::Dice;
use crate::oracle::flows::{FORWARD, MESH, REVERSE, other, patience};
use crate::oracle::{Fate, Oracle};
use crate::traffic::{self, Lane};
use crate::world::{INTERFACES, World};

const PACKETS: usize = 100_000;
const PACKETS_PER_WORLD: usize = 400;
pub(crate) const TABLES: [FlowTable; 2] = [FlowTable::Settled, FlowTable::Opening];

/// A namespace with the interfaces that the worlds speak of.
pub(crate) struct Namespace(String);

impl Namespace {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let name = format!("testrun{}-{name}", std::process::id());
        netns::create(std::slice::from_ref(&name))?;
        let namespace = Self(name);
        let pairs: String = (0..INTERFACES / 2)
            .map(|pair| format!("link add a{pair} type veth peer name b{pair}\n"))
            .collect();
        let routes =
            "link set a0 up\nlink set b0 up\nroute add default dev a0\nroute add ::/0 dev a0\n";
        command::ip_batch(Some(&namespace.0), &(pairs + routes))?;
        netns::inside(&namespace.0, || {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
            std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")
        })??;
        Ok(namespace)
    }

    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        netns::inside(&self.0, work)?
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = netns::delete(&self.0);
    }
}

/// What became of how many packets.
type Tally = BTreeMap<&'static str, usize>;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The first seed, and how many packets there are to be.
pub(crate) fn extent() -> Result<(u64, usize)> {
    let is_long = std::env::var_os("NETD_TEST_LONG").is_some();
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let default = if is_long { fresh << 20 } else { 1 };
    let first = number("NETD_TEST_SEED").unwrap_or(default);
    let wanted = number("NETD_TEST_PACKETS")
        .map(usize::try_from)
        .transpose()?;
    let wanted = wanted.unwrap_or(if is_long { 10 * PACKETS } else { PACKETS });
    Ok((first, wanted))
}

/// Sends packets, most of them on one lane, until that lane has seen enough of them, and of each of
/// these fates besides those that come by themselves.
pub(crate) fn run(name: &str, lane: Lane, fates: &[&str]) -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let (first, wanted) = extent()?;
    let seen = Namespace::new(name)?.inside(|| {
        let mut kernel = Kernel::load()?;
        let mut seen = Tally::new();
        let mut seed = first;
        while seen.values().sum::<usize>() < wanted {
            let sent = definite(|| trial(&mut kernel, seed, lane, false))
                .or_else(|vague| definite(|| trial(&mut kernel, seed, lane, true)).and(Err(vague)))
                .with_context(|| format!("{name}: NETD_TEST_SEED={seed}"))?;
            for (word, count) in sent {
                *seen.entry(word).or_default() += count;
            }
            seed += 1;
        }
        Ok(seen)
    })?;
    for fate in fates {
        let count = seen.get(fate).copied().unwrap_or_default();
        ensure!(
            count > 0 || wanted < PACKETS,
            "no packet was {fate}: {seen:?}"
        );
    }
    Ok(())
}

/// One world: returns how many packets went down the lane. `each` compares all tables after every
/// packet, which is slow and names the packet that spoiled them.
fn trial(kernel: &mut Kernel, seed: u64, lane: Lane, each: bool) -> Result<Tally> {
    let mut dice = Dice::new(seed);
    let mut world = World::new(&mut dice);
    if !kernel.wraps {
        world.leave_to_device();
    }
    let mut oracle = Oracle::new(world.contents.clone());
    kernel.tables.fill(&oracle.contents)?;
    let mut expected = counts(kernel)?;
    let mut sent = Tally::new();
    for index in 0..PACKETS_PER_WORLD {
        let here = traffic::lane(&mut dice, lane);
        let packet = traffic::packet(&mut dice, &world, &oracle, here);
        let word = send(kernel, &mut oracle, here.program(), &packet, &mut expected)
            .with_context(|| describe(index, here, &packet, &oracle))?;
        if here == lane {
            *sent.entry(word).or_default() += 1;
        }
        if each {
            same_tables(kernel, &oracle)
                .with_context(|| describe(index, here, &packet, &oracle))?;
        }
        if dice.chance(4) {
            age(&mut dice, kernel, &mut oracle)?;
        }
    }
    same_tables(kernel, &oracle)?;
    ensure!(counts(kernel)? == expected, "something else was counted");
    Ok(sent)
}

fn describe(index: usize, lane: Lane, packet: &Packet, oracle: &Oracle) -> String {
    let Packet {
        frame,
        ifindex,
        mark,
        gso_size,
        origin,
        is_marked,
    } = packet;
    let frame = compare::hex(frame);
    let iface = oracle.contents.ifaces.get(ifindex);
    format!(
        "packet {index} by {lane:?}: ifindex {ifindex} mark {mark:#x} gso {gso_size} origin {origin:?} marked {is_marked}\n  {frame}\n{iface:?}"
    )
}

/// A packet came when a flow's time was just about to run out: nobody outside the kernel can say on
/// which side of it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a flow's time ran out while a packet of it was in the kernel")]
pub(crate) struct Vague;

/// Repeats what is decided by its seed until no time is vague, which is rare.
pub(crate) fn definite<T>(mut work: impl FnMut() -> Result<T>) -> Result<T> {
    const ATTEMPTS: usize = 10;
    for _ in 1..ATTEMPTS {
        match work() {
            Err(error) if error.downcast_ref::<Vague>().is_some() => {}
            outcome => return outcome,
        }
    }
    work()
}

/// Sends one packet past both.
pub(crate) fn send(
    kernel: &Kernel,
    oracle: &mut Oracle,
    program: Program,
    packet: &Packet,
    expected: &mut [u64],
) -> Result<&'static str> {
    let before = Instant::now();
    let mut ran = kernel.run(program, packet)?;
    oracle.flows.clock.set(before, Instant::now());
    let inner = oracle
        .unwrap(packet)
        .filter(|_| program == Program::FromUplink);
    let (program, packet) = match &inner {
        Some(inner) => (Program::FromOverlay, inner),
        None => (program, packet),
    };
    let wanted = oracle.judge(program, packet);
    ensure!(!oracle.flows.clock.was_vague(), Vague);
    if let (Ok(Fate::Sent(sent)), action::REDIRECT) = (&wanted, ran.action) {
        ran.frame = oracle
            .strip(packet, sent, &ran.frame)
            .with_context(|| compare::hex(&ran.frame))?;
    }
    compare::outcome(packet, &wanted, &ran).with_context(|| counted(kernel, expected))?;
    if let Some(reason) = compare::counted(&wanted) {
        let count = &mut expected[reason as usize];
        *count += 1;
        ensure!(
            kernel.tables.dropped(reason)? == *count,
            "should have been counted as {}",
            reason.name()
        );
    }
    Ok(compare::word(packet, &wanted))
}

/// What was counted besides what should have been.
fn counted(kernel: &Kernel, expected: &[u64]) -> String {
    let now = counts(kernel).unwrap_or_default();
    let reasons = DropReason::ALL.iter().zip(now.iter().zip(expected));
    let more: Vec<&str> = reasons
        .filter(|(_, (now, expected))| now != expected)
        .map(|(reason, _)| reason.name())
        .collect();
    format!("counted: {more:?}")
}

/// Everything that was ever dropped, by reason.
pub(crate) fn counts(kernel: &Kernel) -> Result<Vec<u64>> {
    let all = DropReason::ALL.iter();
    all.map(|reason| kernel.tables.dropped(*reason)).collect()
}

/// Whether flows, loads and cursors are what the oracle has.
pub(crate) fn same_tables(kernel: &Kernel, oracle: &Oracle) -> Result<()> {
    for table in TABLES {
        let wanted = match table {
            FlowTable::Settled => &oracle.flows.settled,
            FlowTable::Opening => &oracle.flows.opening,
        };
        let mut found = kernel.tables.flows(table)?;
        gather(&mut found);
        for (key, entry) in wanted {
            let there = found.remove(key);
            let there = there.with_context(|| format!("{table:?} lacks {key:?} {entry:?}"))?;
            let (mut there, mut wanted) = (essence(key, &there), essence(key, &entry.flow));
            if is_half(key, &entry.flow, oracle) {
                (there.forward, wanted.forward) = Default::default();
            }
            ensure!(
                there == wanted,
                "{key:?} is\n{there:?}, should be\n{wanted:?}"
            );
        }
        ensure!(found.is_empty(), "{table:?} should not have {found:?}");
    }
    ensure!(kernel.tables.loads()? == oracle.flows.loads, "loads");
    ensure!(
        kernel.tables.cursors()? == oracle.contents.cursors,
        "cursors"
    );
    let clients = kernel.tables.affinities()?.into_iter();
    let clients: BTreeMap<_, _> = clients.map(|(key, it)| (key, it.backend)).collect();
    ensure!(clients == oracle.clients, "affinities");
    let destinations = kernel.tables.localities()?.into_iter();
    let destinations: BTreeMap<_, _> = destinations.map(|(key, it)| (key, it.backends)).collect();
    ensure!(destinations == oracle.destinations, "localities");
    Ok(())
}

/// Whether a translated flow has lost its forward entry, and with it what that had counted: the same
/// client got another backend by the same frontend.
fn is_half(key: &FlowKey, flow: &Flow, oracle: &Oracle) -> bool {
    let has_two = flow.via == 0 || flow.client_port != key.client_port;
    let forward = other(key, flow);
    let found = oracle.flows.find(&forward);
    let leads_back = found.is_some_and(|(_, half)| other(&forward, &half.flow) == *key);
    key.side == REVERSE && has_two && !leads_back
}

/// Gives the client's packets that a forward entry has counted to the entry that owns the flow.
fn gather(table: &mut BTreeMap<FlowKey, Flow>) {
    let halves: Vec<(FlowKey, Flow)> = table
        .iter()
        .filter(|(key, flow)| key.side == FORWARD && flow.delivery.kind != MESH)
        .map(|(key, flow)| (*key, *flow))
        .collect();
    for (key, half) in halves {
        let Some(owner) = table.get_mut(&other(&key, &half)) else {
            continue;
        };
        if other(&other(&key, &half), owner) == key {
            owner.forward.packets += half.forward.packets;
            owner.forward.bytes += half.forward.bytes;
        }
    }
}

/// What of a flow means something: state and counters stand in the entry that owns them.
fn essence(key: &FlowKey, flow: &Flow) -> Flow {
    let mut flow = Flow {
        last_ns: 0,
        confirmed: 0,
        ..*flow
    };
    if key.side == FORWARD && flow.delivery.kind != MESH {
        flow = Flow {
            peer: flow.peer,
            client: flow.client,
            peer_port: flow.peer_port,
            client_port: flow.client_port,
            backend: flow.backend,
            delivery: flow.delivery,
            ..Flow::default()
        };
    }
    flow
}

/// Lets a flow rest, almost as long as it may or a little longer.
fn age(dice: &mut Dice, kernel: &mut Kernel, oracle: &mut Oracle) -> Result<()> {
    let table = dice.of(&TABLES);
    let flows = oracle.flows.table(table);
    if flows.is_empty() {
        return Ok(());
    }
    let index = dice.below(flows.len());
    let Some((key, entry)) = flows.iter_mut().nth(index) else {
        return Ok(());
    };
    let limit = patience(entry.flow.seen, key.protocol);
    let idle = if dice.chance(50) {
        limit - 3
    } else {
        limit + 3
    };
    let mut flow = kernel.tables.flow(table, key).context("a flow is gone")?;
    let rested = idle.checked_sub(entry.idle);
    let last = rested.and_then(|rested| flow.last_ns.checked_sub(rested * 1_000_000_000));
    // A machine that has not run for so long has no such flows.
    let Some(last) = last else {
        return Ok(());
    };
    flow.last_ns = last;
    flow.confirmed = 0;
    entry.idle = idle;
    kernel.tables.set_flow(table, key, &flow)?;
    // Nobody has looked at its other half for as long.
    let key = other(key, &flow);
    if let Some(half) = kernel.tables.flow(table, &key) {
        let half = Flow {
            confirmed: 0,
            ..half
        };
        kernel.tables.set_flow(table, &key, &half)?;
    }
    Ok(())
}
