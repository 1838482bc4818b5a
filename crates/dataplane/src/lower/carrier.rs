//! Which carrier takes packets to which node: pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use abi::{Address, Vtep, vtep};

use super::{Facts, underlay};
use crate::desired::{Carrier, Desired};
use crate::tables::{LinkRef, Local};
use crate::world::LinkName;

/// The way to another node, as this node's routes have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NextHop {
    /// The interface.
    pub(crate) link: LinkName,
    /// The neighbour there: a router, or the other node.
    pub(crate) address: IpAddr,
    /// The route's own limit in bytes, beside the interface's.
    pub(crate) mtu: Option<u32>,
}

/// What an interface is, to who writes Ethernet frames to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Medium {
    /// An Ethernet device by itself, or a veth.
    Ethernet,
    /// Ethernet on top of other devices: a VLAN, a bond, a bridge.
    Layered,
    /// Anything else: tunnels, mostly.
    #[default]
    Other,
}

/// Why the device takes packets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    #[error("the topology asks for it")]
    Asked,
    /// The host does not let frames be wrapped.
    #[error("{0}")]
    Unproven(String),
    #[error("no interface has the node's address")]
    NoUnderlay,
    #[error("there is no route")]
    NoRoute,
    #[error("{0} is no uplink")]
    NoUplink(LinkName),
    #[error("{0} is on top of other devices, where the native carrier is not proven")]
    Layered(LinkName),
    #[error("{0} is not Ethernet")]
    NotEthernet(LinkName),
    #[error("the way by {link} carries {mtu} bytes, the underlay {underlay}")]
    Narrow {
        link: LinkName,
        mtu: u32,
        underlay: u32,
    },
}

/// Whether this node wraps and unwraps packets itself.
pub(crate) fn here(desired: &Desired, facts: &Facts) -> Result<(), Reason> {
    if desired.carrier == Carrier::Device {
        return Err(Reason::Asked);
    }
    facts.native.clone().map_err(Reason::Unproven)?;
    let underlay = underlay(desired, facts).map_err(|_| Reason::NoUnderlay)?;
    let link = LinkName::new(&underlay.interface).ok_or(Reason::NoUnderlay)?;
    fits(desired, facts, &link)
}

/// The way on which this node wraps what is for `node` itself.
pub(crate) fn way<'a>(
    desired: &Desired,
    facts: &'a Facts,
    node: IpAddr,
) -> Result<&'a NextHop, Reason> {
    here(desired, facts)?;
    let hop = facts.next_hops.get(&node).ok_or(Reason::NoRoute)?;
    fits(desired, facts, &hop.link)?;
    let underlay = underlay(desired, facts).map_err(|_| Reason::NoUnderlay)?;
    let limit = facts.uplinks.get(&hop.link).map_or(0, |uplink| uplink.mtu);
    let mtu = hop.mtu.map_or(limit, |mtu| mtu.min(limit));
    // What is too large for the way is dropped where nobody counts it; the device's routes would tell.
    if mtu < underlay.mtu.min(u32::from(u16::MAX)) {
        return Err(Reason::Narrow {
            link: hop.link.clone(),
            mtu,
            underlay: underlay.mtu,
        });
    }
    Ok(hop)
}

fn fits(desired: &Desired, facts: &Facts, link: &LinkName) -> Result<(), Reason> {
    let uplink = facts.uplinks.get(link);
    let uplink = uplink.ok_or_else(|| Reason::NoUplink(link.clone()))?;
    match uplink.medium {
        Medium::Ethernet => Ok(()),
        Medium::Layered if desired.carrier == Carrier::Native => Ok(()),
        Medium::Layered => Err(Reason::Layered(link.clone())),
        Medium::Other => Err(Reason::NotEthernet(link.clone())),
    }
}

/// The nodes' values, from their numbers.
pub(super) fn lower(
    desired: &Desired,
    facts: &Facts,
    numbers: &BTreeMap<u32, Address>,
) -> BTreeMap<u32, Local<Vtep>> {
    let value = |(number, address): (&u32, &Address)| {
        let device = Vtep {
            address: *address,
            ..Vtep::default()
        };
        let native = Vtep {
            flags: vtep::NATIVE,
            ..device
        };
        let by_device = Local {
            link: None,
            value: device,
        };
        let vtep = if *number == 0 {
            here(desired, facts).map(|()| Local {
                link: None,
                value: native,
            })
        } else {
            way(desired, facts, (*address).into()).map(|hop| Local {
                link: Some(LinkRef::Named(hop.link.clone())),
                value: Vtep {
                    next_hop: hop.address.into(),
                    ..native
                },
            })
        };
        (*number, vtep.unwrap_or(by_device))
    };
    numbers.iter().map(value).collect()
}

#[cfg(test)]
mod tests;
