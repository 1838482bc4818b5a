//! The services, as far as they do not depend on addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::endpoints::{self, Endpoints};
use super::networks::Networks;
use super::nodes::Nodes;
use super::report::{Key, Names, Report};
use crate::raw::{self, Field, Located};
use crate::{
    Affinity, Algorithm, BackendState, Balancing, EndpointName, Member, NetworkName, PerFamily,
    Port, PortMapping, ProblemKind, Protocol, Published, Scope, ServiceName,
};

mod published;

/// What services refer to.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) data_path_port: Option<Port>,
    pub(super) nodes: &'a Nodes,
    pub(super) networks: &'a Networks,
    pub(super) endpoints: &'a Endpoints,
}

/// A service that is complete but for its VIPs.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) line: usize,
    pub(super) name: ServiceName,
    pub(super) network: NetworkName,
    /// The VIPs that were asked for.
    pub(super) vips: PerFamily<Located<IpAddr>>,
    pub(super) balancing: Balancing,
    pub(super) ports: Vec<PortMapping>,
    pub(super) published: Vec<Published>,
    pub(super) members: Vec<Member>,
}

/// Reads the services: complete ones, in the order of the file.
pub(super) fn read(
    raw: &[Located<raw::Service>],
    context: &Context<'_>,
    report: &mut Report,
) -> Vec<Draft> {
    let mut names = Names::default();
    let mut published = BTreeMap::new();
    let mut services = Vec::new();
    for service in raw {
        let service = Reader {
            context,
            report,
            published: &mut published,
        }
        .read(service, &mut names);
        services.extend(service);
    }
    services
}

/// Who publishes a port, on which line, and where.
type PublishedPorts = BTreeMap<(Port, Protocol), Vec<(ServiceName, usize, Scope)>>;

struct Reader<'a> {
    context: &'a Context<'a>,
    report: &'a mut Report,
    published: &'a mut PublishedPorts,
}

impl Reader<'_> {
    fn read(&mut self, service: &Located<raw::Service>, names: &mut Names) -> Option<Draft> {
        let line = service.line;
        let raw = &service.value;
        let key = |key| Key {
            noun: "service",
            key,
            line,
        };
        let networks = self.context.networks;
        let name = self.report.name(&raw.name, key("name"), names);
        let known = ("network", &networks.names);
        let network = self.report.reference(&raw.network, key("network"), known);
        let draft = network.as_ref().and_then(|name: &NetworkName| {
            networks
                .all
                .get(name)
                .map(|it| (format!("network `{name}`"), &it.subnets))
        });
        let vips = endpoints::addresses(&raw.vips, draft, "VIP", self.report);
        let algorithm = self
            .report
            .algorithm(&raw.algorithm, Algorithm::DEFAULT_VIP);
        let affinity = self.affinity(&raw.affinity);
        let ports = self.ports(&raw.ports);
        let published = self.published(&raw.publish);
        let members = self.members(&raw.backends, network.as_ref());
        for (line, published) in &published {
            self.check_published(published, &members, name.as_ref(), *line);
        }
        let published = published.into_iter().map(|(_, it)| it).collect();
        Some(Draft {
            line,
            name: name?,
            network: network?,
            vips,
            balancing: Balancing {
                algorithm: algorithm?,
                affinity: affinity?,
            },
            ports,
            published,
            members,
        })
    }

    fn ports(&mut self, field: &Field<Vec<Located<raw::Port>>>) -> Vec<PortMapping> {
        let Some(ports) = self.report.optional(field) else {
            return Vec::new();
        };
        if ports.value.is_empty() {
            self.report.add(ports.line, ProblemKind::NoPorts);
        }
        let mut seen = BTreeMap::new();
        let mut mappings = Vec::new();
        for port in &ports.value {
            let Some(mapping) = self.mapping(port.line, &port.value) else {
                continue;
            };
            let PortMapping {
                port: number,
                protocol,
                ..
            } = mapping;
            if let Some(first) = seen.insert((number, protocol), port.line) {
                let kind = ProblemKind::DuplicatePort {
                    port: number,
                    protocol,
                    first,
                };
                self.report.add(port.line, kind);
            }
            mappings.push(mapping);
        }
        mappings
    }

    fn mapping(&mut self, line: usize, raw: &raw::Port) -> Option<PortMapping> {
        let key = Key {
            noun: "a port",
            key: "port",
            line,
        };
        let port = self.report.required(&raw.port, key);
        let port = port.and_then(|number| self.port(number));
        let target = match &raw.target {
            Field::Absent => port,
            given @ (Field::Given(_) | Field::Malformed) => self
                .report
                .optional(given)
                .and_then(|number| self.port(number)),
        };
        let protocol = self.report.protocol(&raw.protocol);
        Some(PortMapping {
            port: port?,
            target: target?,
            protocol: protocol?,
        })
    }

    fn port(&mut self, number: &Located<i64>) -> Option<Port> {
        let bad = |cause| ProblemKind::BadPort {
            number: number.value,
            cause,
        };
        Port::try_from(number.value)
            .map_err(|cause| self.report.add(number.line, bad(cause)))
            .ok()
    }

    fn members(
        &mut self,
        raw: &[Located<raw::Backend>],
        network: Option<&NetworkName>,
    ) -> Vec<Member> {
        let mut seen: BTreeMap<EndpointName, usize> = BTreeMap::new();
        let mut members = Vec::new();
        for backend in raw {
            let line = backend.line;
            let key = Key {
                noun: "a backend",
                key: "endpoint",
                line,
            };
            let known = ("endpoint", &self.context.endpoints.names);
            let endpoint = self.report.reference(&backend.value.endpoint, key, known);
            let weight = self.weight(&backend.value.weight);
            let state = self.state(&backend.value.state);
            let Some(endpoint): Option<EndpointName> = endpoint else {
                continue;
            };
            self.check_network(&endpoint, network, line);
            if let Some(first) = seen.insert(endpoint.clone(), line) {
                let endpoint = endpoint.clone();
                self.report
                    .add(line, ProblemKind::DuplicateBackend { endpoint, first });
            }
            members.extend(weight.zip(state).map(|(weight, state)| Member {
                endpoint,
                weight,
                state,
            }));
        }
        members
    }

    fn check_network(&mut self, endpoint: &EndpointName, ours: Option<&NetworkName>, line: usize) {
        let (Some(ours), Some(draft)) = (ours, self.context.endpoints.get(endpoint)) else {
            return;
        };
        if draft.network != *ours {
            let kind = ProblemKind::ForeignBackend {
                endpoint: endpoint.clone(),
                network: draft.network.clone(),
                service_network: ours.clone(),
            };
            self.report.add(line, kind);
        }
    }

    fn affinity(&mut self, field: &Field<i64>) -> Option<Affinity> {
        let number = match field {
            Field::Absent => return Some(Affinity::default()),
            given @ (Field::Given(_) | Field::Malformed) => self.report.optional(given)?,
        };
        let bad = |cause| ProblemKind::BadAffinity {
            number: number.value,
            cause,
        };
        Affinity::try_from(number.value)
            .map_err(|cause| self.report.add(number.line, bad(cause)))
            .ok()
    }

    fn state(&mut self, field: &Field<String>) -> Option<BackendState> {
        let name = match field {
            Field::Absent => return Some(BackendState::default()),
            given @ (Field::Given(_) | Field::Malformed) => self.report.optional(given)?,
        };
        let unknown = |cause| ProblemKind::UnknownState {
            text: name.value.clone(),
            cause,
        };
        name.value
            .parse()
            .map_err(|cause| self.report.add(name.line, unknown(cause)))
            .ok()
    }

    fn weight(&mut self, field: &Field<i64>) -> Option<u16> {
        let number = match field {
            Field::Absent => return Some(1),
            given @ (Field::Given(_) | Field::Malformed) => self.report.optional(given)?,
        };
        let weight = u16::try_from(number.value).ok();
        if weight.is_none() {
            self.report.add(
                number.line,
                ProblemKind::BadWeight {
                    number: number.value,
                },
            );
        }
        weight
    }
}
