//! Puts together what has been read and decided.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::addresses::{self, Addresses, Users};
use super::endpoints::Endpoints;
use super::networks::{self, Networks};
use super::nodes::Nodes;
use super::numbers::Numbers;
use super::services;
use crate::{
    Backend, BackendId, BackendKind, Endpoint, EndpointName, Family, Frontend, FrontendKind,
    Ingress, Network, Node, PerFamily, Port, Scope, Service, ServiceId, Task, TaskId, Topology,
};

/// Everything of a topology without a problem.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) data_path_port: Port,
    pub(super) nodes: Nodes,
    pub(super) networks: Networks,
    pub(super) endpoints: Endpoints,
    pub(super) services: Vec<services::Draft>,
    pub(super) addresses: Addresses,
}

impl Parts {
    pub(super) fn assemble(self) -> Topology {
        let tasks = self.tasks();
        let endpoints = self.endpoints();
        let mut numbering = Numbering {
            tasks: &tasks,
            endpoints: &endpoints,
            ids: Numbers::default(),
            backends: BTreeMap::new(),
        };
        let mut service_ids = Numbers::default();
        let mut services = BTreeMap::new();
        for (draft, vips) in self.services.iter().zip(&self.addresses.vips) {
            let number = service_ids.assign(&format!("{}/{}", draft.network, draft.name));
            let ingress = self.networks.ingress.as_ref();
            let mesh = ingress
                .map(|it| it.subnets.families().collect())
                .unwrap_or_default();
            let service = Service {
                id: ServiceId(number),
                network: draft.network.clone(),
                vips: *vips,
                balancing: draft.balancing,
                ports: draft.ports.clone(),
                published: draft.published.clone(),
                members: draft.members.clone(),
                frontends: numbering.frontends(draft, vips, mesh),
            };
            services.insert(draft.name.clone(), service);
        }
        let backends = numbering.backends;
        Topology {
            data_path_port: self.data_path_port,
            ingress: self.networks.ingress.map(|it| Ingress {
                vni: it.vni,
                gateways: networks::own_addresses(&it.subnets),
                subnets: it.subnets.map(|subnet| subnet.value),
            }),
            nodes: self
                .nodes
                .all
                .into_iter()
                .map(|(name, node)| {
                    let ingress = self.addresses.nodes.get(&name);
                    let ingress = ingress.copied().unwrap_or_default();
                    (
                        name,
                        Node {
                            address: node.address.value,
                            gateway: node.gateway.map(|block| block.subnet),
                            carrier: node.carrier,
                            ingress,
                        },
                    )
                })
                .collect(),
            networks: self
                .networks
                .all
                .into_iter()
                .map(|(name, network)| {
                    (
                        name,
                        Network {
                            vni: network.vni,
                            gateways: networks::own_addresses(&network.subnets),
                            subnets: network.subnets.map(|subnet| subnet.value),
                            internal: network.internal,
                            mtu: network.mtu,
                            socket_lb: network.socket_lb,
                        },
                    )
                })
                .collect(),
            endpoints,
            tasks,
            services,
            backends,
        }
    }

    fn tasks(&self) -> BTreeMap<TaskId, Task> {
        let users = Users {
            nodes: &self.nodes,
            networks: &self.networks,
            endpoints: &self.endpoints,
            services: &self.services,
        };
        let needs = addresses::outgoing_tasks(&users)
            .into_iter()
            .zip(addresses::serving_tasks(&users));
        let mut tasks = BTreeMap::new();
        for (index, (draft, (outgoing, serving))) in
            self.endpoints.tasks.iter().zip(needs).enumerate()
        {
            let needed = |needed, all: &[PerFamily<IpAddr>]| {
                if needed {
                    all[index]
                } else {
                    PerFamily::default()
                }
            };
            let gateway = needed(outgoing, &self.addresses.gateway);
            let ingress = needed(serving, &self.addresses.ingress);
            let has_way_out = !gateway.is_empty() || !ingress.is_empty();
            let name = |index: &usize| self.endpoints.all[*index].name.clone();
            tasks.insert(
                draft.id.clone(),
                Task {
                    endpoints: draft.endpoints.iter().map(name).collect(),
                    gateway_interface: has_way_out.then(|| draft.gateway_interface.clone()),
                    gateway,
                    ingress,
                },
            );
        }
        tasks
    }

    fn endpoints(&self) -> BTreeMap<EndpointName, Endpoint> {
        let all = self.endpoints.all.iter().zip(&self.addresses.endpoints);
        let endpoint = |(draft, addresses): (&super::endpoints::Draft, &PerFamily<IpAddr>)| {
            let endpoint = Endpoint {
                task: self.endpoints.tasks[draft.task].id.clone(),
                network: draft.network.clone(),
                addresses: *addresses,
                interface: draft.interface.clone(),
            };
            (draft.name.clone(), endpoint)
        };
        all.map(endpoint).collect()
    }
}

/// Numbers backends, each once however many frontends name it.
struct Numbering<'a> {
    tasks: &'a BTreeMap<TaskId, Task>,
    endpoints: &'a BTreeMap<EndpointName, Endpoint>,
    ids: Numbers,
    backends: BTreeMap<BackendId, Backend>,
}

/// What tells the backends of one service apart.
type BackendKey = (BackendKind, EndpointName, Option<Port>, Family);

impl Numbering<'_> {
    fn frontends(
        &mut self,
        draft: &services::Draft,
        vips: &PerFamily<IpAddr>,
        mesh: Vec<Family>,
    ) -> Vec<Frontend> {
        let mut known = BTreeMap::new();
        let mut frontends = Vec::new();
        for vip in vips.iter() {
            let family = Family::of(*vip);
            let every_port = draft.ports.is_empty().then_some((None, None));
            let ports = draft
                .ports
                .iter()
                .map(|it| (Some((it.port, it.protocol)), Some(it.target)));
            for (port, target) in every_port.into_iter().chain(ports) {
                frontends.push(Frontend {
                    kind: FrontendKind::Vip(*vip),
                    port,
                    balancing: draft.balancing,
                    scope: Scope::default(),
                    backends: self.backends(draft, &mut known, (BackendKind::Vip, target, family)),
                });
            }
        }
        for published in &draft.published {
            let target = Some(published.mapping.target);
            for family in &mesh {
                let addresses = &published.scope.addresses;
                let has_family = |address: &IpAddr| Family::of(*address) == *family;
                if !addresses.is_empty() && !addresses.iter().any(has_family) {
                    continue;
                }
                let side = (BackendKind::Published, target, *family);
                frontends.push(Frontend {
                    kind: FrontendKind::Published(*family),
                    port: Some((published.mapping.port, published.mapping.protocol)),
                    balancing: published.balancing,
                    scope: published.scope.clone(),
                    backends: self.backends(draft, &mut known, side),
                });
            }
        }
        frontends
    }

    fn backends(
        &mut self,
        draft: &services::Draft,
        known: &mut BTreeMap<BackendKey, BackendId>,
        (kind, port, family): (BackendKind, Option<Port>, Family),
    ) -> Vec<BackendId> {
        let mut ids = Vec::new();
        for member in &draft.members {
            let endpoint = &self.endpoints[&member.endpoint];
            let addresses = match kind {
                BackendKind::Vip => &endpoint.addresses,
                BackendKind::Published => &self.tasks[&endpoint.task].ingress,
            };
            let Some(address) = addresses.get(family) else {
                continue;
            };
            let id = *known
                .entry((kind, member.endpoint.clone(), port, family))
                .or_insert_with_key(|key| {
                    let id = BackendId(self.ids.assign(&label(draft, key)));
                    self.backends.insert(
                        id,
                        Backend {
                            service: draft.name.clone(),
                            endpoint: member.endpoint.clone(),
                            kind,
                            address: *address,
                            port,
                            weight: member.weight,
                            state: member.state,
                        },
                    );
                    id
                });
            ids.push(id);
        }
        ids
    }
}

/// The text that a backend's number is made from. It may never change: nodes of different releases
/// have to agree.
fn label(draft: &services::Draft, (kind, endpoint, port, family): &BackendKey) -> String {
    let services::Draft { network, name, .. } = draft;
    let kind = match kind {
        BackendKind::Vip => "vip",
        BackendKind::Published => "published",
    };
    let port = port.map_or(0, Port::get);
    let bits = family.bits();
    format!("{network}/{name}/{kind}/{endpoint}/{port}/{bits}")
}
