//! Published ports and the mesh.

use std::net::{IpAddr, SocketAddr};

use abi::{
    Address, DropReason, Endpoint, EndpointKey, EndpointKind, Flow, Iface, NetId, PublishedKey,
    Service, delivery, protocol,
};

use super::balance::describe;
use super::{Outcome, Stop, Walk};

impl Walk<'_> {
    pub(super) fn outside_sends(&mut self, ifindex: u32) -> Result<Outcome, Stop> {
        let packet = self.path.packet;
        let settings = self.tables.settings().unwrap_or_default();
        let is_tunnel = packet.protocol == protocol::UDP
            && packet.destination.port() == settings.data_path_port;
        if settings.ingress_net == NetId(0) || is_tunnel {
            self.note(
                "settings",
                "",
                "no port is published, or it is the tunnel's own",
            );
            return Ok(Outcome::Stack);
        }
        self.enter(ifindex, settings.ingress_net, true)
    }

    /// By a gateway attachment: a reply of a published port, or to the outside.
    pub(super) fn gateway_sends(&mut self, ifindex: u32, iface: &Iface) -> Result<Outcome, Stop> {
        let settings = self.settings()?;
        let packet = self.path.packet;
        let ingress = if self.source().is_v4() {
            iface.ingress_v4
        } else {
            iface.ingress_v6
        };
        let is_ingress = self.source() == ingress;
        if !is_ingress && ![iface.v4, iface.v6].contains(&self.source()) {
            return Err(DropReason::SpoofedSource.into());
        }
        let is_unbound = packet.protocol == protocol::UDP && !ingress.is_unspecified();
        if is_ingress || is_unbound {
            let net = settings.ingress_net;
            if let Some(flow) = self.reply_flow(net, ingress) {
                return self.hand_on(net, &flow.delivery, flow.backend);
            }
        }
        let net = settings.ingress_net;
        if self.tables.endpoint(net, self.destination()).is_some() {
            return self.task_answers_node(net, ingress);
        }
        if is_ingress {
            self.note(
                "flows",
                packet.source.to_string(),
                "no flow: only replies may leave from there",
            );
            return Err(DropReason::NoFlow.into());
        }
        let destination = self.destination();
        let is_node =
            self.tables.node_number(destination).is_some() || self.node(0) == Some(destination);
        if packet.protocol == protocol::UDP
            && packet.destination.port() == settings.data_path_port
            && is_node
        {
            return Err(DropReason::VxlanFromTask.into());
        }
        let key = EndpointKey {
            net: NetId::GATEWAY,
            address: destination,
        };
        if self.tables.endpoint(key.net, key.address).is_some() {
            self.endpoint(key.net, key.address);
            return Err(DropReason::CrossNetwork.into());
        }
        self.enter(ifindex, settings.ingress_net, false)
    }

    /// From another node, not through the mesh: one of its own processes and a task.
    fn node_talks(&mut self, net: NetId, from: IpAddr) -> Result<Outcome, Stop> {
        let is_node = |it: &Endpoint| EndpointKind::from_u8(it.kind) == Some(EndpointKind::Node);
        let sender = self
            .endpoint(net, self.source())
            .ok_or(DropReason::BadMesh)?;
        let target = self.endpoint(net, self.destination());
        let target = target.ok_or(DropReason::BadMesh)?;
        if is_node(&sender) == is_node(&target) {
            return Err(DropReason::BadMesh.into());
        }
        if self.node(sender.vtep).map(IpAddr::from) != Some(from) {
            return Err(DropReason::SpoofedInner.into());
        }
        if target.vtep != 0 {
            return Err(DropReason::NotLocal.into());
        }
        if is_node(&target) {
            return Ok(Outcome::Own);
        }
        self.deliver(net, &target)
    }

    /// From the task that has `server` in the ingress network, to an address there: only a node may
    /// be answered.
    fn task_answers_node(&mut self, net: NetId, server: Address) -> Result<Outcome, Stop> {
        let packet = self.path.packet;
        let node = self.endpoint(net, self.destination());
        let is_node = |it: &Endpoint| EndpointKind::from_u8(it.kind) == Some(EndpointKind::Node);
        let node = node.filter(|it| is_node(it) && !server.is_unspecified());
        let node = node.ok_or(DropReason::CrossNetwork)?;
        // A connection's first packet is what is followed here, and that is no answer.
        if packet.protocol != protocol::UDP {
            return Err(DropReason::CrossNetwork.into());
        }
        // An unbound socket's answer leaves with the gateway address.
        self.path.packet.source.set_ip(server.into());
        if node.vtep != 0 {
            return self.carry(net, node.vtep, 0);
        }
        Ok(Outcome::Own)
    }

    /// To a published port of this node, perhaps.
    fn enter(&mut self, ifindex: u32, net: NetId, is_outside: bool) -> Result<Outcome, Stop> {
        let Some(service) = self.published() else {
            return Ok(Outcome::Stack);
        };
        // What came by another node until now begins anew.
        let known = self.forward(net);
        let known = known.filter(|flow| flow.delivery.kind == delivery::MESH || flow.via == 0);
        let flow = match known {
            Some(flow) => flow,
            None => {
                let destination = self.destination();
                let is_own = self.tables.is_own(destination);
                let shown = if is_own {
                    "this node's"
                } else {
                    "not this node's"
                };
                let key = IpAddr::from(destination).to_string();
                self.note("addresses", key, shown);
                if !is_own {
                    return Ok(Outcome::Stack);
                }
                let source = self.source();
                if source.is_martian() || (is_outside && self.tables.is_own(source)) {
                    return Err(DropReason::Martian.into());
                }
                self.open_published(&service, net, ifindex)
                    .map_err(Stop::told)?
            }
        };
        self.path.backend = flow.backend;
        if flow.delivery.kind != delivery::MESH {
            self.translate(&flow);
        }
        self.hand_on(net, &flow.delivery, flow.backend)
    }

    fn open_published(
        &mut self,
        service: &Service,
        net: NetId,
        ifindex: u32,
    ) -> Result<Flow, Stop> {
        if service.pick_length != 0 {
            self.settings()?;
        }
        let mut flow = self.open(service, net, ifindex)?;
        if flow.delivery.kind == delivery::TUNNEL {
            flow.delivery.kind = delivery::MESH;
        }
        Ok(flow)
    }

    fn published(&mut self) -> Option<Service> {
        let packet = self.path.packet;
        let own = self.destination();
        let any = if own.is_v4() {
            Address::ANY_V4
        } else {
            Address::UNSPECIFIED
        };
        let key = PublishedKey {
            address: any,
            port: packet.destination.port(),
            protocol: packet.protocol,
            reserved: 0,
        };
        let settings = self.tables.settings().unwrap_or_default();
        let named = PublishedKey {
            address: own,
            ..key
        };
        let named = (settings.addressed_ports != 0)
            .then(|| self.tables.published(named))
            .flatten();
        let found = named.or_else(|| self.tables.published(key));
        let words = match &found {
            Some(service) => describe(service),
            None => "not published".to_owned(),
        };
        self.note("published", format!("port {}", key.port), words);
        found
    }

    /// A frame of the mesh, at the backend's node.
    pub(super) fn arrive(&mut self, net: NetId, from: IpAddr, id: u32) -> Result<Outcome, Stop> {
        if self.tables.node_number(from.into()).is_none() {
            self.note("vteps", from.to_string(), "no node has it");
            return Err(DropReason::UnknownVtep.into());
        }
        if id == 0 {
            return self.node_talks(net, from);
        }
        let Some(backend) = self.tables.backend(id) else {
            self.note("backends", format!("{id:08x}"), "gone");
            return Err(DropReason::UnknownBackend.into());
        };
        let port = match backend.port {
            0 => self.path.packet.destination.port(),
            port => port,
        };
        let place = SocketAddr::new(backend.address.into(), port);
        self.note("backends", format!("{id:08x}"), place.to_string());
        if backend.vtep != 0 || backend.net != net {
            return Err(DropReason::NotLocal.into());
        }
        if backend.address.is_v4() != self.destination().is_v4() {
            return Err(DropReason::BadMesh.into());
        }
        self.path.backend = id;
        if self.arrived(net, place).is_some() {
            self.path.packet.destination = place;
        } else if let Some(flow) = self.renumbered(net, id) {
            self.translate(&flow);
        } else {
            let port = self.free_port(net, self.source(), place);
            self.path.packet.source.set_port(port.map_err(Stop::told)?);
            self.path.packet.destination = place;
            self.path.opens = true;
        }
        let task = self.endpoint(net, backend.address);
        let task = task.ok_or(DropReason::UnknownBackend)?;
        if task.vtep != 0 {
            return Err(DropReason::NotLocal.into());
        }
        self.deliver(net, &task)
    }
}
