//! A VIP inside a network.

use abi::{Address, Delivery, DropReason, Endpoint, Iface, NetId, endpoint};
use integration::testrun::Packet;

use super::flows::{self, Plan};
use super::read::{ICMP, ICMP6, Reading};
use super::{Fate, Oracle, Sent, Verdict, answers, to_mac};

impl Oracle {
    pub(super) fn vip_gets(
        &mut self,
        packet: &Packet,
        mut reading: Reading,
        iface: &Iface,
        vip: &Endpoint,
    ) -> Verdict {
        if reading.is_echo() {
            let answer = if vip.flags & endpoint::ANSWERS != 0 {
                answers::echo(&packet.frame, &reading)
            } else {
                answers::refuse(packet, &reading, DropReason::NoBackend)?
            };
            return Ok(Fate::Sent(to_mac(answer, iface.mac)));
        }
        if [ICMP, ICMP6].contains(&reading.protocol) {
            return self.vip_gets_error(packet, &reading, iface.net);
        }
        self.pieces(iface.net, &mut reading)?;
        let known = self.flows.client(iface.net, &reading, packet.frame.len());
        let flow = match known {
            Some(flow) => flow,
            None => match self.open_vip(packet, &reading, iface.net) {
                Ok(flow) => flow,
                Err(reason) => {
                    let refusal = answers::refuse(packet, &reading, reason)?;
                    return Ok(Fate::Sent(to_mac(refusal, iface.mac)));
                }
            },
        };
        if flow.delivery.kind == flows::TUNNEL && !self.fits(packet, &reading)? {
            let answer = self.too_big_for(packet, &reading, iface.net)?;
            return Ok(Fate::Sent(to_mac(answer, iface.mac)));
        }
        let sent = Sent::forward(packet, &reading, &flow);
        self.hand_on(packet, sent, &flow.delivery, [0; 12])
    }

    /// To where a flow says; `mesh` are the addresses of a frame of the mesh.
    pub(super) fn hand_on(
        &self,
        packet: &Packet,
        mut sent: Sent,
        delivery: &Delivery,
        mesh: [u8; 12],
    ) -> Verdict {
        match delivery.kind {
            flows::TASK => Ok(Fate::Sent(to_mac(sent, delivery.mac))),
            flows::TUNNEL => self.tunnel(packet, sent, delivery.target),
            flows::MESH => {
                sent.frame[..12].copy_from_slice(&mesh);
                self.tunnel(packet, sent, delivery.target)
            }
            flows::UPLINK | flows::DIRECT => Ok(Fate::Sent(sent)),
            _ => Err(DropReason::NoEndpoint),
        }
    }

    fn open_vip(
        &mut self,
        packet: &Packet,
        reading: &Reading,
        net: NetId,
    ) -> Result<abi::Flow, DropReason> {
        let service = self.service(net, reading).ok_or(DropReason::NoPort)?;
        super::pick::admit(&service, reading)?;
        let chosen = self.choose_other(&service, reading)?;
        let plan = Plan {
            net,
            back: Delivery {
                kind: flows::ENDPOINT,
                ..Delivery::default()
            },
            client: self.client_of(net, packet, reading, &chosen.there)?,
            ..chosen
        };
        let opened = self.flows.open(&plan, reading, packet.frame.len());
        opened.map_or(Err(DropReason::Collision), |port| Ok(plan.flow(port)))
    }

    /// The client that the backend sees: the network's gateway when it is the backend itself.
    pub(super) fn client_of(
        &self,
        net: NetId,
        packet: &Packet,
        reading: &Reading,
        there: &Delivery,
    ) -> Result<Address, DropReason> {
        if there.kind != flows::TASK || there.target != packet.ifindex {
            return Ok(reading.source);
        }
        let network = self.contents.networks.get(&net);
        let network = network.ok_or(DropReason::NotReady)?;
        Ok(if reading.v6 {
            network.gateway_v6
        } else {
            network.gateway_v4
        })
    }
}

impl Plan {
    /// What the flow does to the client's packets.
    pub(super) fn flow(&self, client_port: u16) -> abi::Flow {
        abi::Flow {
            peer: self.server,
            peer_port: self.port,
            client: self.client,
            client_port,
            delivery: self.there,
            backend: self.backend,
            via: self.via,
            seen: self.seen,
            ..abi::Flow::default()
        }
    }
}
