//! What holds for every topology.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{Family, Topology};

/// What is drawn of an endpoint: network, node, and the explicit last byte of its address, if any.
type DrawnEndpoint = (usize, usize, Option<u8>);
/// What is drawn of a service: network, how many of the network's endpoints it has, and whether it
/// publishes.
type DrawnService = (usize, usize, bool);

#[derive(Clone, Debug)]
struct Drawn {
    networks: usize,
    nodes: usize,
    endpoints: Vec<DrawnEndpoint>,
    services: Vec<DrawnService>,
}

prop_compose! {
    fn drawn()(networks in 1..4_usize, nodes in 1..5_usize)(
        networks in Just(networks),
        nodes in Just(nodes),
        endpoints in prop::collection::vec((0..networks, 0..nodes, prop::option::of(200..250_u8)), 0..24),
        services in prop::collection::vec((0..networks, 0..6_usize, any::<bool>()), 0..8),
    ) -> Drawn {
        Drawn { networks, nodes, endpoints, services }
    }
}

/// Writes down what was drawn. Explicit addresses are given once; whoever draws one again gets none.
fn written(drawn: &Drawn) -> raw::Topology {
    let mut topology = raw::Topology {
        ingress: cluster().ingress,
        ..raw::Topology::default()
    };
    for index in 0..drawn.nodes {
        topology.nodes.push(node(
            index + 1,
            &format!("n{index}"),
            &format!("192.0.2.{}", index + 1),
        ));
    }
    for index in 0..drawn.networks {
        let subnets = [format!("10.{index}.0.0/24"), format!("fd00:{index}::/64")];
        let subnets: Vec<&str> = subnets.iter().map(String::as_str).collect();
        let vni = 100 + i64::try_from(index).unwrap();
        topology
            .networks
            .push(network(index + 1, &format!("net{index}"), vni, &subnets));
    }
    let mut given = BTreeSet::new();
    for (index, (net, node, explicit)) in drawn.endpoints.iter().enumerate() {
        let name = format!("e{index}");
        let mut endpoint = endpoint(index + 1, &name, &format!("n{node}"), &format!("net{net}"));
        if let Some(byte) = explicit.filter(|byte| given.insert((*net, *byte))) {
            endpoint.value.addresses = texts(index + 1, &[&format!("10.{net}.0.{byte}")]);
        }
        topology.endpoints.push(endpoint);
    }
    for (index, (net, count, publishes)) in drawn.services.iter().enumerate() {
        let on_net = drawn
            .endpoints
            .iter()
            .enumerate()
            .filter(|(_, it)| it.0 == *net);
        let members: Vec<_> = on_net
            .take(*count)
            .map(|(index, _)| format!("e{index}"))
            .collect();
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        let mut service = service(
            index + 1,
            &format!("s{index}"),
            &format!("net{net}"),
            &members,
        );
        if *publishes {
            let number = 8000 + i64::try_from(index).unwrap();
            service
                .value
                .publish
                .push(publish(index + 1, number, "tcp"));
        }
        topology.services.push(service);
    }
    topology
}

fn check_addresses(topology: &Topology) {
    let mut overlay = BTreeSet::new();
    let networks = topology.networks.iter();
    for (name, network) in networks {
        assert!(
            network
                .gateways
                .iter()
                .all(|it| overlay.insert((name, *it)))
        );
    }
    for endpoint in topology.endpoints.values() {
        let subnets = topology.networks[&endpoint.network].subnets;
        assert_eq!(
            endpoint.addresses.families().count(),
            subnets.families().count()
        );
        for address in endpoint.addresses.iter() {
            assert!(
                overlay.insert((&endpoint.network, *address)),
                "{address} is given twice"
            );
            assert!(
                subnets
                    .get(Family::of(*address))
                    .unwrap()
                    .contains(*address)
            );
        }
    }
    for service in topology.services.values() {
        assert!(
            service
                .vips
                .iter()
                .all(|it| overlay.insert((&service.network, *it)))
        );
    }
    let (mut ingress, mut gateway) = (BTreeSet::new(), BTreeSet::new());
    for (id, task) in &topology.tasks {
        assert!(task.ingress.iter().all(|it| ingress.insert(*it)));
        assert!(task.gateway.iter().all(|it| gateway.insert(*it)));
        let block = topology.nodes[&id.node].gateway;
        assert!(
            task.gateway
                .iter()
                .all(|it| block.get(Family::of(*it)).unwrap().contains(*it))
        );
    }
}

proptest! {
    #[test]
    fn no_address_is_given_twice_and_the_result_is_always_the_same(drawn in drawn()) {
        let raw = written(&drawn);
        let topology = validate(&raw).unwrap();
        check_addresses(&topology);
        prop_assert_eq!(&topology, &validate(&raw).unwrap());
    }

    #[test]
    fn appending_never_disturbs_what_is_there(
        drawn in drawn(),
        endpoints in prop::collection::vec((0..9_usize, 0..9_usize), 0..9),
        services in prop::collection::vec((0..9_usize, 0..6_usize, any::<bool>()), 0..5),
    ) {
        let before = validate(&written(&drawn)).unwrap();
        let mut longer = drawn;
        let members = longer.endpoints.clone();
        longer.networks += 1;
        longer.nodes += 1;
        let fit = |(net, node): &(usize, usize)| (net % longer.networks, node % longer.nodes, None);
        longer.endpoints.extend(endpoints.iter().map(fit));
        let fit = |(net, count, publishes): &(usize, usize, bool)| {
            let net = net % longer.networks;
            let there = members.iter().filter(|it| it.0 == net).count();
            (net, (*count).min(there), *publishes)
        };
        // The services that are there keep exactly the backends that they have.
        for service in &mut longer.services {
            service.1 = service.1.min(members.iter().filter(|it| it.0 == service.0).count());
        }
        longer.services.extend(services.iter().map(fit));
        let after = validate(&written(&longer)).unwrap();

        for (name, node) in &before.nodes {
            prop_assert_eq!(node, &after.nodes[name]);
        }
        for (name, endpoint) in &before.endpoints {
            prop_assert_eq!(endpoint, &after.endpoints[name]);
        }
        for (name, service) in &before.services {
            prop_assert_eq!(service, &after.services[name]);
        }
        for (id, backend) in &before.backends {
            prop_assert_eq!(backend, &after.backends[id]);
        }
        for (id, task) in &before.tasks {
            let now = &after.tasks[id];
            prop_assert_eq!(task.gateway, now.gateway);
            prop_assert!(task.ingress.is_empty() || task.ingress == now.ingress);
        }
    }

    #[test]
    fn any_text_is_a_value_or_a_problem_and_never_a_panic(
        word in "[a-f0-9.:/%\\- ]{0,24}",
        number in any::<i64>(),
    ) {
        let mut topology = cluster();
        topology.data_path_port = Field::Given(at(1, number));
        topology.nodes[0].value.gateway = texts(10, &[&word]);
        topology.nodes[1].value.address = text(11, &word);
        topology.networks[0].value.subnets = texts_field(20, &[&word, "10.0.1.0/24"]);
        topology.networks[0].value.mtu = Field::Given(at(20, number));
        topology.endpoints[0].value.addresses = texts(30, &[&word]);
        topology.endpoints[0].value.namespace = text(30, &word);
        topology.services[0].value.name = text(40, &word);
        topology.services[0].value.publish[0].value.port.target = Field::Given(at(40, number));
        drop(validate(&topology));
    }
}
