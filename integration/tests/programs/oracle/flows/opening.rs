//! New flows, and the ports by which backends know their clients.

use abi::{Address, Delivery, Flow, FlowKey, NetId, TransferCount};

use super::super::read::Reading;
use super::{
    ALONE, CLIENT_DONE, Flows, REPLIED, RESET, REVERSE, Resting, SERVER_DONE, bits, client_key, key,
};

/// Two connections would look the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Collides;

/// What a new flow is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) net: NetId,
    pub(crate) backend: u32,
    pub(crate) service: u32,
    /// The client as the backend sees it.
    pub(crate) client: Address,
    pub(crate) server: Address,
    pub(crate) port: u16,
    pub(crate) there: Delivery,
    pub(crate) back: Delivery,
    pub(crate) via: u32,
    /// What is known before the first packet.
    pub(crate) seen: u32,
}

impl Flows {
    /// A connection straight to a backend must not look like a translated one that lives.
    pub(crate) fn make_way(&mut self, key: &FlowKey, packet: &Reading) -> Result<(), Collides> {
        if let Some((_, entry)) = self.find(key) {
            let is_opening = entry.flow.seen & (REPLIED | CLIENT_DONE | SERVER_DONE | RESET) == 0;
            if !is_opening && entry.takes(packet, &self.clock) {
                return Err(Collides);
            }
            self.forget(key);
        }
        Ok(())
    }

    /// The backend's side of a new flow; returns the port by which the backend knows the client.
    fn open_reverse(
        &mut self,
        plan: &Plan,
        (packet, length): (&Reading, usize),
        is_alone: bool,
    ) -> Result<u16, Collides> {
        let ports = std::iter::once(packet.sport).chain(packet.other_ports());
        for port in ports {
            let (client, server) = ((plan.client, port), (plan.server, plan.port));
            let key = key(plan.net, client, server, (packet.protocol, REVERSE));
            if let Some((_, entry)) = self.find(&key) {
                if !entry.is_for(packet) && entry.takes(packet, &self.clock) {
                    continue;
                }
                self.forget(&key);
            }
            let mut flow = fresh(plan, packet, length, plan.back);
            if is_alone && port == packet.sport {
                flow.seen |= ALONE;
            }
            self.opening.insert(key, Resting::new(flow, &self.clock));
            self.count(plan.backend, |load| &mut load.picked);
            return Ok(port);
        }
        Err(Collides)
    }

    /// A new flow that came from another node: the other side as well only where the client has another
    /// port.
    pub(crate) fn open_arrival(
        &mut self,
        plan: &Plan,
        packet: &Reading,
        length: usize,
    ) -> Result<u16, Collides> {
        let port = self.open_reverse(plan, (packet, length), true)?;
        if port != packet.sport {
            self.add_forward(plan, packet, length, port);
        }
        Ok(port)
    }

    /// Both sides of a new flow.
    pub(crate) fn open(
        &mut self,
        plan: &Plan,
        packet: &Reading,
        length: usize,
    ) -> Result<u16, Collides> {
        let port = self.open_reverse(plan, (packet, length), false)?;
        self.add_forward(plan, packet, length, port);
        Ok(port)
    }

    fn add_forward(&mut self, plan: &Plan, packet: &Reading, length: usize, port: u16) {
        let mut flow = fresh(plan, packet, length, plan.there);
        flow.peer = plan.server;
        flow.peer_port = plan.port;
        flow.client = plan.client;
        flow.client_port = port;
        self.opening.insert(
            client_key(plan.net, packet),
            Resting::new(flow, &self.clock),
        );
    }

    /// The client's side of a new flow.
    pub(crate) fn open_forward(&mut self, plan: &Plan, packet: &Reading, length: usize) {
        let mut flow = fresh(plan, packet, length, plan.there);
        flow.seen |= ALONE;
        self.opening.insert(
            client_key(plan.net, packet),
            Resting::new(flow, &self.clock),
        );
        self.count(plan.backend, |load| &mut load.picked);
    }
}

fn fresh(plan: &Plan, packet: &Reading, length: usize, delivery: Delivery) -> Flow {
    Flow {
        last_ns: 0,
        confirmed: 0,
        forward: TransferCount {
            packets: 1,
            bytes: length as u64,
        },
        reply: TransferCount::default(),
        peer: packet.destination,
        client: packet.source,
        peer_port: packet.dport,
        client_port: packet.sport,
        backend: plan.backend,
        service: plan.service,
        seen: plan.seen | bits(packet, false),
        delivery,
        via: plan.via,
    }
}
