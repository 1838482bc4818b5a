//! The node's own attachment: its processes and the tasks behind published ports.

use abi::{Address, DropReason, Endpoint};
use integration::testrun::Packet;

use super::read::{Reading, TCP, UDP};
use super::{Fate, Oracle, Sent, Verdict, to_mac};

pub(super) const NODE: u8 = 4;

impl Oracle {
    /// To a process of some node, from a task that has `server` in the ingress network.
    pub(super) fn node_gets(
        &self,
        packet: &Packet,
        reading: &Reading,
        node: &Endpoint,
        server: Address,
    ) -> Verdict {
        let opens = reading.protocol == TCP && reading.kind & 0x17 == 0x02;
        let is_answer = reading.source == server || reading.protocol == UDP;
        if opens || !is_answer {
            return Err(DropReason::CrossNetwork);
        }
        let sent = if reading.source == server {
            Sent::unchanged(packet)
        } else {
            Sent::from(packet, reading, server)
        };
        if node.vtep != 0 {
            return self.tunnel(packet, sent, node.vtep);
        }
        Ok(Fate::Sent(to_mac(sent, node.mac)))
    }

    /// Out of the tunnel, not a frame of the mesh.
    pub(super) fn node_talks(&self, packet: &Packet, reading: &Reading, from: u32) -> Verdict {
        let net = self.contents.settings.ingress_net;
        let end = |address| self.endpoint(net, address).ok_or(DropReason::BadMesh);
        let (sender, target) = (end(reading.source)?, end(reading.destination)?);
        match (sender.kind == NODE, target.kind == NODE) {
            (true, true) | (false, false) => Err(DropReason::BadMesh),
            _ if sender.vtep != from => Err(DropReason::SpoofedInner),
            _ if target.vtep != 0 => Err(DropReason::NotLocal),
            (_, true) => Ok(Fate::Sent(to_mac(Sent::unchanged(packet), target.mac))),
            (_, false) => self.deliver(packet, Sent::unchanged(packet), &target),
        }
    }
}
