//! What is decided where nothing was asked for.

use std::net::IpAddr;

use super::*;
use crate::{BackendKind, EndpointName, FrontendKind, PerFamily, TaskId};

fn addresses(v4: &str, v6: &str) -> PerFamily<IpAddr> {
    PerFamily {
        v4: Some(v4.parse().unwrap()),
        v6: Some(v6.parse().unwrap()),
    }
}

fn name(name: &str) -> EndpointName {
    name.parse().unwrap()
}

#[test]
fn what_is_not_given_is_decided() {
    let topology = validate(&cluster()).unwrap();
    assert_eq!(topology.data_path_port.get(), 4789);
    assert_eq!(topology.ingress.as_ref().unwrap().vni.get(), 4096);
    let n2 = &topology.nodes[&"n2".parse().unwrap()];
    assert_eq!(n2.gateway.v4.unwrap().to_string(), "172.30.1.0/24");
    assert_eq!(n2.gateway.v6.unwrap().to_string(), "fd00:6e65:7464:1::/64");
    let network = &topology.networks[&"app".parse().unwrap()];
    assert_eq!(network.gateways, addresses("10.0.1.1", "fd00:1::1"));
    let web = &topology.endpoints[&name("web-2")];
    assert_eq!(web.addresses, addresses("10.0.1.3", "fd00:1::3"));
    assert_eq!(web.interface, "eth0");
    let task = topology.task_of(web);
    assert_eq!(task.gateway, addresses("172.30.1.2", "fd00:6e65:7464:1::2"));
    assert_eq!(task.ingress, addresses("10.255.0.3", "fd00:255::3"));
    assert_eq!(task.gateway_interface.as_deref(), Some("eth1"));
    let service = &topology.services[&"web".parse().unwrap()];
    assert_eq!(service.vips, addresses("10.0.1.128", "fd00:1::8000"));
}

#[test]
fn every_frontend_has_backends_of_its_own_family_and_network() {
    let topology = validate(&cluster()).unwrap();
    let service = &topology.services[&"web".parse().unwrap()];
    assert_eq!(service.frontends.len(), 4);
    for frontend in &service.frontends {
        assert_eq!(frontend.backends.len(), 2);
        for id in &frontend.backends {
            let backend = &topology.backends[id];
            match frontend.kind {
                FrontendKind::Vip(vip) => {
                    assert_eq!(backend.kind, BackendKind::Vip);
                    assert_eq!(backend.address.is_ipv4(), vip.is_ipv4());
                    assert_eq!((backend.port, frontend.port), (None, None));
                }
                FrontendKind::Published(family) => {
                    assert_eq!(backend.kind, BackendKind::Published);
                    assert_eq!(crate::Family::of(backend.address), family);
                    assert_eq!(backend.port.unwrap().get(), 8080);
                    assert_eq!(frontend.balancing.algorithm, crate::Algorithm::Mh);
                }
            }
        }
    }
    assert_eq!(
        topology.backends.len(),
        8,
        "each once, however many frontends name it"
    );
}

#[test]
fn ports_with_one_target_share_their_backends() {
    let mut topology = cluster();
    let mapped = |number| {
        let target = Field::Given(at(41, 8080));
        at(
            41,
            raw::Port {
                target,
                ..port(41, number, "tcp")
            },
        )
    };
    topology.services[0].value.ports = Field::Given(at(41, vec![mapped(80), mapped(81)]));
    let topology = validate(&topology).unwrap();
    let frontends = &topology.services[&"web".parse().unwrap()].frontends;
    assert_eq!(frontends[0].backends, frontends[1].backends);
    assert_ne!(
        frontends[0].backends, frontends[2].backends,
        "the other family has its own"
    );
    assert_eq!(topology.backends.len(), 8);
}

#[test]
fn interfaces_are_numbered_within_the_task_and_the_way_out_comes_last() {
    let mut topology = cluster();
    topology
        .networks
        .push(network(21, "db", 4098, &["10.0.2.0/24"]));
    topology
        .networks
        .push(network(22, "log", 4099, &["10.0.3.0/24"]));
    for (line, name, network) in [(32, "web-1-db", "db"), (33, "web-1-log", "log")] {
        let mut endpoint = endpoint(line, name, "n1", network);
        endpoint.value.namespace = text(line, "/run/netns/q-web-1");
        topology.endpoints.push(endpoint);
    }
    topology.endpoints[2].value.interface = text(32, "eth0");
    let topology = validate(&topology).unwrap();
    let interface = |it: &str| topology.endpoints[&name(it)].interface.clone();
    assert_eq!(
        ["web-1", "web-1-db", "web-1-log"].map(interface),
        ["eth1", "eth0", "eth2"]
    );
    let task = TaskId {
        node: "n1".parse().unwrap(),
        namespace: "/run/netns/q-web-1".into(),
    };
    assert_eq!(
        topology.tasks[&task].gateway_interface.as_deref(),
        Some("eth3")
    );
}

#[test]
fn nodes_have_ingress_addresses_that_no_task_moves() {
    let mut topology = cluster();
    let of = |topology: &Topology, node: &str| {
        let node = &topology.nodes[&node.parse().unwrap()];
        let texts = node.ingress.iter().map(ToString::to_string);
        texts.collect::<Vec<_>>().join(" ")
    };
    let before = validate(&topology).unwrap();
    assert_eq!(of(&before, "n1"), "10.255.128.0 fd00:255::8000");
    assert_eq!(of(&before, "n2"), "10.255.128.1 fd00:255::8001");
    for number in 3..9 {
        let more = endpoint(40 + number, &format!("web-{number}"), "n2", "app");
        topology.endpoints.push(more);
    }
    let after = validate(&topology).unwrap();
    assert_eq!(of(&after, "n1"), of(&before, "n1"));
    assert_eq!(of(&after, "n2"), of(&before, "n2"));
}

#[test]
fn a_task_on_internal_networks_has_no_way_out_but_can_be_published() {
    let mut topology = cluster();
    topology.networks[0].value.internal = Field::Given(at(20, true));
    let internal = validate(&topology).unwrap();
    let task = internal.task_of(&internal.endpoints[&name("web-1")]);
    assert!(task.gateway.is_empty() && !task.ingress.is_empty());
    assert!(task.gateway_interface.is_some());
    topology.services.clear();
    let unpublished = validate(&topology).unwrap();
    let task = unpublished.task_of(&unpublished.endpoints[&name("web-1")]);
    assert_eq!(
        (task.gateway_interface.as_ref(), task.ingress.is_empty()),
        (None, true)
    );
}

#[test]
fn networks_may_overlap_each_other() {
    let mut topology = cluster();
    topology
        .networks
        .push(network(21, "other", 4098, &["10.0.1.0/24", "fd00:1::/64"]));
    let mut twin = endpoint(32, "other-1", "n1", "other");
    twin.value.addresses = texts(32, &["10.0.1.2"]);
    topology.endpoints.push(twin);
    assert_eq!(validate(&topology).unwrap().endpoints.len(), 3);
}

#[test]
fn weights_states_and_affinities_are_carried() {
    let mut topology = cluster();
    topology.services[0].value.affinity = Field::Given(at(40, 600));
    topology.services[0].value.backends[0].value.state = text(40, "draining");
    topology.services[0].value.backends[1].value.weight = Field::Given(at(40, 0));
    let topology = validate(&topology).unwrap();
    let service = &topology.services[&"web".parse().unwrap()];
    let members = service.members.iter().map(|it| (it.weight, it.state));
    let (draining, ready) = (crate::BackendState::Draining, crate::BackendState::Ready);
    assert_eq!(members.collect::<Vec<_>>(), [(1, draining), (0, ready)]);
    assert_eq!(service.balancing.affinity.seconds(), 600);
    let is_draining = |it: &crate::Backend| it.state == draining && it.endpoint == name("web-1");
    assert_eq!(
        topology
            .backends
            .values()
            .filter(|it| is_draining(it))
            .count(),
        4
    );
    let weights = topology.backends.values().filter(|it| it.weight == 0);
    assert!(weights.clone().count() == 4 && weights.clone().all(|it| it.endpoint == name("web-2")));
}
