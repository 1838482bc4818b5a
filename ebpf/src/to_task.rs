//! Whatever the node's own stack sends to a task's gateway attachment: replies to what the task
//! asked for, and the node's own processes.

use abi::{DropReason, Header, HeaderError, Iface, MARK_UNSOLICITED, Verdict};

use crate::{action::Parsed, maps::IFACES, skb::Skb};

/// Decides about one packet to a task.
#[inline(always)]
pub(crate) fn run(skb: Skb, header: &mut Header, parsed: Parsed) -> Result<Verdict, DropReason> {
    match parsed {
        Ok(()) => {}
        Err(HeaderError::Arp | HeaderError::NotIp) => return Err(DropReason::NeighbourNoise),
        Err(HeaderError::Malformed(reason)) => return Err(reason),
    }
    let iface = IFACES
        .get_ptr(skb.ifindex())
        .ok_or(DropReason::UnknownInterface)?;
    // SAFETY: the pointer came from the map during this run.
    let iface: &Iface = unsafe { &*iface };
    if header.destination.is_group() {
        return Err(DropReason::Multicast);
    }
    if header.destination != iface.v4 && header.destination != iface.v6 {
        return Err(DropReason::NoEndpoint);
    }
    if skb.mark() == MARK_UNSOLICITED {
        return Err(DropReason::Unsolicited);
    }
    Ok(Verdict::PASS)
}
