//! Ports of later fragments: the first one leaves them, the others find them.
//!
//! A later fragment that overtakes its first is dropped; holding packets back is not worth its cost.

use abi::{DropReason, Fragment, FragmentKey, FragmentPorts, Header, NetId};

use crate::maps::{FRAGMENTS, PIECE, slot};

/// Gives a later fragment's header its ports, and keeps those of a first fragment for the others.
///
/// # Errors
/// [`DropReason::OrphanFragment`] for a later fragment whose first was not seen.
#[inline(always)]
pub(crate) fn resolve(net: NetId, header: &mut Header) -> Result<(), DropReason> {
    remember(net, header);
    recall(net, header)
}

/// Keeps the ports of a first fragment.
#[inline(always)]
pub(crate) fn remember(net: NetId, header: &Header) {
    if header.fragment == Fragment::First {
        let ports = FragmentPorts {
            source: header.source_port,
            destination: header.destination_port,
        };
        if let Ok(key) = key(net, header) {
            // A full table evicts its oldest entry: an insert cannot fail for want of room.
            let _ = FRAGMENTS.insert(key, ports, 0);
        }
    }
}

/// Gives a later fragment's header its ports.
///
/// # Errors
/// As [`resolve`].
#[inline(always)]
pub(crate) fn recall(net: NetId, header: &mut Header) -> Result<(), DropReason> {
    if header.fragment == Fragment::Later {
        let ports = FRAGMENTS
            .get_ptr(key(net, header)?)
            .ok_or(DropReason::OrphanFragment)?;
        // SAFETY: the pointer came from the map during this run; the entry is four bytes that are
        // written once, before they can be found.
        let ports = unsafe { *ports };
        header.source_port = ports.source;
        header.destination_port = ports.destination;
    }
    Ok(())
}

#[inline(always)]
fn key(net: NetId, header: &Header) -> Result<&'static FragmentKey, DropReason> {
    let key = slot(&PIECE)?;
    *key = FragmentKey {
        net,
        id: header.fragment_id,
        source: header.source,
        destination: header.destination,
        protocol: u32::from(header.protocol),
    };
    Ok(key)
}
