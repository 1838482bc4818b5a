//! CPU time of processes that have nothing to do with the measurement: on a shared machine they
//! decide whether a figure means anything.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};

use super::cpu::{self, TICKS_PER_SECOND};

/// `PF_KTHREAD`: what the kernel's threads do may well be our packets.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// The CPU time that all others have used so far.
#[derive(Debug)]
pub(super) struct Foreign {
    ticks: u64,
    taken: Instant,
}

impl Foreign {
    /// Looks at all processes but `own`.
    pub(super) fn now(own: &BTreeSet<i32>) -> Result<Self> {
        let mut ticks = 0;
        for entry in fs::read_dir("/proc").context("list processes")?.flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            if own.contains(&pid) {
                continue;
            }
            // It may have ended at this moment.
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            ticks += used(&stat).unwrap_or(0);
        }
        Ok(Self {
            ticks,
            taken: Instant::now(),
        })
    }

    /// How many of the measured CPUs they kept busy, on average, since `before`. Where the machine
    /// has more CPUs, the others are taken to use all of them alike.
    pub(super) fn since(&self, before: &Self) -> f64 {
        let ticks = self.ticks.saturating_sub(before.ticks) as f64;
        let wall = self.taken.duration_since(before.taken).as_secs_f64();
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        let measured = (cpu::ALL.len() as f64 / all as f64).min(1.0);
        ticks / TICKS_PER_SECOND / wall * measured
    }
}

/// User and system time of a process and of its children that it has waited for, so that nothing is
/// lost when one ends; `None` for the kernel's own threads.
fn used(stat: &str) -> Option<u64> {
    // The name is in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let flags: u64 = fields.get(6)?.parse().ok()?;
    if flags & KERNEL_THREAD != 0 {
        return None;
    }
    fields
        .get(11..15)?
        .iter()
        .map(|field| field.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_charged_with_its_children() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1 2 3 4 10 20 30 40 20 0 1 0 5";
        assert_eq!(used(stat), Some(100));
    }

    #[test]
    fn kernel_threads_are_nobodys() {
        let stat = "9 (ksoftirqd/0) S 2 0 0 0 -1 69238848 0 0 0 0 10 20 0 0 20 0 1 0 5";
        assert_eq!(used(stat), None);
    }
}
