//! One node's tables as they are with two tasks of its own, two elsewhere, and a service before
//! each that is published as well.

use std::net::{Ipv4Addr, Ipv6Addr};

use abi::{
    Address, Algorithm, Backend, Endpoint, EndpointKey, EndpointKind, Iface, Mac, NetId, Network,
    PublishedKey, Service, ServiceKey, Settings, Vtep, backend_state, endpoint, iface, protocol,
};

use crate::lab::Family;
use crate::testrun::Contents;

/// The tasks' network.
pub(super) const NET: NetId = NetId(4097);
/// The network of the mesh.
pub(super) const INGRESS: NetId = NetId(4096);

/// The client's interface.
pub(super) const CLIENT: u32 = 10;
/// That of the backend on this node.
pub(super) const NEAR: u32 = 11;
/// That of a task on this node that backs nothing.
pub(super) const IDLE: u32 = 12;
/// The backend's gateway attachment.
pub(super) const GATEWAY: u32 = 13;
/// The way to other nodes and clients.
pub(super) const UPLINK: u32 = 14;
const TUNNEL: u32 = 15;

/// All interfaces.
pub(super) const INTERFACES: [u32; 6] = [CLIENT, NEAR, IDLE, GATEWAY, UPLINK, TUNNEL];

/// The other node's number.
pub(super) const OTHER: u32 = 1;

/// The port of the VIPs.
pub(super) const VIP_PORT: u16 = 80;
/// The port of the tasks.
pub(super) const TASK_PORT: u16 = 9000;
/// The published port before the backend on this node.
pub(super) const NEAR_PORT: u16 = 8080;
/// The published port before the backend elsewhere.
pub(super) const FAR_PORT: u16 = 8081;

/// Numbers of the services and, above [`MESH`], of the backends that the mesh uses.
const SERVICES: [u32; 2] = [1, 2];
const MESH: u32 = 10;

/// The number of the backend on this node, in the mesh.
pub(super) fn near_backend(family: Family) -> u32 {
    first_backend(family) + MESH + SERVICES[0]
}

/// A family's backends have numbers of their own.
fn first_backend(family: Family) -> u32 {
    match family {
        Family::V4 => 0,
        Family::V6 => 100,
    }
}

/// Whose address is meant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    Client,
    Near,
    Idle,
    Far,
    FarIdle,
    NearVip,
    FarVip,
    /// The backend on this node, in the network of the mesh.
    NearIngress,
    FarIngress,
    Node,
    OtherNode,
    Outsider,
}

/// An address.
pub(super) fn address(who: Who, family: Family) -> Address {
    let (net, host) = match who {
        Who::NearVip => (1, 2),
        Who::FarVip => (1, 3),
        Who::Client => (1, 11),
        Who::Near => (1, 12),
        Who::Idle => (1, 13),
        Who::Far => (1, 14),
        Who::FarIdle => (1, 15),
        Who::NearIngress => (2, 12),
        Who::FarIngress => (2, 14),
        Who::Node => (3, 11),
        Who::OtherNode => (3, 12),
        Who::Outsider => (3, 100),
    };
    match family {
        Family::V4 => Ipv4Addr::new(10, 0, net, host).into(),
        Family::V6 => Ipv6Addr::new(0xFD00, net.into(), 0, 0, 0, 0, 0, host.into()).into(),
    }
}

/// The tables.
pub(super) fn contents() -> Contents {
    let mut contents = Contents {
        settings: Settings {
            ingress_net: INGRESS,
            vxlan_ifindex: TUNNEL,
            data_path_port: 4789,
            overlay_mtu: 1450,
            addressed_ports: 0,
            errors_per_second: 0,
        },
        ..Contents::default()
    };
    for net in [NET, INGRESS] {
        contents.networks.insert(net, Network::default());
    }
    let nodes = [Who::Node, Who::OtherNode];
    for (number, node) in (0..).zip(nodes) {
        let address = address(node, Family::V4);
        contents.vteps.insert(
            number,
            Vtep {
                address,
                ..Vtep::default()
            },
        );
        contents.vtep_ids.insert(address, number);
    }
    interfaces(&mut contents);
    for family in Family::BOTH {
        contents
            .addresses
            .insert(address(Who::Node, family), UPLINK);
        endpoints(&mut contents, family);
        services(&mut contents, family);
    }
    contents
}

fn interfaces(contents: &mut Contents) {
    let tasks = [
        (CLIENT, Who::Client, 0),
        (NEAR, Who::Near, iface::BACKS),
        (IDLE, Who::Idle, 0),
    ];
    for (index, who, flags) in tasks {
        let iface = Iface {
            net: NET,
            flags,
            v4: address(who, Family::V4),
            v6: address(who, Family::V6),
            mac: mac(index),
            ..Iface::default()
        };
        contents.ifaces.insert(index, iface);
    }
    let gateway = Iface {
        net: NetId::GATEWAY,
        flags: iface::GATEWAY,
        ingress_v4: address(Who::NearIngress, Family::V4),
        ingress_v6: address(Who::NearIngress, Family::V6),
        mac: mac(GATEWAY),
        ..Iface::default()
    };
    contents.ifaces.insert(GATEWAY, gateway);
}

fn endpoints(contents: &mut Contents, family: Family) {
    let mut add = |net, who, ifindex, flags| {
        let vtep = if ifindex == 0 { OTHER } else { 0 };
        let mac = if ifindex == 0 { [0; 6] } else { mac(ifindex) };
        let kind = EndpointKind::Task as u8;
        let endpoint = Endpoint {
            ifindex,
            vtep,
            mac,
            kind,
            flags,
        };
        let address = address(who, family);
        contents
            .endpoints
            .insert(EndpointKey { net, address }, endpoint);
    };
    add(NET, Who::Client, CLIENT, 0);
    add(NET, Who::Near, NEAR, endpoint::BACKS);
    add(NET, Who::Idle, IDLE, 0);
    add(NET, Who::Far, 0, endpoint::BACKS);
    add(NET, Who::FarIdle, 0, 0);
    add(INGRESS, Who::NearIngress, GATEWAY, 0);
    add(INGRESS, Who::FarIngress, 0, 0);
    for vip in [Who::NearVip, Who::FarVip] {
        let endpoint = Endpoint {
            kind: EndpointKind::Vip as u8,
            flags: endpoint::ANSWERS,
            ..Endpoint::default()
        };
        let address = address(vip, family);
        contents
            .endpoints
            .insert(EndpointKey { net: NET, address }, endpoint);
    }
}

fn services(contents: &mut Contents, family: Family) {
    let base = first_backend(family);
    let places = [
        (
            SERVICES[0],
            Who::NearVip,
            NEAR_PORT,
            Who::Near,
            Who::NearIngress,
            0,
        ),
        (
            SERVICES[1],
            Who::FarVip,
            FAR_PORT,
            Who::Far,
            Who::FarIngress,
            OTHER,
        ),
    ];
    for (id, vip, published, task, ingress, vtep) in places {
        let inner = base + id;
        let outer = base + MESH + id;
        contents
            .backends
            .insert(inner, backend(NET, address(task, family), vtep));
        contents
            .backends
            .insert(outer, backend(INGRESS, address(ingress, family), vtep));
        contents.cursors.insert(id, 0);
        let frontend = ServiceKey {
            net: NET,
            address: address(vip, family),
            port: VIP_PORT,
            protocol: protocol::TCP,
            reserved: 0,
        };
        contents
            .services
            .insert(frontend, service(id, Algorithm::RoundRobin, inner));
        let frontend = PublishedKey {
            address: match family {
                Family::V4 => Address::ANY_V4,
                Family::V6 => Address::UNSPECIFIED,
            },
            port: published,
            protocol: protocol::TCP,
            reserved: 0,
        };
        contents
            .published
            .insert(frontend, service(id, Algorithm::Maglev, outer));
    }
}

fn service(id: u32, algorithm: Algorithm, backend: u32) -> Service {
    Service {
        id,
        pick_length: 1,
        algorithm: algorithm as u32,
        inline: [backend, 0, 0, 0, 0, 0, 0, 0],
        ..Service::default()
    }
}

fn backend(net: NetId, address: Address, vtep: u32) -> Backend {
    Backend {
        address,
        net,
        vtep,
        port: TASK_PORT,
        weight: 1,
        state: backend_state::READY,
        ..Backend::default()
    }
}

fn mac(index: u32) -> Mac {
    let [a, b, c, d] = index.to_be_bytes();
    [0x02, 0, a, b, c, d]
}
