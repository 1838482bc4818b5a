//! What an operator wants to know of a host before and while netd works on it.
//!
//! Every check is one function from the [`Subject`] to findings; [`CHECKS`] is the list of them. A
//! check reads what it needs from the host and changes nothing.

mod firewall;
mod host;
mod network;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

pub use self::tables::Fill;
use crate::desired::Desired;
use crate::handle::Dataplane;
use crate::lower::{Facts, Underlay};
use crate::ports::Claims;

/// What one check found about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The check's name: lowercase words joined by hyphens.
    pub check: &'static str,
    /// What was looked at: an interface, a node's underlay address, a map; empty for the host.
    pub about: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found, one sentence, lowercase, no full stop.
    pub message: String,
    /// What to do, likewise; empty when nothing is to be done.
    pub advice: String,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but slowly or not for everything, or not for long.
    Warn,
    /// Something does not work.
    Fail,
}

/// What is examined: what netd uses of this host. All of it is absent until a topology is in force.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// The interface that carries the tunnel.
    pub(crate) underlay: Option<Underlay>,
    /// Largest inner packet in bytes.
    pub(crate) overlay_mtu: Option<u32>,
    /// MTUs of the interfaces that are not netd's and have addresses.
    pub(crate) uplinks: BTreeMap<String, u32>,
    /// Underlay addresses of the other nodes.
    pub(crate) peers: BTreeSet<IpAddr>,
    /// Whether ports are published, and replies of one are to go straight to clients.
    pub(crate) publishes: bool,
    pub(crate) returns_direct: bool,
    pub(crate) claims: Claims,
    /// How the node's ends of gateway attachments begin; empty when there are none.
    pub(crate) gateways: String,
    pub(crate) fills: Vec<Fill>,
    /// Where the BPF file system is.
    pub(crate) bpffs: PathBuf,
}

type Check = fn(&Subject) -> Vec<Finding>;

/// Every check, in the order in which its findings are shown.
const CHECKS: [Check; 13] = [
    host::kernel,
    host::mounts,
    host::jit,
    host::forwarding,
    host::rp_filter,
    host::reserved_ports,
    host::conntrack,
    network::mtu,
    network::offloads,
    network::reach,
    network::direct_return,
    firewall::foreign,
    firewall::ports,
];

/// Runs every check. Takes as long as nodes that do not answer are waited for, a second or so, and
/// blocks the thread meanwhile; to be called in the node's network namespace.
#[must_use]
pub fn examine(subject: &Subject) -> Vec<Finding> {
    let mut findings: Vec<Finding> = CHECKS.iter().flat_map(|check| check(subject)).collect();
    findings.extend(tables::fill_levels(subject));
    findings
}

impl Subject {
    /// A host without a data plane, whose BPF file system is to be at `bpffs`.
    #[must_use]
    pub fn bare(bpffs: PathBuf) -> Self {
        Self {
            bpffs,
            ..Self::default()
        }
    }

    pub(crate) fn of(desired: &Desired, facts: &Facts, underlay: Option<Underlay>) -> Self {
        let used = facts
            .uplinks
            .iter()
            .filter(|(_, it)| !it.addresses.is_empty());
        let gateways = if desired.gateways.is_empty() {
            String::new()
        } else {
            facts.names.gateway_prefix()
        };
        Self {
            overlay_mtu: underlay.as_ref().map(crate::lower::overlay_mtu),
            underlay,
            uplinks: used
                .map(|(name, uplink)| (name.to_string(), uplink.mtu))
                .collect(),
            peers: desired.vteps.clone(),
            publishes: !desired.published.is_empty(),
            returns_direct: desired.published.values().any(|it| it.returns_direct),
            claims: Claims::of(desired),
            gateways,
            ..Self::default()
        }
    }
}

impl Dataplane {
    /// What there is to be examined, as of the last call of [`Self::apply`], with the tables as they
    /// are at this moment; `bpffs` is where the BPF file system is.
    #[must_use]
    pub fn subject(&self, bpffs: PathBuf) -> Subject {
        Subject {
            bpffs,
            fills: tables::fills(&self.maps).unwrap_or_default(),
            ..self.status.subject.as_ref().clone()
        }
    }
}

impl Finding {
    fn ok(check: &'static str, about: &str, message: impl Into<String>) -> Self {
        Self {
            check,
            about: about.to_owned(),
            verdict: Verdict::Ok,
            message: message.into(),
            advice: String::new(),
        }
    }

    fn warn(
        check: &'static str,
        about: &str,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Warn,
            advice: advice.into(),
            ..Self::ok(check, about, message)
        }
    }

    fn fail(
        check: &'static str,
        about: &str,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Fail,
            ..Self::warn(check, about, message, advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_host_is_examined_as_far_as_it_goes() {
        let findings = examine(&Subject::bare("/sys/fs/bpf".into()));
        for check in ["kernel", "forwarding", "firewall", "underlay"] {
            assert!(
                findings.iter().any(|it| it.check == check),
                "{check} in {findings:?}"
            );
        }
        for it in &findings {
            assert!(
                !it.message.is_empty() && !it.message.ends_with('.'),
                "{it:?}"
            );
            assert_eq!(it.advice.is_empty(), it.verdict == Verdict::Ok, "{it:?}");
        }
    }
}
