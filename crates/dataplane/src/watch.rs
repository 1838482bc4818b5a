//! News of the node's own interfaces and addresses.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::kernel::netlink::{Netlink, NetlinkError, Watch};
use crate::lower::Uplink;
use crate::observe::Node;
use crate::problem::{Problem, ProblemCode};
use crate::world::LinkName;

/// How long to wait for more changes of the same kind: an address rarely comes alone.
const SETTLE: Duration = Duration::from_millis(50);

/// Tells when what the planner knows of the node has changed.
#[derive(Debug)]
pub struct Events {
    watch: Watch,
    netlink: Netlink,
    last: Option<BTreeMap<LinkName, Uplink>>,
}

impl Events {
    /// With a socket of its own: the kernel runs one dump on each at a time, and refuses others.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            watch: Watch::open()?,
            netlink: Netlink::open()?,
            last: None,
        })
    }

    /// Waits until the node's interfaces or addresses are other ones than at the last return; what
    /// tasks' interfaces do is none of it. `None` when the kernel tells nothing any more.
    pub async fn changed(&mut self) -> Option<()> {
        loop {
            if self.last.is_none() {
                self.last = self.uplinks().await;
            }
            self.watch.changed().await?;
            tokio::time::sleep(SETTLE).await;
            let uplinks = self.uplinks().await;
            if uplinks.is_some() && uplinks != self.last {
                self.last = uplinks;
                return Some(());
            }
        }
    }

    async fn uplinks(&self) -> Option<BTreeMap<LinkName, Uplink>> {
        match Node::observe(&self.netlink).await {
            Ok(node) => Some(node.uplinks()),
            Err(error) => {
                tracing::warn!(problem = %Problem::from_error(ProblemCode::Refused, &error), "news of the node's interfaces are lost");
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
