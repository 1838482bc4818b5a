//! Connections whose beginning this node has not seen, while the table that backends are picked from has
//! just changed: the node of the present table's backend passes on what it does not know to that of the
//! table before, and replies come back by it.

use abi::{
    Backend, DropReason, Header, Mesh, MeshDirection, Service, Settings, Verdict, delivery,
    protocol, tcp,
};

use crate::{balance, carrier, flows, flows::Opening, maps::BACKENDS, skb::Skb};

/// At the ingress node: makes the opening one to the backend that knows the connection, as far as this
/// node can tell, or notes whom to ask after the present table's.
#[inline(never)]
pub(super) fn look(
    service: &Service,
    header: &Header,
    opening: &mut Opening,
) -> Result<(), DropReason> {
    let first = opening.backend;
    let second = balance::before(service, header, opening);
    if second == 0 {
        return Ok(());
    }
    let is_first_here = opening.forward.kind == delivery::TASK;
    if is_first_here && flows::knows(opening.net, header, opening) {
        return Ok(());
    }
    if balance::aim(service, second, header, opening).is_err() {
        return balance::aim(service, first, header, opening);
    }
    let is_second_here = opening.forward.kind == delivery::TASK;
    if is_first_here && !is_second_here {
        return Ok(());
    }
    if is_second_here && flows::knows(opening.net, header, opening) {
        return Ok(());
    }
    balance::aim(service, first, header, opening)?;
    if !is_second_here {
        opening.forward.set_second(second);
    }
    Ok(())
}

/// Whether the frame names another backend that may know a connection which its first one does not.
#[inline(always)]
pub(super) fn may_know(mesh: &Mesh, header: &Header) -> bool {
    mesh.second != 0
        && mesh.direction != MeshDirection::PassedOn
        && header.protocol == protocol::TCP
        && header.has_transport()
        && !tcp::is_initial(header.flags)
}

/// Makes the frame one to its second backend, or to its first one alone when nobody has the second;
/// the node to send it on to, 0 when that is this one.
#[inline(always)]
pub(super) fn turn(settings: &Settings, mesh: &mut Mesh, vtep: u32) -> u32 {
    let second = BACKENDS.get_ptr(mesh.second);
    let number = mesh.second;
    mesh.second = 0;
    let Some(backend) = second else {
        return 0;
    };
    // SAFETY: as in `balance::choose`.
    let backend: &Backend = unsafe { &*backend };
    if backend.net != settings.ingress_net {
        return 0;
    }
    mesh.backend = number;
    if backend.vtep != 0 && mesh.direction == MeshDirection::Forward {
        // Replies straight to the client need no way back.
        mesh.direction = MeshDirection::PassedOn;
        mesh.second = vtep;
    }
    backend.vtep
}

/// Sends a frame on as it is now.
#[inline(never)]
pub(super) fn send(
    skb: Skb,
    settings: &Settings,
    mesh: &Mesh,
    vtep: u32,
) -> Result<Verdict, DropReason> {
    skb.store(0, &mesh.to_addresses())?;
    carrier::send(skb, settings, settings.ingress_net, vtep)
}
