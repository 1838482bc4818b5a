//! The ways to other nodes: what this node's routes say, asked again when they may have changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::desired::{Carrier, Desired};
use crate::kernel::bpf::LinkNames;
use crate::kernel::netlink::{Netlink, NetlinkError, Watch};
use crate::lower::carrier::NextHop;

/// How long answers are taken for right when the kernel reports no change: it does not report all,
/// and a flood of reports not at all.
const TRUSTED: Duration = Duration::from_secs(10);

pub(crate) type NextHops = BTreeMap<IpAddr, NextHop>;

/// Whose ways matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peers {
    /// This node; `None` as long as the ways to others are of no use.
    own: Option<IpAddr>,
    others: BTreeSet<IpAddr>,
}

impl Peers {
    fn of(desired: &Desired) -> Self {
        if desired.carrier == Carrier::Device {
            return Self::default();
        }
        Self {
            own: Some(desired.address),
            others: desired.vteps.clone(),
        }
    }

    /// Asks for the way to each.
    pub(crate) async fn next_hops(
        &self,
        netlink: &Netlink,
        names: &LinkNames,
    ) -> Result<NextHops, NetlinkError> {
        let mut hops = BTreeMap::new();
        let Some(own) = self.own else {
            return Ok(hops);
        };
        for node in &self.others {
            let Some(hop) = netlink.hop(*node, own).await? else {
                continue;
            };
            let hop = names.get(&hop.index).map(|link| NextHop {
                link: link.clone(),
                address: hop.address,
                mtu: hop.mtu,
            });
            hops.extend(hop.map(|hop| (*node, hop)));
        }
        Ok(hops)
    }
}

/// The last answers.
#[derive(Debug)]
pub(crate) struct Ways {
    watch: Watch,
    since: Option<Instant>,
    /// What was answered last; whoever listens for changes compares with it.
    known: watch::Sender<Known>,
}

/// Whose ways matter, and how they were when last asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) peers: Peers,
    pub(crate) hops: NextHops,
}

impl Ways {
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            watch: Watch::everything()?,
            since: None,
            known: watch::Sender::default(),
        })
    }

    pub(crate) fn known(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// The ways to the nodes of `desired`.
    pub(crate) async fn find(
        &mut self,
        desired: &Desired,
        netlink: &Netlink,
        names: &LinkNames,
    ) -> Result<NextHops, NetlinkError> {
        let peers = Peers::of(desired);
        let moved = self.watch.has_changed() || self.known.borrow().peers != peers;
        if moved || self.since.is_none_or(|since| since.elapsed() > TRUSTED) {
            self.since = None;
            let hops = peers.next_hops(netlink, names).await?;
            self.known.send_replace(Known { peers, hops });
            self.since = Some(Instant::now());
        }
        Ok(self.known.borrow().hops.clone())
    }
}
