//! A process connects a socket.

use abi::{DropReason, Header, Lead, Netns, protocol};

use super::{ALLOW, Dial, frontend, lead};
use crate::{
    flows::Opening,
    maps::{CONNECTED, DATAGRAMS},
};

/// Decides about one connect(2).
#[inline(always)]
pub(crate) fn run(dial: Dial) -> i32 {
    match super::balanced(dial) {
        Some(netns) => super::answer(dial, connect(dial, netns)),
        None => ALLOW,
    }
}

#[inline(always)]
fn connect(dial: Dial, netns: &'static Netns) -> Result<(), DropReason> {
    let mut header = dial.header();
    let frontend = match frontend::find(dial, netns, &mut header) {
        Ok(frontend) => frontend,
        // A datagram socket is also connected to learn by which address the kernel would send there,
        // to any port (getaddrinfo(3), ping(8)). Whoever sends is told by the packets' programs.
        Err(_) if header.protocol == protocol::UDP => None,
        Err(reason) => return Err(reason),
    };
    let Some(frontend) = frontend else {
        // A datagram socket may be connected again and again.
        if let Some(old) = existing(dial) {
            lead::end(old);
            note(dial, &header, 0);
        }
        return Ok(());
    };
    let mut opening = Opening::default();
    lead::choose(&frontend, &header, &mut opening)?;
    if let Some(new) = room(dial) {
        lead::begin(new, dial, &frontend, (&header, &opening));
        note(dial, &header, opening.backend);
    }
    Ok(())
}

/// Lets user space find the socket when its backend goes; without room there, it is not found.
#[inline(always)]
fn note(dial: Dial, header: &Header, backend: u32) {
    if header.protocol != protocol::UDP {
        return;
    }
    let cookie = dial.cookie();
    let _ = if backend == 0 {
        DATAGRAMS.remove(cookie)
    } else {
        DATAGRAMS.insert(cookie, backend, 0)
    };
}

/// Where the socket was led by an earlier connect(2).
#[inline(always)]
pub(super) fn existing(dial: Dial) -> Option<&'static mut Lead> {
    // SAFETY: the context is that of this run, and so is its socket.
    let lead = unsafe { CONNECTED.get_ptr_mut(&dial.context()) };
    // SAFETY: what belongs to a socket outlives the run, and the kernel holds the socket's lock: no
    // other hook sees it now.
    unsafe { lead.as_mut() }
}

/// Room for where the socket is led; `None` when the socket may take no more memory.
#[inline(always)]
fn room(dial: Dial) -> Option<&'static mut Lead> {
    // SAFETY: as in `existing`.
    let lead = unsafe { CONNECTED.get_or_insert_ptr_mut(&dial.context(), None) };
    // SAFETY: as in `existing`; a new value is all zero.
    unsafe { lead.as_mut() }
}
