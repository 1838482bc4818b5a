//! The tables of one node with one client, and a backend near and far, by a VIP and by a published
//! port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use abi::{
    Address, Backend, Endpoint, EndpointKey, Iface, Load, NetId, Network, PublishedKey, Service,
    ServiceKey, Settings, Vtep, endpoint, iface,
};
use integration::testrun::Contents;

use crate::world::{INGRESS, NETWORK, NODES, POOL, UPLINK, mac, pair};

pub(super) const NET: NetId = NetId(7);
pub(super) const MESH: NetId = NetId(9);
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

/// The client, the backend here and the backend elsewhere; their hosts and interfaces.
pub(super) const CLIENT: (u8, u32) = (11, 2);
pub(super) const NEAR: (u8, u32) = (12, 3);
pub(super) const FAR: u8 = 13;
/// The task with a published port, here and elsewhere.
pub(super) const PUBLISHED: (u8, u32) = (20, 10);
pub(super) const PUBLISHED_FAR: u8 = 21;
pub(super) const NODE: u32 = 1;

/// Ports of the VIPs and of the node.
pub(super) const PORT: u16 = 80;
pub(super) const FAR_PORT: u16 = 81;
pub(super) const TARGET: u16 = 8080;

/// What stands in all of them.
pub(crate) fn contents() -> Contents {
    let mut contents = Contents {
        settings: Settings {
            ingress_net: MESH,
            vxlan_ifindex: UPLINK,
            data_path_port: 4789,
            overlay_mtu: 1450,
            addressed_ports: 0,
            errors_per_second: 0,
        },
        ..Contents::default()
    };
    for number in 0..3u8 {
        let [address, _] = pair(NODES, 10 + number);
        let vtep = Vtep {
            address,
            ..Vtep::default()
        };
        contents.vteps.insert(number.into(), vtep);
        if number != 0 {
            contents.vtep_ids.insert(address, number.into());
        }
    }
    contents.networks.insert(NET, Network::default());
    let [v4, v6] = pair(NETWORK, CLIENT.0);
    contents
        .ifaces
        .insert(CLIENT.1, interface(NET, v4, v6, CLIENT.0, 0));
    let [v4, v6] = pair(NETWORK, NEAR.0);
    contents
        .ifaces
        .insert(NEAR.1, interface(NET, v4, v6, NEAR.0, iface::BACKS));
    let [v4, v6] = pair(POOL, PUBLISHED.0);
    let mut gateway = interface(NetId::GATEWAY, v4, v6, PUBLISHED.0, iface::GATEWAY);
    [gateway.ingress_v4, gateway.ingress_v6] = pair(INGRESS, PUBLISHED.0);
    contents.ifaces.insert(PUBLISHED.1, gateway);
    for family in [0, 1] {
        fill(&mut contents, family);
    }
    contents
}

fn interface(net: NetId, v4: Address, v6: Address, host: u8, flags: u32) -> Iface {
    Iface {
        net,
        flags,
        v4,
        v6,
        mac: mac(host),
        ..Iface::default()
    }
}

/// Endpoints and services of one family.
fn fill(contents: &mut Contents, family: usize) {
    let own = pair(NODES, 10)[family];
    contents.addresses.insert(own, 1);
    let host = |third: u8, host: u8| pair(third, host)[family];
    let endpoints = [
        (NET, NETWORK, CLIENT.0, CLIENT.1, 0),
        (NET, NETWORK, NEAR.0, NEAR.1, 0),
        (NET, NETWORK, FAR, 0, NODE),
        (MESH, INGRESS, PUBLISHED.0, PUBLISHED.1, 0),
        (MESH, INGRESS, PUBLISHED_FAR, 0, NODE),
    ];
    for (net, third, last, ifindex, vtep) in endpoints {
        let backs = net == NET && last != CLIENT.0;
        let value = Endpoint {
            ifindex,
            vtep,
            mac: if vtep == 0 { mac(last) } else { [0; 6] },
            kind: 1,
            flags: if backs { endpoint::BACKS } else { 0 },
        };
        let address = host(third, last);
        contents
            .endpoints
            .insert(EndpointKey { net, address }, value);
    }
    let vip = host(NETWORK, 2);
    let value = Endpoint {
        kind: 3,
        flags: endpoint::ANSWERS,
        ..Endpoint::default()
    };
    contents.endpoints.insert(
        EndpointKey {
            net: NET,
            address: vip,
        },
        value,
    );
    let frontends = [
        (NET, host(NETWORK, NEAR.0), 0, PORT),
        (NET, host(NETWORK, FAR), NODE, FAR_PORT),
        (MESH, host(INGRESS, PUBLISHED.0), 0, PORT),
        (MESH, host(INGRESS, PUBLISHED_FAR), NODE, FAR_PORT),
    ];
    for (net, address, vtep, port) in frontends {
        let id = u32::try_from(contents.backends.len()).unwrap() + 1;
        let backend = Backend {
            address,
            net,
            vtep,
            port: TARGET,
            weight: 1,
            state: 1,
            reserved: [0; 3],
        };
        contents.backends.insert(id, backend);
        contents.loads.insert(id, Load::default());
        for protocol in [TCP, UDP] {
            let key = (net, vip, port, protocol);
            frontend(contents, key, id);
        }
    }
}

fn frontend(contents: &mut Contents, key: (NetId, Address, u16, u8), backend: u32) {
    let (net, address, port, protocol) = key;
    let mut service = Service {
        id: backend,
        pick_length: 1,
        generation: 1,
        algorithm: 1,
        ..Service::default()
    };
    service.inline[0] = backend;
    let reserved = 0;
    if net == NET {
        let key = ServiceKey {
            net,
            address,
            port,
            protocol,
            reserved,
        };
        contents.services.insert(key, service);
        return;
    }
    let any: IpAddr = if address.is_v4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let key = PublishedKey {
        address: any.into(),
        port,
        protocol,
        reserved,
    };
    contents.published.insert(key, service);
}
