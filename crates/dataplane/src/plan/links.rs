//! Interfaces, namespaces, settings, the firewall and the hooks.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Change, EndChange, EndRef, Observed, Side};
use crate::lower::FORWARDING_V6;
use crate::tables::LinkRef;
use crate::world::{End, Hook, LinkName, Namespace, Pair, Tunnel, World};

/// Changes by when they are due.
#[derive(Default)]
pub(super) struct Steps {
    /// Before the tables are published.
    pub(super) before: Vec<Change>,
    /// After the tables are published.
    pub(super) after: Vec<Change>,
    /// After the tables have forgotten.
    pub(super) removal: Vec<Change>,
}

pub(super) fn plan(wanted: &World, observed: &Observed) -> Steps {
    let mut steps = Steps::default();
    let present = &observed.world;
    sysctls(wanted, present, &mut steps);
    tunnel(wanted, present, &mut steps);
    pairs(wanted, observed, &mut steps);
    namespaces(wanted, observed, &mut steps);
    firewall(wanted, present, &mut steps);
    hooks(wanted, present, &mut steps);
    sockets(wanted, present, &mut steps);
    bring_up(wanted, present, &mut steps);
    steps
}

fn sysctls(wanted: &World, present: &World, steps: &mut Steps) {
    let mut changes: Vec<(&String, &String)> = wanted
        .sysctls
        .iter()
        .filter(|(k, v)| present.sysctls.get(*k) != Some(v))
        .collect();
    // The moment a node forwards IPv6 it drops the routes learnt from routers, unless the interface
    // has been told to keep listening (`addrconf_fixup_forwarding` in net/ipv6/addrconf.c).
    changes.sort_by_key(|(key, _)| key.as_str() == FORWARDING_V6);
    steps
        .before
        .extend(changes.into_iter().map(|(k, v)| Change::SetSysctl {
            key: k.clone(),
            value: v.clone(),
        }));
    let restored = present
        .sysctls
        .keys()
        .filter(|key| !wanted.sysctls.contains_key(*key));
    steps
        .removal
        .extend(restored.map(|key| Change::RestoreSysctl { key: key.clone() }));
}

fn tunnel(wanted: &World, present: &World, steps: &mut Steps) {
    match (&wanted.tunnel, &present.tunnel) {
        (Some((name, wanted)), Some((old, present)))
            if name == old && wanted.is_same_device(*present) =>
        {
            if wanted.mtu != present.mtu {
                let name = name.clone();
                steps.before.push(Change::SetTunnelMtu {
                    name,
                    mtu: wanted.mtu,
                });
            }
        }
        (wanted, present) => {
            // Two such devices cannot share a port, so the old one goes first.
            let deleted = present
                .iter()
                .map(|(name, _)| Change::DeleteLink { name: name.clone() });
            steps.before.extend(deleted);
            let created = wanted.iter().map(|(name, tunnel)| Change::CreateTunnel {
                name: name.clone(),
                tunnel: *tunnel,
            });
            steps.before.extend(created);
        }
    }
}

/// The interfaces that exist and go before new ones are made.
pub(super) fn replaced(wanted: &World, observed: &Observed) -> BTreeSet<LinkName> {
    let mut replaced: BTreeSet<LinkName> = observed.broken.iter().cloned().collect();
    let present = &observed.world;
    replaced.extend(replaced_pairs(wanted, present).cloned());
    if let (Some((name, wanted)), Some((old, present))) = (&wanted.tunnel, &present.tunnel)
        && (name != old || !wanted.is_same_device(*present))
    {
        replaced.insert(old.clone());
    }
    replaced
}

/// The pairs to be made again under the same name, and those that are in the way: another one wants
/// the name of their task's end.
fn replaced_pairs<'a>(wanted: &World, present: &'a World) -> impl Iterator<Item = &'a LinkName> {
    let task_ends: BTreeSet<_> = wanted.pairs.values().map(task_end).collect();
    let is_replaced = move |(name, old): &(&LinkName, &Pair)| match wanted.pairs.get(*name) {
        Some(pair) => !same_pair(pair, old),
        None => task_ends.contains(&task_end(old)),
    };
    present
        .pairs
        .iter()
        .filter(is_replaced)
        .map(|(name, _)| name)
}

fn pairs(wanted: &World, observed: &Observed, steps: &mut Steps) {
    let present = &observed.world.pairs;
    let broken = &observed.broken;
    let delete = |name: &LinkName| Change::DeleteLink { name: name.clone() };
    let replaced: BTreeSet<&LinkName> = replaced_pairs(wanted, &observed.world)
        .chain(
            broken
                .iter()
                .filter(|name| wanted.pairs.contains_key(*name)),
        )
        .collect();
    // A namespace has each name once: all that go make room before any is made.
    steps.before.extend(replaced.iter().copied().map(delete));
    for (name, pair) in &wanted.pairs {
        let old = present.get(name).filter(|old| same_pair(pair, old));
        if let Some(old) = old {
            configure(name, pair, old, steps);
            continue;
        }
        steps.before.push(Change::CreatePair {
            name: name.clone(),
            pair: Box::new(pair.clone()),
        });
        configure(name, pair, &bare(pair), steps);
    }
    let gone = present.keys().chain(broken);
    let gone: BTreeSet<&LinkName> = gone
        .filter(|name| !wanted.pairs.contains_key(*name) && !replaced.contains(name))
        .collect();
    steps.removal.extend(gone.into_iter().map(delete));
}

/// Whether `old` can be brought to `wanted` without being made again.
fn same_pair(wanted: &Pair, old: &Pair) -> bool {
    task_end(wanted) == task_end(old)
}

fn task_end(pair: &Pair) -> (&Path, &LinkName) {
    (&pair.namespace, &pair.interface)
}

/// A pair as it is when it has just been made.
pub(crate) fn bare(pair: &Pair) -> Pair {
    let end = |end: &End| End {
        mac: end.mac,
        mtu: end.mtu,
        ..End::default()
    };
    Pair {
        node: end(&pair.node),
        task: end(&pair.task),
        ..pair.clone()
    }
}

fn configure(name: &LinkName, wanted: &Pair, present: &Pair, steps: &mut Steps) {
    let task = Side::Task {
        namespace: wanted.namespace.clone(),
        interface: wanted.interface.clone(),
    };
    for (side, wanted, present) in [
        (Side::Node, &wanted.node, &present.node),
        (task, &wanted.task, &present.task),
    ] {
        let end = EndRef {
            pair: name.clone(),
            side,
        };
        let change = |change| Change::Configure {
            end: end.clone(),
            change,
        };
        steps
            .before
            .extend(settle(wanted, present).into_iter().map(change));
        steps
            .after
            .extend(connect(wanted, present).into_iter().map(change));
        steps
            .removal
            .extend(forget(wanted, present).into_iter().map(change));
    }
}

/// What an end needs before it comes up. Settings go first: the kernel makes addresses of its own
/// when an interface comes up.
fn settle(wanted: &End, present: &End) -> Vec<EndChange> {
    let mut changes = Vec::new();
    for (key, value) in &wanted.sysctls {
        if present.sysctls.get(key) != Some(value) {
            changes.push(EndChange::Sysctl(key, value.clone()));
        }
    }
    if wanted.mac != present.mac {
        changes.push(EndChange::Mac(wanted.mac));
    }
    if wanted.mtu != present.mtu {
        changes.push(EndChange::Mtu(wanted.mtu));
    }
    let new = wanted.addresses.difference(&present.addresses);
    changes.extend(new.map(|address| EndChange::AddAddress(*address)));
    changes
}

/// What an end needs to come up, and what only an end that is up can have.
fn connect(wanted: &End, present: &End) -> Vec<EndChange> {
    let mut changes = Vec::new();
    if wanted.up && !present.up {
        changes.push(EndChange::Up);
    }
    let neighbours = wanted.neighbours.iter();
    changes.extend(
        neighbours
            .filter(|(address, mac)| present.neighbours.get(*address) != Some(mac))
            .map(|(address, mac)| EndChange::AddNeighbour(*address, *mac)),
    );
    for route in wanted.routes.difference(&present.routes) {
        // One table has one route to a destination: the old one makes room.
        let old = present
            .routes
            .iter()
            .find(|old| (old.table, old.destination) == (route.table, route.destination));
        changes.extend(old.map(|old| EndChange::RemoveRoute(old.clone())));
        changes.push(EndChange::AddRoute(route.clone()));
    }
    changes
}

fn forget(wanted: &End, present: &End) -> Vec<EndChange> {
    let mut changes = Vec::new();
    let replaced: BTreeSet<_> = wanted
        .routes
        .iter()
        .map(|r| (r.table, r.destination))
        .collect();
    let routes = present.routes.difference(&wanted.routes);
    changes.extend(
        routes
            .filter(|route| !replaced.contains(&(route.table, route.destination)))
            .map(|route| EndChange::RemoveRoute(route.clone())),
    );
    let neighbours = present
        .neighbours
        .keys()
        .filter(|a| !wanted.neighbours.contains_key(*a));
    changes.extend(neighbours.map(|address| EndChange::RemoveNeighbour(*address)));
    let addresses = present.addresses.difference(&wanted.addresses);
    changes.extend(addresses.map(|address| EndChange::RemoveAddress(*address)));
    changes
}

fn namespaces(wanted: &World, observed: &Observed, steps: &mut Steps) {
    let empty = Namespace::default();
    let present = &observed.world;
    for (path, namespace) in &wanted.namespaces {
        let old = present.namespaces.get(path).unwrap_or(&empty);
        for (key, value) in &namespace.sysctls {
            if old.sysctls.get(key) != Some(value) {
                steps.before.push(Change::SetNamespaceSysctl {
                    namespace: path.clone(),
                    key: key.clone(),
                    value: value.clone(),
                });
            }
        }
        let rules = namespace.rules.difference(&old.rules);
        steps.after.extend(rules.map(|rule| Change::AddRule {
            namespace: path.clone(),
            rule: *rule,
        }));
    }
    for (path, old) in &present.namespaces {
        let namespace = wanted.namespaces.get(path).unwrap_or(&empty);
        let rules = old.rules.difference(&namespace.rules);
        steps.removal.extend(rules.map(|rule| Change::RemoveRule {
            namespace: path.clone(),
            rule: *rule,
        }));
    }
    let over = observed
        .touched
        .iter()
        .filter(|path| !wanted.namespaces.contains_key(*path));
    steps
        .removal
        .extend(over.map(|path| Change::RestoreNamespace {
            namespace: path.clone(),
        }));
}

fn firewall(wanted: &World, present: &World, steps: &mut Steps) {
    match (&wanted.firewall, &present.firewall) {
        (Some(wanted), present) if present.as_ref() != Some(wanted) => {
            steps.before.push(Change::ReplaceFirewall {
                firewall: wanted.clone(),
            });
        }
        (None, Some(present)) => {
            steps.removal.push(Change::DeleteFirewall {
                table: present.table.clone(),
            });
        }
        (Some(_) | None, _) => {}
    }
}

fn hooks(wanted: &World, present: &World, steps: &mut Steps) {
    let old = present.hooks.difference(&wanted.hooks);
    let is_gone = |hook: &&Hook| matches!(hook.link, LinkRef::Gone(_));
    // A new interface may get the number of one that is gone, and with it the name of its pin.
    let gone = old.clone().filter(is_gone);
    steps
        .before
        .extend(gone.map(|hook| Change::Detach { hook: hook.clone() }));
    let new = wanted.hooks.difference(&present.hooks);
    steps
        .before
        .extend(new.map(|hook| Change::Attach { hook: hook.clone() }));
    // A pin outlives its interface: it has to go before the interface does, while that has a name.
    let old = old.filter(|hook| !is_gone(hook));
    let mut removal: Vec<Change> = old
        .map(|hook| Change::Detach { hook: hook.clone() })
        .collect();
    removal.append(&mut steps.removal);
    steps.removal = removal;
}

/// After the tables: a socket is led nowhere before they are complete.
fn sockets(wanted: &World, present: &World, steps: &mut Steps) {
    let new: Vec<_> = wanted
        .sockets
        .difference(&present.sockets)
        .copied()
        .collect();
    if !new.is_empty() {
        steps.after.push(Change::AttachSockets { hooks: new });
    }
    let old = present.sockets.difference(&wanted.sockets);
    steps
        .removal
        .extend(old.map(|hook| Change::DetachSocket { hook: *hook }));
}

fn bring_up(wanted: &World, present: &World, steps: &mut Steps) {
    let Some((name, tunnel)) = &wanted.tunnel else {
        return;
    };
    let stays_up = |(old, present): &(LinkName, Tunnel)| {
        old == name && present.up && tunnel.is_same_device(*present)
    };
    if tunnel.up && !present.tunnel.as_ref().is_some_and(stays_up) {
        steps.after.push(Change::SetTunnelUp { name: name.clone() });
    }
}
