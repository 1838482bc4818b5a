//! Flows that a packet belongs to.

use std::net::{IpAddr, SocketAddr};

use abi::{
    Address, Delivery, DropReason, Flow, FlowKey, FlowState, NetId, PORT_TRIES, Seen, Side,
    backend_state, delivery, other_port, protocol, tcp,
};

use super::{Outcome, Stop, Walk, network};

impl Walk<'_> {
    /// The flow of the client's packet, if the tables hold one that it goes on with.
    pub(super) fn forward(&mut self, net: NetId) -> Option<Flow> {
        let mut key = self.key(net, self.destination(), Side::Forward);
        let shown = format!(
            "{} -> {} in {}",
            self.path.packet.source,
            self.path.packet.destination,
            network(net)
        );
        let found = self.forward_of(&mut key);
        let words = match &found {
            None if self.avoid != 0 => format!(
                "backend {} has not answered: the packet opens another",
                self.avoid
            ),
            Some(flow) => format!(
                "goes on to backend {} at {}",
                flow.backend,
                SocketAddr::new(flow.peer.into(), flow.peer_port)
            ),
            None => "none: the packet opens one".to_owned(),
        };
        self.note("flows", shown, words);
        found
    }

    fn forward_of(&mut self, key: &mut FlowKey) -> Option<Flow> {
        let forward = self.tables.flow(*key)?;
        let mut owner = forward;
        if forward.delivery.kind != delivery::MESH {
            *key = twin(key, &forward);
            owner = self.tables.flow(*key)?;
            if !self.is_for(&owner) {
                return None;
            }
        }
        let backend = owner.backend;
        let found = self.takes(&owner).then_some(Flow { backend, ..forward })?;
        let is_arrival = key.side == Side::Reverse as u8 && owner.delivery.kind == delivery::MESH;
        if is_arrival {
            return Some(found);
        }
        let may_be_given_up = forward.delivery.kind != delivery::MESH || self.is_leaving(backend);
        if may_be_given_up && self.is_forlorn(&owner) {
            self.avoid = backend;
            return None;
        }
        (!self.has_to_move(backend)).then_some(found)
    }

    /// The client of the flow of which this packet, from `server`, is a reply; the packet is
    /// translated.
    pub(super) fn reply(&mut self, net: NetId, server: Address) -> Result<Option<Address>, Stop> {
        Ok(self.reply_flow(net, server).map(|flow| flow.client))
    }

    /// The flow of which this packet, from `server`, is a reply; the packet is translated.
    pub(super) fn reply_flow(&mut self, net: NetId, server: Address) -> Option<Flow> {
        let packet = self.path.packet;
        let key = FlowKey {
            net,
            client: self.destination(),
            server,
            client_port: packet.destination.port(),
            server_port: packet.source.port(),
            protocol: packet.protocol,
            side: Side::Reverse as u8,
            reserved: 0,
        };
        let flow = self.tables.flow(key).filter(|flow| self.is_alive(flow))?;
        let shown = format!(
            "{} -> {} in {}",
            packet.source,
            packet.destination,
            network(net)
        );
        let frontend = SocketAddr::new(flow.peer.into(), flow.peer_port);
        self.note(
            "flows",
            shown,
            format!("a reply of a flow to {frontend}, which becomes its source"),
        );
        self.path.packet.source = frontend;
        if (flow.client, flow.client_port) != (key.client, key.client_port) {
            self.path.packet.destination = SocketAddr::new(flow.client.into(), flow.client_port);
        }
        self.path.backend = flow.backend;
        Some(flow)
    }

    /// A direct connection pushes away a translated flow that looks like it; false while that is alive.
    pub(super) fn makes_way(&mut self, net: NetId) -> bool {
        let key = self.key(net, self.destination(), Side::Reverse);
        let Some(flow) = self.tables.flow(key) else {
            return true;
        };
        if Seen(flow.seen).state() == FlowState::Opening || !self.takes(&flow) {
            return true;
        }
        let shown = format!(
            "{} -> {}",
            self.path.packet.source, self.path.packet.destination
        );
        self.note(
            "flows",
            shown,
            "a live flow through a VIP looks the same to the task",
        );
        false
    }

    /// The port by which a backend will know `client`: its own, or another one when a live flow looks
    /// the same.
    pub(super) fn free_port(
        &mut self,
        net: NetId,
        client: Address,
        backend: SocketAddr,
    ) -> Result<u16, Stop> {
        let packet = self.path.packet;
        let own = packet.source.port();
        let tries = if [protocol::TCP, protocol::UDP].contains(&packet.protocol) {
            PORT_TRIES
        } else {
            0
        };
        let other = |attempt| {
            let (source, destination) = (packet.source.ip().into(), packet.destination.ip().into());
            let frontend = (&destination, packet.destination.port());
            other_port((&source, own), frontend, packet.protocol, attempt)
        };
        let ports = std::iter::once(own).chain((1..=tries).map(other));
        let free = |port: &u16| {
            let key = FlowKey {
                client,
                client_port: *port,
                server_port: backend.port(),
                ..self.key(net, backend.ip().into(), Side::Reverse)
            };
            let flow = self.tables.flow(key);
            flow.is_none_or(|flow| self.is_for(&flow) || !self.takes(&flow))
        };
        let port = ports.into_iter().find(free);
        if port != Some(own) {
            let words = match port {
                Some(port) => format!("another flow looks the same: the client gets port {port}"),
                None => "other flows look the same, by every port that is tried".to_owned(),
            };
            self.note("flows", format!("{} -> {backend}", packet.source), words);
        }
        Ok(port.ok_or(DropReason::Collision)?)
    }

    /// The flow of a connection straight to a backend that is translated.
    pub(super) fn direct(&mut self, net: NetId) -> Option<Flow> {
        let mut key = self.key(net, self.destination(), Side::Forward);
        self.forward_of(&mut key)
    }

    /// The flow by which the client's packets are translated at the node of backend `id`, whose port
    /// is another one there.
    pub(super) fn renumbered(&mut self, net: NetId, id: u32) -> Option<Flow> {
        let mut key = self.key(net, self.destination(), Side::Forward);
        let forward = self.tables.flow(key)?;
        if forward.backend != id || forward.delivery.kind != delivery::TASK {
            return None;
        }
        self.forward_of(&mut key)
    }

    /// The flow at the backend's node that the packet goes on with.
    pub(super) fn arrived(&self, net: NetId, backend: SocketAddr) -> Option<Flow> {
        let key = FlowKey {
            server_port: backend.port(),
            ..self.key(net, backend.ip().into(), Side::Reverse)
        };
        let flow = self.tables.flow(key)?;
        (self.takes(&flow) && self.is_for(&flow)).then_some(flow)
    }

    /// To where a flow says.
    pub(super) fn hand_on(
        &mut self,
        net: NetId,
        there: &Delivery,
        backend: u32,
    ) -> Result<Outcome, Stop> {
        match there.kind {
            delivery::TASK => Ok(Outcome::Task(there.target)),
            delivery::TUNNEL => self.carry(net, there.target, 0),
            delivery::MESH => self.carry(net, there.target, backend),
            delivery::UPLINK | delivery::DIRECT => Ok(Outcome::Uplink(there.target)),
            delivery::ENDPOINT => Err(DropReason::NoEndpoint.into()),
            _ => Err(Stop::Unknown("a flow that is sent on in an unknown way")),
        }
    }

    /// Translates the packet of a client.
    pub(super) fn translate(&mut self, flow: &Flow) {
        self.path.packet.destination = SocketAddr::new(flow.peer.into(), flow.peer_port);
        let client = (flow.client, flow.client_port);
        if client != (self.source(), self.path.packet.source.port()) {
            self.path.packet.source = SocketAddr::new(flow.client.into(), flow.client_port);
        }
    }

    fn key(&self, net: NetId, server: Address, side: Side) -> FlowKey {
        let packet = self.path.packet;
        FlowKey {
            net,
            client: self.source(),
            server,
            client_port: packet.source.port(),
            server_port: packet.destination.port(),
            protocol: packet.protocol,
            side: side as u8,
            reserved: 0,
        }
    }

    fn is_alive(&self, flow: &Flow) -> bool {
        let now = self.tables.now_ns();
        !Seen(flow.seen).is_expired(self.path.packet.protocol, flow.last_ns, now)
    }

    /// Whether the flow still counts for a packet that may begin a connection.
    fn takes(&self, flow: &Flow) -> bool {
        let protocol = self.path.packet.protocol;
        self.is_alive(flow) && !Seen(flow.seen).is_reopened_by(protocol, tcp::SYN)
    }

    /// Whether nobody has answered for so long that a packet that begins a connection asks another.
    fn is_forlorn(&self, flow: &Flow) -> bool {
        let (protocol, now) = (self.path.packet.protocol, self.tables.now_ns());
        Seen(flow.seen).is_forlorn(protocol, tcp::SYN, flow.last_ns, now)
    }

    /// Whether datagrams of the backend go to another one.
    fn has_to_move(&self, backend: u32) -> bool {
        self.path.packet.protocol != protocol::TCP && self.is_leaving(backend)
    }

    fn is_leaving(&self, backend: u32) -> bool {
        let backend = self.tables.backend(backend);
        backend.is_none_or(|it| it.state == backend_state::DRAINING)
    }

    fn is_for(&self, flow: &Flow) -> bool {
        let frontend = self.path.packet.destination;
        (IpAddr::from(flow.peer), flow.peer_port) == (frontend.ip(), frontend.port())
            && flow.client_port == self.path.packet.source.port()
    }
}

/// The key of a flow's other entry.
const fn twin(key: &FlowKey, flow: &Flow) -> FlowKey {
    FlowKey {
        net: key.net,
        client: flow.client,
        server: flow.peer,
        client_port: flow.client_port,
        server_port: flow.peer_port,
        protocol: key.protocol,
        side: key.side ^ 1,
        reserved: 0,
    }
}
