//! The socket hooks: where a process dials a VIP or a published port, its socket is led to a backend
//! at once, and no packet of it needs translation.
//!
//! They run for every socket of the host. The first look-up is that of the socket's namespace, and
//! whoever is in none of ours goes on untouched. What cannot be done here is left alone: the programs
//! on the packets' way translate whatever still carries a VIP.
//!
//! A hook may be interrupted by the packets' programs on the same CPU: it uses none of their per-CPU
//! slots.

pub(crate) mod bind;
pub(crate) mod connect;
mod dial;
mod frontend;
mod lead;
pub(crate) mod name;
pub(crate) mod receive;
pub(crate) mod release;
pub(crate) mod send;

use abi::{DropReason, Netns};
use aya_ebpf::helpers::generated::bpf_set_retval;

pub(crate) use self::dial::Dial;
use crate::{drops, maps::NETNS, sight};

/// The process goes on.
const ALLOW: i32 = 1;
/// The process gets an error.
const REFUSE: i32 = 0;

/// `ECONNREFUSED` of asm-generic/errno.h.
const CONNECTION_REFUSED: i32 = 111;
/// `EADDRINUSE` of asm-generic/errno.h.
const ADDRESS_IN_USE: i32 = 98;

/// The namespace of a process of ours that dials by a protocol that is balanced.
#[inline(always)]
fn balanced(dial: Dial) -> Option<&'static Netns> {
    let netns = netns(dial)?;
    dial.is_balanced().then_some(netns)
}

/// Lets a dial go on, or refuses it.
#[inline(always)]
fn answer(dial: Dial, decided: Result<(), DropReason>) -> i32 {
    match decided {
        Ok(()) => ALLOW,
        Err(reason) => {
            sight::dial_refused(reason, dial);
            refuse(dial, reason, CONNECTION_REFUSED)
        }
    }
}

/// What the tables know of the namespace of a socket; `None` when it is none of ours.
#[inline(always)]
fn netns(dial: Dial) -> Option<&'static Netns> {
    let netns = NETNS.get_ptr(dial.netns_cookie())?;
    // SAFETY: the pointer came from the map during this run. A value that user space replaces at the
    // same moment may be read half old, half new: each network of either is one of the namespace's.
    Some(unsafe { &*netns })
}

/// Refuses with an error number, and counts it.
#[inline(always)]
fn refuse(dial: Dial, reason: DropReason, error: i32) -> i32 {
    drops::count_dial(reason, &dial.header());
    // SAFETY: takes a number and returns one.
    unsafe { bpf_set_retval(-error) };
    REFUSE
}
