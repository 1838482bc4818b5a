use std::collections::BTreeMap;

use api::Endpoint;
use axum::Json;
use axum::extract::{Path, State};
use model::EndpointName;

use super::digest::digest;
use super::lookup::{Named, find};
use super::refusal::Refusal;
use super::snapshot::{Snapshot, values};
use crate::agent::{Attached, Handle};

pub(super) async fn list(State(agent): State<Handle>) -> Result<Json<Vec<Endpoint>>, Refusal> {
    endpoints(&agent).await.map(Json)
}

pub(super) async fn show(
    State(agent): State<Handle>,
    Path(name): Path<String>,
) -> Result<Json<Endpoint>, Refusal> {
    find(endpoints(&agent).await?, &name).map(Json)
}

impl Named for Endpoint {
    const NOUN: &'static str = "endpoint";

    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }
}

async fn endpoints(agent: &Handle) -> Result<Vec<Endpoint>, Refusal> {
    let snapshot = Snapshot::of(agent)?;
    // Without data plane no endpoint has an interface; the rest is as true as ever.
    let attached = agent.live.attached().await.unwrap_or_default();
    let services = services(&snapshot);
    let names = snapshot.topology.endpoints.keys();
    Ok(names
        .map(|name| endpoint(&snapshot, &attached, &services, name))
        .collect())
}

fn endpoint(
    snapshot: &Snapshot,
    attached: &Attached,
    services: &BTreeMap<&EndpointName, Vec<String>>,
    name: &EndpointName,
) -> Endpoint {
    let topology = &snapshot.topology;
    let endpoint = &topology.endpoints[name];
    let task = topology.task_of(endpoint);
    let interface = attached.endpoints.get(name.as_str());
    Endpoint {
        id: id(name),
        name: name.to_string(),
        network: endpoint.network.to_string(),
        node: endpoint.task.node.to_string(),
        addresses: values(&endpoint.addresses),
        mac: interface.map(|it| it.mac.clone()).unwrap_or_default(),
        local: endpoint.task.node == snapshot.state.node,
        namespace: endpoint.task.namespace.display().to_string(),
        interface: endpoint.interface.clone(),
        host_interface: interface.map(|it| it.host.clone()).unwrap_or_default(),
        vtep: topology.nodes[&endpoint.task.node].address,
        ingress: values(&task.ingress),
        gateway_addresses: values(&task.gateway),
        services: services.get(name).cloned().unwrap_or_default(),
    }
}

/// The services of each endpoint that has any.
fn services(snapshot: &Snapshot) -> BTreeMap<&EndpointName, Vec<String>> {
    let mut services: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (service, it) in &snapshot.topology.services {
        for endpoint in it.members.iter().map(|member| &member.endpoint) {
            services
                .entry(endpoint)
                .or_default()
                .push(service.to_string());
        }
    }
    services
}

/// Twelve hexadecimal digits, the same on every node.
fn id(name: &EndpointName) -> String {
    format!("{:012x}", digest(name.as_str()) >> 16)
}
