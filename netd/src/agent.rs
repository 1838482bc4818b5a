//! The driver: one loop that brings this node to what the topology says, and tells what it did.

mod live;
mod state;

pub(crate) use live::{
    Attached, Direction, Drop, Flow, FlowState, Interface, Live, Load as BackendLoad, Question,
    Sample, Transfer, Unanswered,
};
pub(crate) use state::{Applied, Load, Obstacle, State};

pub(crate) use crate::topology::LoadError;

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
