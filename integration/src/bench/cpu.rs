//! Which CPU does what, and how busy they are.

use std::fs;

use anyhow::{Context, Result, bail};
use rustix::thread::{CpuSet, sched_setaffinity};

/// The client's CPU: what it sends is handled there, until it reaches a socket.
pub(super) const CLIENT: usize = 0;
/// The server's CPU.
pub(super) const SERVER: usize = 1;
/// Every CPU whose time counts.
pub(super) const ALL: [usize; 2] = [CLIENT, SERVER];

/// Units of `/proc`, whatever the kernel's own clock (`USER_HZ`).
pub(super) const TICKS_PER_SECOND: f64 = 100.0;

/// Binds the calling thread, and what it will start, to one CPU.
pub(super) fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("bind to CPU {cpu}"))
}

/// Time that the measured CPUs have spent on nothing since the machine started.
///
/// The kernel measures idle time; the other columns are what its clock happened to meet. So busy
/// time is what is left of the wall's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    ticks: u64,
}

impl Idle {
    pub(super) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
        let mut ticks = 0;
        for cpu in ALL {
            ticks += idle_ticks(&text, cpu)?;
        }
        Ok(Self { ticks })
    }

    /// CPU time in seconds that was used for whatever it was, during the `wall` seconds since
    /// `before`.
    pub(super) fn busy_since(self, before: Self, wall: f64) -> f64 {
        let idle = self.ticks.saturating_sub(before.ticks) as f64 / TICKS_PER_SECOND;
        (wall * ALL.len() as f64 - idle).max(0.0)
    }
}

/// Idle, waiting for a disk, or taken by the hypervisor.
fn idle_ticks(stat: &str, cpu: usize) -> Result<u64> {
    let name = format!("cpu{cpu}");
    let find = |line: &&str| line.split_whitespace().next() == Some(&name);
    let Some(line) = stat.lines().find(find) else {
        bail!("this machine has no CPU {cpu}: client and server need one each");
    };
    let columns = line.split_whitespace().skip(1).map(str::parse);
    let columns: Vec<u64> = columns
        .collect::<Result<_, _>>()
        .with_context(|| format!("understand {line:?}"))?;
    let column = |index: usize| columns.get(index).copied().unwrap_or(0);
    Ok(column(3) + column(4) + column(7))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_what_nobody_of_this_machine_used() {
        let stat = "cpu  9 9 9 9 9 9 9 9 9 9\n\
                    cpu0 1 2 3 40 5 6 7 8 0 0\n\
                    cpu1 1 1 1 100 1 1 1 1 0 0\n";
        assert_eq!(idle_ticks(stat, 0).unwrap(), 53);
        assert_eq!(idle_ticks(stat, 1).unwrap(), 102);
        assert!(idle_ticks(stat, 2).is_err());
    }

    #[test]
    fn busy_is_the_rest_of_the_wall() {
        let (before, after) = (Idle { ticks: 1000 }, Idle { ticks: 1150 });
        assert!((after.busy_since(before, 1.0) - 0.5).abs() < 1e-9);
    }
}
