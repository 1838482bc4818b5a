//! Clients that stay with their backend.

use abi::{Address, Affinity, AffinityKey, Backend, Service, backend_state, service_flag};

use aya_ebpf::bindings::BPF_NOEXIST;

use super::Request;
use crate::{
    drops::now_ns,
    maps::{AFFINITIES, BACKENDS},
};

/// The client's backend, as long as that takes new flows; 0 when it has none.
#[inline(never)]
pub(super) fn recall(service: &Service, request: &Request) -> u32 {
    known(service, &key(service, request, &request.client))
}

/// Makes `backend` the client's, and says which is: another connection of the client may have been
/// faster, on another CPU.
#[inline(never)]
pub(super) fn keep(service: &Service, request: &Request, backend: u32) -> u32 {
    let key = &key(service, request, &request.client);
    let affinity = &Affinity {
        last_ns: now_ns(),
        backend,
        reserved: 0,
    };
    let is_new = AFFINITIES.insert(key, affinity, u64::from(BPF_NOEXIST));
    if is_new.is_ok() {
        return backend;
    }
    let other = known(service, key);
    if other != 0 {
        return other;
    }
    // What stands there has outlived itself.
    let _ = AFFINITIES.insert(key, affinity, 0);
    backend
}

#[inline(always)]
fn known(service: &Service, key: &AffinityKey) -> u32 {
    let Some(known) = AFFINITIES.get_ptr_mut(key) else {
        return 0;
    };
    // SAFETY: the pointer came from the map during this run; others may write its words.
    let known = unsafe { &mut *known };
    let now = now_ns();
    if !known.holds(service.affinity_seconds, now) || !takes_flows(known.backend) {
        return 0;
    }
    known.last_ns = now;
    known.backend
}

/// Whether a backend takes new flows by itself. (One that drains may do so for want of others: then
/// clients do not stay with it.)
#[inline(always)]
fn takes_flows(id: u32) -> bool {
    let Some(backend) = BACKENDS.get_ptr(id) else {
        return false;
    };
    // SAFETY: as in `balance::choose`.
    let backend: &Backend = unsafe { &*backend };
    backend.state == backend_state::READY && backend.weight > 0
}

/// The frontend of a packet together with one of its addresses. Keys stand on the stack: what a
/// global function was handed by pointer is no key to kernels before 6.2.
#[inline(always)]
pub(super) fn key(service: &Service, request: &Request, address: &Address) -> AffinityKey {
    let every = service.flags & service_flag::EVERY_PORT != 0;
    AffinityKey {
        service: service.id,
        address: *address,
        port: if every { 0 } else { request.server_port },
        protocol: if every { 0 } else { request.protocol },
        published: (service.flags & service_flag::PUBLISHED != 0) as u8,
    }
}
