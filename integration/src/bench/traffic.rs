//! What is sent on a path, and the CPU time that an operation takes.
//!
//! Client and server cost little themselves: one thread each, no library above the system calls.

mod client;
mod datagrams;
mod packets;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::client::Client;
use self::datagrams::Datagrams;
pub use self::server::respond;
pub(super) use self::server::{PORT, SECOND_PORT};
use super::cpu::{self, Idle};
use super::foreign::Foreign;
use crate::netns;

/// How many connections there are at the same time.
const CONNECTIONS: usize = 32;
/// How long a path is used before its window begins.
const WARM_UP: Duration = Duration::from_millis(100);
/// More failures per operation than this, and the path does not work.
const WORST_FAILURE_SHARE: f64 = 1e-3;

/// What an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// A TCP connection: connect, 1 byte there, 64 bytes back, close.
    Crr,
    /// 1 byte there and 64 bytes back on a TCP connection that is kept.
    Rr,
    /// A datagram of 64 bytes that arrived.
    Udp,
}

/// A way from a client to a server.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// What it is called.
    pub(super) name: &'static str,
    /// The client's namespace.
    pub(super) namespace: String,
    /// The server's addresses, as the client knows them: connections take them in turn.
    pub(super) targets: Vec<SocketAddr>,
}

/// What the windows of a path's use gave. Times are in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// How long the windows were.
    wall: f64,
    /// Operations that were done in them.
    operations: f64,
    /// CPU time that was used by anybody.
    busy: f64,
    /// CPU time that other processes used.
    foreign: f64,
    /// Operations that failed.
    pub(super) failures: u64,
}

impl Sample {
    /// Operations per second.
    pub(super) fn per_second(&self) -> f64 {
        self.operations / self.wall
    }

    /// CPU time per operation in nanoseconds: client, server and everything between, and whatever
    /// the kernel does besides, but not what other processes used.
    pub(super) fn cpu_ns(&self) -> f64 {
        (self.busy - self.foreign).max(0.0) * 1e9 / self.operations
    }

    /// Share of the two CPUs that was used by anybody.
    pub(super) fn utilisation(&self) -> f64 {
        self.busy / (self.wall * cpu::ALL.len() as f64)
    }

    /// How many CPUs other processes kept busy.
    pub(super) fn foreign(&self) -> f64 {
        self.foreign / self.wall
    }

    /// Takes another window of the same path in.
    pub(super) fn add(&mut self, other: &Self) {
        self.wall += other.wall;
        self.operations += other.operations;
        self.busy += other.busy;
        self.foreign += other.foreign;
        self.failures += other.failures;
    }
}

/// Uses a path for `length` and measures it; `own` are the processes that belong to it.
///
/// # Errors
/// When it does not work, or fails too often.
pub(super) fn sample(
    path: &Path,
    work: Work,
    length: Duration,
    own: &BTreeSet<i32>,
) -> Result<Sample> {
    let measure = || window(path, work, length, own);
    netns::inside(&path.namespace, measure)?
        .with_context(|| format!("{} (from {})", path.name, path.namespace))
}

fn window(path: &Path, work: Work, length: Duration, own: &BTreeSet<i32>) -> Result<Sample> {
    cpu::pin(cpu::CLIENT)?;
    let mut client = Source::start(work, &path.targets)?;
    client.run_until(Instant::now() + WARM_UP)?;
    let others = Foreign::now(own)?;
    let before = client.operations();
    let (start, idle) = (Instant::now(), Idle::now()?);
    client.run_until(start + length)?;
    let (wall, spent) = (start.elapsed().as_secs_f64(), Idle::now()?);
    let operations = (client.operations() - before) as f64;
    let foreign = Foreign::now(own)?.since(&others);
    let failures: u64 = client.failures().values().sum();
    if operations < 1.0 || failures as f64 > (operations * WORST_FAILURE_SHARE).max(2.0) {
        let kinds = client.failures();
        bail!("{failures} failures beside {operations} operations in {wall:.1} s: {kinds:?}");
    }
    client.finish()?;
    Ok(Sample {
        wall,
        operations,
        busy: spent.busy_since(idle, wall),
        foreign: foreign * wall,
        failures,
    })
}

/// Whoever begins the operations.
#[derive(Debug)]
enum Source {
    Connections(Client),
    Datagrams(Datagrams),
}

impl Source {
    fn start(work: Work, targets: &[SocketAddr]) -> Result<Self> {
        Ok(match work {
            Work::Crr => Self::Connections(Client::start(targets, CONNECTIONS, false)?),
            Work::Rr => Self::Connections(Client::start(targets, CONNECTIONS, true)?),
            Work::Udp => Self::Datagrams(Datagrams::start(targets)?),
        })
    }

    fn run_until(&mut self, deadline: Instant) -> Result<()> {
        match self {
            Self::Connections(client) => client.run_until(deadline),
            Self::Datagrams(client) => client.run_until(deadline),
        }
    }

    /// Operations that were done, since some time before the start.
    fn operations(&self) -> u64 {
        match self {
            Self::Connections(client) => client.operations(),
            Self::Datagrams(client) => client.operations(),
        }
    }

    /// Operations that failed since the start, by what happened.
    fn failures(&self) -> &BTreeMap<String, u64> {
        match self {
            Self::Connections(client) => client.failures(),
            Self::Datagrams(client) => client.failures(),
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::Connections(client) => client.finish(),
            Self::Datagrams(_) => Ok(()),
        }
    }
}
