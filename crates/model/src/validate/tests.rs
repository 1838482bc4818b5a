//! Topologies as somebody would write them.

mod decisions;
mod properties;
mod refusals;

use super::*;
use crate::raw::{Backend, Endpoint, Gateway, Ingress, Located, Network, Node, Publish, Service};

/// A cluster of three nodes with a dual-stack network, as somebody would write it. Lines: nodes at
/// 10, networks at 20, endpoints at 30, services at 40, each one further.
pub(super) fn cluster() -> raw::Topology {
    raw::Topology {
        ingress: Some(at(
            5,
            Ingress {
                subnets: texts_field(5, &["10.255.0.0/16", "fd00:255::/64"]),
                ..Ingress::default()
            },
        )),
        nodes: vec![
            node(10, "n1", "192.0.2.11"),
            node(11, "n2", "192.0.2.12"),
            node(12, "n3", "192.0.2.13"),
        ],
        networks: vec![network(20, "app", 4097, &["10.0.1.0/24", "fd00:1::/64"])],
        endpoints: vec![
            endpoint(30, "web-1", "n1", "app"),
            endpoint(31, "web-2", "n2", "app"),
        ],
        services: vec![Service {
            publish: vec![publish(40, 8080, "tcp")],
            ..service(40, "web", "app", &["web-1", "web-2"]).value
        }]
        .into_iter()
        .map(|it| at(40, it))
        .collect(),
        ..raw::Topology::default()
    }
}

pub(super) fn at<T>(line: usize, value: T) -> Located<T> {
    Located { line, value }
}

pub(super) fn text(line: usize, value: &str) -> Field<String> {
    Field::Given(at(line, value.to_owned()))
}

pub(super) fn texts(line: usize, values: &[&str]) -> Vec<Located<String>> {
    values
        .iter()
        .map(|value| at(line, (*value).to_owned()))
        .collect()
}

pub(super) fn texts_field(line: usize, values: &[&str]) -> Field<Vec<Located<String>>> {
    Field::Given(at(line, texts(line, values)))
}

pub(super) fn node(line: usize, name: &str, address: &str) -> Located<Node> {
    let gateway = Vec::new();
    at(
        line,
        Node {
            name: text(line, name),
            address: text(line, address),
            gateway,
            carrier: Field::Absent,
        },
    )
}

pub(super) fn network(line: usize, name: &str, vni: i64, subnets: &[&str]) -> Located<Network> {
    let network = Network {
        name: text(line, name),
        vni: Field::Given(at(line, vni)),
        subnets: texts_field(line, subnets),
        ..Network::default()
    };
    at(line, network)
}

pub(super) fn endpoint(line: usize, name: &str, node: &str, network: &str) -> Located<Endpoint> {
    let endpoint = Endpoint {
        name: text(line, name),
        node: text(line, node),
        namespace: text(line, &format!("q-{name}")),
        network: text(line, network),
        ..Endpoint::default()
    };
    at(line, endpoint)
}

pub(super) fn service(
    line: usize,
    name: &str,
    network: &str,
    backends: &[&str],
) -> Located<Service> {
    let backend = |name: &&str| {
        at(
            line,
            Backend {
                endpoint: text(line, name),
                ..Backend::default()
            },
        )
    };
    let service = Service {
        name: text(line, name),
        network: text(line, network),
        backends: backends.iter().map(backend).collect(),
        ..Service::default()
    };
    at(line, service)
}

pub(super) fn port(line: usize, number: i64, protocol: &str) -> raw::Port {
    raw::Port {
        port: Field::Given(at(line, number)),
        target: Field::Absent,
        protocol: text(line, protocol),
    }
}

pub(super) fn publish(line: usize, number: i64, protocol: &str) -> Located<Publish> {
    at(
        line,
        Publish {
            port: port(line, number, protocol),
            ..Publish::default()
        },
    )
}
