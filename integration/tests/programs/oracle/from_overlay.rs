//! What other nodes send.

use abi::{DropReason, NetId, endpoint};
use integration::testrun::Packet;

use super::read::{Reading, Unreadable};
use super::{Oracle, Sent, Verdict};

impl Oracle {
    pub(super) fn node_sends(
        &mut self,
        packet: &Packet,
        reading: Result<Reading, Unreadable>,
    ) -> Verdict {
        let mut reading = match reading {
            Ok(reading) => reading,
            Err(Unreadable::Broken(reason)) => return Err(reason),
            Err(_) => return Err(DropReason::UnknownEtherType),
        };
        self.ready()?;
        let [net, node] = packet.origin;
        let net = NetId(net);
        if net == self.contents.settings.ingress_net {
            return self.arrive(packet, reading);
        }
        let node = self.node(node);
        let sender = self.endpoint(net, reading.source);
        let lives_there = |home: u32| home != 0 && node.is_some() && self.node(home) == node;
        let known = node.is_some_and(|node| self.contents.vtep_ids.contains_key(&node));
        let Some(sender) = sender.filter(|sender| lives_there(sender.vtep)) else {
            return Err(if !known {
                DropReason::UnknownVtep
            } else if sender.is_none() && !self.contents.networks.contains_key(&net) {
                DropReason::UnknownVni
            } else {
                DropReason::SpoofedInner
            });
        };
        let mut sent = Sent::unchanged(packet);
        let mut target = reading.destination;
        if sender.flags & endpoint::BACKS != 0
            && let Some(flow) = self.reply_of(packet, net, &mut reading)
        {
            sent = Sent::reply(packet, &reading, &flow);
            target = flow.client;
        }
        let task = self.endpoint(net, target).ok_or(DropReason::NoEndpoint)?;
        if task.vtep != 0 || task.kind != 1 {
            return Err(DropReason::NotLocal);
        }
        self.deliver(packet, sent, &task)
    }
}
