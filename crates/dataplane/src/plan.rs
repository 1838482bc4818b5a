//! What has to change, in an order in which traffic never meets a half-made thing: pure.
//!
//! First everything new is made, interfaces still down; then the tables are published from the
//! backends up to new frontends; then interfaces come up, and frontends that are there pick who is new.
//! What is no longer wanted goes in reverse.

mod links;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;

use abi::Mac;
use ipnetwork::IpNetwork;

use crate::problem::Problem;
use crate::tables::{FrontendKey, LinkRef, Place, Tables};
use crate::world::{Firewall, Hook, LinkName, Pair, Route, Rule, SocketHook, Tunnel, World};

pub(crate) use links::bare;
pub(crate) use tables::{Purge, TableChange};

/// What is there at present.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) world: World,
    /// Where the picks of each frontend are.
    pub(crate) places: BTreeMap<FrontendKey, Place>,
    /// The frontends whose previous picks need not be kept any longer.
    pub(crate) outlived: BTreeSet<FrontendKey>,
    /// Places that were freed too lately to be used again.
    pub(crate) quarantine: Vec<Range<u32>>,
    /// Length of the flat array of picks.
    pub(crate) pick_capacity: u32,
    /// Pairs with the right names that cannot be kept: their task's end is not where it should be.
    pub(crate) broken: Vec<LinkName>,
    /// Tasks' namespaces in which something was changed besides interfaces.
    pub(crate) touched: BTreeSet<PathBuf>,
    /// The numbers of our interfaces.
    pub(crate) indexes: BTreeMap<LinkName, u32>,
}

impl Observed {
    /// What is left when `links` are gone: entries that name them name nothing any more.
    fn without(&self, links: &BTreeSet<LinkName>) -> Self {
        let mut observed = self.clone();
        let forget = |link: &mut LinkRef| {
            if let LinkRef::Named(name) = link
                && links.contains(name)
            {
                *link = LinkRef::Gone(self.indexes.get(name).copied().unwrap_or_default());
            }
        };
        let world = &mut observed.world;
        let tables = &mut world.tables;
        world.hooks = std::mem::take(&mut world.hooks)
            .into_iter()
            .map(|mut hook| {
                forget(&mut hook.link);
                hook
            })
            .collect();
        tables.ifaces = std::mem::take(&mut tables.ifaces)
            .into_iter()
            .map(|(mut link, iface)| {
                forget(&mut link);
                (link, iface)
            })
            .collect();
        tables.addresses.values_mut().for_each(forget);
        tables
            .endpoints
            .values_mut()
            .filter_map(|e| e.link.as_mut())
            .for_each(forget);
        tables
            .vteps
            .values_mut()
            .filter_map(|v| v.link.as_mut())
            .for_each(forget);
        tables
            .settings
            .iter_mut()
            .filter_map(|s| s.link.as_mut())
            .for_each(forget);
        observed
    }
}

/// One thing that the data plane can do to the kernel; together they are all that it can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Sets a setting of the node, after its present value has been recorded.
    SetSysctl { key: String, value: String },
    /// Gives a recorded setting of the node back.
    RestoreSysctl { key: String },
    /// Makes the VXLAN device, down.
    CreateTunnel { name: LinkName, tunnel: Tunnel },
    /// Sets the MTU of the VXLAN device.
    SetTunnelMtu { name: LinkName, mtu: u32 },
    /// Brings the VXLAN device up.
    SetTunnelUp { name: LinkName },
    /// Makes a veth pair, both ends down.
    CreatePair { name: LinkName, pair: Box<Pair> },
    /// Removes an interface of the node, and with it the other end and all that hangs on either.
    DeleteLink { name: LinkName },
    /// Changes one end of a pair.
    Configure { end: EndRef, change: EndChange },
    /// Adds a routing rule in a task's namespace.
    AddRule { namespace: PathBuf, rule: Rule },
    /// Removes a routing rule in a task's namespace.
    RemoveRule { namespace: PathBuf, rule: Rule },
    /// Sets a setting of a task's namespace, after its present value has been recorded.
    SetNamespaceSysctl {
        namespace: PathBuf,
        key: String,
        value: String,
    },
    /// Gives the recorded settings of a task's namespace back, and forgets it.
    RestoreNamespace { namespace: PathBuf },
    /// Replaces the nftables table as a whole, atomically.
    ReplaceFirewall { firewall: Firewall },
    /// Removes the nftables table.
    DeleteFirewall { table: String },
    /// Attaches a program.
    Attach { hook: Hook },
    /// Detaches a program.
    Detach { hook: Hook },
    /// Attaches socket hooks, all or none.
    AttachSockets { hooks: Vec<SocketHook> },
    /// Detaches a socket hook.
    DetachSocket { hook: SocketHook },
    /// Changes the contents of a map.
    Table(TableChange),
}

/// One end of a pair.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EndRef {
    /// The pair, by the name of the node's end.
    pub(crate) pair: LinkName,
    /// Where the end is.
    pub(crate) side: Side,
}

/// Which end of a pair.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Node,
    Task {
        namespace: PathBuf,
        interface: LinkName,
    },
}

/// A change of one end of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EndChange {
    Mac(Mac),
    Mtu(u32),
    Up,
    /// The key is as in [`crate::world::End::sysctls`].
    Sysctl(&'static str, String),
    AddAddress(IpNetwork),
    RemoveAddress(IpNetwork),
    AddRoute(Route),
    RemoveRoute(Route),
    AddNeighbour(IpAddr, Mac),
    RemoveNeighbour(IpAddr),
}

/// Decides how to get from what is to what should be.
///
/// # Errors
/// When the tables have no room.
pub(crate) fn plan(wanted: &World, observed: &Observed) -> Result<Vec<Change>, Problem> {
    let replaced = links::replaced(wanted, observed);
    let left = (!replaced.is_empty()).then(|| observed.without(&replaced));
    let observed = left.as_ref().unwrap_or(observed);
    let links = links::plan(wanted, observed);
    let tables = tables::plan(&wanted.tables, observed)?;
    let mut changes = links.before;
    changes.extend(tables.put.into_iter().map(Change::Table));
    changes.extend(links.after);
    changes.extend(tables.publish.into_iter().map(Change::Table));
    changes.extend(tables.remove.into_iter().map(Change::Table));
    changes.extend(links.removal);
    Ok(changes)
}

/// The same where nothing but the tables differs.
///
/// # Errors
/// As [`plan`].
pub(crate) fn plan_tables(wanted: &Tables, observed: &Observed) -> Result<Vec<Change>, Problem> {
    let tables = tables::plan(wanted, observed)?;
    let all = tables.put.into_iter().chain(tables.publish);
    Ok(all.chain(tables.remove).map(Change::Table).collect())
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
