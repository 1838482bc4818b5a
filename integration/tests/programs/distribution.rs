//! How each algorithm divides new flows, in the kernel: thousands of clients of one published port.

use abi::{
    Address, Affinity, Backend, Load, Locality, PublishedKey, Service, backend_state, service_flag,
};
use anyhow::{Context, Result, ensure};
use integration::can_make_labs;
use integration::testrun::{Kernel, PICKS, Packet, Program, action};

use crate::connection::{MESH_NUMBER, contents};
use crate::sketch::Sketch;
use crate::trial::Namespace;
use crate::world::{NODES, OUTSIDE, UPLINK, pair};

const SERVICE: u32 = 77;
const PORT: u16 = 80;
const TCP: u8 = 6;
const SYN: u8 = 0x02;

const RR: u32 = 1;
const SH: u32 = 2;
const MH: u32 = 3;
const WRR: u32 = 4;
const LC: u32 = 5;
const WLC: u32 = 6;
const LBLC: u32 = 7;
const LBLCR: u32 = 8;
const DH: u32 = 9;
const SED: u32 = 10;
const NQ: u32 = 11;
const P2C: u32 = 12;

/// A node whose published port leads to backends elsewhere.
struct Node(Kernel);

/// Numbers of backends.
fn id(index: usize) -> u32 {
    u32::try_from(index).unwrap() + 100
}

fn any(family: usize) -> Address {
    [Address::ANY_V4, Address::UNSPECIFIED][family]
}

impl Node {
    fn new(
        algorithm: u32,
        picks: &[u32],
        backends: usize,
        change: impl Fn(&mut Service),
    ) -> Result<Self> {
        let mut contents = contents();
        let mut service = Service {
            id: SERVICE,
            pick_length: u32::try_from(picks.len())?,
            generation: 1,
            algorithm,
            flags: service_flag::PUBLISHED,
            ..Service::default()
        };
        ensure!(service.pick_length <= PICKS, "room for picks");
        if picks.len() <= service.inline.len() {
            service.inline[..picks.len()].copy_from_slice(picks);
        }
        contents.picks = (0..).zip(picks.iter().copied()).collect();
        change(&mut service);
        contents.cursors.insert(SERVICE, 0);
        for family in [0, 1] {
            let key = PublishedKey {
                address: any(family),
                port: PORT,
                protocol: TCP,
                reserved: 0,
            };
            contents.published.insert(key, service);
        }
        for index in 0..backends {
            let backend = Backend {
                address: pair(255, 30)[0],
                net: abi::NetId(MESH_NUMBER),
                vtep: 1,
                port: 8080,
                weight: 1,
                state: backend_state::READY,
                reserved: [0; 3],
            };
            contents.backends.insert(id(index), backend);
            contents.loads.insert(id(index), Load::default());
        }
        let mut kernel = Kernel::load()?;
        kernel.tables.fill(&contents)?;
        Ok(Self(kernel))
    }

    /// A client's SYN; the client's number goes into its address and port.
    fn dial(&self, family: usize, client: u16, port: u16) -> Result<()> {
        let [high, low] = client.to_be_bytes();
        let own = pair(NODES, 10)[family];
        let mut octets = pair(OUTSIDE, low)[family].octets();
        octets[13] = high;
        let from = Address::from(std::net::Ipv6Addr::from(octets));
        let mut sketch = Sketch::new((from, port), (own, PORT), TCP);
        sketch.kind = SYN;
        let packet = Packet {
            frame: sketch.frame(),
            ifindex: UPLINK,
            ..Packet::default()
        };
        let ran = self.0.run(Program::FromUplink, &packet)?;
        ensure!(ran.action == action::REDIRECT, "action {}", ran.action);
        Ok(())
    }

    /// New clients, one flow each.
    fn clients(&self, count: u16) -> Result<()> {
        (0..count).try_for_each(|client| self.dial(usize::from(client % 2), client, 1024 + client))
    }

    /// How many flows each backend was given.
    fn picked(&self, backends: usize) -> Result<Vec<u64>> {
        let loads = self.0.tables.loads()?;
        let picked = |index| Ok(loads.get(&id(index)).context("no load")?.picked);
        (0..backends).map(picked).collect()
    }
}

fn inside(name: &str, work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    Namespace::new(name)?.inside(work)
}

fn ids(count: usize) -> Vec<u32> {
    (0..count).map(id).collect()
}

/// What algorithms that look at loads get: numbers and weights.
fn weighted(weights: &[u32]) -> Vec<u32> {
    let pairs = weights.iter().enumerate();
    pairs
        .flat_map(|(index, weight)| [id(index), *weight])
        .collect()
}

/// A table of many places in which each backend stands equally often.
fn spread(backends: usize) -> Vec<u32> {
    (0..256 * backends)
        .map(|place| id(place % backends))
        .collect()
}

/// Pearson's statistic against equal shares.
fn chi_square(counts: &[u64]) -> f64 {
    let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    let deviation = |count: &u64| (*count as f64 - expected).powi(2) / expected;
    counts.iter().map(deviation).sum()
}

#[test]
fn turns_are_exact_over_a_cycle() -> Result<()> {
    inside("turns", || {
        let node = Node::new(RR, &ids(3), 3, |_| {})?;
        node.clients(300)?;
        assert_eq!(node.picked(3)?, [100, 100, 100]);
        let cycle = [0, 0, 1, 0, 2, 0, 0].map(id);
        let node = Node::new(WRR, &cycle, 4, |_| {})?;
        node.clients(70)?;
        assert_eq!(node.picked(4)?, [50, 10, 10, 0]);
        Ok(())
    })
}

#[test]
fn hashes_are_uniform() -> Result<()> {
    inside("hashes", || {
        for algorithm in [SH, MH] {
            let node = Node::new(algorithm, &spread(4), 4, |_| {})?;
            node.clients(4000)?;
            let counts = node.picked(4)?;
            // Three degrees of freedom, 0.1 %.
            let statistic = chi_square(&counts);
            assert!(statistic < 16.27, "{algorithm}: {statistic} of {counts:?}");
        }
        Ok(())
    })
}

#[test]
fn one_destination_is_one_backend() -> Result<()> {
    inside("dialled", || {
        let node = Node::new(DH, &spread(4), 4, |_| {})?;
        (0..200).try_for_each(|client| node.dial(0, client, 1024))?;
        let counts = node.picked(4)?;
        assert!(counts.contains(&200), "{counts:?}");
        Ok(())
    })
}

#[test]
fn fewest_connections_differ_by_one_at_most() -> Result<()> {
    inside("fewest", || {
        for count in [3usize, 7, 300] {
            let node = Node::new(LC, &weighted(&vec![1; count]), count, |_| {})?;
            node.clients(1000)?;
            let counts = node.picked(count)?;
            let (least, most) = (counts.iter().min(), counts.iter().max());
            assert!(most.unwrap() - least.unwrap() <= 1, "{counts:?}");
        }
        Ok(())
    })
}

#[test]
fn who_is_ahead_gets_nothing_until_the_others_have_caught_up() -> Result<()> {
    inside("ahead", || {
        let mut node = Node::new(LC, &weighted(&[1, 1, 1]), 3, |_| {})?;
        let busy = Load {
            picked: 60,
            opened: 50,
            closed: 20,
            led: 10,
            left: 10,
            ..Load::default()
        };
        node.0.tables.set_load(id(0), &busy)?;
        node.clients(80)?;
        assert_eq!(node.picked(3)?, [60, 40, 40], "forty are going on");
        node.clients(2)?;
        Ok(())
    })
}

#[test]
fn weights_divide_connections() -> Result<()> {
    inside("weights", || {
        for algorithm in [WLC, SED, NQ] {
            let node = Node::new(algorithm, &weighted(&[1, 3]), 2, |_| {})?;
            node.clients(400)?;
            let counts = node.picked(2)?;
            let far = counts[0].abs_diff(100);
            assert!(far <= 1, "{algorithm}: {counts:?}");
        }
        Ok(())
    })
}

#[test]
fn an_idle_backend_is_never_passed_over() -> Result<()> {
    inside("idle", || {
        let picked = |picked| Load {
            picked,
            ..Load::default()
        };
        let mut node = Node::new(NQ, &weighted(&[100, 1]), 2, |_| {})?;
        node.0.tables.set_load(id(0), &picked(1))?;
        node.clients(1)?;
        assert_eq!(node.picked(2)?, [1, 1], "never queue");
        let mut node = Node::new(SED, &weighted(&[100, 1]), 2, |_| {})?;
        node.0.tables.set_load(id(0), &picked(1))?;
        node.clients(1)?;
        assert_eq!(node.picked(2)?, [2, 0], "shortest delay");
        Ok(())
    })
}

#[test]
fn the_better_of_two_keeps_close_to_the_mean() -> Result<()> {
    inside("two", || {
        let node = Node::new(P2C, &weighted(&[1; 64]), 64, |_| {})?;
        node.clients(6400)?;
        let counts = node.picked(64)?;
        // The most loaded of n is log2(log2(n)) above the mean or so; random ones would be 25.
        let most = counts.iter().max().unwrap();
        assert!(*most <= 106, "{counts:?}");
        let heavy = Node::new(P2C, &weighted(&[1, 3]), 2, |_| {})?;
        heavy.clients(400)?;
        let counts = heavy.picked(2)?;
        assert!(counts[0].abs_diff(100) <= 1, "{counts:?}");
        Ok(())
    })
}

#[test]
fn a_destination_keeps_its_backend_until_that_is_overloaded() -> Result<()> {
    inside("locality", || {
        let node = Node::new(LBLC, &weighted(&[10, 10, 10]), 3, |_| {})?;
        (0..11).try_for_each(|client| node.dial(0, client, 1024))?;
        let counts = node.picked(3)?;
        assert_eq!(counts.iter().max(), Some(&11), "{counts:?}");
        (11..13).try_for_each(|client| node.dial(0, client, 1024))?;
        let mut counts = node.picked(3)?;
        counts.sort_unstable();
        assert_eq!(counts, [0, 2, 11], "eleven are more than ten");
        node.dial(1, 1, 1024)?;
        assert_eq!(node.0.tables.localities()?.len(), 2, "one for each address");
        Ok(())
    })
}

#[test]
fn a_set_of_backends_grows_under_load_and_keeps_its_members() -> Result<()> {
    inside("set", || {
        let node = Node::new(LBLCR, &weighted(&[4, 4, 4]), 3, |_| {})?;
        (0..12).try_for_each(|client| node.dial(0, client, 1024))?;
        let (_, set) = node.0.tables.localities()?.pop_first().context("no set")?;
        let members = |set: &Locality| set.backends.iter().filter(|it| **it != 0).count();
        ensure!(members(&set) >= 2, "{set:?}");
        // A set that stands for less than a day keeps its members.
        node.dial(0, 12, 1024)?;
        let (_, set) = node.0.tables.localities()?.pop_first().context("no set")?;
        ensure!(members(&set) >= 2, "{set:?}");
        Ok(())
    })
}

#[test]
fn a_client_stays_while_its_backend_is_ready_and_its_time_lasts() -> Result<()> {
    inside("affinity", || {
        let mut node = Node::new(RR, &ids(3), 3, |service| service.affinity_seconds = 600)?;
        (0..50).try_for_each(|port| node.dial(0, 1, 1024 + port))?;
        let counts = node.picked(3)?;
        assert_eq!(counts, [50, 0, 0], "one client");
        node.dial(0, 2, 1024)?;
        assert_eq!(node.picked(3)?, [50, 1, 0], "another");
        let (key, known) = node.0.tables.affinities()?.pop_first().context("none")?;
        let over = Affinity {
            last_ns: known.last_ns.saturating_sub(601_000_000_000),
            ..known
        };
        node.0.tables.set_affinity(&key, &over)?;
        node.dial(0, 1, 4000)?;
        let moved = node.0.tables.affinities()?[&key].backend;
        assert_eq!(moved, id(2), "the next in turn: its time was over");
        Ok(())
    })
}

#[test]
fn every_node_leads_a_client_to_the_same_backend() -> Result<()> {
    inside("agreed", || {
        let stays = |service: &mut Service| service.affinity_seconds = 600;
        let node = || Node::new(MH, &spread(5), 5, stays);
        let (one, two) = (node()?, node()?);
        for client in 0..200 {
            one.dial(0, client, 1024 + client)?;
            two.dial(0, client, 9000 - client)?;
        }
        let backends = |node: &Node| -> Result<Vec<_>> {
            let all = node.0.tables.affinities()?.into_iter();
            Ok(all.map(|(key, it)| (key, it.backend)).collect())
        };
        assert_eq!(backends(&one)?, backends(&two)?);
        assert_eq!(backends(&one)?.len(), 200);
        Ok(())
    })
}
