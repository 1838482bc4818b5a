//! Programming 10,000 services from empty, and one endpoint's change once they are there.
//!
//! The clock runs from when the data plane is handed what is desired to when the kernel holds it. The
//! peer is an nftables map from each frontend to a backend, written by `nft -f`: less than what a
//! balancer needs, since one backend stands for three.

mod firewall;
mod state;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use dataplane::{Cleanup, Dataplane, Desired, Edit, Settings};

use self::firewall::Firewall;
use super::report::{Row, median};
use super::{Effort, progress};
use crate::{command, netns};

/// Services with three backends each.
const SERVICES: u32 = 10_000;
/// Changes of each kind for each round that is asked for.
const CHANGES_PER_ROUND: usize = 40;

/// `program-10k`.
pub(super) fn program(effort: &Effort) -> Result<Vec<Row>> {
    progress("program-10k: 10,000 services with three backends each, from empty");
    let mut times = Vec::new();
    for _ in 0..effort.rounds.max(3) {
        let room = Room::new()?;
        times.push(room.run(|node| node.program().map(|took| took.as_secs_f64()))?);
    }
    let room = Room::new()?;
    let peer = netns::inside(&room.name, || {
        let start = Instant::now();
        Firewall::fill(SERVICES).map(|_| start.elapsed().as_secs_f64())
    })??;
    Ok(vec![row("program-10k", "empty", &times, Some(peer))?])
}

/// `change-10k`.
pub(super) fn change(effort: &Effort) -> Result<Vec<Row>> {
    progress("change-10k: one endpoint of 10,000 services changes");
    let room = Room::new()?;
    let changes = effort.rounds * CHANGES_PER_ROUND;
    let peer = netns::inside(&room.name, || {
        Firewall::fill(SERVICES)?.change(effort.rounds.max(3) * 2)
    })??;
    let (peer, _) = median(&peer).context("nothing was changed")?;
    room.run(|node| {
        node.program()?;
        let mut rows = Vec::new();
        for kind in state::Kind::ALL {
            let times = node.changes(kind, changes)?;
            let (there, back) = kind.names();
            for (variant, times) in [
                (format!("{there}-apply"), &times.apply[0]),
                (format!("{back}-apply"), &times.apply[1]),
                (format!("{there}-edit"), &times.edit[0]),
                (format!("{back}-edit"), &times.edit[1]),
            ] {
                rows.push(row("change-10k", &variant, times, Some(peer))?);
            }
        }
        Ok(rows)
    })
}

fn row(name: &'static str, variant: &str, times: &[f64], peer: Option<f64>) -> Result<Row> {
    let (ours, spread) = median(times).context("nothing was measured")?;
    progress(&format!("  {variant}: {:.3} ms", ours * 1e3));
    Ok(Row {
        name,
        variant: variant.to_owned(),
        ours,
        peer: peer.map(|_| "nft map".to_owned()),
        peer_value: peer,
        ratio: None,
        unit: "s",
        cpu_ns_per_op: None,
        spread: Some(spread),
    })
}

/// How long changes took, in seconds, and how long undoing them did.
#[derive(Debug, Default)]
struct Times {
    /// Handed over as a whole state.
    apply: [Vec<f64>; 2],
    /// Handed over as a difference.
    edit: [Vec<f64>; 2],
}

/// A namespace with a data plane of its own; gone with it.
#[derive(Debug)]
struct Room {
    name: String,
    directory: PathBuf,
}

impl Room {
    fn new() -> Result<Self> {
        let name = format!("netd-change-{}", std::process::id());
        let directory = Path::new("/run/netd").join(&name);
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("make {}", directory.display()))?;
        let room = Self { name, directory };
        netns::create(std::slice::from_ref(&room.name))?;
        let links = format!(
            "link add eth0 type veth peer name wire\naddress add {}/24 dev eth0\n\
             link set eth0 up\nlink set wire up\n",
            state::NODE
        );
        command::ip_batch(Some(&room.name), &links)?;
        Ok(room)
    }

    /// Works with a fresh data plane, and removes what it has made.
    fn run<T: Send>(&self, work: impl FnOnce(&mut Node) -> Result<T> + Send) -> Result<T> {
        netns::inside(&self.name, || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let opened = runtime.block_on(Dataplane::open(self.settings()))?;
            let mut node = Node {
                runtime,
                dataplane: opened,
                desired: state::empty(),
            };
            let outcome = work(&mut node);
            let Node {
                runtime, dataplane, ..
            } = node;
            dataplane.close();
            runtime.block_on(self.clean())?;
            outcome
        })?
    }

    fn settings(&self) -> Settings {
        Settings {
            instance: self.name.clone(),
            bpffs: "/sys/fs/bpf".into(),
            state_dir: self.directory.clone(),
            flow_capacity: None,
            replace_layout: false,
            attach: None,
        }
    }

    async fn clean(&self) -> Result<()> {
        let cleaned = dataplane::cleanup(&Cleanup {
            instance: Some(self.name.clone()),
            bpffs: "/sys/fs/bpf".into(),
            state: self.directory.clone(),
            dry_run: false,
        })
        .await;
        match cleaned.problems.first() {
            Some(problem) => Err(anyhow!("{problem}")),
            None => Ok(()),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Err(error) = netns::delete(&self.name) {
            progress(&format!("{error:#}"));
        }
        // What was not cleaned up was told.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

struct Node {
    runtime: tokio::runtime::Runtime,
    dataplane: Dataplane,
    /// What is applied.
    desired: Desired,
}

impl Node {
    fn program(&mut self) -> Result<Duration> {
        let empty = state::empty();
        self.runtime.block_on(self.dataplane.apply(&empty))?;
        self.desired = state::services(SERVICES);
        let start = Instant::now();
        self.runtime.block_on(self.dataplane.apply(&self.desired))?;
        Ok(start.elapsed())
    }

    /// Makes changes and undoes them, by turns as a whole state and as a difference.
    fn changes(&mut self, kind: state::Kind, count: usize) -> Result<Times> {
        let mut times = Times::default();
        let before = self.desired.clone();
        for number in 0..u32::try_from(count)? {
            let service = number.wrapping_mul(7919) % SERVICES;
            let after = kind.change(&before, service);
            let there = Edit::between(&before, &after).context("more than an edit")?;
            let back = Edit::between(&after, &before).context("more than an edit")?;
            times.apply[0].push(self.apply(&after)?);
            times.apply[1].push(self.apply(&before)?);
            times.edit[0].push(self.edit(&there)?);
            times.edit[1].push(self.edit(&back)?);
        }
        Ok(times)
    }

    fn apply(&mut self, desired: &Desired) -> Result<f64> {
        let start = Instant::now();
        let report = self.runtime.block_on(self.dataplane.apply(desired))?;
        let took = start.elapsed().as_secs_f64();
        if report.changes == 0 {
            return Err(anyhow!("nothing has changed"));
        }
        Ok(took)
    }

    fn edit(&mut self, edit: &Edit) -> Result<f64> {
        let start = Instant::now();
        self.runtime.block_on(self.dataplane.edit(edit))?;
        Ok(start.elapsed().as_secs_f64())
    }
}
