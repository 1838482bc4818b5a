//! What is refused, with which words; what is decided; and what never changes.

mod properties;

use super::*;
use crate::raw::{Backend, Endpoint, Gateway, Ingress, Located, Network, Node, Publish, Service};
use crate::{BackendKind, EndpointName, FrontendKind, PerFamily, TaskId};

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
            algorithm: Field::Absent,
        },
    )
}

fn addresses(v4: &str, v6: &str) -> PerFamily<IpAddr> {
    PerFamily {
        v4: Some(v4.parse().unwrap()),
        v6: Some(v6.parse().unwrap()),
    }
}

fn name(name: &str) -> EndpointName {
    name.parse().unwrap()
}

/// Checks that exactly this is wrong, as `line: message`.
#[track_caller]
fn refused(topology: &raw::Topology, expected: &[&str]) {
    let problems = validate(topology).expect_err("this is wrong");
    let told: Vec<_> = problems
        .iter()
        .map(|it| format!("{}: {it}", it.line))
        .collect();
    assert_eq!(told, expected);
}

/// Checks that exactly this is wrong after one change to the cluster.
#[track_caller]
fn refused_after(change: impl FnOnce(&mut raw::Topology), expected: &[&str]) {
    let mut topology = cluster();
    change(&mut topology);
    refused(&topology, expected);
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
                    assert_eq!(frontend.algorithm, crate::Algorithm::Mh);
                }
            }
        }
    }
    let of = |kind| topology.backends_of(&"web".parse().unwrap(), kind).count();
    assert_eq!((of(BackendKind::Vip), of(BackendKind::Published)), (4, 4));
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
fn weights_are_carried() {
    let mut topology = cluster();
    topology.services[0].value.backends[1].value.weight = Field::Given(at(40, 0));
    let topology = validate(&topology).unwrap();
    let service = &topology.services[&"web".parse().unwrap()];
    assert_eq!(service.members, [(name("web-1"), 1), (name("web-2"), 0)]);
    let weights = topology.backends.values().filter(|it| it.weight == 0);
    assert!(weights.clone().count() == 4 && weights.clone().all(|it| it.endpoint == name("web-2")));
}

#[test]
fn everything_that_is_wrong_is_told_at_once_and_once() {
    refused_after(
        |it| {
            it.data_path_port = Field::Given(at(1, 80));
            it.nodes[0].value.name = text(10, "n 1");
            it.networks[0].value.vni = Field::Given(at(20, 0));
            it.endpoints[1].value.network = text(31, "nowhere");
            it.services[0].value.algorithm = text(40, "wlc");
        },
        &[
            "1: 80: the data path port is a number from 1024 to 49151",
            "10: `n 1` is not a name: a name has 1 to 63 of the characters a-z, A-Z, 0-9, `-`, `_` and `.`, and starts and ends with a letter or digit",
            "20: 0: a VNI is a number from 1 to 16777215",
            "30: there is no node `n1`",
            "31: there is no network `nowhere`",
            "40: `wlc`: an algorithm is `rr`, `sh` or `mh`",
            "40: endpoint `web-2` is on network `nowhere`, its service is on `app`",
        ],
    );
}

#[test]
fn names_are_there_and_unique() {
    refused_after(
        |it| {
            it.nodes.push(node(13, "n1", "192.0.2.14"));
            it.networks.push(network(21, "app", 4098, &["10.0.2.0/24"]));
            it.endpoints.push(endpoint(32, "web-1", "n2", "app"));
            it.services.push(service(41, "web", "app", &[]));
            it.services.push(at(42, Service::default()));
            it.nodes.push(at(14, Node::default()));
        },
        &[
            "13: node `n1` is already on line 10",
            "14: node has no `address`",
            "14: node has no `name`",
            "21: network `app` is already on line 20",
            "32: endpoint `web-1` is already on line 30",
            "41: service `web` is already on line 40",
            "42: service has no `name`",
            "42: service has no `network`",
        ],
    );
}

#[test]
fn nodes_have_usable_addresses_of_one_family() {
    refused_after(
        |it| {
            it.nodes[1].value.address = text(11, "192.0.2.11");
            it.nodes[2].value.address = text(12, "fd18::13");
            it.nodes.push(node(13, "n4", "127.0.0.1"));
            it.nodes.push(node(14, "n5", "n5.example"));
        },
        &[
            "11: 192.0.2.11 is already the address of node `n1` (line 10)",
            "12: fd18::13 is IPv6, the address of the first node (line 10) is not: all nodes use one family",
            "13: 127.0.0.1 cannot be a node's address: it is not one machine's own",
            "14: `n5.example` is not an address such as 10.0.1.2 or fd00:1::2",
        ],
    );
}

#[test]
fn subnets_are_subnets() {
    refused_after(
        |it| {
            it.networks.push(network(21, "a", 11, &["10.0.2.1/24"]));
            it.networks
                .push(network(22, "b", 12, &["10.0.2.0", "fd00::/127"]));
            it.networks.push(network(23, "c", 13, &["169.254.0.0/16"]));
            it.networks
                .push(network(24, "d", 14, &["10.0.4.0/24", "10.0.5.0/24"]));
            it.networks.push(network(25, "e", 4097, &[]));
            it.networks.push(network(26, "f", 4096, &["10.0.6.0/24"]));
            it.networks[0].value.mtu = Field::Given(at(20, 1279));
        },
        &[
            "20: an MTU of 1279 is outside of 1280 to 65485 bytes",
            "21: `10.0.2.1/24` is not a subnet: its first address is 10.0.2.0/24",
            "22: `10.0.2.0` is not a subnet such as 10.0.1.0/24 or fd00:1::/64",
            "22: fd00::/127 is too small: a subnet has at most 126 bits of prefix here",
            "23: 169.254.0.0/16 overlaps 169.254.0.0/16, whose addresses are not for tasks",
            "24: a second IPv4 subnet: one of each family is possible",
            "25: VNI 4097 is already used on line 20",
            "25: a network needs a subnet",
            "26: VNI 4096 is already used on line 5",
        ],
    );
}

#[test]
fn what_has_to_be_apart_is_apart() {
    refused_after(
        |it| {
            it.networks.push(network(21, "a", 11, &["192.0.2.0/24"]));
            it.networks.push(network(22, "b", 12, &["10.255.1.0/24"]));
            it.networks.push(network(23, "c", 13, &["172.30.7.0/24"]));
            it.nodes[2].value.gateway = texts(12, &["172.30.1.0/24"]);
        },
        &[
            "12: 172.30.1.0/24 overlaps the default for the gateway block 172.30.1.0/24: gateway addresses are unique in the cluster",
            "21: 192.0.2.0/24 overlaps the node address 192.0.2.11/32 (line 10): packets to that node would be taken for a task's",
            "21: 192.0.2.0/24 overlaps the node address 192.0.2.12/32 (line 11): packets to that node would be taken for a task's",
            "21: 192.0.2.0/24 overlaps the node address 192.0.2.13/32 (line 12): packets to that node would be taken for a task's",
            "22: 10.255.1.0/24 overlaps the ingress subnet 10.255.0.0/16 (line 5): a task behind a published port could not tell the two apart",
            "23: 172.30.7.0/24 overlaps the default for the gateway pool 172.30.0.0/16: a task could not tell its way out from the network",
        ],
    );
}

#[test]
fn nodes_on_the_default_pool_are_told_to_choose_another() {
    refused_after(
        |it| it.nodes[0].value.address = text(10, "172.30.0.11"),
        &[
            "10: 172.30.0.11/32 overlaps the default for the gateway pool 172.30.0.0/16: packets to that node would be taken for a task's",
        ],
    );
}

#[test]
fn a_pool_has_a_block_for_every_node() {
    refused_after(
        |it| {
            let pools = texts(7, &["172.31.0.0/23", "fd00:99::/65"]);
            it.gateway = Some(at(6, Gateway { pools }));
        },
        &[
            "7: fd00:99::/65 is too small: a subnet has at most 64 bits of prefix here",
            "12: pool 172.31.0.0/23 has no block left for this node: give a larger pool, or `gateway` here",
        ],
    );
}

#[test]
fn addresses_are_inside_free_and_one_of_each_family() {
    refused_after(
        |it| {
            it.endpoints[0].value.addresses = texts(30, &["10.0.1.7", "10.0.1.8"]);
            it.endpoints[1].value.addresses = texts(31, &["10.0.1.7", "fd00:2::1", "10.0.1"]);
            it.services[0].value.vips = texts(40, &["10.0.1.1", "fd00:1::"]);
            it.endpoints[0].value.ingress = texts(32, &["10.255.0.9"]);
            it.endpoints[1].value.ingress = texts(33, &["10.255.0.9", "10.254.0.9"]);
        },
        &[
            "30: a second IPv4 address: one of each family is possible",
            "31: 10.0.1.7 is already used in network `app` on line 30",
            "31: `10.0.1` is not an address such as 10.0.1.2 or fd00:1::2",
            "31: fd00:2::1 is in no subnet of network `app`",
            "33: 10.254.0.9 is in no subnet of the ingress network",
            "33: 10.255.0.9 is already used in the ingress network on line 32",
            "40: 10.0.1.1 is the network's own address of 10.0.1.0/24",
            "40: fd00:1:: is the address of fd00:1::/64",
        ],
    );
}

#[test]
fn a_full_subnet_names_who_finds_no_place() {
    refused_after(
        |it| it.networks[0].value.subnets = texts_field(20, &["10.0.1.0/30"]),
        &[
            "30: 10.0.1.0/30 of network `app` has no free address left for endpoint `web-1`",
            "31: 10.0.1.0/30 of network `app` has no free address left for endpoint `web-2`",
        ],
    );
    refused_after(
        |it| {
            it.ingress = Some(at(
                5,
                Ingress {
                    subnets: texts_field(5, &["10.255.0.0/30"]),
                    ..Ingress::default()
                },
            ));
        },
        &[
            "31: 10.255.0.0/30 of the ingress network has no free address left for the task in /run/netns/q-web-2",
        ],
    );
}

#[test]
fn who_needs_no_ingress_address_does_not_complain() {
    let mut topology = cluster();
    topology.ingress = Some(at(
        5,
        Ingress {
            subnets: texts_field(5, &["10.255.0.0/30"]),
            ..Ingress::default()
        },
    ));
    topology.services[0].value.backends.pop();
    assert!(validate(&topology).is_ok());
}

#[test]
fn namespaces_and_interfaces_are_what_the_kernel_takes() {
    let bad = [
        "",
        ".",
        "..",
        "a/b",
        "/",
        "/run//x",
        "/run/../x",
        "/run/",
        "a\0b",
    ];
    for namespace in bad {
        refused_after(
            |it| it.endpoints[1].value.namespace = text(31, namespace),
            &[&format!(
                "31: `{namespace}` is not a namespace: an absolute path, or a name in /run/netns"
            )],
        );
    }
    for name in ["", "lo", "a b", "a/b", "a:b", "0123456789abcdef", "all"] {
        refused_after(
            |it| it.endpoints[1].value.interface = text(31, name),
            &[&format!(
                "31: `{name}` is not an interface's name: 1 to 15 characters without space, `/` and `:`, and not `lo`"
            )],
        );
    }
}

#[test]
fn a_task_can_tell_its_networks_apart() {
    refused_after(
        |it| {
            it.networks
                .push(network(21, "twin", 4098, &["10.0.0.0/16"]));
            for (line, name, network) in [(32, "again", "app"), (33, "twin-1", "twin")] {
                let mut endpoint = endpoint(line, name, "n1", network);
                endpoint.value.namespace = text(line, "q-web-1");
                endpoint.value.interface = text(line, "eth7");
                it.endpoints.push(endpoint);
            }
        },
        &[
            "32: the task is already attached to network `app` on line 30",
            "33: 10.0.0.0/16 of network `twin` overlaps 10.0.1.0/24 of network `app`, to which the task is attached on line 30: it could not tell them apart",
            "33: 10.0.0.0/16 of network `twin` overlaps 10.0.1.0/24 of network `app`, to which the task is attached on line 32: it could not tell them apart",
            "33: the task's interface `eth7` is already on line 32",
        ],
    );
}

#[test]
fn ports_are_ports_and_published_once() {
    refused_after(
        |it| {
            let ports = vec![
                at(41, port(41, 80, "tcp")),
                at(42, port(42, 80, "tcp")),
                at(43, port(43, 0, "sctp")),
            ];
            it.services[0].value.ports = Field::Given(at(41, ports));
            let mut other = service(44, "other", "app", &[]);
            other.value.publish = vec![
                publish(45, 8080, "tcp"),
                publish(46, 4789, "udp"),
                publish(47, 4789, "tcp"),
                publish(48, 65_536, "udp"),
            ];
            other.value.ports = Field::Given(at(49, Vec::new()));
            it.services.push(other);
        },
        &[
            "42: port 80/tcp is already on line 41",
            "43: 0: a port is a number from 1 to 65535",
            "43: `sctp`: a protocol is `tcp` or `udp`",
            "45: port 8080/tcp is already published by service `web` on line 40",
            "46: port 4789/udp is the data path port: nodes receive each other's packets there",
            "48: 65536: a port is a number from 1 to 65535",
            "49: `ports` is empty: leave it out to balance every port",
        ],
    );
}

#[test]
fn publishing_needs_an_ingress_network() {
    refused_after(
        |it| {
            it.ingress = None;
            it.endpoints[0].value.ingress = texts(30, &["10.255.0.9"]);
        },
        &[
            "30: an ingress address needs the `[ingress]` network",
            "40: a published port needs the `[ingress]` network",
        ],
    );
}

#[test]
fn backends_are_on_the_services_network_and_named_once() {
    refused_after(
        |it| {
            it.networks.push(network(21, "db", 4098, &["10.0.2.0/24"]));
            it.endpoints.push(endpoint(32, "db-1", "n1", "db"));
            let mut backends = service(41, "-", "-", &["db-1", "web-1", "nobody", "web-2"])
                .value
                .backends;
            backends[3].value.weight = Field::Given(at(42, 65_536));
            it.services[0].value.backends.extend(backends);
        },
        &[
            "41: endpoint `db-1` is on network `db`, its service is on `app`",
            "41: endpoint `web-1` is already a backend of this service on line 40",
            "41: endpoint `web-2` is already a backend of this service on line 40",
            "41: there is no endpoint `nobody`",
            "42: 65536: a weight is a number from 0 to 65535",
        ],
    );
}

#[test]
fn what_has_been_reported_before_is_not_reported_again() {
    refused_after(
        |it| it.networks[0].value.subnets = Field::Absent,
        &["20: a network needs a subnet"],
    );
    refused_after(|it| it.networks[0].value.vni = Field::Malformed, &[]);
    refused_after(|it| it.networks[0].value.subnets = Field::Malformed, &[]);
    refused_after(|it| it.endpoints[0].value.namespace = Field::Malformed, &[]);
    refused_after(|it| it.data_path_port = Field::Malformed, &[]);
}
