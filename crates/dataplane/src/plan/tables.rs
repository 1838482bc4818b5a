//! The contents of the maps: only what differs, published from the backends up to the frontends and
//! removed in reverse.

mod frontends;

use std::collections::{BTreeMap, BTreeSet};

use abi::{
    Address, Backend, Endpoint, EndpointKey, Iface, NetId, Netns, Network, Service, Settings, Vtep,
};

use super::Observed;
use crate::problem::Problem;
use crate::tables::{FrontendKey, LinkRef, Local, Tables};

/// A change of one map, in batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TableChange {
    /// Replaces the node's settings.
    PutSettings(Local<Settings>),
    /// Numbers nodes.
    PutVteps(Vec<(u32, Local<Vtep>)>),
    /// Makes networks known.
    PutNetworks(Vec<(NetId, Network)>),
    /// Says what is behind interfaces.
    PutIfaces(Vec<(LinkRef, Iface)>),
    /// Makes own addresses known.
    PutAddresses(Vec<(Address, LinkRef)>),
    /// Says where endpoints are.
    PutEndpoints(Vec<(EndpointKey, Local<Endpoint>)>),
    /// Begins to count the flows of backends.
    PutLoads(Vec<u32>),
    /// Makes backends known.
    PutBackends(Vec<(u32, Backend)>),
    /// Gives services a cursor.
    PutCursors(Vec<u32>),
    /// Writes new picks beside the old ones; nothing names them yet.
    WritePicks(Vec<(u32, Vec<u32>)>),
    /// Publishes frontends: from here on new flows see the new picks.
    PutFrontends(Vec<(FrontendKey, Service)>),
    /// Lets the sockets of namespaces be led.
    PutNetns(Vec<(u64, Netns)>),
    /// Leaves the sockets of namespaces alone.
    RemoveNetns(Vec<u64>),
    /// Withdraws frontends.
    RemoveFrontends(Vec<FrontendKey>),
    /// Forgets the flows of what is gone or elsewhere now.
    PurgeFlows(Purge),
    RemoveCursors(Vec<u32>),
    RemoveBackends(Vec<u32>),
    RemoveLoads(Vec<u32>),
    RemoveEndpoints(Vec<EndpointKey>),
    RemoveAddresses(Vec<Address>),
    RemoveIfaces(Vec<LinkRef>),
    RemoveNetworks(Vec<NetId>),
    RemoveVteps(Vec<(u32, Address)>),
}

impl TableChange {
    /// The table, and how many entries of it; `None` for what only goes along with other changes.
    pub(crate) const fn concerns(&self) -> Option<(&'static str, usize)> {
        Some(match self {
            Self::PutSettings(_) => ("settings", 1),
            Self::PutVteps(it) => ("vteps", it.len()),
            Self::RemoveVteps(it) => ("vteps", it.len()),
            Self::PutNetworks(it) => ("networks", it.len()),
            Self::RemoveNetworks(it) => ("networks", it.len()),
            Self::PutIfaces(it) => ("ifaces", it.len()),
            Self::RemoveIfaces(it) => ("ifaces", it.len()),
            Self::PutAddresses(it) => ("addresses", it.len()),
            Self::RemoveAddresses(it) => ("addresses", it.len()),
            Self::PutEndpoints(it) => ("endpoints", it.len()),
            Self::RemoveEndpoints(it) => ("endpoints", it.len()),
            Self::PutLoads(it) => ("loads", it.len()),
            Self::RemoveLoads(it) => ("loads", it.len()),
            Self::PutBackends(it) => ("backends", it.len()),
            Self::RemoveBackends(it) => ("backends", it.len()),
            Self::PutCursors(it) => ("cursors", it.len()),
            Self::RemoveCursors(it) => ("cursors", it.len()),
            Self::PutFrontends(it) => ("frontends", it.len()),
            Self::RemoveFrontends(it) => ("frontends", it.len()),
            Self::PutNetns(it) => ("netns", it.len()),
            Self::RemoveNetns(it) => ("netns", it.len()),
            Self::WritePicks(_) | Self::PurgeFlows(_) => return None,
        })
    }
}

/// Which flows are to be forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Purge {
    /// Those with one of these backends.
    pub(crate) backends: BTreeSet<u32>,
    /// Those with one of these at either end.
    pub(crate) endpoints: BTreeSet<EndpointKey>,
    /// Those that came from one of these nodes.
    pub(crate) vteps: BTreeSet<u32>,
}

impl Purge {
    fn is_empty(&self) -> bool {
        self.backends.is_empty() && self.endpoints.is_empty() && self.vteps.is_empty()
    }
}

/// Changes in three parts: interfaces come up after the first.
#[derive(Default)]
pub(super) struct Steps {
    /// Who is where, and frontends that are new: a client that is refused does not come back, one that
    /// is not heard does.
    pub(super) put: Vec<TableChange>,
    /// Who else is picked at frontends that are there: nobody whose interface is down.
    pub(super) publish: Vec<TableChange>,
    pub(super) remove: Vec<TableChange>,
}

pub(super) fn plan(wanted: &Tables, observed: &Observed) -> Result<Steps, Problem> {
    let present = &observed.world.tables;
    let mut steps = Steps::default();
    put(wanted, present, &mut steps.put);
    frontends::plan(wanted, observed, &mut steps)?;
    push(
        &mut steps.publish,
        new(&wanted.netns, &present.netns),
        TableChange::PutNetns,
    );
    remove(wanted, present, &mut steps.remove);
    Ok(steps)
}

fn put(wanted: &Tables, present: &Tables, changes: &mut Vec<TableChange>) {
    if wanted.settings != present.settings {
        changes.extend(wanted.settings.clone().map(TableChange::PutSettings));
    }
    push(
        changes,
        new(&wanted.vteps, &present.vteps),
        TableChange::PutVteps,
    );
    push(
        changes,
        new(&wanted.networks, &present.networks),
        TableChange::PutNetworks,
    );
    // A new interface may have got the number of one that is gone.
    let (gone, _) = old_ifaces(wanted, present);
    push(changes, gone, TableChange::RemoveIfaces);
    push(
        changes,
        new(&wanted.ifaces, &present.ifaces),
        TableChange::PutIfaces,
    );
    push(
        changes,
        new(&wanted.addresses, &present.addresses),
        TableChange::PutAddresses,
    );
    push(
        changes,
        new(&wanted.endpoints, &present.endpoints),
        TableChange::PutEndpoints,
    );
    push(
        changes,
        missing(&wanted.loads, &present.loads),
        TableChange::PutLoads,
    );
    push(
        changes,
        new(&wanted.backends, &present.backends),
        TableChange::PutBackends,
    );
    push(
        changes,
        missing(&wanted.cursors, &present.cursors),
        TableChange::PutCursors,
    );
}

fn remove(wanted: &Tables, present: &Tables, changes: &mut Vec<TableChange>) {
    push(
        changes,
        old(&wanted.netns, &present.netns),
        TableChange::RemoveNetns,
    );
    push(
        changes,
        old(&wanted.frontends, &present.frontends),
        TableChange::RemoveFrontends,
    );
    let purge = purge(wanted, present);
    if !purge.is_empty() {
        changes.push(TableChange::PurgeFlows(purge));
    }
    push(
        changes,
        missing(&present.cursors, &wanted.cursors),
        TableChange::RemoveCursors,
    );
    push(
        changes,
        old(&wanted.backends, &present.backends),
        TableChange::RemoveBackends,
    );
    push(
        changes,
        missing(&present.loads, &wanted.loads),
        TableChange::RemoveLoads,
    );
    push(
        changes,
        old(&wanted.endpoints, &present.endpoints),
        TableChange::RemoveEndpoints,
    );
    push(
        changes,
        old(&wanted.addresses, &present.addresses),
        TableChange::RemoveAddresses,
    );
    let (_, there) = old_ifaces(wanted, present);
    push(changes, there, TableChange::RemoveIfaces);
    push(
        changes,
        old(&wanted.networks, &present.networks),
        TableChange::RemoveNetworks,
    );
    let vteps = present
        .vteps
        .iter()
        .filter(|(number, _)| !wanted.vteps.contains_key(*number));
    let vteps = vteps
        .map(|(number, vtep)| (*number, vtep.value.address))
        .collect();
    push(changes, vteps, TableChange::RemoveVteps);
}

/// The interfaces that should not be known: those that are gone, and those that are there.
fn old_ifaces(wanted: &Tables, present: &Tables) -> (Vec<LinkRef>, Vec<LinkRef>) {
    old(&wanted.ifaces, &present.ifaces)
        .into_iter()
        .partition(|link| matches!(link, LinkRef::Gone(_)))
}

/// The flows that lead nowhere: their backend is gone, or what they lead to is somewhere else.
fn purge(wanted: &Tables, present: &Tables) -> Purge {
    let mut purge = Purge::default();
    for (id, old) in &present.backends {
        let moved = |new: &Backend| {
            (new.net, new.address, new.port, new.vtep) != (old.net, old.address, old.port, old.vtep)
        };
        if wanted.backends.get(id).is_none_or(moved) {
            purge.backends.insert(*id);
        }
    }
    for (key, old) in &present.endpoints {
        let moved = |new: &Local<Endpoint>| {
            (&new.link, new.value.vtep, new.value.mac, new.value.kind)
                != (&old.link, old.value.vtep, old.value.mac, old.value.kind)
        };
        if wanted.endpoints.get(key).is_none_or(moved) {
            purge.endpoints.insert(*key);
        }
    }
    for (number, old) in &present.vteps {
        let new = wanted.vteps.get(number);
        if new.is_none_or(|new| new.value.address != old.value.address) {
            purge.vteps.insert(*number);
        }
    }
    purge
}

fn push<T>(changes: &mut Vec<TableChange>, items: Vec<T>, change: fn(Vec<T>) -> TableChange) {
    if !items.is_empty() {
        changes.push(change(items));
    }
}

/// The entries that are not there, or are different.
fn new<K: Ord + Clone, V: PartialEq + Clone>(
    wanted: &BTreeMap<K, V>,
    present: &BTreeMap<K, V>,
) -> Vec<(K, V)> {
    let differs = |(key, value): &(&K, &V)| present.get(*key) != Some(*value);
    wanted
        .iter()
        .filter(differs)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The keys that should not be there.
fn old<K: Ord + Clone, V>(wanted: &BTreeMap<K, V>, present: &BTreeMap<K, V>) -> Vec<K> {
    present
        .keys()
        .filter(|key| !wanted.contains_key(*key))
        .cloned()
        .collect()
}

fn missing(of: &BTreeSet<u32>, from: &BTreeSet<u32>) -> Vec<u32> {
    of.difference(from).copied().collect()
}
