use std::collections::BTreeMap;

use api::{Network, NetworkDetail};
use axum::Json;
use axum::extract::{Path, State};

use super::lookup::{Named, find};
use super::refusal::Refusal;
use super::snapshot::{INGRESS, Snapshot, values};
use crate::agent::Handle;

pub(super) async fn list(State(agent): State<Handle>) -> Result<Json<Vec<Network>>, Refusal> {
    let networks = networks(&Snapshot::of(&agent)?);
    Ok(Json(networks.into_iter().map(|it| it.network).collect()))
}

pub(super) async fn show(
    State(agent): State<Handle>,
    Path(name): Path<String>,
) -> Result<Json<NetworkDetail>, Refusal> {
    find(networks(&Snapshot::of(&agent)?), &name).map(Json)
}

impl Named for NetworkDetail {
    const NOUN: &'static str = "network";

    fn id(&self) -> &str {
        &self.network.id
    }

    fn name(&self) -> &str {
        &self.network.name
    }
}

/// Who is in a network.
#[derive(Default)]
struct Members {
    endpoints: Vec<String>,
    services: Vec<String>,
}

fn networks(snapshot: &Snapshot) -> Vec<NetworkDetail> {
    let mut members = members(snapshot);
    let topology = &snapshot.topology;
    let mtu = snapshot.state.applied.as_ref().map(|it| it.overlay_mtu);
    let named = topology.networks.iter().map(|(name, network)| {
        let bound = network.mtu.map_or(u32::MAX, u32::from);
        Network {
            id: network.vni.to_string(),
            name: name.to_string(),
            vni: network.vni.get(),
            subnets: values(&network.subnets),
            gateways: values(&network.gateways),
            internal: network.internal,
            mtu: mtu.map(|mtu| mtu.min(bound)),
            socket_lb: network.socket_lb,
            endpoints: 0,
            services: 0,
        }
    });
    let ingress = topology.ingress.iter().map(|ingress| {
        let subnets = values(&ingress.subnets);
        Network {
            id: ingress.vni.to_string(),
            name: INGRESS.to_owned(),
            vni: ingress.vni.get(),
            // As in every network, the first usable address is the network's own.
            gateways: subnets.iter().filter_map(|it| it.iter().nth(1)).collect(),
            subnets,
            internal: false,
            mtu,
            socket_lb: true,
            endpoints: 0,
            services: 0,
        }
    });
    named
        .chain(ingress)
        .map(|network| detail(&mut members, network))
        .collect()
}

fn detail(members: &mut BTreeMap<u32, Members>, mut network: Network) -> NetworkDetail {
    let members = members.remove(&network.vni).unwrap_or_default();
    network.endpoints = members.endpoints.len() as u64;
    network.services = members.services.len() as u64;
    NetworkDetail {
        network,
        endpoint_list: members.endpoints,
        service_list: members.services,
    }
}

/// Endpoints and services by the number of their network. In the ingress network are the services
/// that publish a port and the endpoints behind them.
fn members(snapshot: &Snapshot) -> BTreeMap<u32, Members> {
    let topology = &snapshot.topology;
    let mut members: BTreeMap<u32, Members> = BTreeMap::new();
    for (name, endpoint) in &topology.endpoints {
        let vni = topology.networks[&endpoint.network].vni.get();
        let network = members.entry(vni).or_default();
        network.endpoints.push(name.to_string());
    }
    for (name, service) in &topology.services {
        let vni = topology.networks[&service.network].vni.get();
        let network = members.entry(vni).or_default();
        network.services.push(name.to_string());
    }
    let Some(ingress) = &topology.ingress else {
        return members;
    };
    let ingress = members.entry(ingress.vni.get()).or_default();
    let publishing = topology
        .services
        .iter()
        .filter(|(_, service)| !service.published.is_empty());
    for (name, service) in publishing {
        ingress.services.push(name.to_string());
        let endpoints = service
            .members
            .iter()
            .map(|member| member.endpoint.to_string());
        ingress.endpoints.extend(endpoints);
    }
    ingress.endpoints.sort();
    ingress.endpoints.dedup();
    members
}
