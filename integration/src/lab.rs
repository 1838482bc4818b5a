//! Nodes as network namespaces on one underlay, clients outside, tasks inside.
//!
//! A lab is made in steps (wire, tasks, topology, daemons), each of which may be left out, and
//! taken down as a whole: when its [`Lab`] is dropped, when its process dies in whatever way, or by
//! `netd-lab down`. Everything that is made is recorded in `/run/netd-lab/NAME/` before it is made,
//! so that a lab half made can be taken down as well.

pub mod crowd;
pub mod demo;
mod document;
mod down;
pub mod fault;
mod janitor;
mod node;
mod record;
mod spec;
mod task;
pub mod topology;
mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use self::document::{ClientEntry, Document, NodeEntry, PublishedEntry, TaskEntry, VipEntry};
pub use self::down::down;
use self::janitor::Janitor;
pub use self::janitor::watch_owner;
pub use self::record::{Record, directory, names};
pub use self::spec::{Family, Outsider, Spec, Underlay};
use self::topology::Topology;
use crate::wait;

/// How long netd may take to start, or to apply an edit.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How many topologies a netd has applied, and what it has against the file as it stands.
type TopologyState = (u64, Vec<String>);

/// A lab that this process has made; dropping it takes it down.
#[derive(Debug)]
pub struct Lab {
    spec: Spec,
    record: Record,
    janitor: Option<Janitor>,
    /// What is started as netd, if not the project's own.
    netd: Option<PathBuf>,
}

impl Lab {
    /// Makes the wire, the nodes' namespaces and the clients; no daemon, no task yet.
    ///
    /// # Errors
    /// When a lab of this name exists, the name is unusable, or a step fails; what was made until
    /// then is taken down again.
    pub fn up(spec: Spec) -> Result<Self> {
        spec.check()?;
        let record = Record::begin(&spec)?;
        let janitor = Some(Janitor::start(&spec.name)?);
        let mut lab = Self {
            spec,
            record,
            janitor,
            netd: None,
        };
        wire::build(&lab.spec, &mut lab.record)?;
        Ok(lab)
    }

    /// A lab that another process has made: dropping it leaves it up.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn open(name: &str) -> Result<Self> {
        let record = Record::load(name)?;
        Ok(Self {
            spec: record.spec.clone(),
            record,
            janitor: None,
            netd: None,
        })
    }

    /// The lab's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The underlay's addresses.
    #[must_use]
    pub fn underlay(&self) -> Underlay {
        self.spec.underlay()
    }

    /// The nodes' names, in order.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        self.spec.node_names()
    }

    /// The namespace of a node, a task or a client.
    #[must_use]
    pub fn namespace(&self, member: &str) -> String {
        self.spec.namespace(member)
    }

    /// A file of the lab's own directory.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        directory(self.name()).join(name)
    }

    /// What the lab consists of, as `netd-lab up` prints it.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.record.document
    }

    /// Has this program started as netd from now on; `None` for the project's own.
    pub fn use_netd(&mut self, program: Option<PathBuf>) {
        self.netd = program;
    }

    /// Writes the topology file that all nodes share; daemons that run will apply it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_topology(&mut self, topology: &Topology) -> Result<()> {
        self.record.document.describe(topology);
        self.record.save()?;
        self.write_topology_text(&topology.to_toml()?)
    }

    /// Writes any text as topology file, at once (by a rename, as editors do).
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_topology_text(&self, text: &str) -> Result<()> {
        let (file, draft) = (self.file("topology.toml"), self.file("topology.toml.new"));
        fs::write(&draft, text).with_context(|| format!("write {}", draft.display()))?;
        fs::rename(&draft, &file).with_context(|| format!("replace {}", file.display()))
    }

    /// Writes the topology file and waits until every daemon that runs has applied it.
    ///
    /// # Errors
    /// When one refuses it or does not apply it in time.
    pub fn apply_topology(&mut self, topology: &Topology) -> Result<()> {
        let before = self.topology_states()?;
        self.write_topology(topology)?;
        for (node, (generation, errors)) in before {
            wait::until(
                PATIENCE,
                &format!("{node} applies the new topology"),
                || {
                    self.generation(&node).is_ok_and(|now| now > generation)
                        || self
                            .topology_errors(&node)
                            .is_ok_and(|now| now != errors && !now.is_empty())
                },
            )?;
            let errors = self.topology_errors(&node)?;
            if !errors.is_empty() {
                bail!("{node} refuses the topology: {}", errors.join("; "));
            }
        }
        Ok(())
    }

    /// Of every node whose netd runs: how many topologies it has applied, and what it has against
    /// the file as it stands.
    fn topology_states(&self) -> Result<BTreeMap<String, TopologyState>> {
        let state = |node: String| {
            let state = (self.generation(&node)?, self.topology_errors(&node)?);
            Ok((node, state))
        };
        self.running_nodes().into_iter().map(state).collect()
    }

    /// Leaves the lab up when this process ends.
    ///
    /// # Errors
    /// When its janitor cannot be told.
    pub fn keep(mut self) -> Result<Document> {
        if let Some(janitor) = self.janitor.take() {
            janitor.dismiss()?;
        }
        Ok(self.record.document.clone())
    }

    /// Takes the lab down and says what was left behind.
    ///
    /// # Errors
    /// When something could not be removed, or netd left something that it should have removed.
    pub fn down(mut self) -> Result<()> {
        let janitor = self.janitor.take();
        let result = down(self.name());
        drop(janitor);
        result
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let Some(janitor) = self.janitor.take() else {
            return;
        };
        if let Err(error) = down(self.name()) {
            let text = format!("taking down the lab {}: {error:#}\n", self.name());
            let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
        }
        // Last: had we died above, it would have finished the work.
        drop(janitor);
    }
}
