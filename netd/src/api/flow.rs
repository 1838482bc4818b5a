use std::net::SocketAddr;
use std::time::Duration;

use api::{Flow, FlowState, Transfer};
use axum::Json;
use axum::extract::State;

use super::digest::digest;
use super::names::{Names, protocol};
use super::refusal::Refusal;
use crate::agent::{self, Direction, Handle};

pub(super) async fn list(State(agent): State<Handle>) -> Result<Json<Vec<Flow>>, Refusal> {
    let mut flows = agent.live.flows().await?;
    flows.sort_by_key(|flow| (flow.net, flow.protocol, flow.client, flow.frontend));
    let topology = agent.state.borrow().topology.clone();
    let names = Names::new(topology.as_deref());
    Ok(Json(flows.iter().map(|it| flow(&names, it)).collect()))
}

fn flow(names: &Names<'_>, flow: &agent::Flow) -> Flow {
    let dialled = flow.frontend.map(|frontend| frontend.port());
    let service = names.service(flow.service, flow.backend);
    Flow {
        id: id(flow),
        name: service.clone(),
        network: names.network(flow.net),
        protocol: protocol(flow.protocol),
        client: flow.client,
        frontend: flow.frontend,
        // Where the packets travel on untranslated, only the backend's number is known.
        backend: flow.server.or_else(|| names.backend(flow.backend, dialled)),
        service,
        state: state(flow.state),
        direction: match flow.direction {
            Direction::Local => "local".to_owned(),
            Direction::To(address) => format!("to:{}", names.node(address)),
            Direction::From(address) => format!("from:{}", names.node(address)),
        },
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

/// Sixteen hexadecimal digits. Of the direction only what the flow keeps for life counts: where it
/// goes is forgotten with its backend.
fn id(flow: &agent::Flow) -> String {
    let place = |place: Option<SocketAddr>| place.map_or_else(String::new, |it| it.to_string());
    let direction = match flow.direction {
        Direction::From(_) => "from",
        Direction::Local | Direction::To(_) => "to",
    };
    let text = format!(
        "{} {} {} {} {} {direction}",
        flow.net,
        flow.protocol,
        flow.client,
        place(flow.frontend),
        place(flow.server)
    );
    format!("{:016x}", digest(&text))
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
