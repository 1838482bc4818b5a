//! What the workers count, and how it is put together.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::exchange::Done;
use super::{Latency, Plan, Report};

/// Buckets per doubling: the error is at most 1/32.
const STEPS: u64 = 32;
/// Enough for every `u64` of nanoseconds.
const BUCKETS: usize = 64 * 32;

/// One worker's counts.
#[derive(Debug)]
pub(super) struct Recorder {
    buckets: Vec<u64>,
    operations: u64,
    bytes: u64,
    slowest: Duration,
    errors: BTreeMap<String, u64>,
    tasks: BTreeMap<String, u64>,
    seen_as: BTreeMap<IpAddr, u64>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            operations: 0,
            bytes: 0,
            slowest: Duration::ZERO,
            errors: BTreeMap::new(),
            tasks: BTreeMap::new(),
            seen_as: BTreeMap::new(),
        }
    }
}

impl Recorder {
    pub(super) fn success(&mut self, took: Duration, done: &Done) {
        self.operations += 1;
        self.bytes += done.bytes;
        self.slowest = self.slowest.max(took);
        self.buckets[bucket(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX))] += 1;
        if let Some(answer) = &done.answer {
            *self.seen_as.entry(answer.client.ip()).or_default() += 1;
            match self.tasks.get_mut(&answer.task) {
                Some(count) => *count += 1,
                None => {
                    self.tasks.insert(answer.task.clone(), 1);
                }
            }
        }
    }

    pub(super) fn error(&mut self, error: &io::Error) {
        *self.errors.entry(error.to_string()).or_default() += 1;
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.operations += other.operations;
        self.bytes += other.bytes;
        self.slowest = self.slowest.max(other.slowest);
        add(&mut self.errors, other.errors);
        add(&mut self.tasks, other.tasks);
        add(&mut self.seen_as, other.seen_as);
    }

    pub(super) fn report(self, plan: &Plan, seconds: f64, gap: Duration) -> Report {
        let latency_us = Latency {
            p50: self.quantile(0.5),
            p90: self.quantile(0.9),
            p99: self.quantile(0.99),
            p999: self.quantile(0.999),
            max: self.slowest.as_secs_f64() * 1e6,
        };
        Report {
            mode: plan.mode,
            target: plan.target,
            seconds,
            operations: self.operations,
            per_second: self.operations as f64 / seconds,
            bytes: self.bytes,
            latency_us,
            longest_gap_ms: gap.as_secs_f64() * 1e3,
            errors: self.errors.values().sum(),
            error_kinds: self.errors,
            tasks: self.tasks,
            seen_as: self.seen_as,
        }
    }

    /// In microseconds; 0 where nothing succeeded.
    fn quantile(&self, share: f64) -> f64 {
        let wanted = self.operations as f64 * share;
        let mut count = 0;
        for (index, number) in self.buckets.iter().enumerate() {
            count += number;
            if *number > 0 && count as f64 >= wanted {
                return middle(index as u64) / 1e3;
            }
        }
        0.0
    }
}

fn add<K: Ord>(into: &mut BTreeMap<K, u64>, from: BTreeMap<K, u64>) {
    for (key, count) in from {
        *into.entry(key).or_default() += count;
    }
}

/// Values below [`STEPS`] have a bucket each, then every doubling has [`STEPS`].
fn bucket(value: u64) -> usize {
    let doublings = u64::from(63 - value.max(STEPS).leading_zeros()) - 5;
    let index = doublings * STEPS + (value >> doublings);
    usize::try_from(index).map_or(BUCKETS - 1, |index| index.min(BUCKETS - 1))
}

/// The middle of a bucket's range.
fn middle(index: u64) -> f64 {
    if index < 2 * STEPS {
        return index as f64;
    }
    let doublings = index / STEPS - 1;
    let low = (index - doublings * STEPS) << doublings;
    low as f64 + (1u64 << doublings) as f64 / 2.0
}

/// The longest time without a success, over all workers.
#[derive(Debug)]
pub(super) struct Gap {
    start: Instant,
    last_ns: AtomicU64,
    longest_ns: AtomicU64,
    successes: AtomicU64,
}

impl Gap {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            last_ns: AtomicU64::new(0),
            longest_ns: AtomicU64::new(0),
            successes: AtomicU64::new(0),
        }
    }

    pub(super) fn success(&self) {
        self.successes.fetch_add(1, Ordering::Relaxed);
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let last = self.last_ns.fetch_max(now, Ordering::Relaxed);
        self.longest_ns
            .fetch_max(now.saturating_sub(last), Ordering::Relaxed);
    }

    pub(super) fn successes(&self) -> u64 {
        self.successes.load(Ordering::Relaxed)
    }

    /// The time since the last success counts too.
    pub(super) fn longest(&self) -> Duration {
        let last = Duration::from_nanos(self.last_ns.load(Ordering::Relaxed));
        let since = self.start.elapsed().saturating_sub(last);
        since.max(Duration::from_nanos(
            self.longest_ns.load(Ordering::Relaxed),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_exact_to_a_thirtysecond() {
        let mut last = 0;
        for value in (0..2000).chain([5_000, 65_535, 65_536, 1 << 40, u64::MAX / 2]) {
            let index = bucket(value);
            assert!(index >= last, "{value}");
            last = index;
            let error = (middle(index as u64) - value as f64).abs();
            assert!(error <= value as f64 / 32.0, "{value}: {error}");
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_come_from_all_workers() {
        let (mut one, mut other) = (Recorder::default(), Recorder::default());
        let done = Done::default();
        for _ in 0..90 {
            one.success(Duration::from_micros(100), &done);
        }
        for _ in 0..10 {
            other.success(Duration::from_millis(10), &done);
        }
        one.merge(other);
        assert!((one.quantile(0.5) - 100.0).abs() < 4.0);
        assert!((one.quantile(0.99) - 10_000.0).abs() < 400.0);
    }
}
