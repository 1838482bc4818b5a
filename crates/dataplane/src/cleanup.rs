//! Removing everything that was ever made on this host, without knowing what was desired: by names
//! and by the record alone. Errors are collected; nothing stops at one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::kernel::netlink::{Kind, Link, Netlink};
use crate::kernel::netns::Netns;
use crate::kernel::{bpf, nft, sysctl};
use crate::lock::{self, Lock};
use crate::names::{self, LinkRole, Names};
use crate::problem::{Problem, ProblemCode};
use crate::record::{self, Record};

/// What to remove.
#[derive(Clone, Debug)]
pub struct Cleanup {
    /// The instance; `None` for all that were ever on this host.
    pub instance: Option<String>,
    /// Mount point of the BPF file system.
    pub bpffs: PathBuf,
    /// State directory of the instance, or for all instances the directory that holds theirs.
    pub state: PathBuf,
    /// Only tell what would be removed.
    pub dry_run: bool,
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// One line for each object: what was removed or restored, or would be.
    pub removed: Vec<String>,
    /// What could not be.
    pub problems: Vec<Problem>,
}

/// Removes devices, pins and the mount that holds them, firewall tables, routing rules in tasks' namespaces and recorded settings.
/// Nothing is removed of an instance that a process drives: that is a problem. Must be called inside
/// a tokio runtime, in the node's network namespace.
pub async fn cleanup(cleanup: &Cleanup) -> Cleaned {
    let mut work = Work {
        cleanup,
        cleaned: Cleaned::default(),
        locks: BTreeMap::new(),
        busy: Vec::new(),
    };
    work.lock();
    if !work.cleaned.problems.is_empty() {
        return work.cleaned;
    }
    work.links().await;
    work.pins();
    work.firewall();
    work.state().await;
    let met = work.busy.into_iter().filter(|busy| busy.is_met);
    work.cleaned.problems.extend(met.map(|busy| busy.problem));
    work.cleaned
}

struct Work<'a> {
    cleanup: &'a Cleanup,
    cleaned: Cleaned,
    /// Held to the end, so that nothing is made again meanwhile.
    locks: BTreeMap<String, Lock>,
    /// The instances that are driven by a process.
    busy: Vec<Busy>,
}

struct Busy {
    names: Names,
    problem: Problem,
    /// Whether something of it would have been removed.
    is_met: bool,
}

impl Work<'_> {
    /// Notes what is about to be removed; tells whether to go ahead.
    fn announce(&mut self, what: String) -> bool {
        self.cleaned.removed.push(what);
        !self.cleanup.dry_run
    }

    fn note<E: std::error::Error>(&mut self, result: Result<(), E>) {
        if let Err(error) = result {
            self.cleaned
                .problems
                .push(Problem::from_error(ProblemCode::Refused, &error));
        }
    }

    fn refuse(&mut self, error: &dyn std::error::Error) {
        self.cleaned
            .problems
            .push(Problem::from_error(ProblemCode::Refused, error));
    }

    /// Takes the lock of every instance concerned, as far as something is to be removed.
    fn lock(&mut self) {
        let directory = Path::new(lock::DIRECTORY);
        let known = lock::instances(directory);
        for instance in self.instances(&known) {
            if self.cleanup.dry_run && !known.contains(&instance) {
                continue;
            }
            match Lock::instance(directory, &instance) {
                Ok(lock) if !self.cleanup.dry_run => drop(self.locks.insert(instance, lock)),
                Ok(_) => {}
                Err(problem)
                    if problem.code == ProblemCode::Busy && self.cleanup.instance.is_none() =>
                {
                    let names = Names::new(&instance);
                    self.busy.push(Busy {
                        names,
                        problem,
                        is_met: false,
                    });
                }
                Err(problem) => self.cleaned.problems.push(problem),
            }
        }
    }

    /// The instance, or every one whose name can be told; `known` are those with a lock. What drives
    /// an instance has made its lock.
    fn instances(&self, known: &BTreeSet<String>) -> BTreeSet<String> {
        if let Some(instance) = &self.cleanup.instance {
            return BTreeSet::from([instance.clone()]);
        }
        let pins = instances_below(&self.cleanup.bpffs);
        let pins = pins
            .iter()
            .filter_map(|path| file_name(path)?.strip_prefix("netd-"));
        let state = subdirectories(&self.cleanup.state);
        let state = state.iter().filter(|directory| record::exists(directory));
        let found = pins.chain(state.filter_map(|path| file_name(path)));
        found.map(ToOwned::to_owned).chain(known.clone()).collect()
    }

    /// Whether something belongs to an instance that is driven by a process.
    fn is_busy(&mut self, is_theirs: impl Fn(&Names) -> bool) -> bool {
        let busy = self.busy.iter_mut().find(|busy| is_theirs(&busy.names));
        busy.map(|busy| busy.is_met = true).is_some()
    }

    async fn links(&mut self) {
        let netlink = match Netlink::open() {
            Ok(netlink) => netlink,
            Err(error) => return self.refuse(&error),
        };
        let links = match netlink.links().await {
            Ok(links) => links,
            Err(error) => return self.refuse(&error),
        };
        let own = self.cleanup.instance.as_deref().map(Names::new);
        let role = |link: &Link| match &own {
            Some(names) => names.role(&link.name),
            None => names::parse(&link.name).map(|(role, _)| role),
        };
        let is_ours = |link: &&Link| role(link).is_some_and(|role| is_made_for(role, link.kind));
        for link in links.iter().filter(is_ours) {
            if self.is_busy(|names| names.role(&link.name).is_some()) {
                continue;
            }
            if self.announce(format!("interface {}", link.name)) {
                match netlink.delete_link(link.index).await {
                    Err(error) if !error.is_missing() => self.refuse(&error),
                    Ok(()) | Err(_) => {}
                }
            }
        }
    }

    fn pins(&mut self) {
        let bpffs = &self.cleanup.bpffs;
        let mut leaving = Vec::new();
        for directory in self.mine(instances_below(bpffs), |names| names.pin_root(bpffs)) {
            if self.is_busy(|names| names.pin_root(bpffs) == directory) {
                continue;
            }
            if self.announce(format!("pins in {}", directory.display())) {
                self.note(bpf::detach_filters(&directory));
                self.note(fs::remove_dir_all(&directory));
            } else {
                leaving.push(directory);
            }
        }
        // Nobody who found it mounted may be about to use it.
        let _host = match lock::host(Path::new(lock::DIRECTORY)) {
            Ok(host) => host,
            Err(problem) => return self.cleaned.problems.push(problem),
        };
        if bpf::is_spare(bpffs, &leaving) && self.announce(format!("mount {}", bpffs.display())) {
            self.note(bpf::unmount_bpffs(bpffs));
        }
    }

    fn firewall(&mut self) {
        let tables = match nft::tables() {
            Ok(tables) => tables,
            Err(error) => return self.refuse(&error),
        };
        let all = tables
            .into_iter()
            .filter(|table| table.starts_with("netd-"))
            .collect();
        for table in self.mine(all, Names::table) {
            if self.is_busy(|names| names.table() == table) {
                continue;
            }
            if self.announce(format!("nftables table inet {table}")) {
                self.note(nft::delete(&table));
            }
        }
    }

    /// Of `all`, what belongs to the instance, or all for all instances.
    fn mine<T: PartialEq>(&self, all: Vec<T>, name: impl Fn(&Names) -> T) -> Vec<T> {
        let own = self
            .cleanup
            .instance
            .as_deref()
            .map(|instance| name(&Names::new(instance)));
        all.into_iter()
            .filter(|one| own.as_ref().is_none_or(|own| one == own))
            .collect()
    }

    async fn state(&mut self) {
        let own = self.cleanup.state.clone();
        if record::exists(&own) || (self.cleanup.instance.is_some() && own.is_dir()) {
            self.forget(&own).await;
        }
        if self.cleanup.instance.is_some() {
            return;
        }
        for directory in subdirectories(&own) {
            let name = file_name(&directory);
            let is_held = name.is_some_and(|name| self.locks.contains_key(name));
            if !is_held && !record::exists(&directory) {
                continue;
            }
            if !self.is_busy(|names| Some(names.instance()) == name) {
                self.forget(&directory).await;
            }
        }
    }

    /// Gives back what is recorded in a state directory, and removes it when nothing else is in it.
    async fn forget(&mut self, directory: &Path) {
        let _lock = match Lock::state(directory) {
            Ok(lock) => lock,
            Err(problem) => return self.cleaned.problems.push(problem),
        };
        self.restore(directory).await;
        if !self.cleanup.dry_run {
            match fs::remove_dir(directory) {
                Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
                    self.refuse(&error);
                }
                Ok(()) | Err(_) => {}
            }
        }
    }

    async fn restore(&mut self, directory: &Path) {
        let mut record = match Record::open(directory) {
            Ok(record) => record,
            Err(error) => return self.refuse(&error),
        };
        let mut failed = false;
        for (key, value) in record.node().clone() {
            if self.announce(format!("sysctl {key} back to {value:?}")) {
                failed |= self.write(&key, &value);
            }
        }
        for path in record.namespaces().keys().cloned().collect::<Vec<_>>() {
            failed |= self.restore_namespace(&mut record, &path).await;
        }
        if !self.cleanup.dry_run && !failed {
            let result = record.remove();
            self.note(result);
        }
    }

    /// Returns whether it failed.
    fn write(&mut self, key: &str, value: &str) -> bool {
        let result = match sysctl::read(key) {
            // What is gone with its interface needs no value.
            Ok(None) => Ok(()),
            Ok(Some(_)) => sysctl::write(key, value),
            Err(error) => Err(error),
        };
        let failed = result.is_err();
        self.note(result);
        failed
    }

    /// Returns whether it failed.
    async fn restore_namespace(&mut self, record: &mut Record, path: &Path) -> bool {
        // A namespace that has gone took everything with it.
        let Ok(namespace) = Netns::open(path) else {
            return false;
        };
        if !self.announce(format!("rules and settings in {}", path.display())) {
            return false;
        }
        let before = self.cleaned.problems.len();
        match Netlink::open_in(&namespace) {
            Ok(Ok(netlink)) => self.remove_rules(&netlink).await,
            Ok(Err(error)) => self.refuse(&error),
            Err(error) => self.refuse(&error),
        }
        let settings = record.namespaces().get(path).cloned().unwrap_or_default();
        let restore = || {
            settings
                .iter()
                .try_for_each(|(key, value)| sysctl::write(key, value))
        };
        match namespace.run(restore) {
            Ok(result) => self.note(result),
            Err(error) => self.refuse(&error),
        }
        self.cleaned.problems.len() > before
    }

    async fn remove_rules(&mut self, netlink: &Netlink) {
        match netlink.rules().await {
            Ok(rules) => {
                for rule in rules {
                    let result = netlink.remove_rule(&rule).await;
                    self.note(result);
                }
            }
            Err(error) => self.refuse(&error),
        }
    }
}

/// Whether an interface is of the kind that is made for `role`: a name alone may be chance.
fn is_made_for(role: LinkRole, kind: Kind) -> bool {
    match role {
        LinkRole::Tunnel => matches!(kind, Kind::Vxlan { external: true, .. }),
        LinkRole::Attachment | LinkRole::Gateway | LinkRole::Node => kind == Kind::Veth,
        // Goes with the other end.
        LinkRole::NodeFar => false,
    }
}

fn instances_below(bpffs: &Path) -> Vec<PathBuf> {
    let is_ours = |path: &PathBuf| file_name(path).is_some_and(|name| name.starts_with("netd-"));
    subdirectories(bpffs).into_iter().filter(is_ours).collect()
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

fn subdirectories(path: &Path) -> BTreeSet<PathBuf> {
    let entries: io::Result<fs::ReadDir> = fs::read_dir(path);
    let entries = entries.into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}
