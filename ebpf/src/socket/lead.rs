//! Where a socket is led, and the counts of it.

use abi::{Backend, DropReason, Header, Lead, backend_state};

use super::{dial::Dial, frontend::Frontend};
use crate::{balance, flows::Opening, loads, maps::BACKENDS};

/// Chooses a backend.
#[inline(always)]
pub(super) fn choose(
    frontend: &Frontend,
    header: &Header,
    opening: &mut Opening,
) -> Result<(), DropReason> {
    balance::admit(frontend.service, header)?;
    balance::choose(frontend.service, header, 0, opening)
}

/// Leads the socket to the backend of `opening` from here on, and counts that.
#[inline(always)]
pub(super) fn begin(
    lead: &mut Lead,
    dial: Dial,
    frontend: &Frontend,
    (header, opening): (&Header, &Opening),
) {
    end(lead);
    lead.frontend = header.destination;
    lead.frontend_port = header.destination_port;
    lead.address = opening.address;
    lead.port = opening.port;
    lead.net = frontend.net;
    lead.service = frontend.service.id;
    lead.backend = opening.backend;
    loads::led(opening.backend);
    dial.set(&opening.address, opening.port);
}

/// The socket is led nowhere from here on.
#[inline(always)]
pub(super) fn end(lead: &mut Lead) {
    if lead.backend != 0 {
        loads::left(lead.backend);
        lead.backend = 0;
    }
}

/// Whether this is where the address at hand came from.
#[inline(always)]
pub(super) fn is_to(lead: &Lead, dial: Dial) -> bool {
    lead.backend != 0 && lead.port == dial.port() && lead.address == dial.address()
}

/// Whether the backend takes new flows, and is where it was.
#[inline(always)]
pub(super) fn is_ready(lead: &Lead) -> bool {
    let Some(backend) = BACKENDS.get_ptr(lead.backend) else {
        return false;
    };
    // SAFETY: as in `balance::choose`.
    let backend: &Backend = unsafe { &*backend };
    backend.state == backend_state::READY && backend.address == lead.address
}
