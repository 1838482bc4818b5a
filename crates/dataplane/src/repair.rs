//! What an audit has put right, in words: pure.
//!
//! A repair is a change that leads from what the kernel holds to what it was known to hold, and that
//! was made. Whatever follows from a new desired state or from the node's own doings is none.

use std::collections::BTreeMap;

use crate::plan::{Change, EndChange, EndRef, Side};
use crate::tables::LinkRef;
use crate::world::Hook;

/// Objects by their names, with how many of each. Entries of a table are many objects of one name.
type Objects = BTreeMap<String, usize>;

/// What of `drift`, the changes back to what was known, is among `made`.
pub(crate) fn repairs(drift: &[Change], made: &[Change]) -> Vec<String> {
    let made = objects(made);
    let common = objects(drift).into_iter().filter_map(|(name, count)| {
        let count = count.min(made.get(&name).copied()?);
        Some((name, count))
    });
    common.map(told).collect()
}

fn told((name, count): (String, usize)) -> String {
    match (name.strip_prefix(TABLE), count) {
        (Some(table), 1) => format!("1 entry of table {table}"),
        (Some(table), count) => format!("{count} entries of table {table}"),
        (None, _) => name,
    }
}

/// Marks names of tables among those of objects.
const TABLE: &str = "table:";

fn objects(changes: &[Change]) -> Objects {
    let is_made = |link: &LinkRef| {
        changes.iter().any(|change| match (change, link) {
            (
                Change::CreatePair { name, .. } | Change::CreateTunnel { name, .. },
                LinkRef::Named(link),
            ) => name == link,
            _ => false,
        })
    };
    let mut objects = Objects::new();
    for change in changes {
        // An interface that is made again says all that there is to say of what is on it.
        let link = if let Change::Configure { end, .. } = change {
            Some(LinkRef::Named(end.pair.clone()))
        } else if let Change::Attach { hook } = change {
            Some(hook.link.clone())
        } else if let Change::SetTunnelUp { name } = change {
            Some(LinkRef::Named(name.clone()))
        } else {
            None
        };
        if link.as_ref().is_some_and(is_made) {
            continue;
        }
        if let Some((name, count)) = object(change) {
            *objects.entry(name).or_default() += count;
        }
    }
    objects
}

/// What a change is of; `None` for those that only prepare or complete another one.
fn object(change: &Change) -> Option<(String, usize)> {
    let name = match change {
        Change::SetSysctl { key, .. } | Change::RestoreSysctl { key } => format!("setting {key}"),
        Change::CreateTunnel { name, .. }
        | Change::CreatePair { name, .. }
        | Change::DeleteLink { name } => format!("interface {name}"),
        Change::SetTunnelMtu { name, .. } => format!("mtu of {name}"),
        Change::SetTunnelUp { name } => format!("state of {name}"),
        Change::Configure { end, change } => configured(end, change),
        Change::AddRule { namespace, rule } | Change::RemoveRule { namespace, rule } => {
            format!("rule from {} in {}", rule.from, namespace.display())
        }
        Change::SetNamespaceSysctl { namespace, key, .. } => {
            format!("setting {key} in {}", namespace.display())
        }
        Change::RestoreNamespace { namespace } => format!("settings in {}", namespace.display()),
        Change::ReplaceFirewall { firewall } => format!("nftables table inet {}", firewall.table),
        Change::DeleteFirewall { table } => format!("nftables table inet {table}"),
        Change::Attach { hook } | Change::Detach { hook } => program(hook)?,
        Change::AttachSockets { hooks } => {
            let names: Vec<&str> = hooks.iter().map(|hook| hook.name()).collect();
            format!("programs {}", names.join(", "))
        }
        Change::DetachSocket { hook } => format!("program {}", hook.name()),
        Change::Table(change) => {
            let (table, count) = change.concerns()?;
            return Some((format!("{TABLE}{table}"), count));
        }
    };
    Some((name, 1))
}

/// A link that is gone took its programs with it.
fn program(hook: &Hook) -> Option<String> {
    match &hook.link {
        LinkRef::Named(link) => Some(format!("program {} on {link}", hook.program.name())),
        LinkRef::Gone(_) => None,
    }
}

fn configured(end: &EndRef, change: &EndChange) -> String {
    let what = match change {
        EndChange::Mac(_) => "Ethernet address".to_owned(),
        EndChange::Mtu(_) => "mtu".to_owned(),
        EndChange::Up => "state".to_owned(),
        EndChange::Sysctl(key, _) => format!("setting {key}"),
        EndChange::AddAddress(address) | EndChange::RemoveAddress(address) => {
            format!("address {address}")
        }
        EndChange::AddRoute(route) | EndChange::RemoveRoute(route) => {
            format!("route to {}", route.destination)
        }
        EndChange::AddNeighbour(address, _) | EndChange::RemoveNeighbour(address) => {
            format!("neighbour {address}")
        }
    };
    match &end.side {
        Side::Node => format!("{what} of {}", end.pair),
        Side::Task {
            namespace,
            interface,
        } => format!("{what} of {interface} in {}", namespace.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::TableChange;
    use crate::world::{LinkName, Program};

    fn attach(link: &str) -> Change {
        Change::Attach {
            hook: Hook {
                link: LinkRef::Named(LinkName::new(link).unwrap()),
                program: Program::FromTask,
            },
        }
    }

    #[test]
    fn only_what_led_back_and_was_made_is_a_repair() {
        let drift = [
            attach("nd1"),
            attach("nd2"),
            Change::Table(TableChange::RemoveLoads(vec![1, 2])),
        ];
        let made = [
            attach("nd2"),
            attach("nd3"),
            Change::Table(TableChange::PutLoads(vec![3])),
        ];
        let repaired = repairs(&drift, &made);
        assert_eq!(
            repaired,
            ["program from_task on nd2", "1 entry of table loads"]
        );
    }
}
