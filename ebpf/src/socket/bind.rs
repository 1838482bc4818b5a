//! A process binds a socket to an address.

use abi::{Address, DropReason, Netns, netns};

use super::{ADDRESS_IN_USE, ALLOW, Dial, frontend};
use crate::mesh;

/// Decides about one bind(2): whoever listened on a published port of the node would never be heard.
#[inline(always)]
pub(crate) fn run(dial: Dial) -> i32 {
    match super::netns(dial) {
        Some(netns) if is_taken(dial, netns) => {
            super::refuse(dial, DropReason::PortReserved, ADDRESS_IN_USE)
        }
        Some(_) | None => ALLOW,
    }
}

#[inline(always)]
fn is_taken(dial: Dial, namespace: &Netns) -> bool {
    if namespace.flags & netns::NODE == 0 || !dial.is_balanced() {
        return false;
    }
    let header = dial.header();
    if frontend::published(&header).is_some() {
        return true;
    }
    // Who binds any IPv6 address gets the port of IPv4 as well, unless told not to.
    header.destination.is_unspecified() && mesh::published_on(&header, Address::ANY_V4).is_some()
}
