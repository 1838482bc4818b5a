//! Against the real kernel, in namespaces that vanish with their threads. Needs root.

mod audit;
mod classic;
mod leftovers;
mod state;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use abi::{Algorithm, NetId};

use super::Settings;
use crate::desired::{
    Attachment, Backend, Desired, Endpoint, Frontend, Gateway, Location, Network, Published,
    Service,
};
use crate::kernel::testing::Namespace;

const NET: NetId = NetId(4097);
const INGRESS: NetId = NetId(4096);

fn settings(directory: &Path) -> Settings {
    Settings {
        instance: format!("test-{}", std::process::id()),
        bpffs: directory.join("bpf"),
        state_dir: directory.join("state"),
        flow_capacity: Some(1024),
        replace_layout: false,
        attach: None,
    }
}

fn desired(tasks: &[&Namespace]) -> Desired {
    let mut desired = Desired {
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
                socket_lb: true,
            },
        )]),
        node_addresses: BTreeMap::from([
            (
                "10.255.128.1".parse().unwrap(),
                "192.0.2.1".parse().unwrap(),
            ),
            (
                "10.255.128.2".parse().unwrap(),
                "192.0.2.2".parse().unwrap(),
            ),
        ]),
        ..Desired::empty("192.0.2.1".parse().unwrap())
    };
    let ingress = Network {
        name: "ingress".to_owned(),
        subnets: vec![(
            "10.255.0.0/16".parse().unwrap(),
            "10.255.0.1".parse().unwrap(),
        )],
        mtu: None,
        socket_lb: true,
    };
    desired.networks.insert(INGRESS, ingress);
    for (task, number) in tasks.iter().zip(1u8..) {
        add_task(&mut desired, task, number);
    }
    let service = |algorithm, net| Service {
        id: net,
        algorithm,
        affinity_seconds: 0,
        returns_direct: false,
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
            is_draining: false,
        };
        desired.backends.insert(id + u32::from(number), backend);
    }
}
