//! What the agent tells everybody else: one immutable snapshot after another.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use dataplane::Way;
use model::{NodeName, Topology};

use crate::topology::LoadError;

/// The agent as of its last pass. Published through a `tokio::sync::watch`, never changed in place.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// This node.
    pub(crate) node: NodeName,
    /// When the daemon started.
    pub(crate) since: SystemTime,
    /// The topology file, and what became of its last reading.
    pub(crate) load: Load,
    /// The last topology that was free of errors: what the kernel has, or is being brought to.
    /// `None` until there was one.
    pub(crate) topology: Option<Arc<Topology>>,
    /// What the data plane reported of itself at its last apply; `None` until one succeeded.
    pub(crate) applied: Option<Applied>,
    /// What stands in the way on this host.
    pub(crate) problems: Vec<Obstacle>,
    /// How often the kernel was found to be other than it was left.
    pub(crate) audit: Audit,
}

impl State {
    /// Whether everything that the file asks for is in place.
    pub(crate) const fn is_ready(&self) -> bool {
        self.applied.is_some() && self.problems.is_empty() && self.load.errors.is_empty()
    }
}

/// What the audits have found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit {
    /// When the last one was; `None` until there was one.
    pub(crate) last: Option<SystemTime>,
    /// How many objects and tables were repaired since the start.
    pub(crate) repaired: u64,
    /// The last ones, at most [`Audit::RECENT`], newest first.
    pub(crate) recent: VecDeque<Repair>,
}

/// Something that somebody else had changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repair {
    /// When it was put right.
    pub(crate) time: SystemTime,
    /// What it was.
    pub(crate) what: String,
}

impl Audit {
    /// How many repairs are remembered.
    const RECENT: usize = 20;

    pub(super) fn note(&mut self, time: SystemTime, repaired: Vec<String>) {
        self.last = Some(time);
        self.repaired += repaired.len() as u64;
        for what in repaired {
            self.recent.push_front(Repair { time, what });
        }
        self.recent.truncate(Self::RECENT);
    }
}

/// The topology file.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Where it is.
    pub(crate) file: PathBuf,
    /// When [`State::topology`] was read; `None` until there was one.
    pub(crate) loaded_at: Option<SystemTime>,
    /// How many topologies have been taken, this one included.
    pub(crate) generation: u64,
    /// What was wrong with the last reading; empty when it was taken.
    pub(crate) errors: Vec<LoadError>,
}

/// Something about this host that keeps netd from its work, or parts of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Obstacle {
    /// A short name that never changes, for scripts: `forward-policy`.
    pub(crate) code: String,
    /// What is wrong.
    pub(crate) message: String,
    /// What would be needed.
    pub(crate) needed: String,
}

/// What the data plane uses of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The interface that has this node's underlay address.
    pub(crate) underlay: String,
    /// This node's underlay address.
    pub(crate) address: IpAddr,
    /// The MTU of the underlay interface, in bytes.
    pub(crate) underlay_mtu: u32,
    /// The largest IP packet of an overlay network, in bytes.
    pub(crate) overlay_mtu: u32,
    /// Why the device takes packets to and from this node; `None` where the programs do themselves.
    pub(crate) device: Option<String>,
    /// How packets get to each other node.
    pub(crate) ways: BTreeMap<IpAddr, Way>,
}
