use std::collections::BTreeMap;
use std::net::SocketAddr;

use api::{Backend, BackendState, PublishedPort, Vip, VipPort};
use axum::Json;
use axum::extract::{Path, State};
use model::{BackendId, FrontendKind, Service, ServiceName, Topology};

use super::lookup::{Named, find};
use super::port;
use super::refusal::Refusal;
use super::share::Shares;
use super::snapshot::{Snapshot, service_id, values, wire_protocol};
use crate::agent::{BackendLoad, Handle};

/// Connections of the backends; `None` when the kernel could not be asked.
type Loads = Option<BTreeMap<u32, BackendLoad>>;

pub(super) async fn list(State(agent): State<Handle>) -> Result<Json<Vec<Vip>>, Refusal> {
    vips(&agent).await.map(Json)
}

pub(super) async fn show(
    State(agent): State<Handle>,
    Path(name): Path<String>,
) -> Result<Json<Vip>, Refusal> {
    find(vips(&agent).await?, &name).map(Json)
}

impl Named for Vip {
    const NOUN: &'static str = "vip";

    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }
}

async fn vips(agent: &Handle) -> Result<Vec<Vip>, Refusal> {
    let snapshot = Snapshot::of(agent)?;
    let loads = agent.live.loads().await.ok();
    let services = snapshot.topology.services.iter();
    Ok(services
        .map(|(name, service)| vip(&snapshot.topology, &loads, name, service))
        .collect())
}

fn vip(topology: &Topology, loads: &Loads, name: &ServiceName, service: &Service) -> Vip {
    let ports = service.ports.iter().map(|mapping| VipPort {
        port: mapping.port.get(),
        target: mapping.target.get(),
        protocol: wire_protocol(mapping.protocol),
    });
    let published = service.published.iter().map(|published| PublishedPort {
        id: port::id(name, published, wire_protocol(published.mapping.protocol)),
        algorithm: published.balancing.algorithm.to_string(),
        affinity: published.balancing.affinity.seconds(),
    });
    Vip {
        id: service_id(service.id),
        name: name.to_string(),
        service: name.to_string(),
        network: service.network.to_string(),
        addresses: values(&service.vips),
        ports: ports.collect(),
        algorithm: service.balancing.algorithm.to_string(),
        affinity: service.balancing.affinity.seconds(),
        backends: backends(topology, loads, service, |it| {
            matches!(it, FrontendKind::Vip(_))
        }),
        published: backends(topology, loads, service, |it| {
            matches!(it, FrontendKind::Published(_))
        }),
        published_ports: published.collect(),
    }
}

/// The backends of all frontends of some kind that a service has, each once.
fn backends(
    topology: &Topology,
    loads: &Loads,
    service: &Service,
    is_meant: impl Fn(FrontendKind) -> bool,
) -> Vec<Backend> {
    let frontends = service.frontends.iter();
    let frontends: Vec<_> = frontends.filter(|it| is_meant(it.kind)).collect();
    let mut ids: Vec<_> = frontends
        .iter()
        .flat_map(|frontend| frontend.backends.iter().copied())
        .collect();
    ids.sort_by_key(|id| order(topology, *id));
    ids.dedup();
    let shares = Shares::of(topology, &frontends);
    ids.into_iter()
        .map(|id| backend(topology, loads, id, shares.one(id)))
        .collect()
}

/// By endpoint, then IPv4 before IPv6, then port.
fn order(topology: &Topology, id: BackendId) -> impl Ord {
    let backend = &topology.backends[&id];
    (&backend.endpoint, backend.address, backend.port, id)
}

fn backend(topology: &Topology, loads: &Loads, id: BackendId, share: f64) -> Backend {
    let backend = &topology.backends[&id];
    let endpoint = &topology.endpoints[&backend.endpoint];
    let load = loads
        .as_ref()
        .map(|loads| loads.get(&id.get()).copied().unwrap_or_default());
    Backend {
        id: format!("{:08x}", id.get()),
        endpoint: backend.endpoint.to_string(),
        node: endpoint.task.node.to_string(),
        address: backend.port.map_or_else(
            || backend.address.to_string(),
            |port| SocketAddr::new(backend.address, port.get()).to_string(),
        ),
        state: match backend.state {
            model::BackendState::Ready => BackendState::Ready,
            model::BackendState::Draining => BackendState::Draining,
        },
        weight: backend.weight,
        share,
        active: load.map(|load| load.active),
        inactive: load.map(|load| load.inactive),
        total: load.map(|load| load.total),
    }
}
