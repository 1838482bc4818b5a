//! The driver: one loop that brings this node to what the topology says, and tells what it did.
//!
//! The file is edited, a signal comes, an interface of the node changes, time passes: each leads to
//! one pass of [`node::NodeAgent`], which ends with a new [`State`] for whoever asks. Questions about
//! flows, drops and loads are answered between passes, since one task owns the data plane.

mod answer;
mod driver;
mod live;
mod node;
mod state;
mod supervisor;
#[cfg(test)]
mod tests;

pub(crate) use answer::chain;
pub(crate) use driver::run;
pub(crate) use live::{
    Attached, Direction, Drop, Flow, FlowState, Live, Load as BackendLoad, Sample, TracePlace,
    Unanswered,
};
#[cfg(test)]
pub(crate) use live::{Interface, Question, Transfer};
#[cfg(test)]
pub(crate) use state::{Applied, Obstacle};
pub(crate) use state::{Audit, Load, Repair, State};

use std::sync::Arc;

use tokio::sync::watch;

/// What others hold of the agent.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    /// The last snapshot.
    pub(crate) state: watch::Receiver<Arc<State>>,
    /// Questions that only the kernel can answer.
    pub(crate) live: Live,
}
