//! Where a service's ports are published, and how.

use std::collections::BTreeSet;

use super::Reader;
use crate::raw::{self, Field, Located};
use crate::validate::report::Key;
use crate::{
    Algorithm, Balancing, EndpointName, Member, NodeName, PortMapping, ProblemKind, Protocol,
    PublishMode, Published, Returns, Scope, ServiceName,
};

impl Reader<'_> {
    pub(super) fn published(&mut self, raw: &[Located<raw::Publish>]) -> Vec<(usize, Published)> {
        if let (Some(first), false) = (raw.first(), self.context.networks.has_ingress) {
            self.report.add(
                first.line,
                ProblemKind::NoIngress {
                    what: "a published port",
                },
            );
        }
        let mut published = Vec::new();
        for publish in raw {
            let line = publish.line;
            let mapping = self.mapping(line, &publish.value.port);
            let default = Algorithm::DEFAULT_PUBLISHED;
            let algorithm = self.report.algorithm(&publish.value.algorithm, default);
            let affinity = self.affinity(&publish.value.affinity);
            let scope = self.scope(&publish.value);
            let (Some(mapping), Some(algorithm), Some(affinity), Some(scope)) =
                (mapping, algorithm, affinity, scope)
            else {
                continue;
            };
            let it = Published {
                mapping,
                balancing: Balancing {
                    algorithm,
                    affinity,
                },
                scope,
            };
            published.push((line, it));
        }
        published
    }

    /// Where a port is published.
    fn scope(&mut self, raw: &raw::Publish) -> Option<Scope> {
        let mode = self.mode(&raw.mode);
        let returns = self.returns(&raw.returns);
        let mut scope = Scope::default();
        if let Some(nodes) = self.some(&raw.nodes, "nodes") {
            for node in nodes {
                let field = Field::Given(node.clone());
                let key = Key {
                    noun: "a published port",
                    key: "nodes",
                    line: node.line,
                };
                let known = ("node", &self.context.nodes.names);
                scope
                    .nodes
                    .extend(self.report.reference::<NodeName>(&field, key, known));
            }
        }
        if let Some(addresses) = self.some(&raw.addresses, "addresses") {
            for text in addresses {
                let address = self.report.address(text);
                if let Some(address) = address
                    && (address.is_unspecified() || address.is_loopback() || address.is_multicast())
                {
                    let kind = ProblemKind::UndialledAddress { address };
                    self.report.add(text.line, kind);
                }
                scope.addresses.extend(address);
            }
        }
        scope.mode = mode?;
        scope.returns = returns?;
        Some(scope)
    }

    fn returns(&mut self, field: &Field<String>) -> Option<Returns> {
        if matches!(field, Field::Absent) {
            return Some(Returns::default());
        }
        let text = self.report.optional(field)?;
        let known = [Returns::Via, Returns::Direct];
        let returns = known.into_iter().find(|it| it.as_str() == text.value);
        if returns.is_none() {
            let text_value = text.value.clone();
            let kind = ProblemKind::UnknownReturn { text: text_value };
            self.report.add(text.line, kind);
        }
        returns
    }

    fn mode(&mut self, field: &Field<String>) -> Option<PublishMode> {
        if matches!(field, Field::Absent) {
            return Some(PublishMode::default());
        }
        let text = self.report.optional(field)?;
        let known = [PublishMode::Ingress, PublishMode::Host];
        let mode = known.into_iter().find(|mode| mode.as_str() == text.value);
        if mode.is_none() {
            let text_value = text.value.clone();
            let kind = ProblemKind::UnknownMode { text: text_value };
            self.report.add(text.line, kind);
        }
        mode
    }

    /// A list that is not empty, if it is there.
    fn some<'r, T>(&mut self, field: &'r Field<Vec<T>>, key: &'static str) -> Option<&'r Vec<T>> {
        let list = self.report.optional(field)?;
        if list.value.is_empty() {
            self.report
                .add(list.line, ProblemKind::NowherePublished { key });
        }
        Some(&list.value)
    }

    pub(super) fn check_published(
        &mut self,
        published: &Published,
        members: &[Member],
        by: Option<&ServiceName>,
        line: usize,
    ) {
        let Published { mapping, scope, .. } = published;
        let mut scope = scope.clone();
        if scope.mode == PublishMode::Host {
            let endpoints = self.context.endpoints;
            let home = |member: &EndpointName| {
                let endpoint = endpoints.get(member)?;
                Some(endpoints.tasks[endpoint.task].id.node.clone())
            };
            let homes: BTreeSet<NodeName> = members
                .iter()
                .filter_map(|member| home(&member.endpoint))
                .collect();
            let here = |node: &NodeName| scope.includes(node);
            scope.nodes = homes.into_iter().filter(here).collect();
            if scope.nodes.is_empty() {
                return;
            }
        }
        let PortMapping { port, protocol, .. } = *mapping;
        if protocol == Protocol::Udp && Some(port) == self.context.data_path_port {
            self.report.add(line, ProblemKind::DataPathPort { port });
        }
        let others = self.published.entry((port, protocol)).or_default();
        let is_same = |other: &&(ServiceName, usize, Scope)| other.2.meets(&scope);
        if let Some((service, first, _)) = others.iter().find(is_same) {
            let (service, first) = (service.clone(), *first);
            let kind = ProblemKind::DuplicatePublished {
                port,
                protocol,
                service,
                first,
            };
            self.report.add(line, kind);
        } else if let Some(by) = by {
            others.push((by.clone(), line, scope));
        }
    }
}
