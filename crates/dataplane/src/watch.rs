//! News of the node's own interfaces and addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::kernel::netlink::{Netlink, NetlinkError, Watch};
use crate::lower::Uplink;
use crate::names::Names;
use crate::observe::Node;
use crate::problem::{Problem, ProblemCode};
use crate::world::LinkName;

/// How long to wait for more changes of the same kind: an address rarely comes alone.
const SETTLE: Duration = Duration::from_millis(50);

/// Tells when the node is other than the last state was applied to.
#[derive(Debug)]
pub struct Events {
    watch: Watch,
    netlink: Netlink,
    names: Names,
    last: Option<Sight>,
}

/// What is compared.
#[derive(Debug, PartialEq, Eq)]
struct Sight {
    /// What the planner knows of the node.
    uplinks: BTreeMap<LinkName, Uplink>,
    /// Our own interfaces.
    ours: BTreeSet<String>,
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
    pub(crate) fn open(names: Names) -> Result<Self, NetlinkError> {
        Ok(Self {
            watch: Watch::open()?,
            netlink: Netlink::open()?,
            names,
            last: None,
        })
    }

    /// Waits until the node's interfaces or addresses are other ones than at the last return, or an
    /// interface of ours has gone. `None` when the kernel tells nothing any more.
    pub async fn changed(&mut self) -> Option<()> {
        loop {
            if self.last.is_none() {
                self.last = self.look().await;
            }
            self.watch.changed().await?;
            tokio::time::sleep(SETTLE).await;
            let Some(sight) = self.look().await else {
                continue;
            };
            let last = self.last.replace(sight);
            let sight = self.last.as_ref()?;
            if last.is_none_or(|last| sight.is_news(&last)) {
                return Some(());
            }
        }
    }

    async fn look(&self) -> Option<Sight> {
        match Node::observe(&self.netlink).await {
            Ok(node) => {
                let names = node.links.iter().map(|link| &link.name);
                let ours = names.filter(|name| self.names.role(name).is_some());
                Some(Sight {
                    uplinks: node.uplinks(),
                    ours: ours.cloned().collect(),
                })
            }
            Err(error) => {
                let problem = Problem::from_error(ProblemCode::Refused, &error);
                tracing::warn!(%problem, "news of the node's interfaces are lost");
                None
            }
        }
    }
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
