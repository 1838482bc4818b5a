//! The oracle's flow tables, by the rules of the design: an opening is a flow that nobody has
//! answered yet; the first answer settles it; a flow ends once.

mod clock;
mod opening;
mod resting;

use std::collections::{BTreeMap, BTreeSet};

use abi::{Address, Flow, FlowKey, Load, NetId};
use integration::testrun::FlowTable;

use self::clock::Clock;
pub(crate) use self::opening::Plan;
pub(crate) use self::resting::{Resting, begins, patience};
use self::resting::{half_over, over};
use super::read::{Reading, TCP};

pub(crate) const REPLIED: u32 = 1;
pub(crate) const CLIENT_DONE: u32 = 2;
pub(crate) const SERVER_DONE: u32 = 4;
pub(crate) const RESET: u32 = 8;
pub(crate) const COUNTED: u32 = 16;
pub(crate) const ONE_WAY: u32 = 32;
pub(crate) const ALONE: u32 = 64;
pub(crate) const PLACE: u32 = 128;

pub(crate) const REVERSE: u8 = 0;
pub(crate) const FORWARD: u8 = 1;

/// Kinds of delivery, as `Flow` documents them.
pub(crate) const ENDPOINT: u16 = 0;
pub(crate) const TASK: u16 = 1;
pub(crate) const TUNNEL: u16 = 2;
pub(crate) const MESH: u16 = 3;
pub(crate) const UPLINK: u16 = 4;
pub(crate) const DIRECT: u16 = 5;

#[derive(Clone, Debug, Default)]
pub(crate) struct Flows {
    pub(crate) settled: BTreeMap<FlowKey, Resting>,
    pub(crate) opening: BTreeMap<FlowKey, Resting>,
    pub(crate) loads: BTreeMap<u32, Load>,
    /// The backends that are not on their way out.
    pub(crate) staying: BTreeSet<u32>,
    /// The backend that has not answered the client at hand, 0 for none.
    pub(crate) avoid: u32,
    pub(crate) clock: Clock,
}

pub(crate) fn key(
    net: NetId,
    client: (Address, u16),
    server: (Address, u16),
    rest: (u8, u8),
) -> FlowKey {
    FlowKey {
        net,
        client: client.0,
        server: server.0,
        client_port: client.1,
        server_port: server.1,
        protocol: rest.0,
        side: rest.1,
        reserved: 0,
    }
}

/// The key of a client's packet.
pub(crate) fn client_key(net: NetId, packet: &Reading) -> FlowKey {
    let (client, server) = (
        (packet.source, packet.sport),
        (packet.destination, packet.dport),
    );
    key(net, client, server, (packet.protocol, FORWARD))
}

/// The key of a server's packet.
pub(crate) fn server_key(net: NetId, packet: &Reading) -> FlowKey {
    let (server, client) = (
        (packet.source, packet.sport),
        (packet.destination, packet.dport),
    );
    key(net, client, server, (packet.protocol, REVERSE))
}

/// The other entry of a translated flow.
pub(crate) fn other(key: &FlowKey, flow: &Flow) -> FlowKey {
    FlowKey {
        client: flow.client,
        client_port: flow.client_port,
        server: flow.peer,
        server_port: flow.peer_port,
        side: 1 - key.side,
        ..*key
    }
}

/// The keys of a flow's entries.
fn whole(key: &FlowKey, flow: &Flow) -> Vec<FlowKey> {
    if flow.seen & ALONE != 0 {
        vec![*key]
    } else {
        vec![*key, other(key, flow)]
    }
}

impl Flows {
    pub(crate) fn table(&mut self, table: FlowTable) -> &mut BTreeMap<FlowKey, Resting> {
        match table {
            FlowTable::Settled => &mut self.settled,
            FlowTable::Opening => &mut self.opening,
        }
    }

    pub(crate) fn find(&self, key: &FlowKey) -> Option<(FlowTable, Resting)> {
        let settled = self
            .settled
            .get(key)
            .map(|flow| (FlowTable::Settled, *flow));
        settled.or_else(|| Some((FlowTable::Opening, *self.opening.get(key)?)))
    }

    /// Records a packet of a live flow.
    pub(crate) fn pass(&mut self, key: &FlowKey, is_reply: bool, packet: &Reading, length: usize) {
        let (table, mut entry) = self.find(key).unwrap();
        entry.touch(&self.clock);
        let count = if is_reply {
            &mut entry.flow.reply
        } else {
            &mut entry.flow.forward
        };
        count.packets += 1;
        count.bytes += length as u64;
        entry.flow.seen |= bits(packet, is_reply);
        let is_one_way = entry.flow.seen & ONE_WAY != 0;
        // Who acknowledges has been answered, on whatever way.
        if is_one_way && packet.protocol == TCP && packet.kind & 0x12 == 0x10 {
            entry.flow.seen |= REPLIED;
        }
        self.table(table).insert(*key, entry);
        let is_over = over(entry.flow.seen);
        // The server's end is not to be seen.
        let may_be_over = is_one_way && half_over(entry.flow.seen);
        match table {
            FlowTable::Settled if is_over || may_be_over => self.retire(key),
            FlowTable::Opening if is_over => self.end(key),
            FlowTable::Opening if may_be_over => {}
            FlowTable::Opening if entry.flow.seen & REPLIED != 0 => self.settle(key),
            FlowTable::Settled | FlowTable::Opening => {}
        }
    }

    /// Each entry leaves its place behind, which is no flow and counts for nothing.
    fn settle(&mut self, key: &FlowKey) {
        let entry = self.opening[key];
        for moving in whole(key, &entry.flow) {
            if let Some(there) = self.opening.get_mut(&moving) {
                self.settled.insert(moving, *there);
                there.flow.seen |= PLACE | COUNTED;
            }
        }
        self.count(entry.flow.backend, |load| &mut load.opened);
    }

    /// A flow that is over leaves its place to those that are not.
    fn retire(&mut self, key: &FlowKey) {
        self.end(key);
        let entry = self.settled[key];
        for moving in whole(key, &entry.flow) {
            if let Some(there) = self.settled.remove(&moving) {
                self.opening.insert(moving, there);
            }
        }
    }

    /// What was never answered has failed when it ends.
    fn end(&mut self, key: &FlowKey) {
        let (table, mut entry) = self.find(key).unwrap();
        if entry.flow.seen & COUNTED != 0 {
            return;
        }
        entry.flow.seen |= COUNTED;
        self.table(table).insert(*key, entry);
        self.count(entry.flow.backend, |load| match table {
            FlowTable::Settled => &mut load.closed,
            FlowTable::Opening => &mut load.failed,
        });
    }

    fn forget(&mut self, key: &FlowKey) {
        let (table, entry) = self.find(key).unwrap();
        self.end(key);
        for gone in whole(key, &entry.flow) {
            self.table(table).remove(&gone);
            self.opening.remove(&gone);
        }
    }

    /// A client's packet: passes it, and says what becomes of it; `None` without a live flow.
    pub(crate) fn client(&mut self, net: NetId, packet: &Reading, length: usize) -> Option<Flow> {
        self.avoid = 0;
        let key = client_key(net, packet);
        let (_, entry) = self.find(&key)?;
        let owner = if entry.flow.delivery.kind == MESH {
            key
        } else {
            other(&key, &entry.flow)
        };
        let (_, state) = self.find(&owner)?;
        if owner != key && !state.is_for(packet) {
            return None;
        }
        if !state.takes(packet, &self.clock) {
            self.forget(&owner);
            return None;
        }
        // Where another node has picked, nobody picks again.
        if owner != key && state.flow.delivery.kind == MESH {
            self.pass(&owner, false, packet, length);
            return Some(entry.flow);
        }
        // One that is sent on untranslated cannot tell whose answer comes.
        let is_staying = self.staying.contains(&state.flow.backend);
        if state.is_forlorn(packet, &self.clock) && (owner != key || !is_staying) {
            self.avoid = state.flow.backend;
            self.forget(&owner);
            return None;
        }
        if packet.protocol != TCP && !self.staying.contains(&state.flow.backend) {
            self.forget(&owner);
            return None;
        }
        self.pass(&owner, false, packet, length);
        Some(entry.flow)
    }

    /// A packet of the flow whose state `key` owns.
    pub(crate) fn owned(
        &mut self,
        key: &FlowKey,
        is_reply: bool,
        packet: &Reading,
        length: usize,
    ) -> Option<Flow> {
        let (_, entry) = self.find(key)?;
        if key.side == FORWARD && entry.flow.delivery.kind != MESH {
            return None;
        }
        let live = if is_reply {
            !entry.is_dead(packet.protocol, &self.clock)
        } else {
            entry.takes(packet, &self.clock)
        };
        if !live {
            self.forget(key);
            return None;
        }
        if !is_reply && !entry.is_for(packet) {
            return None;
        }
        self.pass(key, is_reply, packet, length);
        Some(entry.flow)
    }

    fn count(&mut self, backend: u32, field: impl Fn(&mut Load) -> &mut u64) {
        if let Some(load) = self.loads.get_mut(&backend) {
            *field(load) += 1;
        }
    }
}

fn bits(packet: &Reading, is_reply: bool) -> u32 {
    let mut bits = if is_reply { REPLIED } else { 0 };
    if packet.protocol == TCP {
        if packet.kind & 0x01 != 0 {
            bits |= if is_reply { SERVER_DONE } else { CLIENT_DONE };
        }
        if packet.kind & 0x04 != 0 {
            bits |= RESET;
        }
    }
    bits
}
