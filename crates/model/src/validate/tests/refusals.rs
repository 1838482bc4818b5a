//! What is refused, with which words.

use super::*;

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
fn everything_that_is_wrong_is_told_at_once_and_once() {
    refused_after(
        |it| {
            it.data_path_port = Field::Given(at(1, 80));
            it.nodes[0].value.name = text(10, "n 1");
            it.networks[0].value.vni = Field::Given(at(20, 0));
            it.endpoints[1].value.network = text(31, "nowhere");
            it.services[0].value.algorithm = text(40, "wlcr");
            it.services[0].value.affinity = Field::Given(at(40, 604_801));
            it.services[0].value.backends[0].value.state = text(40, "gone");
        },
        &[
            "1: 80: the data path port is a number from 1024 to 49151",
            "10: `n 1` is not a name: a name has 1 to 63 of the characters a-z, A-Z, 0-9, `-`, `_` and `.`, and starts and ends with a letter or digit",
            "20: 0: a VNI is a number from 1 to 16777215",
            "30: there is no node `n1`",
            "31: there is no network `nowhere`",
            "40: 604801: an affinity is 0 to 604800 seconds",
            "40: `gone`: a state is `ready` or `draining`",
            "40: `wlcr`: an algorithm is `rr`, `wrr`, `lc`, `wlc`, `lblc`, `lblcr`, `dh`, `sh`, `sed`, `nq`, `mh` or `p2c`",
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
            it.networks
                .push(network(27, "ingress", 27, &["10.0.7.0/24"]));
            it.endpoints.push(endpoint(33, "f-1", "n1", "f"));
            it.endpoints.last_mut().unwrap().value.addresses = texts(33, &["10.0.9.9"]);
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
            "27: `ingress` is what the network of published ports is called: take another name",
            "33: 10.0.9.9 is in no subnet of network `f`",
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

fn list(line: usize, words: &[&str]) -> Field<Vec<Located<String>>> {
    let words = words.iter().map(|word| at(line, (*word).to_owned()));
    Field::Given(at(line, words.collect()))
}

#[test]
fn places_of_published_ports_exist_and_are_somewhere() {
    refused_after(
        |it| {
            let mut other = service(44, "other", "app", &[]);
            let mut wrong = publish(45, 9000, "tcp");
            wrong.value.mode = text(45, "nowhere");
            wrong.value.nodes = list(45, &["n9"]);
            wrong.value.addresses = list(45, &["192.0.2", "127.0.0.1"]);
            let mut empty = publish(46, 9001, "tcp");
            empty.value.nodes = list(46, &[]);
            empty.value.addresses = list(46, &[]);
            other.value.publish = vec![wrong, empty];
            it.services.push(other);
        },
        &[
            "45: 127.0.0.1 is no address that a client can dial",
            "45: `192.0.2` is not an address such as 10.0.1.2 or fd00:1::2",
            "45: `nowhere` is not a way to publish a port: use ingress or host",
            "45: there is no node `n9`",
            "46: `addresses` is empty: leave it out for all of them",
            "46: `nodes` is empty: leave it out for all of them",
        ],
    );
}

#[test]
fn a_port_is_published_once_at_each_place() {
    refused_after(
        |it| {
            let mut other = service(44, "other", "app", &[]);
            // The service `web` has it everywhere; an address that is named goes before.
            let mut named = publish(45, 8080, "tcp");
            named.value.addresses = list(45, &["192.0.2.77"]);
            let mut again = publish(46, 8080, "tcp");
            again.value.addresses = list(46, &["192.0.2.78", "192.0.2.77"]);
            let mut node = publish(47, 8080, "tcp");
            node.value.nodes = list(47, &["n1"]);
            other.value.publish = vec![named, again, node];
            it.services.push(other);
        },
        &[
            "46: port 8080/tcp is already published by service `other` on line 45",
            "47: port 8080/tcp is already published by service `web` on line 40",
        ],
    );
}
