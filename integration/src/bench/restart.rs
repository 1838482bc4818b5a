//! Requests that fail while netd is killed and started again, and the longest time without a success.
//!
//! A netd that starts loads its programs anew and puts them behind every link in place: starting is
//! what an upgrade to other programs of the same layout does to traffic.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::report::Row;
use super::{Effort, progress};
use crate::lab::demo::{self, HTTP_PORT, PROBE};
use crate::lab::{Family, Lab, Spec};
use crate::load::{self, Mode, Plan, Report, Running};
use crate::{netns, wait};

/// Clients of each kind.
const CONNECTIONS: usize = 2;
/// How many requests tell that a client is served, and how long they may take.
const SERVED: u64 = 50;
const PATIENCE: Duration = Duration::from_secs(20);

/// What happens under load.
#[derive(Clone, Copy, Debug)]
enum Disturbance {
    Nothing,
    /// kill -9, some time without netd, start.
    Killed,
    /// SIGTERM, start at once.
    Restarted,
}

pub(super) fn run(effort: &Effort) -> Result<Vec<Row>> {
    progress("restart: requests while netd dies and comes back");
    let spec = Spec::new(&Spec::unique_name("restart"), 3);
    let mut lab = demo::up(spec)?;
    let outcome = measure(&mut lab, effort);
    lab.down()?;
    outcome
}

fn measure(lab: &mut Lab, effort: &Effort) -> Result<Vec<Row>> {
    let calm = disturb(lab, Disturbance::Nothing, effort)?;
    let mut rows = Vec::new();
    for (name, disturbance) in [
        ("killed", Disturbance::Killed),
        ("restarted", Disturbance::Restarted),
    ] {
        let totals = disturb(lab, disturbance, effort)?;
        progress(&format!(
            "  {name}: {} of {} failed, longest gap {:.1} ms (undisturbed {:.1} ms)",
            totals.errors, totals.operations, totals.gap_ms, calm.gap_ms
        ));
        rows.push(row(name.to_owned(), "failed", (totals.errors, calm.errors)));
        rows.push(row(
            format!("{name}-gap"),
            "ms",
            (totals.gap_ms, calm.gap_ms),
        ));
    }
    Ok(rows)
}

fn row(variant: String, unit: &'static str, (ours, peer): (f64, f64)) -> Row {
    Row {
        name: "restart",
        variant,
        ours,
        peer: Some("undisturbed".to_owned()),
        peer_value: Some(peer),
        ratio: None,
        unit,
        cpu_ns_per_op: None,
        spread: None,
    }
}

/// Over all clients.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    operations: u64,
    /// A count, as figures are.
    errors: f64,
    /// The longest of any kind of client.
    gap_ms: f64,
}

impl Totals {
    fn add(self, report: &Report) -> Self {
        Self {
            operations: self.operations + report.operations,
            errors: self.errors + f64::from(u32::try_from(report.errors).unwrap_or(u32::MAX)),
            gap_ms: self.gap_ms.max(report.longest_gap_ms),
        }
    }
}

fn disturb(lab: &mut Lab, disturbance: Disturbance, effort: &Effort) -> Result<Totals> {
    let running = clients(lab)?;
    for _ in 0..effort.rounds {
        match disturbance {
            Disturbance::Nothing => {}
            Disturbance::Killed => {
                lab.kill("n1")?;
                std::thread::sleep(effort.window / 4);
                lab.start("n1")?;
            }
            Disturbance::Restarted => {
                lab.stop("n1")?;
                lab.start("n1")?;
            }
        }
        std::thread::sleep(effort.window.min(Duration::from_secs(5)));
    }
    let reports = running.into_iter().map(Running::stop);
    reports.collect::<Result<Vec<_>>>().map(|reports| {
        reports
            .iter()
            .fold(Totals::default(), |totals, report| totals.add(report))
    })
}

/// From outside through a published port and from inside to a VIP, each with kept connections and
/// with one for each request.
fn clients(lab: &Lab) -> Result<Vec<Running>> {
    let topology = demo::topology(lab);
    let mut all = Vec::new();
    for family in Family::BOTH {
        let node = lab.document().node("n1").context("a node")?;
        let address = family.of(&node.addresses).context("an address")?;
        let published = SocketAddr::new(address, HTTP_PORT);
        let vip = SocketAddr::new(topology.vip("web", family).context("a VIP")?, 80);
        for (member, target) in [("client", published), (PROBE, vip)] {
            for mode in [Mode::Crr, Mode::Rr] {
                let plan = Plan {
                    connections: CONNECTIONS,
                    ..Plan::new(mode, target)
                };
                let namespace = lab.namespace(member);
                all.push(netns::inside(&namespace, || load::start(&plan))?);
            }
        }
    }
    for running in &all {
        wait::until(PATIENCE, "every client is served", || {
            running.operations() >= SERVED
        })?;
    }
    Ok(all)
}
