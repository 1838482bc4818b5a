//! Flows whose backend has left, and flows that lead nowhere at all.
//!
//! A program that has read a frontend's value opens its flow a moment later: after the flows of what
//! is gone were purged. And a process may end between the change of the tables and the purge.
//! Datagrams of a client that speaks leave a backend that drains by themselves; those of one that is
//! silent are forgotten here.

use std::collections::{BTreeMap, BTreeSet};

use abi::{Backend, Flow, FlowKey, Side, backend_state, delivery, protocol};

use super::flows::{flows_of, owns_state, twin};
use super::object::Maps;
use super::table::TableError;
use crate::tables::Balance;

/// How long a server may take for an answer by datagram.
const SILENCE_NS: u64 = 5_000_000_000;

/// The backends of some flows, as the tables have them.
#[derive(Debug)]
pub(super) struct Backends {
    there: BTreeMap<u32, Backend>,
    /// Those that drain while others take over.
    retired: BTreeSet<u32>,
}

impl Backends {
    /// Whether the flow has to find another backend: its own is gone, or it drains, nothing tells when
    /// a flow like this one ends, and no answer is on its way.
    pub(super) fn have_left(&self, key: &FlowKey, flow: &Flow, now: u64) -> bool {
        let is_silent = now.saturating_sub(flow.last_ns) > SILENCE_NS;
        // A direct connection that is translated leads to no backend of a service.
        if flow.backend == 0 {
            return false;
        }
        let may_move = key.protocol != protocol::TCP && is_silent;
        !self.there.contains_key(&flow.backend) || may_move && self.retired.contains(&flow.backend)
    }
}

impl Maps {
    /// What the tables say about backends with these numbers.
    pub(super) fn backends(
        &self,
        numbers: impl Iterator<Item = u32>,
    ) -> Result<Backends, TableError> {
        let mut there = BTreeMap::new();
        for id in numbers.collect::<BTreeSet<_>>() {
            there.extend(self.backends.get(&id)?.map(|backend| (id, backend)));
        }
        let drains = |(_, backend): &(&u32, &Backend)| backend.state == backend_state::DRAINING;
        let mut retired: BTreeSet<u32> = there.iter().filter(drains).map(|(id, _)| *id).collect();
        if !retired.is_empty() {
            let (frontends, _) = self.frontends()?;
            for id in frontends.values().flat_map(Balance::backends) {
                retired.remove(&id);
            }
        }
        Ok(Backends { there, retired })
    }

    /// Removes flows that lead nowhere: a process that ended between a change of the tables and the
    /// purge of the flows concerned has left them. Returns how many.
    pub(crate) fn sweep_flows(&self, now: u64) -> Result<usize, TableError> {
        let ifaces: BTreeSet<u32> = self.ifaces.entries()?.into_iter().map(|(n, _)| n).collect();
        let vteps = self.vteps.entries()?.into_iter();
        let vteps: BTreeSet<u32> = vteps
            .filter(|(_, v)| !v.address.is_unspecified())
            .map(|(number, _)| number)
            .collect();
        let mut swept = 0;
        for table in [&self.flows, &self.embryos] {
            let entries = flows_of(table)?;
            let backends = self.backends(entries.iter().map(|(_, flow)| flow.backend))?;
            let leads_nowhere = |(key, flow): &(FlowKey, Flow)| {
                if backends.have_left(key, flow, now) {
                    return true;
                }
                if flow.backend == 0 {
                    return flow.delivery.kind == delivery::TASK
                        && !ifaces.contains(&flow.delivery.target);
                }
                let to_backend = key.side == Side::Forward as u8;
                let node = backends.there[&flow.backend].vtep;
                match flow.delivery.kind {
                    delivery::TASK => {
                        !ifaces.contains(&flow.delivery.target) || to_backend && node != 0
                    }
                    delivery::TUNNEL | delivery::MESH if to_backend => flow.delivery.target != node,
                    delivery::TUNNEL | delivery::MESH => !vteps.contains(&flow.delivery.target),
                    _ => false,
                }
            };
            let gone: Vec<(FlowKey, Flow)> = entries.into_iter().filter(leads_nowhere).collect();
            self.forget_flows(table, &gone)?;
            // A forward entry takes its other half along, which knows whether it was counted.
            let halves = gone.iter().filter(|(key, flow)| !owns_state(key, flow));
            for (key, flow) in halves {
                let owner = twin(key, flow);
                if let Some(flow) = table.get(&owner)? {
                    self.forget_flows(table, &[(owner, flow)])?;
                }
            }
            swept += gone.len();
        }
        Ok(swept)
    }
}
