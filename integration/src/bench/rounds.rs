//! Rounds: all paths in short turns, until there are enough rounds that nothing disturbed.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};

use super::report::{Row, median};
use super::traffic::{self, Path, Sample, Work};
use super::{Effort, progress};

/// A round in which others kept more than this part of a CPU busy is not counted, if there are
/// enough others.
const DISTURBED: f64 = 0.04;
/// How long a path is used before it is the next one's turn. What a shared machine does to figures
/// changes within seconds: paths that are compared must not lie further apart.
const TURN: Duration = Duration::from_millis(400);
/// After this many times the rounds asked for, what there is has to do.
const PATIENCE: usize = 3;

/// What is measured, and on which paths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contest<'a> {
    /// The measurement.
    pub(super) name: &'static str,
    pub(super) work: Work,
    pub(super) paths: &'a [Path],
    pub(super) comparisons: &'a [Comparison],
}

/// What is compared: two paths, by their names.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    pub(super) variant: &'static str,
    pub(super) ours: &'static str,
    pub(super) peer: &'static str,
    pub(super) ratio: Ratio,
}

/// Which cost is divided by which.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ratio {
    /// Above 1, netd is cheaper.
    PeerByOurs,
    /// Above 1, netd has become dearer than it was at the peer's size.
    OursByPeer,
}

impl Comparison {
    /// Of netd with something else.
    pub(super) const fn new(variant: &'static str, ours: &'static str, peer: &'static str) -> Self {
        Self {
            variant,
            ours,
            peer,
            ratio: Ratio::PeerByOurs,
        }
    }
}

/// One round.
#[derive(Debug)]
struct Round {
    /// In the order of the paths.
    samples: Vec<Sample>,
    /// How many CPUs others kept busy, at the worst.
    foreign: f64,
}

/// Uses all paths in turn and compares them; `own` are processes that belong to it.
pub(super) fn compare(
    contest: Contest<'_>,
    own: &BTreeSet<i32>,
    effort: &Effort,
) -> Result<Vec<Row>> {
    // Neighbours are resolved, programs compiled, tables warm.
    for path in contest.paths {
        traffic::sample(path, contest.work, effort.window / 2, own)?;
    }
    let rounds = quiet_rounds(contest, own, effort)?;
    let rows = contest
        .comparisons
        .iter()
        .map(|comparison| row(comparison, contest, &rounds));
    rows.collect()
}

fn quiet_rounds(contest: Contest<'_>, own: &BTreeSet<i32>, effort: &Effort) -> Result<Vec<Round>> {
    let mut rounds: Vec<Round> = Vec::new();
    let quiet = |rounds: &[Round]| rounds.iter().filter(|round| round.is_quiet()).count();
    while quiet(&rounds) < effort.rounds && rounds.len() < effort.rounds * PATIENCE {
        let round = round(contest, own, effort)?;
        progress(&round.describe(contest.paths, rounds.len() + 1));
        rounds.push(round);
    }
    let enough = quiet(&rounds) * 2 >= effort.rounds;
    if enough {
        rounds.retain(Round::is_quiet);
    } else {
        let worst = rounds.iter().map(|round| round.foreign).fold(0.0, f64::max);
        progress(&format!(
            "NOISY: other processes used up to {worst:.2} CPUs; costs are too high and scatter"
        ));
    }
    Ok(rounds)
}

fn round(contest: Contest<'_>, own: &BTreeSet<i32>, effort: &Effort) -> Result<Round> {
    let mut samples = vec![Sample::default(); contest.paths.len()];
    // There and back.
    let turns = (effort.window.as_millis() / TURN.as_millis())
        .next_multiple_of(2)
        .max(2);
    let length = effort.window.div_f64(turns as f64);
    for turn in 0..turns {
        let mut paths: Vec<_> = contest.paths.iter().zip(&mut samples).collect();
        // What changes steadily meets all of them alike.
        if turn % 2 == 1 {
            paths.reverse();
        }
        for (path, sample) in paths {
            sample.add(&traffic::sample(path, contest.work, length, own)?);
        }
    }
    let foreign = samples.iter().map(Sample::foreign).fold(0.0, f64::max);
    Ok(Round { samples, foreign })
}

fn row(comparison: &Comparison, contest: Contest<'_>, rounds: &[Round]) -> Result<Row> {
    let ours = values(comparison.ours, contest.paths, rounds)?;
    let peer = values(comparison.peer, contest.paths, rounds)?;
    let middle = |values: Vec<f64>| median(&values).context("no round was run");
    let pairs = ours.iter().zip(&peer);
    let (ratio, spread) = middle(
        pairs
            .map(|(ours, peer)| match comparison.ratio {
                Ratio::PeerByOurs => peer.cpu_ns() / ours.cpu_ns(),
                Ratio::OursByPeer => ours.cpu_ns() / peer.cpu_ns(),
            })
            .collect(),
    )?;
    let rate = |samples: &[Sample]| samples.iter().map(Sample::per_second).collect();
    let cost = ours.iter().map(Sample::cpu_ns).collect();
    Ok(Row {
        name: contest.name,
        variant: comparison.variant.to_owned(),
        ours: middle(rate(&ours))?.0,
        peer: Some(comparison.peer.to_owned()),
        peer_value: Some(middle(rate(&peer))?.0),
        ratio: Some(ratio),
        unit: "1/s",
        cpu_ns_per_op: Some(middle(cost)?.0),
        spread: Some(spread),
    })
}

/// What a path gave, round by round.
fn values(name: &str, paths: &[Path], rounds: &[Round]) -> Result<Vec<Sample>> {
    let index = paths
        .iter()
        .position(|path| path.name == name)
        .with_context(|| format!("no path {name}"))?;
    Ok(rounds.iter().map(|round| round.samples[index]).collect())
}

impl Round {
    fn is_quiet(&self) -> bool {
        self.foreign <= DISTURBED
    }

    fn describe(&self, paths: &[Path], number: usize) -> String {
        let cost = |(path, sample): (&Path, &Sample)| {
            format!(
                "  {}: {:.1} µs, {:.0}/s, {:.0} % busy, {} failed",
                path.name,
                sample.cpu_ns() / 1e3,
                sample.per_second(),
                sample.utilisation() * 100.0,
                sample.failures
            )
        };
        let costs: Vec<String> = paths.iter().zip(&self.samples).map(cost).collect();
        let share = self.foreign * 100.0;
        format!(
            "round {number}, others used {share:.1} % of a CPU\n{}",
            costs.join("\n")
        )
    }
}
