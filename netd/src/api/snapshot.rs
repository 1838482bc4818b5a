//! The agent at one moment, for one request.

use std::sync::Arc;

use model::{PerFamily, ServiceId, Topology};

use super::refusal::Refusal;
use crate::agent::{Handle, State};

/// What the ingress network is called.
pub(super) const INGRESS: &str = model::NetworkName::INGRESS;

/// The agent's state, and the topology in it.
pub(super) struct Snapshot {
    /// The state.
    pub(super) state: Arc<State>,
    /// The topology in force.
    pub(super) topology: Arc<Topology>,
}

impl Snapshot {
    /// The agent now; refused while there is no topology, which would look like an empty one.
    pub(super) fn of(agent: &Handle) -> Result<Self, Refusal> {
        let state = Arc::clone(&agent.state.borrow());
        let Some(topology) = state.topology.clone() else {
            let first = state.load.errors.first();
            return Err(Refusal::NoTopology(first.map_or_else(
                || format!("{} has not been read yet", state.load.file.display()),
                ToString::to_string,
            )));
        };
        Ok(Self { state, topology })
    }
}

/// The values of both families, IPv4 first.
pub(super) fn values<T: Copy>(both: &PerFamily<T>) -> Vec<T> {
    both.iter().copied().collect()
}

/// How a service's number is shown.
pub(super) fn service_id(id: ServiceId) -> String {
    format!("{:08x}", id.get())
}

/// A protocol on the wire.
pub(super) const fn wire_protocol(protocol: model::Protocol) -> api::Protocol {
    match protocol {
        model::Protocol::Tcp => api::Protocol::Tcp,
        model::Protocol::Udp => api::Protocol::Udp,
    }
}
