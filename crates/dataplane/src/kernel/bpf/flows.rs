//! The flow tables as user space sees them: reading, and taking out what is over.

use std::collections::BTreeMap;

use abi::{Flow, FlowKey, Load, Seen, Side, delivery};

use super::object::Maps;
use super::table::{Table, TableError};

/// How long an entry stays after it has expired before it is collected, so that a packet that finds
/// it at that moment is not working on what is being removed.
const GRACE_NS: u64 = 2_000_000_000;

/// Nanoseconds of the clock by which flows are stamped.
pub(crate) fn now_ns() -> u64 {
    read(rustix::time::ClockId::MonotonicCoarse)
}

/// Nanoseconds of the monotonic clock itself, by which probes are timed.
pub(crate) fn clock_ns() -> u64 {
    read(rustix::time::ClockId::Monotonic)
}

fn read(clock: rustix::time::ClockId) -> u64 {
    let now = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Whether this entry owns its flow's state and counters.
pub(crate) fn owns_state(key: &FlowKey, flow: &Flow) -> bool {
    key.side == Side::Reverse as u8 || flow.delivery.kind == delivery::MESH
}

/// The node from which a flow came through the mesh, a key of `vteps`. A forward entry that stands
/// alone keeps the interface that the client's packets came in by in that place.
pub(crate) fn origin(key: &FlowKey, flow: &Flow) -> Option<u32> {
    let alone = key.side == Side::Forward as u8 && flow.delivery.kind == delivery::MESH;
    (flow.via != 0 && !alone).then_some(flow.via)
}

/// The key of a translated flow's other entry.
pub(super) fn twin(key: &FlowKey, flow: &Flow) -> FlowKey {
    FlowKey {
        client: flow.client,
        server: flow.peer,
        client_port: flow.client_port,
        server_port: flow.peer_port,
        side: key.side ^ 1,
        ..*key
    }
}

/// A flow with the client's packets that its forward entry has counted.
fn joined(owner: &Flow, forward: &Flow) -> Flow {
    let mut flow = *owner;
    flow.forward.packets += forward.forward.packets;
    flow.forward.bytes += forward.forward.bytes;
    flow
}

/// What a table of flows holds, without the places that established flows have left behind.
pub(super) fn flows_of(table: &Table<FlowKey, Flow>) -> Result<Vec<(FlowKey, Flow)>, TableError> {
    let mut entries = table.entries()?;
    entries.retain(|(_, flow)| Seen(flow.seen).is_flow());
    Ok(entries)
}

impl Maps {
    /// Every live flow by the entry that owns its state, with what both its entries have counted.
    pub(crate) fn live_flows(&self, now: u64) -> Result<BTreeMap<FlowKey, Flow>, TableError> {
        let mut entries = BTreeMap::new();
        // A flow that moves from one table to the other meanwhile is neither missed nor told twice.
        for table in [&self.embryos, &self.flows, &self.embryos] {
            entries.extend(flows_of(table)?);
        }
        let is_live = |(key, flow): &(&FlowKey, &Flow)| {
            owns_state(key, flow) && !Seen(flow.seen).is_expired(key.protocol, flow.last_ns, now)
        };
        let whole = |(key, flow): (&FlowKey, &Flow)| {
            let half = entries.get(&twin(key, flow));
            let half = half.filter(|half| !owns_state(&twin(key, flow), half));
            (*key, half.map_or(*flow, |half| joined(flow, half)))
        };
        Ok(entries.iter().filter(is_live).map(whole).collect())
    }

    /// How many live flows there are. One that moves from one table to the other meanwhile may be
    /// counted twice or not at all.
    pub(crate) fn count_flows(&self, now: u64) -> Result<usize, TableError> {
        let is_live = |key: &FlowKey, flow: &Flow| {
            owns_state(key, flow) && !Seen(flow.seen).is_expired(key.protocol, flow.last_ns, now)
        };
        Ok(self.flows.count(is_live)? + self.embryos.count(is_live)?)
    }

    /// Removes expired flows from the table that evicts nothing by itself, and those of backends that
    /// have left while the flows were being opened; returns how many.
    pub(crate) fn collect_garbage(&self, now: u64) -> Result<usize, TableError> {
        let over = now.saturating_sub(GRACE_NS);
        let expired = |key: &FlowKey, flow: &Flow| {
            Seen(flow.seen).is_expired(key.protocol, flow.last_ns, over)
        };
        let entries: BTreeMap<FlowKey, Flow> = self.flows.entries()?.into_iter().collect();
        let backends = self.backends(entries.values().map(|flow| flow.backend))?;
        let mut gone = Vec::new();
        for (key, flow) in &entries {
            if owns_state(key, flow) && backends.have_left(key, flow, now) {
                gone.push((*key, *flow));
            } else if owns_state(key, flow) {
                // Looked at again: a packet may have come since the listing.
                let again = if expired(key, flow) {
                    self.flows.get(key)?
                } else {
                    None
                };
                gone.extend(
                    again
                        .filter(|flow| expired(key, flow))
                        .map(|flow| (*key, flow)),
                );
            } else if !entries.contains_key(&twin(key, flow))
                && self.flows.get(&twin(key, flow))?.is_none()
            {
                // Half of a flow is no flow.
                gone.push((*key, *flow));
            }
        }
        self.forget_flows(&self.flows, &gone)?;
        let gone = gone.iter().filter(|(key, flow)| owns_state(key, flow));
        Ok(gone.count() + self.collect_openings(now)?)
    }

    /// The same for the small table: nothing waits for their room, but until then they
    /// count as flows of their backend.
    fn collect_openings(&self, now: u64) -> Result<usize, TableError> {
        let over = now.saturating_sub(GRACE_NS);
        let expired = |(key, flow): &(FlowKey, Flow)| {
            owns_state(key, flow) && Seen(flow.seen).is_expired(key.protocol, flow.last_ns, over)
        };
        let entries = flows_of(&self.embryos)?;
        let backends = self.backends(entries.iter().map(|(_, flow)| flow.backend))?;
        let has_left = |(key, flow): &(FlowKey, Flow)| {
            owns_state(key, flow) && backends.have_left(key, flow, now)
        };
        let mut gone: Vec<(FlowKey, Flow)> = entries.iter().copied().filter(has_left).collect();
        for (key, _) in entries
            .into_iter()
            .filter(|entry| !has_left(entry) && expired(entry))
        {
            let again = self.embryos.get(&key)?.map(|flow| (key, flow));
            gone.extend(again.filter(expired));
        }
        self.forget_flows(&self.embryos, &gone)?;
        Ok(gone.len())
    }

    /// Removes flows, both entries of each, and counts their end.
    pub(super) fn forget_flows(
        &self,
        table: &Table<FlowKey, Flow>,
        flows: &[(FlowKey, Flow)],
    ) -> Result<(), TableError> {
        let mut keys = Vec::with_capacity(flows.len() * 2);
        let mut ended: BTreeMap<u32, Load> = BTreeMap::new();
        for (key, flow) in flows {
            keys.push(*key);
            if !owns_state(key, flow) {
                continue;
            }
            keys.push(twin(key, flow));
            if flow.seen & Seen::COUNTED != 0 {
                continue;
            }
            let load = ended.entry(flow.backend).or_default();
            // Only what was answered has been counted as opened, and lives in `flows`.
            if std::ptr::eq(table, &raw const self.flows) {
                load.closed += 1;
            } else {
                load.failed += 1;
            }
        }
        table.remove_all(&keys)?;
        self.correct_loads(&ended)
    }
}
