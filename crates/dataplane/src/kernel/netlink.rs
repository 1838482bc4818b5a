//! Links, addresses, routes, rules and neighbours of one network namespace, by rtnetlink.

mod addresses;
mod filters;
mod links;
mod routes;
mod watch;

use std::fmt::Display;
use std::io;

use futures_util::{Stream, StreamExt};
use rtnetlink::Handle;

use crate::kernel::netns::{Netns, NetnsError};

pub(crate) use addresses::{LinkAddress, LinkNeighbour};
pub(crate) use filters::{Filter, Side};
pub(crate) use links::{Kind, Link, NewPair};
pub(crate) use watch::Watch;

/// The protocol number of our routes, rules and neighbours: by it we know them again.
const PROTOCOL: u8 = 110;

/// A connection to the kernel's rtnetlink of one namespace.
#[derive(Clone, Debug)]
pub(crate) struct Netlink {
    handle: Handle,
}

/// The kernel refused a request.
#[derive(Debug, thiserror::Error)]
#[error("{action} {object}")]
pub(crate) struct NetlinkError {
    action: &'static str,
    object: String,
    #[source]
    source: io::Error,
}

impl NetlinkError {
    fn new(action: &'static str, object: impl Display, error: rtnetlink::Error) -> Self {
        Self {
            action,
            object: object.to_string(),
            source: to_io(error),
        }
    }

    /// Whether the object to be removed is not there (any more).
    pub(crate) fn is_missing(&self) -> bool {
        matches!(
            self.source.raw_os_error(),
            Some(libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::EADDRNOTAVAIL)
        )
    }
}

impl NetlinkError {
    /// Whether there is no route.
    fn is_unreachable(&self) -> bool {
        matches!(
            self.source.raw_os_error(),
            Some(
                libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL | libc::ESRCH
            )
        )
    }
}

impl Netlink {
    /// Connects to the namespace of the process. Must be called inside a tokio runtime.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|source| NetlinkError {
                action: "open",
                object: "netlink socket".to_owned(),
                source,
            })?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Connects to another namespace. A socket belongs to the namespace in which it was opened.
    pub(crate) fn open_in(namespace: &Netns) -> Result<Result<Self, NetlinkError>, NetnsError> {
        let runtime = tokio::runtime::Handle::current();
        namespace.run(|| {
            let _guard = runtime.enter();
            Self::open()
        })
    }
}

fn to_io(error: rtnetlink::Error) -> io::Error {
    if let rtnetlink::Error::NetlinkError(message) = &error {
        return message.to_io();
    }
    io::Error::other(error)
}

/// Collects the answers to a dump. The kernel marks one that was disturbed by a change, and may
/// then repeat or miss entries; the caller's sets and the next audit cover both.
async fn collect<T, S>(action: &'static str, stream: S) -> Result<Vec<T>, NetlinkError>
where
    S: Stream<Item = Result<T, rtnetlink::Error>>,
{
    let mut stream = std::pin::pin!(stream);
    let mut items = Vec::new();
    while let Some(item) = stream.next().await {
        items.push(item.map_err(|error| NetlinkError::new(action, "dump", error))?);
    }
    Ok(items)
}
