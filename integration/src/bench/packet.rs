//! Run time of the kernel programs for one packet, as the kernel measures it.
//!
//! Each run is a system call of its own with one repetition: with more the kernel would hand a
//! program what the last run made of the packet. What an empty program takes is subtracted. Caches
//! and branch predictors are warm, so these figures bound from below what real traffic pays.

mod case;
mod empty;
mod scene;

use std::time::Duration;

use anyhow::{Context, Result};

use self::case::Case;
use self::empty::Empty;
use super::report::{Row, median};
use super::{Effort, cpu, progress};
use crate::testrun::Kernel;
use crate::{command, netns};

/// Runs that are averaged.
const BATCH: u32 = 2_000;
/// Batches for each round that is asked for.
const BATCHES_PER_ROUND: usize = 40;
const WARM_UP: u32 = 10_000;

pub(super) fn run(effort: &Effort) -> Result<Vec<Row>> {
    progress("packet-ns: the programs alone, packet by packet");
    let room = Room::new()?;
    netns::inside(&room.namespace, || {
        measure(effort.rounds * BATCHES_PER_ROUND)
    })?
}

fn measure(batches: usize) -> Result<Vec<Row>> {
    cpu::pin(cpu::CLIENT)?;
    let empty = Empty::load()?;
    let mut kernel = Kernel::load()?;
    let mut rows = Vec::new();
    for case in case::all() {
        case.prepare(&mut kernel)?;
        rows.push(row(&kernel, &empty, &case, batches)?);
    }
    Ok(rows)
}

fn row(kernel: &Kernel, empty: &Empty, case: &Case, batches: usize) -> Result<Row> {
    let run = || kernel.time(case.program, &case.packet);
    let nothing = || empty.time(&case.packet.frame);
    for _ in 0..WARM_UP {
        run()?;
    }
    let (mut times, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..batches {
        times.push(batch(run)?);
        floors.push(batch(nothing)?);
    }
    let (floor, _) = median(&floors).context("no batch was run")?;
    let net: Vec<f64> = times.iter().map(|time| time - floor).collect();
    let (ours, spread) = median(&net).context("no batch was run")?;
    progress(&format!(
        "  {}: {ours:.0} ns above {floor:.0} ns for nothing",
        case.variant
    ));
    Ok(Row {
        name: "packet-ns",
        variant: case.variant.clone(),
        ours,
        peer: None,
        peer_value: None,
        ratio: None,
        unit: "ns",
        cpu_ns_per_op: Some(ours),
        spread: Some(spread),
    })
}

/// Mean of a batch of runs, in nanoseconds.
fn batch(run: impl Fn() -> Result<Duration>) -> Result<f64> {
    let mut total = Duration::ZERO;
    for _ in 0..BATCH {
        total += run()?;
    }
    Ok(total.as_secs_f64() * 1e9 / f64::from(BATCH))
}

/// A namespace with the interfaces that the packets are on; deleted with it.
#[derive(Debug)]
struct Room {
    namespace: String,
}

impl Room {
    fn new() -> Result<Self> {
        let namespace = format!("netd-packet-ns-{}", std::process::id());
        netns::create(std::slice::from_ref(&namespace))?;
        let room = Self { namespace };
        let links: String = scene::INTERFACES
            .iter()
            .map(|index| format!("link add d{index} index {index} type bridge\n"))
            .collect();
        command::ip_batch(Some(&room.namespace), &links)?;
        Ok(room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Err(error) = netns::delete(&self.namespace) {
            progress(&format!("{error:#}"));
        }
    }
}
