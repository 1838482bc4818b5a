//! Against the real kernel, in namespaces that vanish with their threads. Needs root.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use abi::{Algorithm, NetId};

use super::*;
use crate::cleanup::{Cleaned, Cleanup, cleanup};
use crate::desired::{
    Attachment, Backend, Endpoint, Frontend, Gateway, Location, Network, Published, Service,
};
use crate::testing::{Namespace, in_node, run};

const NET: NetId = NetId(4097);
const INGRESS: NetId = NetId(4096);

fn settings(directory: &Path) -> Settings {
    Settings {
        instance: format!("test-{}", std::process::id()),
        bpffs: directory.join("bpf"),
        state_dir: directory.join("state"),
        flow_capacity: Some(1024),
    }
}

fn desired(tasks: &[&Namespace]) -> Desired {
    let mut desired = Desired {
        address: "192.0.2.1".parse().unwrap(),
        data_path_port: 4789,
        ingress: Some(INGRESS),
        gateway_blocks: vec![
            "172.30.1.0/24".parse().unwrap(),
            "fd00:6e::/64".parse().unwrap(),
        ],
        vteps: BTreeSet::from(["192.0.2.2".parse().unwrap(), "192.0.2.3".parse().unwrap()]),
        networks: BTreeMap::from([(
            NET,
            Network {
                name: "app".to_owned(),
                subnets: vec![
                    ("10.0.1.0/24".parse().unwrap(), "10.0.1.1".parse().unwrap()),
                    ("fd00:1::/64".parse().unwrap(), "fd00:1::1".parse().unwrap()),
                ],
                mtu: None,
            },
        )]),
        endpoints: BTreeMap::new(),
        attachments: BTreeMap::new(),
        gateways: BTreeMap::new(),
        services: BTreeMap::new(),
        published: BTreeMap::new(),
        backends: BTreeMap::new(),
    };
    for (task, number) in tasks.iter().zip(1u8..) {
        add_task(&mut desired, task, number);
    }
    let service = |algorithm, net| Service {
        id: net,
        algorithm,
        backends: backends_of(&desired, NetId(net)),
    };
    let inside = [
        Algorithm::RoundRobin,
        Algorithm::SourceHash,
        Algorithm::Maglev,
    ];
    let services: Vec<(Frontend, Service)> = (80u16..)
        .zip(inside)
        .map(|(port, algorithm)| (vip(port), service(algorithm, NET.0)))
        .collect();
    let published = Published {
        address: "0.0.0.0".parse().unwrap(),
        port: 8080,
        protocol: 6,
    };
    let outside = service(Algorithm::Maglev, INGRESS.0);
    desired.published.insert(published, outside);
    desired.services.extend(services);
    desired
}

fn backends_of(desired: &Desired, net: NetId) -> Vec<u32> {
    let of_net = |(_, backend): &(&u32, &Backend)| backend.net == net;
    let backends = desired.backends.iter().filter(of_net);
    backends.map(|(id, _)| *id).collect()
}

fn vip(port: u16) -> Frontend {
    Frontend {
        net: NET,
        address: "10.0.1.100".parse().unwrap(),
        port: Some((port, 6)),
    }
}

fn add_task(desired: &mut Desired, task: &Namespace, number: u8) {
    let name = format!("web-{number}");
    let address: IpAddr = format!("10.0.1.1{number}").parse().unwrap();
    let v6: IpAddr = format!("fd00:1::1{number}").parse().unwrap();
    let namespace = task.path().to_owned();
    desired.attachments.insert(
        name.clone(),
        Attachment {
            namespace: namespace.clone(),
            interface: "eth0".to_owned(),
            net: NET,
            addresses: vec![
                format!("{address}/24").parse().unwrap(),
                format!("{v6}/64").parse().unwrap(),
            ],
        },
    );
    for address in [address, v6] {
        let location = Location::Attachment(name.clone());
        desired
            .endpoints
            .insert((NET, address), Endpoint { location });
    }
    let ingress: IpAddr = format!("10.255.0.{number}").parse().unwrap();
    let location = Location::Gateway(namespace.clone());
    desired
        .endpoints
        .insert((INGRESS, ingress), Endpoint { location });
    desired.gateways.insert(
        namespace,
        Gateway {
            interface: "eth1".to_owned(),
            addresses: vec![
                format!("172.30.1.{number}").parse().unwrap(),
                format!("fd00:6e::{number}").parse().unwrap(),
            ],
            ingress: vec![ingress],
        },
    );
    for (id, net, address) in [(0, NET, address), (100, INGRESS, ingress)] {
        let backend = Backend {
            net,
            address,
            port: 8080,
            weight: 1,
        };
        desired.backends.insert(id + u32::from(number), backend);
    }
}

#[test]
fn state_is_reached_kept_and_removed() {
    in_node("192.0.2.1/24", |directory| async move {
        let (one, two) = (Namespace::new(), Namespace::new());
        let full = desired(&[&one, &two]);
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        assert_eq!(dataplane.check(&full).await, []);
        let report = dataplane.apply(&full).await.unwrap();
        assert!(report.changes > 40, "{report:?}");
        assert_eq!(dataplane.apply(&full).await.unwrap().changes, 0);
        let status = dataplane.status();
        assert_eq!(status.overlay_mtu, Some(1450));
        assert_eq!(status.programs["from_task"].len(), 4);
        assert_eq!(status.programs["to_task"].len(), 2);

        // Another process adopts what this one leaves.
        dataplane.close();
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        assert_eq!(dataplane.apply(&full).await.unwrap().changes, 0);

        // One task less is exactly that.
        let half = desired(&[&one]);
        dataplane.apply(&half).await.unwrap();
        assert_eq!(dataplane.apply(&half).await.unwrap().changes, 0);
        assert_eq!(dataplane.status().programs["from_task"].len(), 2);
        assert!(!two.run("ip rule list").contains("100:"));

        let none = desired(&[]);
        dataplane.apply(&none).await.unwrap();
        assert_eq!(dataplane.apply(&none).await.unwrap().changes, 0);
        let links = run("ip -o link");
        assert!(!links.contains("nd") && !links.contains("ng"), "{links}");
        assert!(!run("nft list tables").contains("netd-test"));
    });
}

#[test]
fn cleanup_leaves_nothing() {
    in_node("192.0.2.1/24", |directory| async move {
        let task = Namespace::new();
        let (links, rules) = (run("ip -o link"), task.run("ip rule list"));
        let forwarding = run("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding");
        task.run("sysctl -q -w net.ipv4.conf.all.rp_filter=2");
        let settings = settings(&directory);
        let mut dataplane = Dataplane::open(settings.clone()).await.unwrap();
        dataplane.apply(&desired(&[&task])).await.unwrap();
        assert_eq!(
            task.run("sysctl -n net.ipv4.conf.all.rp_filter").trim(),
            "0"
        );
        dataplane.close();

        let mut wanted = Cleanup {
            instance: Some(settings.instance),
            bpffs: settings.bpffs.clone(),
            state: settings.state_dir.clone(),
            dry_run: true,
        };
        let dry = cleanup(&wanted).await;
        assert!(dry.removed.len() > 6, "{dry:?}");
        wanted.dry_run = false;
        assert_eq!(cleanup(&wanted).await, dry);
        assert_eq!(cleanup(&wanted).await, Cleaned::default());

        assert_eq!(run("ip -o link"), links);
        assert_eq!(task.run("ip rule list"), rules);
        assert_eq!(
            task.run("sysctl -n net.ipv4.conf.all.rp_filter").trim(),
            "2"
        );
        assert_eq!(
            run("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding"),
            forwarding
        );
        assert_eq!(run("nft list tables"), "");
        let pins = std::fs::read_dir(&settings.bpffs).unwrap().flatten();
        assert!(
            pins.into_iter()
                .all(|pin| !pin.file_name().to_string_lossy().contains("netd"))
        );
        assert_eq!(std::fs::read_dir(&settings.state_dir).unwrap().count(), 0);
    });
}

/// Answers every connection with the client's address, until it is dropped.
fn serve(task: &Namespace) {
    task.enter(|| {
        let listener = TcpListener::bind("0.0.0.0:8080").unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let client = stream.peer_addr().unwrap().ip();
                let _ = write!(stream, "{client}");
            }
        });
    });
}

/// Connects from `place` and returns what the server saw.
fn ask(place: &Namespace, server: &str) -> String {
    let server: SocketAddr = server.parse().unwrap();
    place.enter(|| {
        let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(3)).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
}

#[test]
fn traffic_flows_on_one_node() {
    in_node("192.0.2.1/24", |directory| async move {
        let (one, two, client) = (Namespace::new(), Namespace::new(), Namespace::new());
        run(&format!(
            "ip link set wire netns {}",
            client.path().display()
        ));
        client.run("ip address add 192.0.2.100/24 dev wire");
        client.run("ip link set wire up");
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        dataplane.apply(&desired(&[&one, &two])).await.unwrap();
        serve(&one);
        serve(&two);

        one.run("ping -c 1 -W 2 10.0.1.12");
        one.run("ping -c 1 -W 2 fd00:1::12");
        one.run("ping -c 1 -W 2 10.0.1.100");
        one.run("ping -c 1 -W 2 192.0.2.100");
        assert_eq!(ask(&one, "10.0.1.12:8080"), "10.0.1.11");
        for port in [80, 81, 82] {
            let seen = ask(&one, &format!("10.0.1.100:{port}"));
            assert!(["10.0.1.11", "10.0.1.1"].contains(&seen.as_str()), "{seen}");
        }
        assert_eq!(ask(&client, "192.0.2.1:8080"), "192.0.2.100");
        assert!(dataplane.flows().unwrap().len() >= 4);
        let opened: u64 = dataplane
            .loads()
            .unwrap()
            .values()
            .map(|load| load.opened)
            .sum();
        assert_eq!(opened, 4);
        assert_eq!(dataplane.collect_garbage().unwrap(), 0);
        assert_eq!(dataplane.drops().unwrap().len(), abi::DropReason::COUNT);
    });
}

#[test]
fn new_address_is_news_and_a_task_is_not() {
    in_node("192.0.2.1/24", |directory| async move {
        let task = Namespace::new();
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        let mut events = dataplane.events().unwrap();
        let quiet = Duration::from_millis(300);
        assert!(tokio::time::timeout(quiet, events.changed()).await.is_err());
        dataplane.apply(&desired(&[&task])).await.unwrap();
        assert!(tokio::time::timeout(quiet, events.changed()).await.is_err());

        run("ip address add 192.0.2.7/24 dev eth0");
        let patient = Duration::from_secs(5);
        assert_eq!(
            tokio::time::timeout(patient, events.changed()).await,
            Ok(Some(()))
        );
        assert_eq!(
            dataplane.apply(&desired(&[&task])).await.unwrap().changes,
            1
        );

        run("ip link add extra type veth peer name extra2");
        run("ip link set extra up");
        run("ip address add 198.51.100.1/24 dev extra");
        assert_eq!(
            tokio::time::timeout(patient, events.changed()).await,
            Ok(Some(()))
        );
        dataplane.apply(&desired(&[&task])).await.unwrap();
        assert!(dataplane.status().programs["from_uplink"].contains("extra"));
        run("ip link del extra");
        dataplane.apply(&desired(&[&task])).await.unwrap();
        assert!(!dataplane.status().programs["from_uplink"].contains("extra"));
        assert_eq!(
            dataplane.apply(&desired(&[&task])).await.unwrap().changes,
            0
        );
    });
}

#[test]
fn foreign_firewall_is_named() {
    in_node("192.0.2.1/24", |directory| async move {
        run("nft add table ip filter");
        run(
            "nft add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }",
        );
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        dataplane.apply(&desired(&[])).await.unwrap();
        let problems = dataplane.status().problems;
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].code, ProblemCode::ForeignFirewall);
        assert!(
            problems[0].message.contains("ip filter FORWARD"),
            "{}",
            problems[0]
        );
    });
}

#[test]
fn damage_is_repaired() {
    in_node("192.0.2.1/24", |directory| async move {
        let task = Namespace::new();
        let full = desired(&[&task]);
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        dataplane.apply(&full).await.unwrap();
        let names = dataplane.status().host_interfaces;
        for damage in [
            "ip link del eth0",
            "ip route flush table 28260",
            "ip rule del priority 100",
            "ip address flush dev eth1",
            "ip neighbour flush nud permanent dev eth1",
            "ip link set eth0 down",
            "sysctl -q -w net.ipv4.conf.eth1.rp_filter=1",
        ] {
            task.run(damage);
            assert!(
                dataplane.apply(&full).await.unwrap().changes > 0,
                "{damage}"
            );
            assert_eq!(dataplane.apply(&full).await.unwrap().changes, 0, "{damage}");
        }
        let table = format!("nft flush table inet {}", dataplane.names.table());
        let tunnel = dataplane.names.tunnel();
        for damage in [
            format!("ip link del {}", names["web-1"]),
            format!("ip link del {tunnel}"),
            format!("ip link set {tunnel} down"),
            "sysctl -q -w net.ipv4.ip_forward=0".to_owned(),
            table,
        ] {
            run(&damage);
            assert!(
                dataplane.apply(&full).await.unwrap().changes > 0,
                "{damage}"
            );
            assert_eq!(dataplane.apply(&full).await.unwrap().changes, 0, "{damage}");
        }
    });
}

fn flow_key(client: &str, server: &str, side: abi::Side) -> abi::FlowKey {
    let address = |text: &str| text.parse::<IpAddr>().unwrap().into();
    abi::FlowKey {
        net: NET,
        client: address(client),
        server: address(server),
        client_port: 4000,
        server_port: 8080,
        protocol: 6,
        side: side as u8,
        reserved: 0,
    }
}

/// Puts both entries of a flow from 10.0.1.12 to the backend 1 into the table.
fn insert_flow(dataplane: &Dataplane, opened: u64) {
    let forward = flow_key("10.0.1.12", "10.0.1.100", abi::Side::Forward);
    let reverse = flow_key("10.0.1.12", "10.0.1.11", abi::Side::Reverse);
    let flow = |peer: &abi::FlowKey| abi::Flow {
        last_ns: bpf::now_ns(),
        peer: peer.server,
        client: peer.client,
        peer_port: peer.server_port,
        client_port: peer.client_port,
        backend: 1,
        service: NET.0,
        seen: abi::Seen::REPLIED,
        ..abi::Flow::default()
    };
    let flows = &dataplane.maps.flows;
    flows
        .put_all(&[(forward, flow(&reverse)), (reverse, flow(&forward))])
        .unwrap();
    let load = abi::Load { opened, closed: 0 };
    dataplane.maps.loads.put(&1, &load).unwrap();
}

/// So many opened, and all of them ended.
fn ended(flows: u64) -> abi::Load {
    abi::Load {
        opened: flows,
        closed: flows,
    }
}

#[test]
fn ended_flows_are_collected_and_counted() {
    in_node("192.0.2.1/24", |directory| async move {
        let (one, two) = (Namespace::new(), Namespace::new());
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        dataplane.apply(&desired(&[&one, &two])).await.unwrap();

        insert_flow(&dataplane, 1);
        assert_eq!(dataplane.collect_garbage().unwrap(), 0);
        assert_eq!(dataplane.flows().unwrap().len(), 1);
        let later = bpf::now_ns() + 8_000_000_000_000;
        assert_eq!(dataplane.maps.collect_garbage(later).unwrap(), 1);
        assert_eq!(dataplane.maps.flows.entries().unwrap(), []);
        assert_eq!(dataplane.loads().unwrap()[&1], ended(1));

        // A client that goes takes its flows along, and the backend's count is right.
        insert_flow(&dataplane, 2);
        dataplane.apply(&desired(&[&one])).await.unwrap();
        assert_eq!(dataplane.maps.flows.entries().unwrap(), []);
        assert_eq!(dataplane.loads().unwrap()[&1], ended(2));
    });
}

#[test]
fn what_cannot_be_made_is_undone_and_the_rest_is_done() {
    in_node("192.0.2.1/24", |directory| async move {
        let (one, two) = (Namespace::new(), Namespace::new());
        // The name is taken, so the pair cannot be made; the route is, so it cannot be finished.
        one.run("ip link add eth0 type veth peer name other");
        two.run("ip link add other type veth peer name another");
        two.run("ip link set other up");
        two.run("ip link set another up");
        two.run("ip route add default dev other");
        let wanted = desired(&[&one, &two]);
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        let error = dataplane.apply(&wanted).await.unwrap_err();
        assert!(error.changed);
        assert!(
            error
                .problems
                .iter()
                .any(|p| p.message.contains("create veth")),
            "{error}"
        );
        assert!(
            error
                .problems
                .iter()
                .any(|p| p.message.contains("add route 0.0.0.0/0")),
            "{error}"
        );
        assert!(
            !two.run("ip -o link").contains("eth1"),
            "a half-made pair stays"
        );
        assert!(
            two.run("ip -o link").contains("eth0"),
            "the other pair is made"
        );
        assert!(!dataplane.status().problems.is_empty());

        one.run("ip link del eth0");
        two.run("ip route del default dev other");
        dataplane.apply(&wanted).await.unwrap();
        assert_eq!(dataplane.apply(&wanted).await.unwrap().changes, 0);
        assert_eq!(dataplane.status().problems, []);
    });
}

#[test]
fn cycles_leak_nothing_into_a_namespace() {
    in_node("192.0.2.1/24", |directory| async move {
        let task = Namespace::new();
        let inode = std::fs::read_link(task.path()).unwrap();
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        let mut counts = Vec::new();
        for _ in 0..10 {
            dataplane.apply(&desired(&[&task])).await.unwrap();
            dataplane.apply(&desired(&[])).await.unwrap();
            // The sockets close when the runtime has seen that nobody holds them.
            tokio::time::sleep(Duration::from_millis(10)).await;
            let is_task =
                |fd: &std::fs::DirEntry| std::fs::read_link(fd.path()).is_ok_and(|to| to == inode);
            let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            let sockets = task.run("cat /proc/net/netlink").lines().count();
            counts.push((descriptors.filter(is_task).count(), sockets));
        }
        assert_eq!(counts[9], counts[0], "{counts:?}");
        assert_eq!(counts[9].0, 0);
        let record = Record::open(&settings(&directory).state_dir).unwrap();
        assert!(record.namespaces().is_empty(), "{record:?}");
    });
}

#[test]
fn pins_of_other_layouts_are_removed() {
    in_node("192.0.2.1/24", |directory| async move {
        let settings = settings(&directory);
        let mut dataplane = Dataplane::open(settings.clone()).await.unwrap();
        let old = dataplane.names.pin_root(&settings.bpffs).join("v0/links");
        std::fs::create_dir_all(&old).unwrap();
        dataplane.apply(&desired(&[])).await.unwrap();
        assert!(!old.exists());
        assert_eq!(dataplane.status().programs["from_overlay"].len(), 1);
    });
}

#[test]
fn cleanup_of_all_instances_needs_no_name() {
    in_node("192.0.2.1/24", |directory| async move {
        let mut settings = settings(&directory);
        settings.state_dir = directory.join("state/one");
        let mut dataplane = Dataplane::open(settings.clone()).await.unwrap();
        dataplane
            .apply(&desired(&[&Namespace::new()]))
            .await
            .unwrap();
        dataplane.close();
        let all = Cleanup {
            instance: None,
            bpffs: settings.bpffs,
            state: directory.join("state"),
            dry_run: false,
        };
        let cleaned = cleanup(&all).await;
        assert_eq!(cleaned.problems, []);
        for what in [
            "interface vx",
            "interface nd",
            "interface ng",
            "pins",
            "nftables",
            "sysctl",
        ] {
            assert!(
                cleaned.removed.iter().any(|line| line.starts_with(what)),
                "{what}: {cleaned:?}"
            );
        }
        assert_eq!(cleanup(&all).await, Cleaned::default());
    });
}

#[test]
fn unknown_namespace_changes_nothing() {
    in_node("192.0.2.1/24", |directory| async move {
        let mut wanted = desired(&[&Namespace::new()]);
        let attachment = wanted.attachments.get_mut("web-1").unwrap();
        attachment.namespace = PathBuf::from("/run/netns/netd-does-not-exist");
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        let before = run("ip -o link");
        let error = dataplane.apply(&wanted).await.unwrap_err();
        assert!(!error.changed);
        assert!(
            error
                .problems
                .iter()
                .any(|p| p.code == ProblemCode::Namespace),
            "{error}"
        );
        assert_eq!(run("ip -o link"), before);
    });
}

#[test]
fn address_that_nobody_has_is_a_problem() {
    in_node("198.51.100.1/24", |directory| async move {
        let dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        let problems = dataplane.check(&desired(&[])).await;
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].code, ProblemCode::Underlay);
    });
}
