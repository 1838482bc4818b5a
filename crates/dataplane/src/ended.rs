//! Sockets that were led to what is gone: they are ended, so that their processes dial anew.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use abi::{EndpointKey, Lead, backend_state};

use crate::handle::Dataplane;
use crate::kernel::bpf::TableError;
use crate::kernel::diag;
use crate::kernel::netns::Netns;
use crate::plan::{Change, TableChange};

impl Dataplane {
    /// After changes have been made: ends the streams that they have cut off, and the datagram sockets
    /// whose backend is gone or drains, in the node's namespace and in these. What the kernel refuses
    /// is logged: a stream then ends by its own timers, datagrams are refused one by one.
    pub(crate) fn end_sockets(&self, changes: &[Change], namespaces: &BTreeMap<PathBuf, u64>) {
        if let Err(error) = self.end_sockets_in(&gone(changes), namespaces) {
            tracing::warn!(%error, "sockets of what is gone cannot be looked for");
        }
    }

    fn end_sockets_in(
        &self,
        gone: &BTreeSet<EndpointKey>,
        namespaces: &BTreeMap<PathBuf, u64>,
    ) -> Result<(), TableError> {
        let datagrams = self.take_datagrams_to_end()?;
        if datagrams.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let end = || {
            let mut ended = 0;
            if !datagrams.is_empty() {
                ended += diag::end_datagrams(&datagrams)?;
            }
            if !gone.is_empty() {
                ended += diag::end_streams(&self.maps.connected, |lead| is_cut(gone, lead))?;
            }
            Ok(ended)
        };
        note(end(), "the node's namespace");
        for path in namespaces.keys() {
            // One that has gone meanwhile took its sockets along.
            if let Ok(ended) = Netns::open(path).and_then(|namespace| namespace.run(end)) {
                note(ended, &path.to_string_lossy());
            }
        }
        Ok(())
    }

    /// Nothing tells when a series of datagrams is over: it ends with what its backend is for. A socket
    /// is taken once: it stays open, and may be of other use from then on.
    fn take_datagrams_to_end(&self) -> Result<BTreeSet<u64>, TableError> {
        let mut over = BTreeSet::new();
        for (cookie, backend) in self.maps.datagrams.entries()? {
            let backend = self.maps.backends.get(&backend)?;
            if backend.is_none_or(|it| it.state == backend_state::DRAINING) {
                over.insert(cookie);
            }
        }
        let cookies: Vec<u64> = over.iter().copied().collect();
        self.maps.datagrams.remove_all(&cookies)?;
        Ok(over)
    }
}

/// The endpoints that changes have removed or moved.
fn gone(changes: &[Change]) -> BTreeSet<EndpointKey> {
    let mut gone = BTreeSet::new();
    for change in changes {
        if let Change::Table(TableChange::PurgeFlows(purge)) = change {
            gone.extend(purge.endpoints.iter().copied());
        }
    }
    gone
}

fn note(ended: io::Result<usize>, place: &str) {
    match ended {
        Ok(0) => {}
        Ok(count) => tracing::debug!(count, place, "sockets of gone backends ended"),
        Err(error) => tracing::warn!(%error, place, "sockets of gone backends cannot be ended"),
    }
}

/// Whether the other end of a stream is no more where it was.
fn is_cut(gone: &BTreeSet<EndpointKey>, lead: &Lead) -> bool {
    gone.contains(&EndpointKey {
        net: lead.net,
        address: lead.address,
    })
}
