//! The load client: many connections at once, each doing one thing after the other, and what came
//! of it: rates, latencies, errors, the longest time without a success.

mod exchange;
mod recorder;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use clap::ValueEnum;
use serde::Serialize;

use self::exchange::Worker;
use self::recorder::{Gap, Recorder};
use crate::wait;

/// Between operations, for each time that everything takes longer than usual.
const PAUSE: Duration = Duration::from_millis(10);

/// Between the operations of a [`Plan::beside`]: a handful of connections takes a quarter of a machine of
/// two processors, and leaves what is tested the rest.
const REST: Duration = Duration::from_millis(5);

/// How long requests may take to succeed.
const WHILE: Duration = Duration::from_secs(60);

/// What one operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Connect, request, response, close.
    Crr,
    /// Request and response on a connection that is kept.
    Rr,
    /// A transfer of `size` bytes from the server, checked, on a connection that is kept.
    Stream,
    /// A datagram and its answer, on a socket that is kept.
    Udp,
}

/// What to do, from the namespace of whoever runs it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What one operation is.
    pub mode: Mode,
    /// Whom to ask.
    pub target: SocketAddr,
    /// The source address; the routes choose one where none is given.
    pub source: Option<IpAddr>,
    /// How many do it at the same time, at least 1.
    pub connections: usize,
    /// When to stop; `None` runs until [`Running::stop`].
    pub duration: Option<Duration>,
    /// Bytes of an answer, for `stream` and `udp`; 0 asks for the ordinary answer (`udp`).
    pub size: usize,
    /// How long one operation may take before it counts as an error.
    pub limit: Duration,
    /// How long a connection rests after an operation.
    pub pause: Duration,
}

impl Plan {
    /// One connection, until stopped; 5 s per operation and no pause, where machines are as fast as
    /// usual: on an emulated one, load without a pause would leave nothing to what is tested.
    #[must_use]
    pub fn new(mode: Mode, target: SocketAddr) -> Self {
        let size = if mode == Mode::Stream { 1 << 20 } else { 0 };
        let limit = wait::patience(Duration::from_secs(5));
        Self {
            mode,
            target,
            source: None,
            connections: 1,
            duration: None,
            size,
            limit,
            pause: PAUSE * (wait::slowness() - 1),
        }
    }

    /// Two connections that go on beside what is tested, and rest after each operation: without a pause
    /// they would take all of a machine whose daemons are to start within a while.
    #[must_use]
    pub fn beside(mode: Mode, target: SocketAddr) -> Self {
        let plan = Self::new(mode, target);
        Self {
            connections: 2,
            pause: plan.pause.max(REST),
            ..plan
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What one operation was.
    pub mode: Mode,
    /// Whom it asked.
    pub target: SocketAddr,
    /// How long it ran, in seconds.
    pub seconds: f64,
    /// Operations that succeeded.
    pub operations: u64,
    /// Operations per second.
    pub per_second: f64,
    /// Payload that was received, in bytes.
    pub bytes: u64,
    /// Latency of the operations that succeeded.
    pub latency_us: Latency,
    /// The longest time without a success, over all connections, in milliseconds.
    pub longest_gap_ms: f64,
    /// Operations that failed.
    pub errors: u64,
    /// How often each error was met.
    pub error_kinds: BTreeMap<String, u64>,
    /// How often each task answered.
    pub tasks: BTreeMap<String, u64>,
    /// How often the servers saw each address.
    pub seen_as: BTreeMap<IpAddr, u64>,
}

/// Latencies in microseconds, exact to 3 %.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// Half were faster.
    pub p50: f64,
    /// Nine of ten were faster.
    pub p90: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
    /// 999 of 1,000 were faster.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

/// Load under way.
#[derive(Debug)]
pub struct Running {
    plan: Plan,
    started: Instant,
    stop: Arc<AtomicBool>,
    gap: Arc<Gap>,
    workers: Vec<JoinHandle<Recorder>>,
}

/// Starts load from the namespace of the calling thread.
#[must_use]
pub fn start(plan: &Plan) -> Running {
    let stop = Arc::new(AtomicBool::new(false));
    let gap = Arc::new(Gap::new());
    let started = Instant::now();
    let end = plan.duration.map(|duration| started + duration);
    let workers = (0..plan.connections.max(1)).map(|_| {
        let (plan, stop, gap) = (plan.clone(), stop.clone(), gap.clone());
        std::thread::spawn(move || work(&plan, end, &stop, &gap))
    });
    let workers = workers.collect();
    Running {
        plan: plan.clone(),
        started,
        stop,
        gap,
        workers,
    }
}

impl Running {
    /// Operations that have succeeded so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.gap.successes()
    }

    /// Waits until so many more operations have succeeded.
    ///
    /// # Errors
    /// When they have not after a while.
    pub fn more(&self, count: u64) -> Result<()> {
        let before = self.operations();
        wait::until(WHILE, "requests", || self.operations() >= before + count)
    }

    /// Ends it at once, and tells what has failed.
    ///
    /// # Errors
    /// When an operation has failed, or a worker panicked.
    pub fn stop_without_errors(self) -> Result<()> {
        let report = self.stop()?;
        ensure!(
            report.errors == 0,
            "{} {:?}: {:?}",
            report.target,
            report.mode,
            report.error_kinds
        );
        Ok(())
    }

    /// Ends it at once.
    ///
    /// # Errors
    /// When a worker panicked.
    pub fn stop(self) -> Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        self.wait()
    }

    /// Waits for its planned end.
    ///
    /// # Errors
    /// When a worker panicked.
    pub fn wait(self) -> Result<Report> {
        let mut total = Recorder::default();
        for worker in self.workers {
            total.merge(worker.join().map_err(|_| anyhow!("a worker panicked"))?);
        }
        let seconds = self.started.elapsed().as_secs_f64();
        Ok(total.report(&self.plan, seconds, self.gap.longest()))
    }
}

fn work(plan: &Plan, end: Option<Instant>, stop: &AtomicBool, gap: &Gap) -> Recorder {
    let mut recorder = Recorder::default();
    let mut worker = Worker::new(plan);
    loop {
        let begin = Instant::now();
        if stop.load(Ordering::Relaxed) || end.is_some_and(|end| begin >= end) {
            return recorder;
        }
        match worker.operate() {
            Ok(done) => {
                recorder.success(begin.elapsed(), &done);
                gap.success();
                if !plan.pause.is_zero() {
                    std::thread::park_timeout(plan.pause);
                }
            }
            Err(error) => {
                recorder.error(&error);
                // A refusal takes no time at all: without a pause it would be a flood.
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
    }
}
