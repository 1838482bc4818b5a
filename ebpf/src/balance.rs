//! Which service a packet is for, and which backend a new flow gets.

mod affinity;
mod live;
mod locality;
mod pick;

use abi::{
    Algorithm, Backend, Delivery, DropReason, EndpointKey, Header, NetId, Service, ServiceKey,
    backend_state, delivery, pick_index, protocol, tcp,
};

pub(crate) use self::pick::Request;
use crate::{
    flows::Opening,
    maps::{BACKENDS, ENDPOINTS, PICKS, SERVICES},
};

/// The service behind a VIP: by port, or the whole address.
#[inline(always)]
pub(crate) fn service(net: NetId, header: &Header) -> Option<&'static Service> {
    let mut key = ServiceKey {
        net,
        address: header.destination,
        port: header.destination_port,
        protocol: header.protocol,
        reserved: 0,
    };
    let service = SERVICES.get_ptr(key).or_else(|| {
        key.port = 0;
        key.protocol = 0;
        SERVICES.get_ptr(key)
    })?;
    // SAFETY: the pointer came from the map during this run. A value that user space replaces at
    // the same moment may be read half old, half new: offset and length of either lie inside
    // `picks`, whose old range keeps its content until long after this run.
    Some(unsafe { &*service })
}

/// Whether the packet may open a flow with this service.
///
/// In the middle of a connection only Maglev hashing knows what another node, or this one before,
/// has picked.
#[inline(always)]
pub(crate) fn admit(service: &Service, header: &Header) -> Result<(), DropReason> {
    if service.pick_length == 0 {
        return Err(DropReason::NoBackend);
    }
    if header.protocol != protocol::TCP || tcp::is_initial(header.flags) || !header.has_transport()
    {
        return Ok(());
    }
    let is_closing = header.flags & (tcp::RST | tcp::FIN) != 0;
    if is_closing || Algorithm::from_u32(service.algorithm) != Some(Algorithm::Maglev) {
        return Err(DropReason::NoFlow);
    }
    Ok(())
}

/// Picks a backend for a new flow, and makes the opening one to it; `attempt` counts from 0 and leads
/// to others.
#[inline(never)]
pub(crate) fn choose(
    service: &Service,
    header: &Header,
    attempt: u32,
    opening: &mut Opening,
) -> Result<(), DropReason> {
    let request = &mut opening.request;
    request.client = header.source;
    request.server = header.destination;
    request.client_port = header.source_port;
    request.server_port = header.destination_port;
    request.protocol = header.protocol;
    let id = pick::pick_backend(service, request, attempt);
    aim(service, id, header, opening)
}

/// The backend of the table before the present one, for a client in the middle of a connection that this
/// node does not know; 0 when there is none, or it is the present one's too. The present one has been
/// chosen.
#[inline(never)]
pub(crate) fn before(service: &Service, header: &Header, opening: &Opening) -> u32 {
    if service.second_length == 0
        || header.protocol != protocol::TCP
        || tcp::is_initial(header.flags)
        || !header.has_transport()
    {
        return 0;
    }
    let index = pick_index(
        pick::maglev(service, &opening.request),
        service.second_length,
    );
    match PICKS.get(service.second_offset.wrapping_add(index)) {
        Some(id) if *id != opening.backend && BACKENDS.get_ptr(*id).is_some() => *id,
        _ => 0,
    }
}

/// Makes the opening one to a backend.
#[inline(never)]
pub(crate) fn aim(
    service: &Service,
    id: u32,
    header: &Header,
    opening: &mut Opening,
) -> Result<(), DropReason> {
    let backend = BACKENDS.get_ptr(id).ok_or(DropReason::NoBackend)?;
    // SAFETY: the pointer came from the map during this run; numbers are never given again while a
    // flow can hold them, so the value does not change under it.
    let backend: &Backend = unsafe { &*backend };
    opening.service = service.id;
    opening.backend = id;
    opening.address = backend.address;
    opening.port = if backend.port == 0 {
        header.destination_port
    } else {
        backend.port
    };
    reach(backend, &mut opening.forward)
}

/// How many backends are tried for a client whose own has not answered.
const ATTEMPTS: u32 = 4;

/// As [`choose`]: not the backend that has not answered the client, if there is another.
#[inline(always)]
pub(crate) fn choose_other(
    service: &Service,
    header: &Header,
    opening: &mut Opening,
) -> Result<(), DropReason> {
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        choose(service, header, attempt, opening)?;
        if opening.backend != opening.avoid {
            break;
        }
        attempt += 1;
    }
    Ok(())
}

/// Whether a backend drains, or is gone.
#[inline(never)]
pub(crate) fn is_leaving(id: u32) -> bool {
    let Some(backend) = BACKENDS.get_ptr(id) else {
        return true;
    };
    // SAFETY: as in `choose`.
    let backend: &Backend = unsafe { &*backend };
    backend.state == backend_state::DRAINING
}

/// How to reach a backend from here.
#[inline(never)]
pub(crate) fn reach(backend: &Backend, way: &mut Delivery) -> Result<(), DropReason> {
    if backend.vtep != 0 {
        way.target = backend.vtep;
        way.mac = [0; 6];
        way.kind = delivery::TUNNEL;
        return Ok(());
    }
    let key = EndpointKey {
        net: backend.net,
        address: backend.address,
    };
    let endpoint = ENDPOINTS.get_ptr(key).ok_or(DropReason::NoBackend)?;
    // SAFETY: the pointer came from the map during this run.
    let endpoint = unsafe { &*endpoint };
    way.target = endpoint.ifindex;
    way.mac = endpoint.mac;
    way.kind = delivery::TASK;
    Ok(())
}
