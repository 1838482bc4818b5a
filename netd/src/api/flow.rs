use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use api::{Flow, FlowState, Transfer};
use axum::Json;
use axum::extract::State;
use model::BackendId;

use super::refusal::Refusal;
use super::snapshot::{Snapshot, protocol};
use crate::agent::{self, Direction, Handle};

pub(super) async fn list(State(agent): State<Handle>) -> Result<Json<Vec<Flow>>, Refusal> {
    let snapshot = Snapshot::of(&agent)?;
    let names = Names {
        networks: snapshot.network_names(),
        services: snapshot.service_names(),
        nodes: snapshot.node_names(),
        snapshot: &snapshot,
    };
    let mut flows = agent.live.flows().await?;
    flows.sort_by_key(|flow| (flow.net, flow.protocol, flow.client, flow.frontend));
    Ok(Json(flows.iter().map(|flow| names.flow(flow)).collect()))
}

/// What the kernel knows by number.
struct Names<'a> {
    networks: BTreeMap<u32, &'a str>,
    services: BTreeMap<u32, &'a str>,
    nodes: BTreeMap<IpAddr, &'a str>,
    snapshot: &'a Snapshot,
}

impl Names<'_> {
    fn flow(&self, flow: &agent::Flow) -> Flow {
        let name = |names: &BTreeMap<u32, &str>, number| {
            names.get(&number).copied().unwrap_or_default().to_owned()
        };
        Flow {
            network: name(&self.networks, flow.net),
            protocol: protocol(flow.protocol),
            client: flow.client,
            frontend: flow.frontend,
            backend: flow.server.or_else(|| self.backend(flow)),
            service: name(&self.services, flow.service),
            state: state(flow.state),
            direction: self.direction(flow.direction),
            idle_ms: milliseconds(flow.idle),
            expires_ms: milliseconds(flow.expires),
            packets: Transfer {
                forward: flow.forward.packets,
                reply: flow.reply.packets,
            },
            bytes: Transfer {
                forward: flow.forward.bytes,
                reply: flow.reply.bytes,
            },
        }
    }

    /// The backend's address, where the packets travel on untranslated.
    fn backend(&self, flow: &agent::Flow) -> Option<SocketAddr> {
        let id = BackendId(NonZeroU32::new(flow.backend)?);
        let backend = self.snapshot.topology.backends.get(&id)?;
        let port = backend.port.map(model::Port::get);
        let dialled = flow.frontend.map(|frontend| frontend.port());
        Some(SocketAddr::new(backend.address, port.or(dialled)?))
    }

    fn direction(&self, direction: Direction) -> String {
        let node = |address: IpAddr| {
            let name = self.nodes.get(&address);
            name.map_or_else(|| address.to_string(), ToString::to_string)
        };
        match direction {
            Direction::Local => "local".to_owned(),
            Direction::To(address) => format!("to:{}", node(address)),
            Direction::From(address) => format!("from:{}", node(address)),
        }
    }
}

const fn state(state: agent::FlowState) -> FlowState {
    match state {
        agent::FlowState::Syn => FlowState::Syn,
        agent::FlowState::Established => FlowState::Established,
        agent::FlowState::Closing => FlowState::Closing,
        agent::FlowState::Closed => FlowState::Closed,
        agent::FlowState::OneWay => FlowState::OneWay,
        agent::FlowState::Answered => FlowState::Answered,
    }
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
