//! Connections straight to a backend, which must not look like balanced ones.

use abi::{Delivery, DropReason, Endpoint, Iface};
use integration::testrun::Packet;

use super::flows::{self, Plan};
use super::read::{Reading, TCP};
use super::{Fate, Oracle, Sent, Verdict, answers, to_mac};

impl Oracle {
    /// A packet to a task that backs a VIP; `None` when it goes on as it is.
    pub(super) fn direct(
        &mut self,
        packet: &Packet,
        reading: &Reading,
        iface: &Iface,
        target: &Endpoint,
    ) -> Option<Verdict> {
        if reading.protocol != TCP || !reading.has_upper() {
            return None;
        }
        let net = iface.net;
        let length = packet.frame.len();
        let known = self.flows.client(net, reading, length);
        let flow = match known {
            Some(flow) => flow,
            None => {
                let client = (reading.source, reading.sport);
                let server = (reading.destination, reading.dport);
                let key = flows::key(net, client, server, (TCP, flows::REVERSE));
                let begins = flows::begins(reading);
                if !begins || self.flows.make_way(&key, reading).is_ok() {
                    return None;
                }
                let plan = plan(reading, iface, target);
                match self.flows.open(&plan, reading, length) {
                    Ok(port) => plan.flow(port),
                    Err(_) => {
                        let refusal = answers::refuse(packet, reading, DropReason::Collision);
                        return Some(refusal.map(|sent| Fate::Sent(to_mac(sent, iface.mac))));
                    }
                }
            }
        };
        Some(self.renumber(packet, reading, iface, &flow))
    }

    fn renumber(
        &self,
        packet: &Packet,
        reading: &Reading,
        iface: &Iface,
        flow: &abi::Flow,
    ) -> Verdict {
        if flow.delivery.kind == flows::TUNNEL && !self.fits(packet, reading)? {
            let answer = self.too_big_for(packet, reading, iface.net)?;
            return Ok(Fate::Sent(to_mac(answer, iface.mac)));
        }
        let sent = Sent::forward(packet, reading, flow);
        self.hand_on(packet, sent, &flow.delivery, [0; 12])
    }
}

/// The flow of a connection whose frontend is the backend itself.
fn plan(reading: &Reading, iface: &Iface, target: &Endpoint) -> Plan {
    let there = if target.vtep == 0 {
        Delivery {
            target: target.ifindex,
            mac: target.mac,
            kind: flows::TASK,
        }
    } else {
        Delivery {
            target: target.vtep,
            mac: [0; 6],
            kind: flows::TUNNEL,
        }
    };
    Plan {
        net: iface.net,
        backend: 0,
        service: 0,
        client: reading.source,
        server: reading.destination,
        port: reading.dport,
        there,
        back: Delivery::default(),
        via: 0,
        seen: 0,
    }
}
