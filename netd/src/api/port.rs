use std::collections::{BTreeMap, BTreeSet};

use api::{Port, PortMode};
use axum::Json;
use axum::extract::State;
use model::{FrontendKind, PortMapping, Protocol, Service, Topology};

use super::refusal::Refusal;
use super::snapshot::{Snapshot, wire_protocol};
use crate::agent::{Flow, FlowState, Handle};

pub(super) async fn list(State(agent): State<Handle>) -> Result<Json<Vec<Port>>, Refusal> {
    let snapshot = Snapshot::of(&agent)?;
    let topology = &snapshot.topology;
    let flows = agent.live.flows().await.ok();
    let active = flows.map(|flows| active(topology, &flows));
    let mut ports = Vec::new();
    for (name, service) in &topology.services {
        for published in &service.published {
            let mapping = published.mapping;
            let key = (mapping.port.get(), mapping.protocol.number());
            let protocol = wire_protocol(mapping.protocol);
            ports.push(Port {
                id: format!("{}/{protocol}", mapping.port.get()),
                name: name.to_string(),
                service: name.to_string(),
                port: mapping.port.get(),
                target: mapping.target.get(),
                protocol,
                algorithm: published.balancing.algorithm.to_string(),
                affinity: published.balancing.affinity.seconds(),
                mode: PortMode::Ingress,
                backends: backends(topology, service, mapping),
                active: active
                    .as_ref()
                    .map(|active| active.get(&key).copied().unwrap_or_default()),
            });
        }
    }
    ports.sort_by_key(|port| (port.port, port.protocol));
    Ok(Json(ports))
}

/// How many endpoints stand behind a published port.
fn backends(topology: &Topology, service: &Service, mapping: PortMapping) -> u64 {
    let endpoints: BTreeSet<_> = service
        .frontends
        .iter()
        .filter(|frontend| matches!(frontend.kind, FrontendKind::Published(_)))
        .filter(|frontend| frontend.port == Some((mapping.port, mapping.protocol)))
        .flat_map(|frontend| frontend.backends.iter())
        .map(|id| &topology.backends[id].endpoint)
        .collect();
    endpoints.len() as u64
}

/// Flows of the mesh that have not ended, by what was dialled: port and protocol number.
fn active(topology: &Topology, flows: &[Flow]) -> BTreeMap<(u16, u8), u64> {
    let mut active = BTreeMap::new();
    let Some(ingress) = &topology.ingress else {
        return active;
    };
    for flow in flows {
        let balanced = [Protocol::Tcp, Protocol::Udp]
            .iter()
            .any(|protocol| protocol.number() == flow.protocol);
        let lives = flow.net == ingress.vni.get() && flow.state != FlowState::Closed;
        if let (true, true, Some(frontend)) = (balanced, lives, flow.frontend) {
            *active.entry((frontend.port(), flow.protocol)).or_default() += 1;
        }
    }
    active
}
