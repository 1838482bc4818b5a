//! Connections whose beginning this node has not seen, while a table has just changed.

use abi::{NetId, Service};
use integration::testrun::Packet;

use super::flows::{self, Plan};
use super::mesh::{ONWARDS, PASSED_ON, mesh_addresses};
use super::read::{Reading, TCP};
use super::{Oracle, Sent, Verdict};

impl Oracle {
    /// The choice for a client of whom this node may know nothing.
    pub(super) fn second_look(
        &self,
        service: &Service,
        reading: &Reading,
        (net, first): (NetId, Plan),
    ) -> Plan {
        let id = self.picked_before(service, reading).unwrap_or_default();
        let is_other = id != first.backend && self.contents.backends.contains_key(&id);
        if !is_other || !self.is_stray(reading) {
            return first;
        }
        let is_here = |plan: &Plan| plan.there.kind == flows::TASK;
        if is_here(&first) && self.knows(net, reading, &first) {
            return first;
        }
        let Ok(second) = self.aim(service, reading, id) else {
            return first;
        };
        match (is_here(&first), is_here(&second)) {
            (true, false) => second,
            (_, true) if self.knows(net, reading, &second) => second,
            (_, true) => first,
            (false, false) => {
                let mut first = first;
                first.there.set_second(id);
                first
            }
        }
    }

    /// Whether a connection was begun by another packet.
    #[expect(clippy::unused_self, reason = "like its siblings")]
    pub(super) fn is_stray(&self, reading: &Reading) -> bool {
        reading.protocol == TCP && reading.has_upper() && !flows::begins(reading)
    }

    fn knows(&self, net: NetId, reading: &Reading, plan: &Plan) -> bool {
        let (client, server) = ((reading.source, reading.sport), (plan.server, plan.port));
        let key = flows::key(net, client, server, (reading.protocol, flows::REVERSE));
        let entry = self.flows.find(&key);
        entry.is_some_and(|(_, entry)| {
            entry.is_for(reading) && entry.takes(reading, &self.flows.clock)
        })
    }

    /// The frame's first backend does not know the connection.
    pub(super) fn ask_second(
        &mut self,
        packet: &Packet,
        reading: &Reading,
        (id, second, way): (u32, u32, u8),
        node: u32,
    ) -> Verdict {
        let net = self.contents.settings.ingress_net;
        let backend = self.contents.backends.get(&second);
        match backend.filter(|backend| backend.net == net) {
            None => self.arrive_forward(packet, reading, (id, 0, way), node),
            Some(backend) if backend.vtep == 0 => {
                self.arrive_forward(packet, reading, (second, 0, way), node)
            }
            Some(backend) if way == ONWARDS => {
                let addresses = mesh_addresses((second, node), PASSED_ON);
                self.pass(packet, addresses, backend.vtep)
            }
            Some(backend) => self.pass(packet, mesh_addresses((second, 0), way), backend.vtep),
        }
    }

    /// Sends a frame on to another node.
    pub(super) fn pass(&self, packet: &Packet, addresses: [u8; 12], node: u32) -> Verdict {
        let mut sent = Sent::unchanged(packet);
        sent.frame[..12].copy_from_slice(&addresses);
        self.tunnel(packet, sent, node)
    }
}
