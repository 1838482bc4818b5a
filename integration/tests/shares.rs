//! How every algorithm shares real connections among backends: those from outside by a published port, which
//! are translated per packet and in part cross the mesh, and those of a task by a VIP, whose sockets are led.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::lab::topology::{Port, Service, Topology};
use integration::lab::{Family, Lab, Spec};
use integration::probe::Kept;
use integration::{can_make_labs, netns, wait};

/// The backends, with their nodes and weights: ten are a cycle.
const TASKS: [(&str, &str, u32); 4] = [
    ("one", "n1", 1),
    ("two", "n1", 2),
    ("three", "n2", 3),
    ("four", "n2", 4),
];
const BY_WEIGHT: [f64; 4] = [0.1, 0.2, 0.3, 0.4];
const EQUAL: [f64; 4] = [0.25; 4];
/// The one that loses its connections, and its place among [`TASKS`].
const LEFT: (&str, usize) = ("three", 2);
const ALGORITHMS: [&str; 12] = [
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "mh", "p2c",
];
/// The task that dials VIPs.
const ASKER: &str = "ask";
/// The published port of the first algorithm; the others follow.
const FIRST_PORT: u16 = 9000;
/// With three degrees of freedom one random sample in a million has a larger statistic.
const CHI_SQUARE: f64 = 30.66;
/// How long connections that are over may seem to be there.
const PATIENCE: Duration = Duration::from_secs(20);

/// Connections to each task of [`TASKS`].
type Counts = [usize; 4];

/// Where connections come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Road {
    /// From many addresses of a client outside, by the first node.
    Outside,
    /// From a task on the first node.
    Inside,
}

/// What kind of connections.
#[derive(Clone, Copy, Debug)]
struct Way {
    algorithm: &'static str,
    road: Road,
    family: Family,
}

/// Every way of an algorithm.
fn ways(algorithm: &'static str) -> impl Iterator<Item = Way> {
    let roads = [Road::Outside, Road::Inside].into_iter();
    roads.flat_map(move |road| {
        Family::BOTH.map(|family| Way {
            algorithm,
            road,
            family,
        })
    })
}

struct Bench {
    lab: Lab,
    topology: Topology,
    /// The client's addresses.
    sources: Vec<[IpAddr; 2]>,
    /// The first node's.
    dialled: Vec<[IpAddr; 2]>,
    /// The client's next port: none is used twice, or connections could look the same to a backend.
    next_port: AtomicU16,
}

/// A service for each algorithm, all with the same backends.
fn bench() -> Result<Bench> {
    let mut lab = Lab::up(Spec::new(&Spec::unique_name("shares"), 2))?;
    let dialled = lab.add_addresses("n1", 20..90)?;
    let sources = lab.add_addresses("client", 101..251)?;
    lab.add_task(ASKER, "n1")?;
    for (task, node, _) in TASKS {
        lab.add_task(task, node)?;
    }
    let mut topology = Topology::of(&lab);
    topology.add_network("app", 1);
    topology.attach(&lab, ASKER, "app", 10);
    for ((task, ..), host) in TASKS.into_iter().zip(11..) {
        topology.attach(&lab, task, "app", host);
    }
    for ((algorithm, port), host) in ALGORITHMS.into_iter().zip(FIRST_PORT..).zip(101..) {
        let published = Port {
            algorithm: Some(algorithm.to_owned()),
            ..Port::tcp(port, 8080)
        };
        let mut service = Service {
            algorithm: Some(algorithm.to_owned()),
            vips: topology.addresses("app", host),
            ports: vec![Port::tcp(80, 8080)],
            publish: vec![published],
            ..Service::new(algorithm, "app", &TASKS.map(|(task, ..)| task))
        };
        // A locality is overloaded when it has more connections than its weight.
        let factor = if algorithm.starts_with("lblc") {
            100
        } else {
            1
        };
        for (backend, (.., weight)) in service.backends.iter_mut().zip(TASKS) {
            backend.weight = Some(weight * factor);
        }
        topology.service.push(service);
    }
    lab.write_topology(&topology)?;
    lab.start_all()?;
    Ok(Bench {
        lab,
        topology,
        sources,
        dialled,
        next_port: AtomicU16::new(10_000),
    })
}

impl Bench {
    /// The `number`th connection of a way: with destination hashing each goes to another address.
    fn ends(&self, way: Way, number: usize) -> Result<(Option<SocketAddr>, SocketAddr)> {
        if way.road == Road::Inside {
            let vip = self.topology.vip(way.algorithm, way.family);
            return Ok((None, SocketAddr::new(vip.context("a VIP")?, 80)));
        }
        let source = self.sources[number % self.sources.len()];
        let dialled = match way.algorithm {
            "dh" => self.dialled[number % self.dialled.len()],
            _ => self.lab.underlay().node(0),
        };
        let [source, dialled] =
            [source, dialled].map(|pair| way.family.of(&pair).context("an address"));
        let index = ALGORITHMS.iter().position(|it| *it == way.algorithm);
        let port = FIRST_PORT + u16::try_from(index.context("an algorithm")?)?;
        let own_port = self.next_port.fetch_add(1, Ordering::Relaxed);
        Ok((
            Some(SocketAddr::new(source?, own_port)),
            SocketAddr::new(dialled?, port),
        ))
    }

    /// Connects so often, and hands each connection on with its task's place among [`TASKS`].
    fn connect(
        &self,
        way: Way,
        count: usize,
        mut to: impl FnMut(Kept, usize) + Send,
    ) -> Result<()> {
        let member = if way.road == Road::Inside {
            ASKER
        } else {
            "client"
        };
        netns::inside(&self.lab.namespace(member), || {
            for number in 0..count {
                let (source, target) = self.ends(way, number)?;
                let kept = match source {
                    Some(source) => Kept::connect_from(source, target),
                    None => Kept::connect(target),
                };
                let mut kept = kept.with_context(|| format!("{source:?} to {target}"))?;
                let task = kept.ask()?.task;
                let index = TASKS.iter().position(|(name, ..)| *name == task);
                to(kept, index.with_context(|| format!("{task} answered"))?);
            }
            Ok(())
        })?
    }

    /// Connections one after the other, each of which ends before the next begins.
    fn pass(&self, way: Way, count: usize) -> Result<Counts> {
        let mut counts = Counts::default();
        self.connect(way, count, |_, task| counts[task] += 1)?;
        Ok(counts)
    }

    /// Connections that stay, added to others.
    fn hold(&self, way: Way, count: usize, held: &mut Vec<(Kept, usize)>) -> Result<Counts> {
        self.connect(way, count, |kept, task| held.push((kept, task)))?;
        let mut counts = Counts::default();
        held.iter().for_each(|(_, task)| counts[*task] += 1);
        Ok(counts)
    }

    /// In turn, from wherever the turn is: whole cycles are exact.
    fn turns_are_exact(&self) -> Result<()> {
        for (algorithm, due) in [("rr", [25; 4]), ("wrr", [10, 20, 30, 40])] {
            for way in ways(algorithm) {
                let counts = self.pass(way, 100)?;
                ensure!(counts == due, "{way:?}: {counts:?}, not {due:?}");
            }
        }
        Ok(())
    }

    /// Hashes and random draws are as even as chance, and follow weights where they should.
    fn chance_is_even(&self) -> Result<()> {
        for family in Family::BOTH {
            let cases = [
                ("mh", Road::Outside, 600, BY_WEIGHT),
                ("mh", Road::Inside, 300, BY_WEIGHT),
                ("sh", Road::Outside, self.sources.len(), BY_WEIGHT),
                ("dh", Road::Outside, self.dialled.len(), BY_WEIGHT),
                ("p2c", Road::Outside, 300, EQUAL),
                ("p2c", Road::Inside, 300, EQUAL),
            ];
            for (algorithm, road, count, shares) in cases {
                let way = Way {
                    algorithm,
                    road,
                    family,
                };
                let counts = self.pass(way, count)?;
                let statistic = chi_square(counts, shares);
                ensure!(statistic < CHI_SQUARE, "{way:?}: {counts:?}, {statistic}");
            }
        }
        Ok(())
    }

    /// Who has asked from one address, or dialled one, has met one backend.
    fn one_address_is_one_backend(&self) -> Result<()> {
        for algorithm in ["sh", "dh", "lblc", "lblcr"] {
            for way in ways(algorithm).filter(|way| way.road == Road::Inside) {
                let counts = self.pass(way, 20)?;
                ensure!(counts.contains(&20), "{way:?}: {counts:?}");
            }
        }
        Ok(())
    }

    /// By connections that go on: exact when there are whole cycles of them, and when those of one
    /// backend have ended it gets as many again.
    fn live_counts_are_exact(&self) -> Result<()> {
        let by_weight = [4, 8, 12, 16];
        let cases = [
            ("lc", [10; 4]),
            ("wlc", by_weight),
            ("sed", by_weight),
            ("nq", by_weight),
        ];
        for (algorithm, due) in cases {
            for way in ways(algorithm) {
                let mut held = Vec::new();
                let counts = self.hold(way, 40, &mut held)?;
                ensure!(counts == due, "{way:?}: {counts:?}, not {due:?}");
                self.leave(way, &mut held)?;
                let counts = self.hold(way, 40 - held.len(), &mut held)?;
                ensure!(counts == due, "{way:?}, again: {counts:?}, not {due:?}");
            }
        }
        Ok(())
    }

    /// Of two that are drawn the one with less for its weight: each gets its share or so.
    fn the_better_of_two_follows_the_weights(&self) -> Result<()> {
        for way in ways("p2c") {
            let counts = self.hold(way, 100, &mut Vec::new())?;
            let far = |(count, due): (usize, usize)| count.abs_diff(due) > 6;
            let is_far = counts.into_iter().zip([10, 20, 30, 40]).any(far);
            ensure!(!is_far, "{way:?}: {counts:?}");
        }
        Ok(())
    }

    /// Ends the connections to one backend, and waits until that is known.
    fn leave(&self, way: Way, held: &mut Vec<(Kept, usize)>) -> Result<()> {
        let (task, index) = LEFT;
        held.retain(|(_, task)| *task != index);
        let what = format!("nothing is active at {task} by {}", way.algorithm);
        // The connections of the other family, and of the other road, have ended before.
        wait::until(PATIENCE, &what, || {
            let active = self.lab.active(way.algorithm, task);
            active.is_ok_and(|active| active == 0)
        })
    }
}

/// Pearson's statistic against these shares.
fn chi_square(counts: Counts, shares: [f64; 4]) -> f64 {
    let all = counts.iter().sum::<usize>() as f64;
    let deviation = |(count, share): (usize, f64)| {
        let due = all * share;
        (count as f64 - due).powi(2) / due
    };
    counts.into_iter().zip(shares).map(deviation).sum()
}

#[test]
fn every_algorithm_shares_connections_as_it_promises() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let bench = bench()?;
    bench.turns_are_exact()?;
    bench.chance_is_even()?;
    bench.one_address_is_one_backend()?;
    bench.live_counts_are_exact()?;
    bench.the_better_of_two_follows_the_weights()?;
    bench.lab.down()
}
