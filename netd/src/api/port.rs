use std::collections::{BTreeMap, BTreeSet};

use api::{Port, PortMode};
use axum::Json;
use axum::extract::State;
use model::{
    FrontendKind, Protocol, PublishMode, Published, Scope, Service, ServiceName, Topology,
};

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
                id: id(name, published, protocol),
                name: name.to_string(),
                service: name.to_string(),
                port: mapping.port.get(),
                target: mapping.target.get(),
                protocol,
                algorithm: published.balancing.algorithm.to_string(),
                affinity: published.balancing.affinity.seconds(),
                mode: match published.scope.mode {
                    PublishMode::Ingress => PortMode::Ingress,
                    PublishMode::Host => PortMode::Host,
                },
                nodes: published
                    .scope
                    .nodes
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                addresses: published.scope.addresses.iter().copied().collect(),
                r#return: published.scope.returns.as_str().to_owned(),
                backends: backends(topology, service, published),
                active: active
                    .as_ref()
                    .map(|active| active.get(&key).copied().unwrap_or_default()),
            });
        }
    }
    ports.sort_by_key(|port| (port.port, port.protocol));
    Ok(Json(ports))
}

/// A port that is answered at some places only may be another service's elsewhere.
pub(super) fn id(service: &ServiceName, published: &Published, protocol: api::Protocol) -> String {
    let port = published.mapping.port.get();
    let Scope {
        nodes, addresses, ..
    } = &published.scope;
    if nodes.is_empty() && addresses.is_empty() {
        format!("{port}/{protocol}")
    } else {
        format!("{port}/{protocol}@{service}")
    }
}

/// How many endpoints stand behind a published port.
fn backends(topology: &Topology, service: &Service, published: &Published) -> u64 {
    let mapping = published.mapping;
    let endpoints: BTreeSet<_> = service
        .frontends
        .iter()
        .filter(|frontend| matches!(frontend.kind, FrontendKind::Published(_)))
        .filter(|frontend| frontend.port == Some((mapping.port, mapping.protocol)))
        .filter(|frontend| frontend.scope == published.scope)
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
