//! The contents of the maps as values.
//!
//! Interfaces appear by name: their numbers are known only once they exist, and change when they
//! are made again.

use std::collections::{BTreeMap, BTreeSet};

use abi::{
    Address, Algorithm, Backend, Endpoint, EndpointKey, Iface, NetId, Netns, Network, PublishedKey,
    ServiceKey, Settings, Vtep,
};

use crate::world::LinkName;

/// What the maps hold, flows and counters excepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    /// With the VXLAN device as its link.
    pub(crate) settings: Option<Local<Settings>>,
    /// By number, with the uplink as its link; 0 is this node.
    pub(crate) vteps: BTreeMap<u32, Local<Vtep>>,
    pub(crate) networks: BTreeMap<NetId, Network>,
    /// By the cookies of namespaces.
    pub(crate) netns: BTreeMap<u64, Netns>,
    pub(crate) ifaces: BTreeMap<LinkRef, Iface>,
    /// This node's own addresses, each with its interface.
    pub(crate) addresses: BTreeMap<Address, LinkRef>,
    pub(crate) endpoints: BTreeMap<EndpointKey, Local<Endpoint>>,
    pub(crate) backends: BTreeMap<u32, Backend>,
    pub(crate) frontends: BTreeMap<FrontendKey, Balance>,
    /// Services that have a cursor. Its value belongs to the kernel programs.
    pub(crate) cursors: BTreeSet<u32>,
    /// Backends whose flows are counted. The counts belong to the kernel programs.
    pub(crate) loads: BTreeSet<u32>,
}

impl Tables {
    /// The nodes' addresses by their numbers.
    pub(crate) fn numbers(&self) -> BTreeMap<u32, Address> {
        let address = |(number, vtep): (&u32, &Local<Vtep>)| (*number, vtep.value.address);
        self.vteps.iter().map(address).collect()
    }
}

/// A value that names an interface, whose number is 0 in `value` itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Local<T> {
    pub(crate) link: Option<LinkRef>,
    pub(crate) value: T,
}

/// An interface of the node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LinkRef {
    Named(LinkName),
    /// The interface of this number is gone, the entry that names it is not.
    Gone(u32),
}

/// Key of `services` or of `published`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum FrontendKey {
    Service(ServiceKey),
    Published(PublishedKey),
}

/// How a frontend is balanced, wherever its picks are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Balance {
    /// The service's number.
    pub(crate) service: u32,
    pub(crate) algorithm: Algorithm,
    /// Bits of [`abi::service_flag`].
    pub(crate) flags: u32,
    /// How long a client stays with its backend after its last new flow; 0 for no affinity.
    pub(crate) affinity_seconds: u32,
    /// What new flows are picked from.
    pub(crate) picks: Vec<u32>,
}

impl Balance {
    /// The backends that may be picked, some of them several times.
    pub(crate) fn backends(&self) -> impl Iterator<Item = u32> {
        let step = if self.algorithm.is_live() { 2 } else { 1 };
        self.picks.iter().step_by(step).copied()
    }
}

/// Where the picks of a frontend are kept, and how often they have changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// First place in the flat array; meaningless for picks that stand in the value itself.
    pub(crate) offset: u32,
    pub(crate) length: u32,
    pub(crate) generation: u32,
    /// First place of the table before this one.
    pub(crate) second_offset: u32,
    /// Length of the table before this one; 0 when it is not kept.
    pub(crate) second_length: u32,
}

impl Place {
    /// Where a frontend's value says that its picks are.
    pub(crate) const fn of(service: &abi::Service) -> Self {
        Self {
            offset: service.pick_offset,
            length: service.pick_length,
            generation: service.generation,
            second_offset: service.second_offset,
            second_length: service.second_length,
        }
    }

    /// The places taken in the flat array.
    pub(crate) fn range(self) -> std::ops::Range<u32> {
        if self.length <= abi::Service::INLINE {
            return 0..0;
        }
        self.offset..self.offset.saturating_add(self.length)
    }

    /// The places taken by the table before this one.
    pub(crate) fn second_range(self) -> std::ops::Range<u32> {
        self.second_offset..self.second_offset.saturating_add(self.second_length)
    }
}

/// Values that name an interface by number.
pub(crate) trait NamesLink: Copy {
    fn ifindex(&self) -> u32;
    fn with_ifindex(self, ifindex: u32) -> Self;
}

impl NamesLink for Settings {
    fn ifindex(&self) -> u32 {
        self.vxlan_ifindex
    }

    fn with_ifindex(self, ifindex: u32) -> Self {
        Self {
            vxlan_ifindex: ifindex,
            ..self
        }
    }
}

impl NamesLink for Vtep {
    fn ifindex(&self) -> u32 {
        self.ifindex
    }

    fn with_ifindex(self, ifindex: u32) -> Self {
        Self { ifindex, ..self }
    }
}

impl NamesLink for Endpoint {
    fn ifindex(&self) -> u32 {
        self.ifindex
    }

    fn with_ifindex(self, ifindex: u32) -> Self {
        Self { ifindex, ..self }
    }
}
