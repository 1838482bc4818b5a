//! A process sends a datagram to an address that it names.

use abi::{DropReason, Header, Lead, Leads, Netns};

use super::{ALLOW, Dial, frontend, frontend::Frontend, lead};
use crate::{
    flows::Opening,
    maps::{BACKENDS, UNCONNECTED},
};

/// Decides about one sendmsg(2).
#[inline(always)]
pub(crate) fn run(dial: Dial) -> i32 {
    match super::balanced(dial) {
        Some(netns) => super::answer(dial, send(dial, netns)),
        None => ALLOW,
    }
}

/// A socket stays with the backend of a frontend as long as that takes new flows. One that sends to
/// more frontends than there is room for is left to the packets' programs for the others.
#[inline(always)]
fn send(dial: Dial, netns: &'static Netns) -> Result<(), DropReason> {
    let mut header = dial.header();
    let Some(frontend) = frontend::find(dial, netns, &mut header)? else {
        return Ok(());
    };
    let Some(leads) = room(dial) else {
        return Ok(());
    };
    let Some(slot) = slot(leads, &frontend, &header) else {
        return Ok(());
    };
    if slot.backend != 0 && is_for(slot, &frontend, &header) && lead::is_ready(slot) {
        dial.set(&slot.address, slot.port);
        return Ok(());
    }
    let mut opening = Opening::default();
    lead::choose(&frontend, &header, &mut opening)?;
    lead::begin(slot, dial, &frontend, (&header, &opening));
    Ok(())
}

/// Everybody that a datagram socket is led to.
#[inline(always)]
pub(super) fn existing(dial: Dial) -> Option<&'static mut Leads> {
    // SAFETY: as in `connect::existing`.
    let leads = unsafe { UNCONNECTED.get_ptr_mut(&dial.context()) };
    // SAFETY: as in `connect::existing`.
    unsafe { leads.as_mut() }
}

#[inline(always)]
fn room(dial: Dial) -> Option<&'static mut Leads> {
    // SAFETY: as in `connect::existing`.
    let leads = unsafe { UNCONNECTED.get_or_insert_ptr_mut(&dial.context(), None) };
    // SAFETY: as in `connect::existing`; a new value is all zero.
    unsafe { leads.as_mut() }
}

/// The slot of this frontend, or a free one.
#[inline(always)]
fn slot<'a>(leads: &'a mut Leads, frontend: &Frontend, header: &Header) -> Option<&'a mut Lead> {
    let mut found = Leads::MOST;
    let mut index = 0;
    while index < Leads::MOST {
        let lead = &leads.leads[index];
        if lead.backend == 0 {
            if found == Leads::MOST {
                found = index;
            }
        } else if is_for(lead, frontend, header) {
            found = index;
            break;
        }
        index += 1;
    }
    if found == Leads::MOST {
        found = abandoned(leads);
    }
    leads.leads.get_mut(found)
}

/// A slot whose backend is gone.
#[inline(always)]
fn abandoned(leads: &Leads) -> usize {
    let mut index = 0;
    while index < Leads::MOST {
        if BACKENDS.get_ptr(leads.leads[index].backend).is_none() {
            break;
        }
        index += 1;
    }
    index
}

#[inline(always)]
fn is_for(lead: &Lead, frontend: &Frontend, header: &Header) -> bool {
    lead.net == frontend.net
        && lead.frontend_port == header.destination_port
        && lead.frontend == header.destination
}
