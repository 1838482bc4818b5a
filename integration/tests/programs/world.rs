//! A node's tables, by chance: two networks with the same addresses, the ingress network, tasks
//! here and elsewhere, services with and without backends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use abi::{
    Address, Backend, Endpoint, EndpointKey, Iface, Load, NetId, Network, PublishedKey, Service,
    ServiceKey, Settings, Vtep, endpoint, iface, service_flag, vtep,
};
use integration::testrun::Contents;

use crate::dice::Dice;

/// Interfaces that the namespace must have, besides the loopback: 2 and up.
pub(crate) const INTERFACES: u32 = 10;

/// The interface that the namespace's default routes lead to.
pub(crate) const WAY_OUT: u32 = 3;

/// The uplink's number.
pub(crate) const UPLINK: u32 = 11;

pub(crate) const PORTS: [u16; 4] = [80, 53, 8080, 9000];
const NETWORK_PORTS: [(u16, u8); 3] = [(80, 6), (53, 17), (8080, 6)];
const PUBLISHED_PORTS: [(u16, u8); 3] = [(8080, 6), (53, 17), (9000, 6)];
pub(crate) const TUNNEL_PORT: u16 = 4789;

/// The tables, and what in them is good to send packets to.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) contents: Contents,
    pub(crate) nets: [NetId; 2],
    pub(crate) ingress: NetId,
    /// Interfaces in networks and gateway attachments.
    pub(crate) inside: Vec<u32>,
    pub(crate) gateways: Vec<u32>,
    pub(crate) vips: Vec<Address>,
    /// The node's own attachment.
    pub(crate) own: Option<u32>,
    /// Endpoints on other nodes.
    pub(crate) remote: Vec<(EndpointKey, u32)>,
}

/// An address in a subnet that both families have: 10.`third`.1.`host` and fd00:`third`::`host`.
pub(crate) fn pair(third: u8, host: u8) -> [Address; 2] {
    let v4: IpAddr = Ipv4Addr::new(10, third, 1, host).into();
    let v6: IpAddr = Ipv6Addr::new(0xfd00, third.into(), 0, 0, 0, 0, 0, host.into()).into();
    [v4.into(), v6.into()]
}

/// The third octet of the networks, the ingress network and the gateway pool.
pub(crate) const NETWORK: u8 = 0;
pub(crate) const INGRESS: u8 = 255;
pub(crate) const POOL: u8 = 172;
/// Nodes' own addresses, and clients outside.
pub(crate) const NODES: u8 = 192;
pub(crate) const OUTSIDE: u8 = 198;

/// This node's host number in the ingress network; the others follow.
pub(crate) const NODE_HOST: u8 = 30;

const ROUTER: u8 = 1;
const REMOTE_NODES: u32 = 3;

impl World {
    pub(crate) fn new(dice: &mut Dice) -> Self {
        let base = dice.word() % 0x00ff_0000;
        let mut world = Self {
            contents: Contents::default(),
            nets: [NetId(base + 1), NetId(base + 0x102)],
            ingress: NetId(base + 0x203),
            inside: Vec::new(),
            gateways: Vec::new(),
            own: None,
            vips: Vec::new(),
            remote: Vec::new(),
        };
        world.node(dice);
        for net in world.nets {
            world.network(dice, net);
        }
        world.ingress(dice);
        world.nodes(dice);
        world
    }

    /// Has every packet between nodes wrapped by the device, as netd has where the kernel lets programs
    /// wrap none.
    pub(crate) fn leave_to_device(&mut self) {
        for node in self.contents.vteps.values_mut() {
            node.flags &= !vtep::NATIVE;
        }
    }

    fn node(&mut self, dice: &mut Dice) {
        let contents = &mut self.contents;
        contents.settings = Settings {
            ingress_net: if dice.chance(3) {
                NetId(0)
            } else {
                self.ingress
            },
            vxlan_ifindex: if dice.chance(3) { 0 } else { UPLINK },
            data_path_port: TUNNEL_PORT,
            // The smaller one is exceeded by some packets, but by no answer.
            overlay_mtu: dice.of(&[1450, 1450, 1450, 300]),
            addressed_ports: u32::from(dice.chance(60)),
            errors_per_second: 0,
        };
        let family = dice.below(2);
        for number in 0..=REMOTE_NODES {
            let address = pair(NODES, 10 + u8::try_from(number).unwrap())[family];
            let mut vtep = Vtep {
                address,
                ..Vtep::default()
            };
            if dice.chance(60) {
                vtep.flags = vtep::NATIVE;
                vtep.next_hop = address;
                vtep.ifindex = UPLINK;
            }
            contents.vteps.insert(number, vtep);
            if number != 0 {
                contents.vtep_ids.insert(address, number);
            }
        }
        for address in pair(NODES, 10).into_iter().chain(pair(NODES, 100)) {
            contents.addresses.insert(address, 1);
        }
        for net in self.nets.into_iter().chain([self.ingress]) {
            let third = if net == self.ingress {
                INGRESS
            } else {
                NETWORK
            };
            let [gateway_v4, gateway_v6] = pair(third, ROUTER);
            let network = Network {
                gateway_v4,
                gateway_v6,
            };
            contents.networks.insert(net, network);
        }
    }

    fn network(&mut self, dice: &mut Dice, net: NetId) {
        let mut backends: [Vec<u32>; 2] = Default::default();
        for address in pair(NETWORK, ROUTER) {
            self.endpoint(
                net,
                address,
                Endpoint {
                    kind: 2,
                    ..Endpoint::default()
                },
            );
        }
        for host in 10..16 {
            let backs = dice.chance(75);
            let vtep = self.home(dice);
            let ifindex = if vtep == 0 {
                self.attach(dice, net, host, backs)
            } else {
                0
            };
            let endpoint = task(dice, vtep, ifindex, host, backs);
            for (family, address) in pair(NETWORK, host).into_iter().enumerate() {
                self.endpoint(net, address, endpoint);
                if backs {
                    backends[family].push(self.backend(dice, net, address, vtep));
                }
            }
        }
        for host in 2..6 {
            for (family, address) in pair(NETWORK, host).into_iter().enumerate() {
                self.vip(dice, net, address, &backends[family]);
            }
        }
    }

    /// Where a task is: here, elsewhere, or on a node that is not in the table.
    fn home(&self, dice: &mut Dice) -> u32 {
        if dice.chance(2) {
            return 7;
        }
        dice.of(&[0, 0, 1, 2, 3])
    }

    /// A local attachment with both addresses; 0 when there are no interfaces left.
    fn attach(&mut self, dice: &mut Dice, net: NetId, host: u8, backs: bool) -> u32 {
        let ifindex = 2 + u32::try_from(self.contents.ifaces.len()).unwrap();
        if ifindex >= UPLINK - 2 {
            return 0;
        }
        let [v4, v6] = pair(NETWORK, host);
        let iface = Iface {
            net,
            flags: if backs { iface::BACKS } else { 0 },
            v4,
            v6: if dice.chance(10) {
                Address::default()
            } else {
                v6
            },
            mac: mac(host),
            ..Iface::default()
        };
        self.contents.ifaces.insert(ifindex, iface);
        self.inside.push(ifindex);
        ifindex
    }

    fn endpoint(&mut self, net: NetId, address: Address, value: Endpoint) {
        let key = EndpointKey { net, address };
        self.contents.endpoints.insert(key, value);
        if value.vtep != 0 {
            self.remote.push((key, value.vtep));
        }
    }

    fn backend(&mut self, dice: &mut Dice, net: NetId, address: Address, vtep: u32) -> u32 {
        let id = dice.word() | 1;
        let backend = Backend {
            address,
            net,
            vtep,
            port: dice.of(&[0, 8080, 9000]),
            weight: dice.of(&[0, 1, 1, 1]),
            state: dice.of(&[1, 1, 1, 2]),
            reserved: [0; 3],
        };
        self.contents.backends.insert(id, backend);
        if !dice.chance(10) {
            let picked = dice.next() % 12;
            let load = Load {
                picked,
                closed: dice.next() % (picked + 1),
                ..Load::default()
            };
            self.contents.loads.insert(id, load);
        }
        id
    }

    fn vip(&mut self, dice: &mut Dice, net: NetId, address: Address, backends: &[u32]) {
        let has_backends = !backends.is_empty() && !dice.chance(20);
        let value = Endpoint {
            kind: 3,
            flags: if has_backends { endpoint::ANSWERS } else { 0 },
            ..Endpoint::default()
        };
        self.endpoint(net, address, value);
        self.vips.push(address);
        let whole = dice.chance(25);
        let ports: &[(u16, u8)] = if whole { &[(0, 0)] } else { &NETWORK_PORTS };
        for (port, protocol) in ports {
            let key = ServiceKey {
                net,
                address,
                port: *port,
                protocol: *protocol,
                reserved: 0,
            };
            let mut service = self.service(dice, if has_backends { backends } else { &[] });
            service.flags = if whole { service_flag::EVERY_PORT } else { 0 };
            self.contents.services.insert(key, service);
        }
    }

    fn service(&mut self, dice: &mut Dice, backends: &[u32]) -> Service {
        let id = dice.word() | 1;
        let mut service = Service {
            id,
            // All that do not draw lots, but more of those that can be told beforehand.
            algorithm: if dice.chance(50) {
                dice.of(&[1, 2, 3, 4, 9])
            } else {
                u32::try_from(1 + dice.below(11)).unwrap()
            },
            affinity_seconds: if dice.chance(20) { 3600 } else { 0 },
            generation: 1,
            ..Service::default()
        };
        if !dice.chance(5) {
            // Just before the count begins anew, now and then.
            let start = if dice.chance(10) {
                u32::MAX - 2
            } else {
                dice.word()
            };
            self.contents.cursors.insert(id, start);
        }
        if backends.is_empty() {
            return service;
        }
        let length = if dice.chance(60) {
            1 + dice.below(8)
        } else {
            9 + dice.below(30)
        };
        let stale = (dice.word() & !1).max(2);
        let picks = (0..length).map(|_| {
            if dice.chance(3) {
                stale
            } else {
                dice.of(backends)
            }
        });
        let mut picks: Vec<u32> = picks.collect();
        if (5..=8).contains(&service.algorithm) || service.algorithm > 9 {
            picks = picks
                .into_iter()
                .flat_map(|id| [id, 1 + dice.word() % 4])
                .collect();
        }
        service.pick_length = u32::try_from(picks.len()).unwrap();
        if picks.len() <= 8 {
            for (place, pick) in service.inline.iter_mut().zip(picks) {
                *place = pick;
            }
        } else {
            let last = self.contents.picks.keys().next_back();
            service.pick_offset = last.map_or(0, |last| last + 1) + dice.word() % 9;
            for (index, pick) in (service.pick_offset..).zip(picks) {
                self.contents.picks.insert(index, pick);
            }
        }
        service
    }

    fn ingress(&mut self, dice: &mut Dice) {
        let mut backends: [Vec<u32>; 2] = Default::default();
        for host in 20..26u8 {
            let vtep = self.home(dice);
            let mut ifindex = 0;
            if vtep == 0 && self.gateways.len() < 3 {
                ifindex = self.attach_gateway(dice, host);
            }
            let endpoint = task(dice, vtep, ifindex, host, false);
            for (family, address) in pair(INGRESS, host).into_iter().enumerate() {
                self.endpoint(self.ingress, address, endpoint);
                backends[family].push(self.backend(dice, self.ingress, address, vtep));
            }
            if ifindex != 0 {
                for address in pair(POOL, host) {
                    self.endpoint(NetId::GATEWAY, address, endpoint);
                }
            }
        }
        for (family, address) in [Address::ANY_V4, Address::UNSPECIFIED]
            .into_iter()
            .enumerate()
        {
            for (port, protocol) in PUBLISHED_PORTS {
                let key = PublishedKey {
                    address,
                    port,
                    protocol,
                    reserved: 0,
                };
                let none = dice.chance(15);
                let mut service = self.service(dice, if none { &[] } else { &backends[family] });
                let dsr = if dice.chance(40) {
                    service_flag::DSR
                } else {
                    0
                };
                service.flags = service_flag::PUBLISHED | dsr;
                if !none && dice.chance(60) {
                    self.picked_before(dice, &mut service, &backends[family]);
                }
                self.contents.published.insert(key, service);
                // One of the node's addresses may have another service.
                if dice.chance(25) {
                    let address = pair(NODES, 100)[family];
                    let other = self.service(dice, &backends[family]);
                    let key = PublishedKey { address, ..key };
                    self.contents.published.insert(key, other);
                }
            }
        }
    }

    /// Gives a service another table, in force until now.
    fn picked_before(&mut self, dice: &mut Dice, service: &mut Service, backends: &[u32]) {
        let last = self.contents.picks.keys().next_back();
        service.second_offset = last.map_or(0, |last| last + 1);
        service.second_length = 1 + dice.word() % 17;
        for index in 0..service.second_length {
            let gone = dice.chance(5);
            let id = if gone { 2 } else { dice.of(backends) };
            self.contents
                .picks
                .insert(service.second_offset + index, id);
        }
    }

    /// The nodes' own attachments: this one's at an interface, if there is one left.
    fn nodes(&mut self, dice: &mut Dice) {
        let mut numbers = 2..UPLINK;
        let free = numbers.find(|it| !self.contents.ifaces.contains_key(it));
        for number in 0..=REMOTE_NODES {
            let host = NODE_HOST + u8::try_from(number).unwrap();
            let [v4, v6] = pair(INGRESS, host);
            let ifindex = if number == 0 { free } else { None };
            let value = Endpoint {
                ifindex: ifindex.unwrap_or(0),
                vtep: number,
                mac: if number == 0 { mac(host) } else { [0; 6] },
                kind: if dice.chance(2) { 9 } else { 4 },
                flags: 0,
            };
            for address in [v4, v6] {
                self.endpoint(self.ingress, address, value);
            }
            if let Some(ifindex) = ifindex {
                let iface = Iface {
                    net: self.ingress,
                    flags: iface::NODE,
                    v4,
                    v6,
                    mac: mac(host),
                    ..Iface::default()
                };
                self.contents.ifaces.insert(ifindex, iface);
                self.own = Some(ifindex);
            }
        }
    }

    fn attach_gateway(&mut self, dice: &mut Dice, host: u8) -> u32 {
        let ifindex = UPLINK - 1 - u32::try_from(self.gateways.len()).unwrap();
        if self.contents.ifaces.contains_key(&ifindex) {
            return 0;
        }
        let ([v4, v6], [ingress_v4, ingress_v6]) = (pair(POOL, host), pair(INGRESS, host));
        let published = !dice.chance(15);
        let iface = Iface {
            net: NetId::GATEWAY,
            flags: iface::GATEWAY,
            v4,
            v6,
            ingress_v4: if published {
                ingress_v4
            } else {
                Address::default()
            },
            ingress_v6: if published {
                ingress_v6
            } else {
                Address::default()
            },
            mac: mac(host),
            reserved: 0,
        };
        self.contents.ifaces.insert(ifindex, iface);
        self.gateways.push(ifindex);
        ifindex
    }
}

fn task(dice: &mut Dice, vtep: u32, ifindex: u32, host: u8, backs: bool) -> Endpoint {
    Endpoint {
        ifindex,
        vtep,
        mac: if vtep == 0 { mac(host) } else { [0; 6] },
        kind: if dice.chance(1) { 9 } else { 1 },
        flags: if backs { endpoint::BACKS } else { 0 },
    }
}

pub(crate) const fn mac(host: u8) -> [u8; 6] {
    [0x02, 0x42, 0, 0, 7, host]
}
