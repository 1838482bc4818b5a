//! Packets, flows and counts.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use abi::protocol;

use super::{NET, desired, settings};
use crate::Dataplane;
use crate::kernel::bpf;
use crate::kernel::testing::{Namespace, in_node, run};

/// Answers every connection with the client's address, until it is dropped.
pub(super) fn serve(task: &Namespace) {
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
pub(super) fn ask(place: &Namespace, server: &str) -> String {
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
        let mut desired = desired(&[&one, &two]);
        for network in desired.networks.values_mut() {
            network.socket_lb = false;
        }
        dataplane.apply(&desired).await.unwrap();
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
fn insert_flow(dataplane: &Dataplane, protocol: u8) {
    let key = |server, side| abi::FlowKey {
        protocol,
        ..flow_key("10.0.1.12", server, side)
    };
    let forward = key("10.0.1.100", abi::Side::Forward);
    let reverse = key("10.0.1.11", abi::Side::Reverse);
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
    let mut load = dataplane.maps.loads.get(&1).unwrap().unwrap_or_default();
    load.picked += 1;
    load.opened += 1;
    dataplane.maps.loads.put(&1, &load).unwrap();
}

/// So many opened, and all of them ended.
fn ended(flows: u64) -> abi::Load {
    abi::Load {
        picked: flows,
        opened: flows,
        closed: flows,
        ..abi::Load::default()
    }
}

#[test]
fn ended_flows_are_collected_and_counted() {
    in_node("192.0.2.1/24", |directory| async move {
        let (one, two) = (Namespace::new(), Namespace::new());
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        dataplane.apply(&desired(&[&one, &two])).await.unwrap();

        insert_flow(&dataplane, protocol::TCP);
        assert_eq!(dataplane.collect_garbage().unwrap(), 0);
        assert_eq!(dataplane.flows().unwrap().len(), 1);
        let later = bpf::now_ns() + 8_000_000_000_000;
        assert_eq!(dataplane.maps.collect_garbage(later).unwrap(), 1);
        assert_eq!(dataplane.maps.flows.entries().unwrap(), []);
        assert_eq!(dataplane.loads().unwrap()[&1], ended(1));

        // What an earlier process has left undone is finished by the next.
        insert_flow(&dataplane, protocol::TCP);
        dataplane.maps.backends.remove(&1).unwrap();
        assert_eq!(dataplane.maps.sweep_flows(bpf::now_ns()).unwrap(), 2);
        assert_eq!(dataplane.maps.flows.entries().unwrap(), []);
        assert_eq!(dataplane.loads().unwrap()[&1], ended(2));
        dataplane.apply(&desired(&[&one, &two])).await.unwrap();
        assert_eq!(dataplane.maps.sweep_flows(bpf::now_ns()).unwrap(), 0);

        // A client that goes takes its flows along, and the backend's count is right.
        insert_flow(&dataplane, protocol::TCP);
        dataplane.apply(&desired(&[&one])).await.unwrap();
        assert_eq!(dataplane.maps.flows.entries().unwrap(), []);
        assert_eq!(dataplane.loads().unwrap()[&1], ended(3));
    });
}

#[test]
fn datagrams_of_a_silent_client_leave_a_backend_that_drains() {
    in_node("192.0.2.1/24", |directory| async move {
        let (one, two) = (Namespace::new(), Namespace::new());
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        let mut desired = desired(&[&one, &two]);
        let mut drain = |number: u32| {
            for id in [number, 100 + number] {
                desired.backends.get_mut(&id).unwrap().is_draining = true;
            }
            desired.clone()
        };
        dataplane.apply(&drain(1)).await.unwrap();
        insert_flow(&dataplane, protocol::TCP);
        insert_flow(&dataplane, protocol::UDP);
        assert_eq!(dataplane.collect_garbage().unwrap(), 0);
        let later = bpf::now_ns() + 6_000_000_000;
        assert_eq!(dataplane.maps.collect_garbage(later).unwrap(), 1);
        let left = dataplane.maps.flows.entries().unwrap();
        let protocols: Vec<u8> = left.iter().map(|(key, _)| key.protocol).collect();
        assert_eq!(protocols, [protocol::TCP; 2], "connections go on");

        // Where everybody drains, everybody serves.
        dataplane.apply(&drain(2)).await.unwrap();
        insert_flow(&dataplane, protocol::UDP);
        assert_eq!(dataplane.maps.collect_garbage(later).unwrap(), 0);
        assert_eq!(dataplane.maps.sweep_flows(later).unwrap(), 0);
    });
}

/// A program that has read a frontend before it changed opens its flow after the purge.
#[test]
fn a_flow_that_was_opened_too_late_is_collected() {
    in_node("192.0.2.1/24", |directory| async move {
        let (one, two) = (Namespace::new(), Namespace::new());
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        dataplane.apply(&desired(&[&one, &two])).await.unwrap();
        insert_flow(&dataplane, protocol::TCP);
        dataplane.maps.backends.remove(&1).unwrap();
        assert_eq!(dataplane.collect_garbage().unwrap(), 1);
        assert_eq!(dataplane.maps.flows.entries().unwrap(), []);
    });
}
