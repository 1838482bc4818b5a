//! Any state to any other, on the model kernel.

mod edits;
mod order;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use abi::{Algorithm, Iface, NetId};
use proptest::prelude::*;

use super::model::{Model, PICKS};
use super::{Change, Observed, TableChange, plan};
use crate::desired::{
    Attachment, Backend, Desired, Endpoint, Frontend, Gateway, Location, Network, Published,
    Service,
};
use crate::lower::{Facts, Uplink, lower};
use crate::names::Names;
use crate::tables::{LinkRef, Tables};
use crate::world::{Hook, LinkName, Program, World};

const INGRESS: NetId = NetId(4096);

/// One task: its number, its place, and what it serves.
#[derive(Clone, Debug)]
struct Task {
    number: u8,
    /// 0 is this node.
    node: u8,
    net: u8,
    gateway: bool,
    publishes: bool,
    interface: u8,
    weight: u16,
    is_draining: bool,
}

#[derive(Clone, Debug)]
struct Case {
    tasks: Vec<Task>,
    algorithm: Algorithm,
    uplinks: u8,
    mtu: u32,
    port: u16,
}

fn task() -> impl Strategy<Value = Task> {
    (
        1u8..12,
        0u8..4,
        0u8..2,
        any::<bool>(),
        any::<bool>(),
        0u8..2,
        (0u16..4, prop::bool::weighted(0.2)),
    )
        .prop_map(
            |(number, node, net, gateway, publishes, interface, (weight, is_draining))| Task {
                number,
                node,
                net,
                gateway,
                publishes,
                interface,
                weight,
                is_draining,
            },
        )
}

fn case() -> impl Strategy<Value = Case> {
    let algorithm = prop::sample::select(&Algorithm::ALL[..]);
    let tasks = proptest::collection::vec(task(), 0..12);
    (tasks, algorithm, 1u8..4, 1400u32..1600, 4789u16..4791).prop_map(
        |(mut tasks, algorithm, uplinks, mtu, port)| {
            tasks.sort_by_key(|task| task.number);
            tasks.dedup_by_key(|task| task.number);
            Case {
                tasks,
                algorithm,
                uplinks,
                mtu,
                port,
            }
        },
    )
}

fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    Ipv4Addr::new(a, b, c, d).into()
}

fn link(name: &str) -> LinkName {
    LinkName::new(name).unwrap()
}

fn desired(case: &Case) -> Desired {
    let mut desired = Desired {
        data_path_port: case.port,
        ingress: Some(INGRESS),
        gateway_blocks: vec!["172.30.1.0/24".parse().unwrap()],
        vteps: case
            .tasks
            .iter()
            .filter(|t| t.node != 0)
            .map(|t| v4(192, 0, 2, 10 + t.node))
            .collect(),
        ..Desired::empty(v4(192, 0, 2, 1))
    };
    let ingress = Network {
        name: "ingress".to_owned(),
        subnets: vec![("10.255.0.0/16".parse().unwrap(), v4(10, 255, 0, 1))],
        mtu: None,
        socket_lb: true,
    };
    desired.networks.insert(INGRESS, ingress);
    // Small underlays leave the node without an address.
    if case.mtu > 1400 {
        let own = (v4(10, 255, 128, 1), desired.address);
        desired.node_addresses.extend([own]);
    }
    let others = desired.vteps.iter().zip(2..);
    let others: Vec<_> = others
        .map(|(node, host)| (v4(10, 255, 128, host), *node))
        .collect();
    desired.node_addresses.extend(others);
    for task in &case.tasks {
        add_task(&mut desired, task);
    }
    let mut inside: BTreeMap<NetId, Vec<u32>> = BTreeMap::new();
    for (id, backend) in &desired.backends {
        inside.entry(backend.net).or_default().push(*id);
    }
    for (net, backends) in inside {
        let service = Service {
            id: net.0,
            algorithm: case.algorithm,
            affinity_seconds: 0,
            returns_direct: false,
            backends,
        };
        if net == INGRESS {
            let published = Published {
                address: v4(0, 0, 0, 0),
                port: 8080,
                protocol: 6,
            };
            desired.published.insert(published, service);
        } else {
            let frontend = Frontend {
                net,
                address: v4(10, 0, 0, 200),
                port: Some((80, 6)),
            };
            desired.services.insert(frontend, service);
        }
    }
    desired
}

fn add_task(desired: &mut Desired, task: &Task) {
    let net = NetId(u32::from(task.net) + 1);
    let name = format!("web-{}", task.number);
    let namespace = PathBuf::from(format!("/run/netns/{name}"));
    let (address, ingress) = (v4(10, 0, 0, task.number), v4(10, 255, 0, task.number));
    desired.networks.entry(net).or_insert_with(|| Network {
        name: format!("net-{}", net.0),
        subnets: vec![("10.0.0.0/24".parse().unwrap(), v4(10, 0, 0, 254))],
        mtu: None,
        socket_lb: true,
    });
    let (attached, gateway) = if task.node == 0 {
        let attachment = Attachment {
            namespace: namespace.clone(),
            interface: format!("eth{}", task.interface),
            net,
            addresses: vec![format!("{address}/24").parse().unwrap()],
        };
        desired.attachments.insert(name.clone(), attachment);
        if task.gateway {
            let gateway = Gateway {
                interface: format!("eth{}", 1 - task.interface),
                addresses: vec![v4(172, 30, 1 + task.interface, task.number)],
                ingress: if task.publishes {
                    vec![ingress]
                } else {
                    vec![]
                },
            };
            desired.gateways.insert(namespace.clone(), gateway);
        }
        (Location::Attachment(name), Location::Gateway(namespace))
    } else {
        let node = v4(192, 0, 2, 10 + task.node);
        (Location::Node(node), Location::Node(node))
    };
    desired
        .endpoints
        .insert((net, address), Endpoint { location: attached });
    let id = u32::from(task.number);
    let backend = Backend {
        net,
        address,
        port: 80,
        weight: task.weight,
        is_draining: task.is_draining,
    };
    desired.backends.insert(id, backend);
    if task.gateway && task.publishes {
        desired
            .endpoints
            .insert((INGRESS, ingress), Endpoint { location: gateway });
        let backend = Backend {
            net: INGRESS,
            address: ingress,
            port: 80,
            weight: task.weight,
            is_draining: task.is_draining,
        };
        desired.backends.insert(id + 1000, backend);
    }
}

fn wanted(case: &Case, model: &Model) -> World {
    lowered(&desired(case), case, model).0
}

fn lowered(desired: &Desired, case: &Case, model: &Model) -> (World, Facts) {
    let mut uplinks = BTreeMap::new();
    for number in 0..case.uplinks {
        let address = v4(192, 0, 2 + number, 1);
        let uplink = Uplink {
            mtu: case.mtu,
            addresses: [address].into(),
            accepts_ra: number == 1,
            ..Uplink::default()
        };
        uplinks.insert(link(&format!("eth{number}")), uplink);
    }
    let facts = Facts {
        names: Names::new("n1"),
        uplinks,
        cookie: Some(1),
        cookies: cookies(desired),
        vteps: model.observe().world.tables.numbers(),
        next_hops: BTreeMap::new(),
        native: Err("not tried".to_owned()),
        direct: BTreeMap::new(),
        vtep_capacity: 64,
        reserved_ports: "1000".to_owned(),
        forwarded_v6: Some(false),
    };
    (lower(desired, &facts).unwrap(), facts)
}

fn cookies(desired: &Desired) -> BTreeMap<PathBuf, u64> {
    let namespaces = desired.namespaces().into_iter().zip(2..);
    namespaces
        .map(|(path, cookie)| (path.to_owned(), cookie))
        .collect()
}

fn node() -> Model {
    Model::new(&["eth0", "eth1", "eth2"].map(link))
}

/// Applies a case and checks that it is reached, and that nothing is left to do.
fn reach(model: &mut Model, case: &Case) {
    let wanted = wanted(case, model);
    reach_world(model, &wanted);
}

fn reach_world(model: &mut Model, wanted: &World) {
    for change in plan(wanted, &model.observe()).unwrap() {
        model.apply(&change);
    }
    model.check_flows();
    model.begin_flows();
    let reached = model.observe();
    assert_eq!(&reached.world, wanted);
    assert_eq!(plan(wanted, &reached).unwrap(), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_state_is_reached_from_every_other(cases in proptest::collection::vec(case(), 1..5)) {
        let mut model = node();
        for case in &cases {
            reach(&mut model, case);
        }
    }

    #[test]
    fn plan_that_breaks_off_is_finished_by_the_next(
        first in case(),
        second in case(),
        at in any::<prop::sample::Index>(),
    ) {
        let mut model = node();
        reach(&mut model, &first);
        let changes = plan(&wanted(&second, &model), &model.observe()).unwrap();
        for change in changes.iter().take(at.index(changes.len() + 1)) {
            model.apply(change);
        }
        model.sweep();
        reach(&mut model, &second);
    }

    #[test]
    fn nodes_keep_their_numbers(first in case(), second in case()) {
        let mut model = node();
        reach(&mut model, &first);
        let before = model.observe().world.tables.numbers();
        reach(&mut model, &second);
        let after = model.observe().world.tables.numbers();
        let addresses: BTreeSet<_> = after.values().collect();
        prop_assert_eq!(addresses.len(), after.len(), "numbered twice");
        for (number, address) in &before {
            if addresses.contains(address) {
                prop_assert_eq!(after.get(number), Some(address));
            }
        }
    }
}

#[test]
fn full_array_of_picks_is_a_problem() {
    let tasks = (0..8u8).map(|number| Task {
        number: number + 1,
        node: 0,
        net: number % 2,
        gateway: false,
        publishes: false,
        interface: 0,
        weight: 1,
        is_draining: false,
    });
    let case = Case {
        tasks: tasks.collect(),
        algorithm: Algorithm::Maglev,
        uplinks: 1,
        mtu: 1500,
        port: 4789,
    };
    let model = node();
    let mut observed = model.observe();
    observed.quarantine.push(0..PICKS - 1000);
    let problem = plan(&wanted(&case, &model), &observed).unwrap_err();
    assert!(problem.message.contains("no room"), "{problem}");
}

/// One task behind a published port.
fn publishing_task() -> Case {
    let task = Task {
        number: 1,
        node: 0,
        net: 0,
        gateway: true,
        publishes: true,
        interface: 0,
        weight: 1,
        is_draining: false,
    };
    Case {
        tasks: vec![task],
        algorithm: Algorithm::RoundRobin,
        uplinks: 1,
        mtu: 1500,
        port: 4789,
    }
}

#[test]
fn new_gateway_address_makes_room_among_the_routes() {
    let case = publishing_task();
    let one = desired(&case);
    let mut two = one.clone();
    for gateway in two.gateways.values_mut() {
        gateway.addresses = vec![v4(172, 30, 1, 77)];
    }
    let mut model = node();
    for desired in [&one, &two, &one] {
        let (wanted, _) = lowered(desired, &case, &model);
        reach_world(&mut model, &wanted);
    }
}

#[test]
fn second_network_takes_the_name_of_the_gateway_attachment_and_gives_it_back() {
    let case = publishing_task();
    let one = desired(&case);
    let mut two = one.clone();
    let namespace = one.attachments["web-1"].namespace.clone();
    let second = Attachment {
        interface: "eth1".to_owned(),
        net: NetId(2),
        ..one.attachments["web-1"].clone()
    };
    two.attachments.insert("web-1b".to_owned(), second);
    let gateway = two.gateways.get_mut(&namespace).unwrap();
    gateway.interface = "eth2".to_owned();
    let mut model = node();
    for desired in [&one, &two, &one] {
        let (wanted, _) = lowered(desired, &case, &model);
        reach_world(&mut model, &wanted);
    }
}

#[test]
fn router_advertisements_are_kept_before_forwarding_begins() {
    let case = Case {
        tasks: Vec::new(),
        algorithm: Algorithm::RoundRobin,
        uplinks: 2,
        mtu: 1500,
        port: 4789,
    };
    let model = node();
    let changes = plan(&wanted(&case, &model), &model.observe()).unwrap();
    let position = |wanted: &str| {
        let is_set =
            |change: &Change| matches!(change, Change::SetSysctl { key, .. } if key == wanted);
        changes.iter().position(is_set).unwrap()
    };
    assert!(position("net/ipv6/conf/eth1/accept_ra") < position("net/ipv6/conf/all/forwarding"));
}

#[test]
fn what_is_gone_is_forgotten_before_its_number_is_used_again() {
    let state = |link: LinkRef| {
        let hook = Hook {
            link: link.clone(),
            program: Program::FromTask,
        };
        World {
            hooks: BTreeSet::from([hook]),
            tables: Tables {
                ifaces: BTreeMap::from([(link, Iface::default())]),
                ..Tables::default()
            },
            ..World::default()
        }
    };
    let observed = Observed {
        world: state(LinkRef::Gone(4)),
        ..Observed::default()
    };
    let changes = plan(&state(LinkRef::Named(link("eth4"))), &observed).unwrap();
    assert!(
        matches!(
            changes[..],
            [
                Change::Detach { .. },
                Change::Attach { .. },
                Change::Table(TableChange::RemoveIfaces(_)),
                Change::Table(TableChange::PutIfaces(_)),
            ]
        ),
        "{changes:?}"
    );
}

#[test]
fn replaced_maglev_table_stays_readable_until_it_has_outlived_its_use() {
    let task = |number| Task {
        number,
        node: 0,
        net: 0,
        gateway: false,
        publishes: false,
        interface: 0,
        weight: 1,
        is_draining: false,
    };
    let case = |tasks: &[u8]| Case {
        tasks: tasks.iter().map(|number| task(*number)).collect(),
        algorithm: Algorithm::Maglev,
        uplinks: 1,
        mtu: 1500,
        port: 4789,
    };
    let mut model = node();
    reach(&mut model, &case(&[1]));
    let (key, only) = model.observe().places.pop_first().unwrap();
    assert_eq!((only.range(), only.second_length), (0..0, 0));
    reach(&mut model, &case(&[1, 2]));
    let first = model.observe().places[&key];
    assert_eq!(
        first.second_length, 1,
        "what stood in the value has a place"
    );
    reach(&mut model, &case(&[1, 2, 3]));
    let second = model.observe().places[&key];
    assert_eq!(second.second_range(), first.range());
    let mut observed = model.observe();
    observed.outlived.insert(key);
    let changes = plan(&wanted(&case(&[1, 2, 3]), &model), &observed).unwrap();
    changes.iter().for_each(|change| model.apply(change));
    let third = model.observe().places[&key];
    assert_eq!((third.range(), third.second_length), (second.range(), 0));
    reach(&mut model, &case(&[1]));
    let last = model.observe().places[&key];
    assert_eq!(last.second_range(), third.range());
}

#[test]
fn draining_backend_leaves_the_picks_and_the_last_one_stays() {
    let case = |draining: [bool; 2]| Case {
        tasks: (1..)
            .zip(draining)
            .map(|(number, is_draining)| Task {
                number,
                node: 0,
                net: 0,
                gateway: false,
                publishes: false,
                interface: 0,
                weight: 1,
                is_draining,
            })
            .collect(),
        algorithm: Algorithm::RoundRobin,
        uplinks: 1,
        mtu: 1500,
        port: 4789,
    };
    let model = node();
    let picks = |draining| {
        let world = wanted(&case(draining), &model);
        world.tables.frontends.into_values().next().unwrap().picks
    };
    assert_eq!(picks([false, false]), [1, 2]);
    assert_eq!(picks([true, false]), [2]);
    assert_eq!(picks([true, true]), [1, 2]);
    let mut model = node();
    reach(&mut model, &case([false, false]));
    let changes = plan(&wanted(&case([true, false]), &model), &model.observe()).unwrap();
    let purges = |change: &Change| matches!(change, Change::Table(TableChange::PurgeFlows(_)));
    assert!(!changes.iter().any(purges), "connections go on");
}
