//! Which service a packet is for, and which backend a new flow gets.

use abi::{
    Algorithm, Backend, Delivery, DropReason, EndpointKey, Header, NetId, Service, ServiceKey,
    client_hash, connection_hash, delivery, pick_index, protocol, tcp,
};

use crate::{
    atomic,
    flows::Opening,
    maps::{BACKENDS, CURSORS, ENDPOINTS, PICKS, SERVICES},
};

/// How many backends are tried when connections would collide.
pub(crate) const ATTEMPTS: u32 = 4;

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
    let value = match Algorithm::from_u32(service.algorithm) {
        Some(Algorithm::RoundRobin) => cursor(service.id),
        Some(Algorithm::SourceHash) => client_hash(&header.source).wrapping_add(attempt),
        Some(Algorithm::Maglev) | None => connection_hash(
            &header.source,
            header.source_port,
            header.protocol,
            service.id,
        )
        .wrapping_add(attempt),
    };
    let id = pick(service, pick_index(value, service.pick_length))?;
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
    opening.forward = reach(backend)?;
    Ok(())
}

/// How to reach a backend from here.
#[inline(always)]
pub(crate) fn reach(backend: &Backend) -> Result<Delivery, DropReason> {
    if backend.vtep != 0 {
        return Ok(Delivery {
            target: backend.vtep,
            mac: [0; 6],
            kind: delivery::TUNNEL,
        });
    }
    let key = EndpointKey {
        net: backend.net,
        address: backend.address,
    };
    let endpoint = ENDPOINTS.get_ptr(key).ok_or(DropReason::NoBackend)?;
    // SAFETY: the pointer came from the map during this run.
    let endpoint = unsafe { &*endpoint };
    Ok(Delivery {
        target: endpoint.ifindex,
        mac: endpoint.mac,
        kind: delivery::TASK,
    })
}

#[inline(always)]
fn pick(service: &Service, index: u32) -> Result<u32, DropReason> {
    if service.pick_length <= Service::INLINE {
        return Ok(service.inline[index as usize & 7]);
    }
    let pick = PICKS.get(service.pick_offset.wrapping_add(index));
    pick.copied().ok_or(DropReason::NoBackend)
}

#[inline(always)]
fn cursor(service: u32) -> u32 {
    let Some(cursor) = CURSORS.get_ptr_mut(service) else {
        return 0;
    };
    // SAFETY: the pointer came from the map during this run; its value is one word.
    unsafe { atomic::add_u32(cursor, 1) }
}
