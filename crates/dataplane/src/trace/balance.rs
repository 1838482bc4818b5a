//! Which backend a new flow gets.

use std::net::{IpAddr, SocketAddr};

use abi::{
    Address, Algorithm, Delivery, DropReason, Flow, NetId, Service, ServiceKey, client_hash,
    connection_hash, delivery, pick_index, service_flag,
};

use super::{Outcome, Stop, Walk, algorithm_name, network};

/// How many backends are tried for a client whose own has not answered.
const ATTEMPTS: u32 = 4;

/// Flags that the explainer knows: those that change nothing for a packet's way to its backend.
const KNOWN: u32 = service_flag::DSR
    | service_flag::DIRECT_SOCKETS_OFF
    | service_flag::EVERY_PORT
    | service_flag::PUBLISHED;

impl Walk<'_> {
    /// A task's packet to a VIP.
    pub(super) fn vip_gets(&mut self, ifindex: u32, net: NetId) -> Result<Outcome, Stop> {
        let flow = match self.forward(net) {
            Some(flow) => flow,
            None => self.open_vip(ifindex, net).map_err(Stop::told)?,
        };
        self.path.backend = flow.backend;
        self.translate(&flow);
        self.hand_on(net, &flow.delivery, flow.backend)
    }

    fn open_vip(&mut self, ifindex: u32, net: NetId) -> Result<Flow, Stop> {
        let service = self.service(net).ok_or(DropReason::NoPort)?;
        self.open(&service, net, ifindex)
    }

    /// Chooses a backend, and the port by which that will know the client.
    pub(super) fn open(
        &mut self,
        service: &Service,
        net: NetId,
        ifindex: u32,
    ) -> Result<Flow, Stop> {
        if service.pick_length == 0 {
            self.note(
                "picks",
                service.id.to_string(),
                "the service has no backend",
            );
            return Err(DropReason::NoBackend.into());
        }
        let mut flow = self.choose_other(service)?;
        if flow.delivery.kind == delivery::TASK && flow.delivery.target == ifindex {
            flow.client = self.hairpin(net)?;
        }
        let backend = SocketAddr::new(flow.peer.into(), flow.peer_port);
        let is_mesh = flow.delivery.kind == delivery::TUNNEL
            && self.tables.settings().map(|it| it.ingress_net) == Some(net);
        if !is_mesh {
            flow.client_port = self.free_port(net, flow.client, backend)?;
        }
        self.path.opens = true;
        Ok(flow)
    }

    fn hairpin(&mut self, net: NetId) -> Result<Address, Stop> {
        let addresses = self.tables.network(net).ok_or(DropReason::NotReady)?;
        let address = if self.source().is_v4() {
            addresses.gateway_v4
        } else {
            addresses.gateway_v6
        };
        let shown = format!(
            "the task is its own backend: it sees {} as its client",
            IpAddr::from(address)
        );
        self.note("networks", network(net), shown);
        Ok(address)
    }

    /// As `choose`: not the backend that has not answered the same packet, if there is another.
    fn choose_other(&mut self, service: &Service) -> Result<Flow, Stop> {
        let mut chosen = self.choose(service, 0)?;
        for attempt in 1..ATTEMPTS {
            if chosen.backend != self.avoid {
                break;
            }
            chosen = self.choose(service, attempt)?;
        }
        Ok(chosen)
    }

    fn choose(&mut self, service: &Service, attempt: u32) -> Result<Flow, Stop> {
        let index = self.index(service, attempt)?;
        let id = if service.pick_length <= Service::INLINE {
            let place = usize::try_from(index).unwrap_or(usize::MAX);
            service.inline.get(place).copied()
        } else {
            self.tables.pick(service.pick_offset.wrapping_add(index))
        };
        let id = id.ok_or(DropReason::NoBackend)?;
        let (key, length) = (service.id, service.pick_length);
        self.note(
            "picks",
            format!("service {key:08x}, {index} of {length}"),
            format!("backend {id:08x}"),
        );
        let Some(backend) = self.tables.backend(id) else {
            self.note("backends", format!("{id:08x}"), "gone");
            return Err(DropReason::NoBackend.into());
        };
        let packet = self.path.packet;
        let port = match backend.port {
            0 => packet.destination.port(),
            port => port,
        };
        let place = SocketAddr::new(backend.address.into(), port);
        let there = if backend.vtep == 0 {
            let task = self.tables.endpoint(backend.net, backend.address);
            let task = task.ok_or(DropReason::NoBackend)?;
            self.note(
                "backends",
                format!("{id:08x}"),
                format!("{place}, on this node"),
            );
            Delivery {
                target: task.ifindex,
                mac: task.mac,
                kind: delivery::TASK,
            }
        } else {
            self.note(
                "backends",
                format!("{id:08x}"),
                format!("{place}, on another node"),
            );
            Delivery {
                target: backend.vtep,
                mac: [0; 6],
                kind: delivery::TUNNEL,
            }
        };
        Ok(Flow {
            peer: backend.address,
            peer_port: port,
            client: self.source(),
            client_port: packet.source.port(),
            delivery: there,
            backend: id,
            service: service.id,
            ..Flow::default()
        })
    }

    /// The place among the picks.
    fn index(&mut self, service: &Service, attempt: u32) -> Result<u32, Stop> {
        if service.flags & !KNOWN != 0 || service.affinity_seconds != 0 {
            return Err(Stop::Unknown("a service with affinity or unknown flags"));
        }
        let packet = self.path.packet;
        let (source, length) = (self.source(), service.pick_length);
        let value = match Algorithm::from_u32(service.algorithm) {
            Some(Algorithm::RoundRobin | Algorithm::WeightedRoundRobin) => {
                let cursor = self.tables.cursor(service.id);
                // A service without cursor stands still.
                let value = cursor.map_or(0, |cursor| cursor.wrapping_add(attempt));
                let next = pick_index(value, length);
                let last = length.saturating_sub(1);
                let shown =
                    format!("round robin: the next new flow gets pick {next} (of 0 to {last})");
                self.note("cursors", format!("{:08x}", service.id), shown);
                value
            }
            Some(Algorithm::SourceHash) => client_hash(&source).wrapping_add(attempt),
            Some(Algorithm::Maglev) => {
                let port = packet.source.port();
                connection_hash(&source, port, packet.protocol, service.id).wrapping_add(attempt)
            }
            Some(Algorithm::DestinationHash) => {
                client_hash(&self.destination()).wrapping_add(attempt)
            }
            Some(
                Algorithm::LeastConnection
                | Algorithm::WeightedLeastConnection
                | Algorithm::Locality
                | Algorithm::ReplicatedLocality
                | Algorithm::ShortestDelay
                | Algorithm::NeverQueue
                | Algorithm::TwoChoices,
            ) => return Err(Stop::Unknown("a service that is balanced by loads")),
            None => return Err(Stop::Unknown("a service with an unknown algorithm")),
        };
        Ok(pick_index(value, length))
    }

    /// The service behind a VIP: by port, or the whole address.
    fn service(&mut self, net: NetId) -> Option<Service> {
        let packet = self.path.packet;
        let mut key = ServiceKey {
            net,
            address: self.destination(),
            port: packet.destination.port(),
            protocol: packet.protocol,
            reserved: 0,
        };
        let mut found = self.tables.service(key);
        let mut shown = "";
        if found.is_none() {
            key.port = 0;
            key.protocol = 0;
            found = self.tables.service(key);
            shown = " (every port)";
        }
        let words = match &found {
            Some(service) => describe(service) + shown,
            None => "the service does not have this port".to_owned(),
        };
        let key = format!("{} in {}", packet.destination, network(net));
        self.note("services", key, words);
        found
    }
}

/// A service in words.
pub(super) fn describe(service: &Service) -> String {
    let algorithm = match Algorithm::from_u32(service.algorithm) {
        Some(algorithm) => algorithm_name(algorithm).to_owned(),
        None => format!("algorithm {}", service.algorithm),
    };
    let (id, length) = (service.id, service.pick_length);
    format!("service {id:08x}, {algorithm}, {length} picks")
}
