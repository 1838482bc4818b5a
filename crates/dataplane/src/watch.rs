//! News of the node's own interfaces, addresses and routes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::watch;

use crate::kernel::bpf::LinkNames;
use crate::kernel::netlink::{Netlink, NetlinkError, Watch};
use crate::lower::Uplink;
use crate::names::Names;
use crate::observe::{Node, named};
use crate::problem::{Problem, ProblemCode};
use crate::ways::{self, NextHops};
use crate::world::LinkName;

/// How long to wait for more changes of the same kind: an address rarely comes alone.
const SETTLE: Duration = Duration::from_millis(50);

/// Tells when the node is other than the last state was applied to.
#[derive(Debug)]
pub struct Events {
    links: Watch,
    routes: Watch,
    ways: watch::Receiver<ways::Known>,
    netlink: Netlink,
    names: Names,
    last: Option<Sight>,
}

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sight {
    /// What the planner knows of the node.
    uplinks: BTreeMap<LinkName, Uplink>,
    /// Our own interfaces.
    ours: BTreeSet<String>,
    /// The ways to other nodes.
    next_hops: NextHops,
}

impl Sight {
    /// Whether something has to be done, having seen `last` before. That interfaces of ours appear
    /// is our own doing; that they go may be a namespace's end.
    fn is_news(&self, last: &Self) -> bool {
        self.uplinks != last.uplinks || !last.ours.is_subset(&self.ours)
    }
}

impl Events {
    /// With a socket of its own: the kernel runs one dump on each at a time, and refuses others.
    pub(crate) fn open(
        names: Names,
        ways: watch::Receiver<ways::Known>,
    ) -> Result<Self, NetlinkError> {
        Ok(Self {
            links: Watch::links()?,
            routes: Watch::routes()?,
            ways,
            netlink: Netlink::open()?,
            names,
            last: None,
        })
    }

    /// Waits until the node's interfaces, its addresses or the ways to other nodes are other ones than
    /// at the last return, or an interface of ours has gone. `None` when the kernel tells nothing any more.
    pub async fn changed(&mut self) -> Option<()> {
        loop {
            if self.last.is_none() {
                self.last = self.look().await;
            }
            let only_routes = tokio::select! {
                news = self.links.changed() => news.map(|()| false)?,
                news = self.routes.changed() => news.map(|()| true)?,
            };
            tokio::time::sleep(SETTLE).await;
            let sight = if only_routes {
                self.look_along().await
            } else {
                self.look().await
            };
            let Some(sight) = sight else {
                continue;
            };
            let last = self.last.replace(sight);
            let sight = self.last.as_ref()?;
            let has_moved = sight.next_hops != self.ways.borrow().hops;
            if has_moved || last.is_none_or(|last| sight.is_news(&last)) {
                return Some(());
            }
        }
    }

    async fn look(&self) -> Option<Sight> {
        complain(self.observe().await)
    }

    /// Looks at the ways only: a router's routes are many, and change often.
    async fn look_along(&self) -> Option<Sight> {
        let Some(last) = &self.last else {
            return self.look().await;
        };
        let names = self.netlink.links().await.map(|links| named(&links));
        let next_hops = match names {
            Ok(names) => self.next_hops(&names).await,
            Err(error) => Err(error),
        };
        let sight = next_hops.map(|next_hops| Sight {
            next_hops,
            ..last.clone()
        });
        complain(sight)
    }

    async fn observe(&self) -> Result<Sight, NetlinkError> {
        let node = Node::observe(&self.netlink).await?;
        let names = node.links.iter().map(|link| &link.name);
        let ours = names.filter(|name| self.names.role(name).is_some());
        Ok(Sight {
            uplinks: node.uplinks(),
            ours: ours.cloned().collect(),
            next_hops: self.next_hops(&node.names()).await?,
        })
    }

    async fn next_hops(&self, names: &LinkNames) -> Result<NextHops, NetlinkError> {
        let peers = self.ways.borrow().peers.clone();
        peers.next_hops(&self.netlink, names).await
    }
}

fn complain(sight: Result<Sight, NetlinkError>) -> Option<Sight> {
    sight
        .inspect_err(|error| {
            let problem = Problem::from_error(ProblemCode::Refused, error);
            tracing::warn!(%problem, "news of the node's interfaces are lost");
        })
        .ok()
}

/// Name of an interface of the node.
pub(crate) fn link_name(ifindex: u32) -> Option<String> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    );
    rustix::net::netdevice::index_to_name(socket.ok()?, ifindex).ok()
}

/// Number of an interface of the node.
pub(crate) fn link_index(name: &str) -> Option<u32> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    );
    rustix::net::netdevice::name_to_index(socket.ok()?, name).ok()
}
