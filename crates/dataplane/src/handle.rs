//! The data plane of one node, as the daemon drives it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use abi::hash::murmur3_32;

use crate::apply::{Executor, Outcome};
use crate::desired::Desired;
use crate::kernel::bpf::{
    self, Attach, Drift, LoadError, Loading, Maps, Pins, Programs, Samples, TableError,
};
use crate::kernel::cookie;
use crate::kernel::netlink::Netlink;
use crate::kernel::netns::Netns;
use crate::kernel::probe;
use crate::known::Known;
use crate::lock::{self, Lock};
use crate::lower::direct::Proof;
use crate::lower::{self, Facts};
use crate::names::Names;
use crate::observe::{self, Node, Nodes, Sources};
use crate::picks::Previous;
use crate::plan::{Change, Observed, TableChange, plan};
use crate::problem::{Problem, ProblemCode};
use crate::record::Record;
use crate::repair;
use crate::status::Status;
use crate::tables::{FrontendKey, Place};
use crate::watch::Events;
use crate::ways::Ways;
use crate::world::{LinkName, World};

mod direct;

/// How long the places of old picks are left alone. A program that has read a frontend's value reads
/// its picks within microseconds; this is that, with room for a stalled virtual machine.
const QUARANTINE: Duration = Duration::from_secs(2);

/// How often [`Dataplane::collect_garbage`] wants to be called.
pub const GARBAGE_INTERVAL: Duration = Duration::from_secs(10);

/// Where an instance keeps itself.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Goes into the name of every kernel object.
    pub instance: String,
    /// Mount point of the BPF file system; it is mounted if need be.
    pub bpffs: PathBuf,
    /// Directory of the record of changed settings; made if need be.
    pub state_dir: PathBuf,
    /// Entries of the flow table, two for each translated flow; `None` for the built-in size. A
    /// table that exists already keeps its size.
    pub flow_capacity: Option<u32>,
    /// Whether a data plane of another layout gives way to a new one, and its flows are lost;
    /// otherwise it runs on and [`Dataplane::open`] refuses.
    pub replace_layout: bool,
    /// How programs are attached to interfaces from now on; `None` for the best that the kernel has.
    /// What is attached already stays as it is.
    pub attach: Option<Attach>,
}

/// The data plane cannot be opened, or not be listened to; whatever ran before still runs.
#[derive(Debug, thiserror::Error)]
#[error("{}", list(problems))]
pub struct OpenError {
    /// Everything that stands in the way.
    pub problems: Vec<Problem>,
}

/// The desired state is not reached.
#[derive(Debug, thiserror::Error)]
#[error("{}", list(problems))]
pub struct ApplyError {
    /// What went wrong, for each object concerned.
    pub problems: Vec<Problem>,
    /// Whether anything was changed: `false` means that the old state stands as it was; `true`,
    /// that everything not named in `problems` is as desired.
    pub changed: bool,
}

impl ApplyError {
    pub(crate) const fn unchanged(problems: Vec<Problem>) -> Self {
        Self {
            problems,
            changed: false,
        }
    }

    pub(crate) fn refused(error: impl std::error::Error) -> Self {
        Self::unchanged(vec![problem(error)])
    }

    pub(crate) fn nothing_to_edit() -> Self {
        Self::unchanged(vec![Problem::new(
            ProblemCode::Desired,
            "there is no state that could be edited".to_owned(),
            "a whole state first",
        )])
    }
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many changes were made; 0 when everything was as desired already.
    pub changes: usize,
    /// Whether the kernel was looked at as a whole.
    pub audited: bool,
    /// What somebody else had changed since the last time and is as it should be again: one line for
    /// each object or table.
    pub repaired: Vec<String>,
}

/// The data plane of one node.
#[derive(Debug)]
pub struct Dataplane {
    pub(crate) names: Names,
    netlink: Netlink,
    pub(crate) programs: Programs,
    pub(crate) maps: Maps,
    pub(crate) samples: Samples,
    /// The last sample of each reason, and when its packet was dropped by the wall clock.
    pub(crate) last_samples: BTreeMap<abi::DropReason, (abi::DropSample, SystemTime)>,
    record: Record,
    ways: Ways,
    /// What nodes have shown that are to answer clients themselves.
    direct: BTreeMap<IpAddr, Proof>,
    settled: bool,
    _locks: [Lock; 2],
    previous: Previous,
    pub(crate) drift: Drift,
    /// Freed places of picks, and since when.
    quarantine: Vec<(Instant, Range<u32>)>,
    pub(crate) status: Status,
    /// `None` when the kernel has to be looked at before anything is changed.
    pub(crate) known: Option<Known>,
}

/// What a plan starts from.
struct Prepared {
    wanted: World,
    facts: Facts,
    observed: Observed,
    index: BTreeMap<LinkName, u32>,
}

impl Dataplane {
    /// Loads fresh programs over the maps and links that an earlier process has left, or makes them.
    /// Traffic does not notice. Must be called inside a tokio runtime, in the node's network
    /// namespace.
    ///
    /// # Errors
    /// Everything that the host lacks, at once; or what failed.
    pub async fn open(settings: Settings) -> Result<Self, OpenError> {
        let missing = probe::missing();
        if !missing.is_empty() {
            return Err(OpenError { problems: missing });
        }
        let locks = take_locks(&settings).map_err(|problem| OpenError {
            problems: vec![problem],
        })?;
        let names = Names::new(&settings.instance);
        let host = lock::host(Path::new(lock::DIRECTORY)).map_err(|problem| OpenError {
            problems: vec![problem],
        })?;
        bpf::mount_bpffs(&settings.bpffs).map_err(refused)?;
        let root = names.pins(&settings.bpffs);
        let others = bpf::other_layouts(&root).map_err(refused)?;
        if !others.is_empty() && !settings.replace_layout {
            return Err(OpenError {
                problems: vec![Problem::layout(&others)],
            });
        }
        let pins = Pins::create(root).map_err(refused)?;
        drop(host);
        let loading = Loading {
            flow_capacity: settings.flow_capacity,
            replace_layout: settings.replace_layout,
            attach: settings.attach,
        };
        let (programs, maps, samples) = bpf::load(pins, loading).map_err(|error| OpenError {
            problems: vec![unloadable(&error)],
        })?;
        let adopted = programs.adopt().map_err(refused)?;
        let attach = programs.way().as_str();
        tracing::debug!(links = adopted.len(), attach, "kernel programs loaded");
        let record = Record::open(&settings.state_dir)
            .map_err(|error| Problem::from_error(ProblemCode::Record, &error))
            .map_err(|problem| OpenError {
                problems: vec![problem],
            })?;
        let mut dataplane = Self {
            names,
            netlink: Netlink::open().map_err(refused)?,
            programs,
            maps,
            samples,
            last_samples: BTreeMap::new(),
            record,
            ways: Ways::open().map_err(refused)?,
            direct: BTreeMap::new(),
            settled: false,
            _locks: locks,
            previous: Previous::default(),
            drift: Drift::default(),
            quarantine: Vec::new(),
            status: Status::default(),
            known: None,
        };
        dataplane.status.problems = probe::obstacles();
        Node::observe(&dataplane.netlink).await.map_err(refused)?;
        Ok(dataplane)
    }

    /// Brings the kernel to `desired` by differences. Where those from the state before are few and
    /// concern the tables only, the kernel is taken to hold what it was given; otherwise, and when
    /// there is no difference, everything is looked at.
    ///
    /// # Errors
    /// When something is wrong with `desired`, nothing is changed; when the kernel refuses something,
    /// everything else is done.
    pub async fn apply(&mut self, desired: &Desired) -> Result<Report, ApplyError> {
        let edit = self.known.as_ref().and_then(|known| known.edit(desired));
        match edit {
            Some(edit) => self.edit(&edit).await,
            None => self.audit(desired).await,
        }
    }

    /// Brings the kernel to `desired` by differences from what it holds, whoever has put it there.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub async fn audit(&mut self, desired: &Desired) -> Result<Report, ApplyError> {
        let known = self.known.take();
        let mut repaired = self.programs.pin_again().map_err(ApplyError::refused)?;
        let prepared = self.prepare(desired, known.as_ref()).await;
        let Prepared {
            wanted,
            facts,
            mut observed,
            index,
        } = prepared.map_err(ApplyError::unchanged)?;
        let planned = plan(&wanted, &observed);
        let changes = planned.map_err(|problem| ApplyError::unchanged(vec![problem]))?;
        if let Some(known) = &known {
            let drift = known.drift((desired, &facts, &wanted), &mut observed);
            repaired.extend(repair::repairs(&drift, &changes));
        }
        self.isolate(&changes, &observed);
        let (mut outcome, index) = self.execute(&changes, index).await;
        self.end_sockets(&changes, &facts.cookies);
        if outcome.problems.is_empty() {
            outcome.problems.extend(self.settle().err());
        }
        self.update_status(desired, &facts, &outcome);
        let Outcome { done, problems, .. } = outcome;
        if !problems.is_empty() {
            let changed = done > 0;
            return Err(ApplyError { problems, changed });
        }
        let (from, to) = ((observed, &changes[..]), (facts, &wanted));
        self.known = Some(Known::new(desired, to, from, index));
        Ok(Report {
            changes: done,
            audited: true,
            repaired,
        })
    }

    /// Makes changes; hands back the numbers of the node's interfaces, brought up to date.
    pub(crate) async fn execute(
        &mut self,
        changes: &[Change],
        index: BTreeMap<LinkName, u32>,
    ) -> (Outcome, BTreeMap<LinkName, u32>) {
        let mut executor = Executor {
            netlink: &self.netlink,
            programs: &self.programs,
            maps: &self.maps,
            record: &mut self.record,
            index,
            seed: murmur3_32(self.names.table().as_bytes(), 0),
            inside: BTreeMap::new(),
        };
        let outcome = executor.run(changes).await;
        (outcome, executor.index)
    }

    /// Listens for changes of the node's own interfaces and addresses, and for the loss of ours: after
    /// each, the last desired state has to be applied again.
    ///
    /// # Errors
    /// When the kernel refuses the subscription.
    pub fn events(&self) -> Result<Events, OpenError> {
        Events::open(self.names.clone(), self.ways.known()).map_err(refused)
    }

    /// Ends the process's part. Programs, maps and devices stay, and traffic goes on.
    pub fn close(self) {
        drop(self);
    }

    /// Finishes what an earlier process may have left undone, once.
    fn settle(&mut self) -> Result<(), Problem> {
        if !self.settled {
            self.programs
                .pins()
                .forget_other_layouts()
                .map_err(problem)?;
            let swept = self.maps.sweep_flows(bpf::now_ns()).map_err(problem)?;
            tracing::debug!(swept, "flows that led nowhere");
            self.settled = true;
        }
        Ok(())
    }

    async fn facts(&mut self, desired: &Desired) -> Result<(Node, Facts), Problem> {
        let node = Node::observe(&self.netlink).await.map_err(problem)?;
        let used = |(_, vtep): &(u32, abi::Vtep)| !vtep.address.is_unspecified();
        let vteps = self.maps.vteps.entries().map_err(problem)?;
        let vteps = vteps
            .into_iter()
            .filter(used)
            .map(|(n, vtep)| (n, vtep.address))
            .collect();
        let names = node.names();
        let next_hops = self.ways.find(desired, &self.netlink, &names);
        let nodes = Nodes {
            vteps,
            vtep_capacity: self.maps.vteps.capacity(),
            next_hops: next_hops.await.map_err(problem)?,
            native: self.programs.native().clone(),
            direct: self.ask_nodes(desired).await,
        };
        let facts = node
            .facts(&self.names, &self.record, nodes)
            .map_err(problem)?;
        Ok((node, facts))
    }

    async fn prepare(
        &mut self,
        desired: &Desired,
        known: Option<&Known>,
    ) -> Result<Prepared, Vec<Problem>> {
        let one = |problem| vec![problem];
        let (node, mut facts) = self.facts(desired).await.map_err(one)?;
        if let Some(known) = known {
            facts.vteps.clone_from(known.vteps());
        }
        facts.cookie = cookie::own().ok();
        facts.cookies = cookie::of(&desired.namespaces());
        let wanted = lower::lower(desired, &facts)?;
        let problems = check_namespaces(&wanted, &self.names);
        if !problems.is_empty() {
            return Err(problems);
        }
        let refused =
            |error: &dyn std::error::Error| one(Problem::from_error(ProblemCode::Refused, error));
        let pinned = self
            .programs
            .pins()
            .pinned_links()
            .map_err(|e| refused(&e))?;
        let sources = Sources {
            names: &self.names,
            node: &node,
            record: &self.record,
            pinned,
            sockets: self
                .programs
                .pins()
                .pinned_sockets()
                .map_err(|e| refused(&e))?,
        };
        let mut observed = observe::observe(&wanted, sources)
            .await
            .map_err(|e| refused(&e))?;
        let names = node.names();
        let (tables, places) = self.maps.observe(&names).map_err(|e| refused(&e))?;
        observed.world.tables = tables;
        observed.outlived = self.previous.outlived(&places, Instant::now());
        observed.places = places;
        observed.pick_capacity = self.maps.picks.capacity();
        observed.quarantine = self.quarantined(Instant::now());
        let index = names
            .into_iter()
            .map(|(number, name)| (name, number))
            .collect();
        Ok(Prepared {
            wanted,
            facts,
            observed,
            index,
        })
    }

    /// The places of picks that a program may still be reading.
    pub(crate) fn quarantined(&mut self, now: Instant) -> Vec<Range<u32>> {
        self.quarantine
            .retain(|(since, _)| now.saturating_duration_since(*since) < QUARANTINE);
        let ranges = self.quarantine.iter().map(|(_, range)| range.clone());
        ranges.collect()
    }

    /// Keeps the places that the plan frees from being used again at once.
    pub(crate) fn isolate(&mut self, changes: &[Change], observed: &Observed) {
        let now = Instant::now();
        let mut free = |key: &FrontendKey, kept: Range<u32>| {
            let place = observed.places.get(key).copied().unwrap_or_default();
            let freed = [place.range(), place.second_range()].into_iter();
            let freed = freed.filter(|range| !range.is_empty() && *range != kept);
            self.quarantine.extend(freed.map(|range| (now, range)));
        };
        for change in changes {
            if let Change::Table(TableChange::PutFrontends(frontends)) = change {
                for (key, value) in frontends {
                    free(key, Place::of(value).second_range());
                }
            } else if let Change::Table(TableChange::RemoveFrontends(keys)) = change {
                keys.iter().for_each(|key| free(key, 0..0));
            }
        }
    }
}

fn unloadable(error: &LoadError) -> Problem {
    if let LoadError::Table(TableError::Layout { .. }) = error {
        let problem = Problem::from_error(ProblemCode::Layout, error);
        return Problem {
            message: format!(
                "pinned by another build of this layout: {}",
                problem.message
            ),
            ..Problem::layout(&[])
        };
    }
    problem(error)
}

fn take_locks(settings: &Settings) -> Result<[Lock; 2], Problem> {
    Ok([
        Lock::instance(Path::new(lock::DIRECTORY), &settings.instance)?,
        Lock::state(&settings.state_dir)?,
    ])
}

fn check_namespaces(wanted: &World, names: &Names) -> Vec<Problem> {
    let own = names.node();
    let tasks = wanted.pairs.iter().filter(|(name, _)| **name != own);
    let tasks = tasks.map(|(_, pair)| pair.namespace.as_path());
    unusable(
        tasks
            .chain(wanted.namespaces.keys().map(PathBuf::as_path))
            .collect(),
    )
}

fn unusable(namespaces: BTreeSet<&Path>) -> Vec<Problem> {
    namespaces.into_iter().filter_map(fault).collect()
}

fn fault(namespace: &Path) -> Option<Problem> {
    match Netns::open(namespace).and_then(|it| it.is_here()) {
        Ok(false) => None,
        // A task's default route would become the node's.
        Ok(true) => Some(Problem::new(
            ProblemCode::Namespace,
            format!("{} is the node's own namespace", namespace.display()),
            "a namespace of the task's own",
        )),
        Err(error) => Some(Problem {
            needed: "a network namespace bound to this path".to_owned(),
            ..Problem::from_error(ProblemCode::Namespace, &error)
        }),
    }
}

fn problem(error: impl std::error::Error) -> Problem {
    Problem::from_error(ProblemCode::Refused, &error)
}

fn refused(error: impl std::error::Error) -> OpenError {
    OpenError {
        problems: vec![problem(error)],
    }
}

fn list(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests;
