//! Changes of interfaces and addresses, as they happen.

use futures_util::StreamExt;
use rtnetlink::MulticastGroup;
use tokio::sync::mpsc;

use super::NetlinkError;

/// Tells that an interface or an address has changed.
#[derive(Debug)]
pub(crate) struct Watch {
    changes: mpsc::Receiver<()>,
}

impl Watch {
    /// Subscribes in the namespace of the process. Must be called inside a tokio runtime.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ];
        let (connection, _, mut messages) =
            rtnetlink::new_multicast_connection(&groups).map_err(|source| NetlinkError {
                action: "subscribe to",
                object: "link and address events".to_owned(),
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

    /// Waits for the next change; `None` when the kernel's socket has broken.
    pub(crate) async fn changed(&mut self) -> Option<()> {
        self.changes.recv().await
    }
}
