//! What a task sends.

use abi::{Address, DropReason, Endpoint, Iface, NetId, endpoint};
use integration::testrun::Packet;

use super::node::NODE;
use super::read::{ICMP, ICMP6, Reading, UDP, Unreadable};
use super::{Fate, Oracle, Sent, Verdict, answers, backs, is_gateway, is_group, to_mac};
use crate::oracle::flows;

const VIP: u8 = 3;
const GATEWAY: u8 = 2;
const TASK: u8 = 1;

impl Oracle {
    pub(super) fn task_sends(
        &mut self,
        packet: &Packet,
        reading: Result<Reading, Unreadable>,
    ) -> Verdict {
        let iface = self.contents.ifaces.get(&packet.ifindex).copied();
        let iface = iface.ok_or(DropReason::UnknownInterface)?;
        let reading = match reading {
            Ok(reading) => reading,
            Err(Unreadable::Arp) => return self.arp(packet, &iface),
            Err(Unreadable::Foreign) => return Err(DropReason::UnknownEtherType),
            Err(Unreadable::Broken(reason)) => return Err(reason),
        };
        if reading.v6 && reading.protocol == ICMP6 && (130..=143).contains(&reading.kind) {
            return self.neighbour(packet, &reading, &iface);
        }
        if is_group(&reading.destination) {
            return Err(DropReason::Multicast);
        }
        if reading.source == Address::default() {
            return Err(DropReason::SpoofedSource);
        }
        if is_gateway(&iface) {
            return self.gateway_sends(packet, reading, &iface);
        }
        if ![iface.v4, iface.v6].contains(&reading.source) {
            return Err(DropReason::SpoofedSource);
        }
        let target = self.endpoint(iface.net, reading.destination);
        let Some(target) = target else {
            let refusal = answers::refuse(packet, &reading, DropReason::NoEndpoint)?;
            return Ok(Fate::Sent(to_mac(refusal, iface.mac)));
        };
        match target.kind {
            VIP => self.vip_gets(packet, reading, &iface, &target),
            GATEWAY => self.router_gets(packet, reading, &iface),
            TASK => self.other_gets(packet, reading, &iface, &target),
            _ => Err(DropReason::NoEndpoint),
        }
    }

    fn arp(&self, packet: &Packet, iface: &Iface) -> Verdict {
        let frame = &packet.frame;
        let arp = frame.get(14..42).ok_or(DropReason::Truncated)?;
        let target = super::read::v4(arp, 24);
        let is_probe = arp[14..18] == [0; 4];
        let is_request = arp[..8] == [0, 1, 8, 0, 6, 4, 0, 1];
        if !is_request || is_probe || [iface.v4, iface.ingress_v4].contains(&target) {
            return Err(DropReason::NeighbourNoise);
        }
        self.is_reachable(iface, target)?;
        Ok(Fate::Sent(to_mac(answers::arp(frame), iface.mac)))
    }

    fn neighbour(&self, packet: &Packet, reading: &Reading, iface: &Iface) -> Verdict {
        // Only a solicitation right behind the IPv6 header is answered.
        if reading.kind != 135 || reading.l4 != 54 {
            return Err(DropReason::NeighbourNoise);
        }
        if reading.end < 78 {
            return Err(DropReason::Truncated);
        }
        let target = super::read::v6(&packet.frame, 62);
        let is_probe = reading.source == Address::default();
        if is_probe || [iface.v6, iface.ingress_v6].contains(&target) {
            return Err(DropReason::NeighbourNoise);
        }
        self.is_reachable(iface, target)?;
        let answer = answers::advertisement(&packet.frame, reading);
        Ok(Fate::Sent(to_mac(answer, iface.mac)))
    }

    /// Everything is behind a gateway attachment, and in a network whoever has an address.
    fn is_reachable(&self, iface: &Iface, target: Address) -> Result<(), DropReason> {
        if is_gateway(iface) || self.endpoint(iface.net, target).is_some() {
            return Ok(());
        }
        Err(DropReason::NoEndpoint)
    }

    fn other_gets(
        &mut self,
        packet: &Packet,
        mut reading: Reading,
        iface: &Iface,
        target: &Endpoint,
    ) -> Verdict {
        let net = iface.net;
        if target.flags & endpoint::BACKS != 0
            && let Some(verdict) = self.direct(packet, &reading, iface, target)
        {
            return verdict;
        }
        let mut sent = Sent::unchanged(packet);
        if backs(iface)
            && let Some(flow) = self.reply_of(packet, net, &mut reading)
        {
            sent = Sent::reply(packet, &reading, &flow);
        } else if target.vtep != 0 && !self.fits(packet, &reading)? {
            let answer = self.too_big_for(packet, &reading, net)?;
            return Ok(Fate::Sent(to_mac(answer, iface.mac)));
        }
        self.deliver(packet, sent, target)
    }

    /// The flow of a server's packet, which it passes.
    pub(super) fn reply_of(
        &mut self,
        packet: &Packet,
        net: NetId,
        reading: &mut Reading,
    ) -> Option<abi::Flow> {
        if [ICMP, ICMP6].contains(&reading.protocol) {
            return self.error_of(packet, net, reading);
        }
        self.pieces(net, reading).ok()?;
        let key = flows::server_key(net, reading);
        self.flows.owned(&key, true, reading, packet.frame.len())
    }

    fn router_gets(&mut self, packet: &Packet, mut reading: Reading, iface: &Iface) -> Verdict {
        if reading.is_echo() {
            let echo = answers::echo(&packet.frame, &reading);
            return Ok(Fate::Sent(to_mac(echo, iface.mac)));
        }
        if backs(iface)
            && let Some(flow) = self.reply_of(packet, iface.net, &mut reading)
        {
            let task = self.endpoint(iface.net, flow.client);
            let sent = Sent::reply(packet, &reading, &flow);
            return self.deliver(packet, sent, &task.ok_or(DropReason::NoEndpoint)?);
        }
        Err(DropReason::ToGateway)
    }

    fn gateway_sends(&mut self, packet: &Packet, mut reading: Reading, iface: &Iface) -> Verdict {
        self.ready()?;
        let server = if reading.v6 {
            iface.ingress_v6
        } else {
            iface.ingress_v4
        };
        let serves = server != Address::default();
        let is_server = serves && reading.source == server;
        if !is_server && ![iface.v4, iface.v6].contains(&reading.source) {
            return Err(DropReason::SpoofedSource);
        }
        // A datagram's sender that is not bound to an address takes the one that the routes say.
        if is_server || (serves && reading.protocol == UDP) {
            let answer = self.published_reply(packet, &mut reading, server, iface);
            if let Some(verdict) = answer {
                return verdict;
            }
        }
        let ingress = self.contents.settings.ingress_net;
        if let Some(other) = self.endpoint(ingress, reading.destination) {
            if other.kind == NODE && serves {
                return self.node_gets(packet, &reading, &other, server);
            }
            return Err(DropReason::CrossNetwork);
        }
        if is_server {
            return Err(DropReason::NoFlow);
        }
        let is_tunnel =
            reading.protocol == UDP && reading.dport == self.contents.settings.data_path_port;
        let is_node = self.contents.vtep_ids.contains_key(&reading.destination)
            || self.node(0) == Some(reading.destination);
        if is_tunnel && is_node {
            return Err(DropReason::VxlanFromTask);
        }
        if self.endpoint(NetId::GATEWAY, reading.destination).is_some() {
            return Err(DropReason::CrossNetwork);
        }
        self.enter(packet, reading, Some(iface))
    }
}
