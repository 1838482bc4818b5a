//! How things are, for the operator.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::apply::Outcome;
use crate::desired::Desired;
use crate::doctor::Subject;
use crate::handle::Dataplane;
use crate::kernel::{bpf, probe};
use crate::lower::{self, Facts, Underlay, carrier, direct};
use crate::ports;
use crate::problem::Problem;
use crate::watch::link_name;
use crate::world::{Program, SocketHook};

/// How things are.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// `None` until the first state has been applied.
    pub underlay: Option<Underlay>,
    /// Largest inner packet in bytes; `None` until the first state has been applied.
    pub overlay_mtu: Option<u32>,
    /// Why the device takes packets to and from this node; `None` where the programs do themselves.
    pub device: Option<String>,
    /// How packets get to each other node.
    pub ways: BTreeMap<IpAddr, Way>,
    /// Interfaces by program; for socket hooks the cgroup.
    pub programs: BTreeMap<&'static str, BTreeSet<String>>,
    /// The node's end of each attachment, by the endpoint's name.
    pub host_interfaces: BTreeMap<String, String>,
    /// The node's end of each gateway attachment, by the task's namespace.
    pub gateway_interfaces: BTreeMap<PathBuf, String>,
    /// Entries that the flow table can hold.
    pub flow_capacity: u32,
    /// Numbers of nodes in the tables; 0 is this node.
    pub vteps: BTreeMap<u32, IpAddr>,
    /// What [`crate::examine`] looks at; its tables are empty here.
    pub(crate) subject: Arc<Subject>,
    /// What keeps traffic from passing, and what the last state could not reach.
    pub problems: Vec<Problem>,
}

/// How packets get to another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Why the device takes them; `None` where the programs send them on themselves.
    pub device: Option<String>,
    /// The interface, where there is a route.
    pub interface: Option<String>,
    /// The neighbour there that they are handed to.
    pub next_hop: Option<IpAddr>,
}

impl Dataplane {
    /// How things are, as of the last call of [`Self::apply`].
    #[must_use]
    pub fn status(&self) -> Status {
        let mut status = self.status.clone();
        status.flow_capacity = self.maps.flows.capacity();
        status.programs = self.attached();
        status
    }

    pub(crate) fn update_status(&mut self, desired: &Desired, facts: &Facts, outcome: &Outcome) {
        let underlay = lower::underlay(desired, facts).ok();
        let vteps = self.maps.vteps.entries().unwrap_or_default().into_iter();
        let names = &self.names;
        let subject = Subject::of(desired, facts, underlay.clone());
        self.status = Status {
            overlay_mtu: underlay.as_ref().map(lower::overlay_mtu),
            underlay,
            device: carrier::here(desired, facts)
                .err()
                .map(|reason| reason.to_string()),
            ways: ways(desired, facts),
            host_interfaces: desired
                .attachments
                .keys()
                .map(|name| (name.clone(), names.attachment(name).to_string()))
                .collect(),
            gateway_interfaces: desired
                .gateways
                .keys()
                .map(|path| (path.clone(), names.gateway(path).to_string()))
                .collect(),
            vteps: vteps
                .filter(|(_, vtep)| !vtep.address.is_unspecified())
                .map(|(number, vtep)| (number, vtep.address.into()))
                .collect(),
            subject: Arc::new(subject),
            problems: outcome
                .problems
                .iter()
                .chain(&outcome.drawbacks)
                .cloned()
                .chain(lower::without_attachment(desired))
                .chain(probe::obstacles())
                .chain(ports::taken(desired))
                .chain(direct::hindrances(desired, facts))
                .collect(),
            ..Status::default()
        };
    }

    fn attached(&self) -> BTreeMap<&'static str, BTreeSet<String>> {
        let mut programs: BTreeMap<&'static str, BTreeSet<String>> = Program::ALL
            .iter()
            .map(|p| (p.name(), BTreeSet::new()))
            .collect();
        for link in self.programs.pins().pinned_links().unwrap_or_default() {
            let name = link_name(link.ifindex).filter(|_| link.alive);
            programs
                .entry(link.program.name())
                .or_default()
                .extend(name);
        }
        let cgroup = bpf::cgroup_top().map(|top| top.display().to_string());
        let pinned = self.programs.pins().pinned_sockets().unwrap_or_default();
        for hook in SocketHook::ALL {
            let attached = cgroup.as_ref().ok().filter(|_| pinned.contains(&hook));
            programs.insert(hook.name(), attached.into_iter().cloned().collect());
        }
        programs
    }
}

fn ways(desired: &Desired, facts: &Facts) -> BTreeMap<IpAddr, Way> {
    let way = |node: &IpAddr| {
        let hop = facts.next_hops.get(node);
        let way = Way {
            device: carrier::way(desired, facts, *node)
                .err()
                .map(|reason| reason.to_string()),
            interface: hop.map(|hop| hop.link.to_string()),
            next_hop: hop.map(|hop| hop.address),
        };
        (*node, way)
    };
    desired.vteps.iter().map(way).collect()
}
