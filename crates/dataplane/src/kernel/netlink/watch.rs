//! Changes of interfaces, addresses and routes, as they happen.

use futures_util::StreamExt;
use rtnetlink::MulticastGroup;
use tokio::sync::mpsc;

use super::NetlinkError;

const LINKS: [MulticastGroup; 3] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
];
const ROUTES: [MulticastGroup; 4] = [
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// Tells that something has changed.
#[derive(Debug)]
pub(crate) struct Watch {
    changes: mpsc::Receiver<()>,
}

impl Watch {
    /// Subscribes to news of interfaces and addresses, in the namespace of the process. Must be called
    /// inside a tokio runtime.
    pub(crate) fn links() -> Result<Self, NetlinkError> {
        Self::open(&LINKS)
    }

    /// As [`Self::links`], to news of routes.
    pub(crate) fn routes() -> Result<Self, NetlinkError> {
        Self::open(&ROUTES)
    }

    /// As [`Self::links`], to all of them.
    pub(crate) fn everything() -> Result<Self, NetlinkError> {
        Self::open(&[LINKS.as_slice(), &ROUTES].concat())
    }

    fn open(groups: &[MulticastGroup]) -> Result<Self, NetlinkError> {
        let (connection, _, mut messages) =
            rtnetlink::new_multicast_connection(groups).map_err(|source| NetlinkError {
                action: "subscribe to",
                object: "link, address and route events".to_owned(),
                source,
            })?;
        // One place in the channel: what matters is that something has changed, not how often.
        let (sender, changes) = mpsc::channel(1);
        let driver = tokio::spawn(connection);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    message = messages.next() => match message {
                        Some(_) => drop(sender.try_send(())),
                        None => break,
                    },
                    () = sender.closed() => break,
                }
            }
            driver.abort();
        });
        Ok(Self { changes })
    }

    /// Whether something has changed since the last question; also when nobody can tell.
    pub(crate) fn has_changed(&mut self) -> bool {
        !matches!(
            self.changes.try_recv(),
            Err(mpsc::error::TryRecvError::Empty)
        )
    }

    /// Waits for the next change; `None` when the kernel's socket has broken.
    pub(crate) async fn changed(&mut self) -> Option<()> {
        self.changes.recv().await
    }
}
