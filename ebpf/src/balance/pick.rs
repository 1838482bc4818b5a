//! From a service and who asks for it to a backend.

use abi::{Address, Algorithm, Candidate, Service, client_hash, connection_hash, pick_index};

use super::{affinity, live, locality};
use crate::{
    atomic,
    maps::{CURSORS, PICKS},
};

/// What a new flow is picked by.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Request {
    /// The client.
    pub(crate) client: Address,
    /// What it dialled.
    pub(crate) server: Address,
    /// The client's port.
    pub(crate) client_port: u16,
    /// The port that it dialled.
    pub(crate) server_port: u16,
    /// IP protocol number.
    pub(crate) protocol: u8,
    /// Zero.
    pub(crate) reserved: [u8; 3],
    /// Room to work in: the stack has none left, and a socket hook, which a packet's program may
    /// interrupt, cannot share the slots of this CPU.
    pub(crate) scratch: Scratch,
}

/// See [`Request::scratch`].
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Scratch {
    pub(super) start: u32,
    pub(super) count: u32,
    pub(super) algorithm: u32,
    /// Whether some candidate has room.
    pub(super) roomy: u32,
    /// The best of all candidates.
    pub(super) best: Candidate,
    /// The least loaded member of a locality.
    pub(super) least: Candidate,
    /// The most loaded one.
    pub(super) most: Candidate,
    pub(super) reserved: u32,
}

/// The backend of a new flow; 0 when there is none.
///
/// A global function: the verifier looks at it once, by itself, and whoever calls it sees no more of
/// all its ways than a number.
///
/// # Safety
/// Both pointers are those of values, or null.
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn pick_backend(
    service: *const Service,
    request: *mut Request,
    attempt: u32,
) -> u32 {
    // SAFETY: by the contract; the verifier wants to see the comparison with null.
    let (Some(service), Some(request)) = (unsafe { service.as_ref() }, unsafe { request.as_mut() })
    else {
        return 0;
    };
    let stays = service.affinity_seconds != 0 && attempt == 0;
    if stays {
        let id = affinity::recall(service, request);
        if id != 0 {
            return id;
        }
    }
    let id = pick(service, request, attempt);
    if stays && id != 0 {
        return affinity::keep(service, request, id);
    }
    id
}

/// By the service's algorithm.
#[inline(always)]
fn pick(service: &Service, request: &mut Request, attempt: u32) -> u32 {
    let value = match Algorithm::from_u32(service.algorithm) {
        Some(Algorithm::RoundRobin | Algorithm::WeightedRoundRobin) => cursor(service.id),
        Some(Algorithm::SourceHash) => address_hash(&request.client).wrapping_add(attempt),
        Some(Algorithm::DestinationHash) => address_hash(&request.server).wrapping_add(attempt),
        Some(algorithm) if algorithm.is_live() => {
            return live(service, algorithm, request, attempt);
        }
        Some(_) | None => maglev(service, request).wrapping_add(attempt),
    };
    entry(service, pick_index(value, service.pick_length))
}

// What follows is apart, because its stack need not be there at the same time.

#[inline(never)]
fn address_hash(address: &Address) -> u32 {
    client_hash(address)
}

/// With affinity only the client's address counts, so that every node leads the client to the same
/// backend, whatever it has opened before.
#[inline(never)]
pub(super) fn maglev(service: &Service, request: &Request) -> u32 {
    let port = if service.affinity_seconds == 0 {
        request.client_port
    } else {
        0
    };
    connection_hash(&request.client, port, request.protocol, service.id)
}

/// By what backends have to do at the moment; 0 when there is none.
#[inline(always)]
fn live(service: &Service, algorithm: Algorithm, request: &mut Request, attempt: u32) -> u32 {
    if attempt > 0 {
        return live::next(service);
    }
    if algorithm == Algorithm::TwoChoices {
        return live::less_of_two(service);
    }
    if matches!(
        algorithm,
        Algorithm::Locality | Algorithm::ReplicatedLocality
    ) {
        return locality::pick(service, request, algorithm);
    }
    live::best(service, request, algorithm)
}

/// What stands at a place of the service's picks; 0 where there is none.
#[inline(always)]
pub(super) fn entry(service: &Service, index: u32) -> u32 {
    if service.pick_length <= Service::INLINE {
        return service.inline[index as usize & 7];
    }
    match PICKS.get(service.pick_offset.wrapping_add(index)) {
        Some(entry) => *entry,
        None => 0,
    }
}

#[inline(always)]
pub(super) fn cursor(service: u32) -> u32 {
    let Some(cursor) = CURSORS.get_ptr_mut(service) else {
        return 0;
    };
    // SAFETY: the pointer came from the map during this run; its value is one word.
    unsafe { atomic::add_u32(cursor, 1) }
}
