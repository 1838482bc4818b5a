//! Published ports.

use abi::{Address, Delivery, DropReason, Iface, NetId, PublishedKey, Service};
use integration::testrun::Packet;

use super::flows::{self, Plan};
use super::read::{ICMP, ICMP6, Reading, TCP};
use super::{Fate, Oracle, Sent, Verdict, answers, pick, to_mac};
use crate::world::WAY_OUT;

pub(super) const ONWARDS: u8 = 0;
const BACK: u8 = 1;
/// Onwards, and the answer straight to the client.
pub(super) const ONE_WAY: u8 = 2;
/// Onwards, by a node that did not know the flow.
pub(super) const PASSED_ON: u8 = 3;

/// The inner Ethernet addresses of the mesh for a client's packet.
pub(super) fn onwards(flow: &abi::Flow) -> [u8; 12] {
    let is_one_way = flow.seen & flows::ONE_WAY != 0;
    let way = if is_one_way { ONE_WAY } else { ONWARDS };
    mesh_addresses((flow.backend, flow.delivery.second()), way)
}

/// The inner Ethernet addresses of the mesh: which backend, what else, which way.
pub(super) fn mesh_addresses((backend, second): (u32, u32), way: u8) -> [u8; 12] {
    let mut addresses = [0; 12];
    addresses[..2].copy_from_slice(&[2, 1]);
    addresses[2..6].copy_from_slice(&backend.to_be_bytes());
    addresses[6..8].copy_from_slice(&[6, way]);
    addresses[8..].copy_from_slice(&second.to_be_bytes());
    addresses
}

impl Oracle {
    /// To this node, from outside or from a task by its gateway attachment.
    pub(super) fn enter(
        &mut self,
        packet: &Packet,
        mut reading: Reading,
        task: Option<&Iface>,
    ) -> Verdict {
        let net = self.contents.settings.ingress_net;
        if !reading.has_ports() {
            return self.error_enters(packet, &reading, task);
        }
        if self.find_ports(net, &mut reading).is_err() {
            return Ok(Fate::Pass);
        }
        let Some(service) = self.published(&reading) else {
            return Ok(Fate::Pass);
        };
        let known = self.flows.client(net, &reading, packet.frame.len());
        // What came by another node until now begins anew.
        let known = known.filter(|flow| flow.delivery.kind == flows::MESH || flow.via == 0);
        let flow = match known {
            Some(flow) => flow,
            None => {
                if !self.contents.addresses.contains_key(&reading.destination) {
                    return Ok(Fate::Pass);
                }
                let is_own = self.contents.addresses.contains_key(&reading.source);
                if is_martian(&reading.source) || (task.is_none() && is_own) {
                    return Err(DropReason::Martian);
                }
                match self.open_published(packet, &reading, &service, task) {
                    Ok(flow) => flow,
                    Err(reason) => {
                        let refusal = answers::refuse(packet, &reading, reason)?;
                        return Ok(Fate::Sent(match task {
                            Some(iface) => to_mac(refusal, iface.mac),
                            None => refusal,
                        }));
                    }
                }
            }
        };
        self.keep_ports(net, &reading);
        let mesh = onwards(&flow);
        let sent = if flow.delivery.kind == flows::MESH {
            if !self.fits(packet, &reading)? {
                let answer = self.too_big(packet, &reading, reading.destination)?;
                return Ok(Fate::Sent(match task {
                    Some(iface) => to_mac(answer, iface.mac),
                    None => answer,
                }));
            }
            self.clamp(Sent::unchanged(packet), &reading)
        } else {
            Sent::forward(packet, &reading, &flow)
        };
        self.hand_on(packet, sent, &flow.delivery, mesh)
    }

    fn published(&self, reading: &Reading) -> Option<Service> {
        let any: std::net::IpAddr = if reading.v6 {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv4Addr::UNSPECIFIED.into()
        };
        let key = PublishedKey {
            address: Address::from(any),
            port: reading.dport,
            protocol: reading.protocol,
            reserved: 0,
        };
        let own = PublishedKey {
            address: reading.destination,
            ..key
        };
        let published = &self.contents.published;
        let is_looked_up = self.contents.settings.addressed_ports != 0;
        let own = is_looked_up.then(|| published.get(&own)).flatten();
        own.or_else(|| published.get(&key)).copied()
    }

    fn open_published(
        &mut self,
        packet: &Packet,
        reading: &Reading,
        service: &Service,
        task: Option<&Iface>,
    ) -> Result<abi::Flow, DropReason> {
        pick::admit(service, reading)?;
        self.ready()?;
        let net = self.contents.settings.ingress_net;
        let mut plan = self.choose_other(service, reading)?;
        plan = self.second_look(service, reading, (net, plan));
        plan.net = net;
        plan.back = way_back(packet, task);
        if plan.there.kind == flows::TUNNEL {
            plan.there.kind = flows::MESH;
            if task.is_none() {
                plan.via = packet.ifindex;
                plan.seen = if service.flags & 1 != 0 {
                    flows::ONE_WAY
                } else {
                    0
                };
            }
            self.flows.open_forward(&plan, reading, packet.frame.len());
            return Ok(plan.flow(reading.sport));
        }
        plan.client = self.client_of(net, packet, reading, &plan.there)?;
        let opened = self.flows.open(&plan, reading, packet.frame.len());
        opened.map_or(Err(DropReason::Collision), |port| Ok(plan.flow(port)))
    }

    /// What the backend with the address `server` in the ingress network answers; `None` when it is
    /// nobody's answer.
    pub(super) fn published_reply(
        &mut self,
        packet: &Packet,
        reading: &mut Reading,
        server: Address,
        iface: &Iface,
    ) -> Option<Verdict> {
        let net = self.contents.settings.ingress_net;
        let flow = if [ICMP, ICMP6].contains(&reading.protocol) {
            self.error_of(packet, net, reading)?
        } else {
            self.pieces(net, reading).ok()?;
            let mut key = flows::server_key(net, reading);
            key.server = server;
            let length = packet.frame.len();
            self.flows.owned(&key, true, reading, length)?
        };
        let mut sent = Sent::reply(packet, reading, &flow);
        if flow.delivery.kind == flows::MESH {
            match self.fits(packet, reading) {
                Err(reason) => return Some(Err(reason)),
                Ok(true) => sent = self.clamp(sent, reading),
                Ok(false) => {
                    let answer = self.too_big_for(packet, reading, net);
                    return Some(answer.map(|answer| Fate::Sent(to_mac(answer, iface.mac))));
                }
            }
        } else if flow.delivery.kind == flows::DIRECT {
            sent = self.clamp(sent, reading);
        }
        let mesh = mesh_addresses((flow.backend, flow.delivery.second()), BACK);
        Some(self.hand_on(packet, sent, &flow.delivery, mesh))
    }

    /// A frame of the mesh.
    pub(super) fn arrive(&mut self, packet: &Packet, mut reading: Reading) -> Verdict {
        let node = packet.origin[1];
        let address = self.node(node).unwrap_or_default();
        let node = self.contents.vtep_ids.get(&address).copied();
        let node = node.ok_or(DropReason::UnknownVtep)?;
        let frame = &packet.frame;
        if frame[..2] != [2, 1] || frame[6] != 6 || frame[7] > 3 {
            return self.node_talks(packet, &reading, node);
        }
        let (backend, second) = (super::read::word(frame, 2), super::read::word(frame, 8));
        if frame[7] == BACK && second != 0 {
            return self.pass(packet, mesh_addresses((backend, 0), BACK), second);
        }
        if !reading.has_ports() {
            return self.error_arrives(packet, &reading, node);
        }
        let net = self.contents.settings.ingress_net;
        self.pieces(net, &mut reading)?;
        if frame[7] == 1 {
            return self.arrive_reply(packet, &reading, node);
        }
        let mesh = (backend, second, frame[7]);
        self.arrive_forward(packet, &reading, mesh, node)
    }

    pub(super) fn arrive_forward(
        &mut self,
        packet: &Packet,
        reading: &Reading,
        (id, second, way): (u32, u32, u8),
        node: u32,
    ) -> Verdict {
        let back = way_home(reading, node, (way, second));
        let net = self.contents.settings.ingress_net;
        let length = packet.frame.len();
        let backend = self.contents.backends.get(&id).copied();
        let asks_second = second != 0 && way != PASSED_ON && self.is_stray(reading);
        let backend = match backend {
            Some(backend) => backend,
            None if asks_second => {
                return self.ask_second(packet, reading, (id, second, way), node);
            }
            None => return Err(DropReason::UnknownBackend),
        };
        if backend.vtep != 0 || backend.net != net {
            return Err(DropReason::NotLocal);
        }
        if backend.address.is_v4() == reading.v6 {
            return Err(DropReason::BadMesh);
        }
        let port = pick::port(&backend, reading);
        let client = (reading.source, reading.sport);
        let rest = (reading.protocol, flows::REVERSE);
        let key = flows::key(net, client, (backend.address, port), rest);
        let sent = if self.flows.owned(&key, false, reading, length).is_some() {
            self.came_from(&key, node, back);
            Sent::to(packet, reading, backend.address, port)
        } else if let Some(flow) = self.renumbered(net, reading, length, id) {
            let client_port = flow.client_port;
            self.came_from(&abi::FlowKey { client_port, ..key }, node, back);
            Sent::forward(packet, reading, &flow)
        } else if asks_second {
            return self.ask_second(packet, reading, (id, second, way), node);
        } else {
            let is_last = reading.protocol == TCP && reading.kind & 0x05 != 0;
            if is_last && reading.has_upper() {
                return self.refuse_mesh(packet, reading, DropReason::NoFlow, (id, node));
            }
            let plan = Plan {
                net,
                backend: id,
                service: 0,
                client: reading.source,
                server: backend.address,
                port,
                there: match self.way_to(&backend) {
                    Ok(there) => there,
                    Err(reason) => {
                        return self.refuse_mesh(packet, reading, reason, (id, node));
                    }
                },
                back,
                via: node,
                seen: 0,
            };
            match self.flows.open_arrival(&plan, reading, length) {
                Ok(port) => Sent::forward(packet, reading, &plan.flow(port)),
                Err(_) => {
                    return self.refuse_mesh(packet, reading, DropReason::Collision, (id, node));
                }
            }
        };
        self.deliver_here(packet, sent, net, backend.address)
    }

    /// A client's flow that the backend knows from another port.
    fn renumbered(
        &mut self,
        net: NetId,
        reading: &Reading,
        length: usize,
        backend: u32,
    ) -> Option<abi::Flow> {
        let (_, entry) = self.flows.find(&flows::client_key(net, reading))?;
        let flow = entry.flow;
        if flow.backend != backend || flow.delivery.kind != flows::TASK {
            return None;
        }
        self.flows.client(net, reading, length)
    }

    fn refuse_mesh(
        &self,
        packet: &Packet,
        reading: &Reading,
        reason: DropReason,
        (backend, node): (u32, u32),
    ) -> Verdict {
        let mut refusal = answers::refuse(packet, reading, reason)?;
        // A reset may be as long as what it answers.
        let limit = usize::from(self.contents.settings.overlay_mtu) + 14;
        if refusal.frame.len() > limit {
            return Err(DropReason::TooBig);
        }
        refusal.frame[..12].copy_from_slice(&mesh_addresses((backend, 0), BACK));
        refusal.carried = Some((self.contents.settings.ingress_net, node));
        Ok(Fate::Sent(refusal))
    }

    pub(super) fn deliver_here(
        &self,
        packet: &Packet,
        sent: Sent,
        net: NetId,
        address: Address,
    ) -> Verdict {
        let task = self.endpoint(net, address);
        let task = task.ok_or(DropReason::UnknownBackend)?;
        if task.vtep != 0 {
            return Err(DropReason::NotLocal);
        }
        self.deliver(packet, sent, &task)
    }

    /// The flow's answers go to the node that sent its last packet.
    fn came_from(&mut self, key: &abi::FlowKey, node: u32, back: Delivery) {
        let (table, mut entry) = self.flows.find(key).unwrap();
        entry.flow.via = node;
        entry.flow.delivery = back;
        self.flows.table(table).insert(*key, entry);
    }

    fn arrive_reply(&mut self, packet: &Packet, reading: &Reading, node: u32) -> Verdict {
        let net = self.contents.settings.ingress_net;
        let mut key = flows::server_key(net, reading);
        key.side = flows::FORWARD;
        let flow = self.flows.owned(&key, true, reading, packet.frame.len());
        let flow = flow.ok_or(DropReason::BadReply)?;
        self.to_client(packet, reading, flow, node)
    }

    /// To the client of a flow that went to `node`.
    pub(super) fn to_client(
        &self,
        packet: &Packet,
        reading: &Reading,
        flow: abi::Flow,
        node: u32,
    ) -> Verdict {
        if (flow.delivery.kind, flow.delivery.target) != (flows::MESH, node) {
            return Err(DropReason::SpoofedInner);
        }
        let sent = Sent::unchanged(packet);
        if flow.via != 0 {
            return Ok(Fate::Sent(sent));
        }
        let task = self.endpoint(NetId::GATEWAY, reading.destination);
        let task = task.filter(|task| task.kind == 1);
        Ok(Fate::Sent(to_mac(
            sent,
            task.ok_or(DropReason::NoEndpoint)?.mac,
        )))
    }
}

/// How the answers to a packet from another node leave: straight to the client, if that is wanted and
/// this node has a route to it, else by the node.
fn way_home(reading: &Reading, node: u32, (way, second): (u8, u32)) -> Delivery {
    let has_route = !is_bound(&reading.source) && !is_bound(&reading.destination);
    let (target, kind) = if way == ONE_WAY && has_route {
        (WAY_OUT, flows::DIRECT)
    } else {
        (node, flows::MESH)
    };
    let mut delivery = Delivery {
        target,
        mac: [0; 6],
        kind,
    };
    if way == PASSED_ON {
        delivery.set_second(second);
    }
    delivery
}

/// Whether IPv6 routes nothing to or from the address (`rt6_need_strict`, include/net/ip6_route.h).
fn is_bound(address: &Address) -> bool {
    let std::net::IpAddr::V6(v6) = std::net::IpAddr::from(*address) else {
        return false;
    };
    v6.is_multicast() || v6.is_unicast_link_local() || v6.is_loopback()
}

/// Whether no client outside can have the address.
fn is_martian(address: &Address) -> bool {
    match std::net::IpAddr::from(*address) {
        std::net::IpAddr::V4(v4) => [0, 127].contains(&v4.octets()[0]) || v4.octets()[0] >= 224,
        std::net::IpAddr::V6(v6) => v6.is_unspecified() || v6.is_loopback() || v6.is_multicast(),
    }
}

fn way_back(packet: &Packet, task: Option<&Iface>) -> Delivery {
    let (mac, kind) = match task {
        Some(iface) => (iface.mac, flows::TASK),
        None => ([0; 6], flows::UPLINK),
    };
    Delivery {
        target: packet.ifindex,
        mac,
        kind,
    }
}
