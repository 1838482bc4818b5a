//! One backend, or a few, for each address that is dialled (`ip_vs_lblc.c`, `ip_vs_lblcr.c`).

use abi::{Algorithm, Locality, Service};
use aya_ebpf::bindings::BPF_NOEXIST;

use super::{
    affinity, live,
    pick::{Request, Scratch},
};
use crate::{drops::now_ns, maps::LOCALITIES};

/// What is written first when an address is new: the stack has no room for it.
static NOTHING: Locality = Locality {
    last_ns: 0,
    changed_ns: 0,
    backends: [0; Locality::MOST],
};

/// The backend of a new flow to this destination; 0 when there is none.
#[inline(always)]
pub(super) fn pick(service: &Service, request: &mut Request, algorithm: Algorithm) -> u32 {
    let Some(known) = known(service, request) else {
        return live::best(service, request, algorithm);
    };
    live::scan(service, request, algorithm, known);
    settle(known, &request.scratch)
}

/// What is known of a destination, from now on at least. Others may write its words at the same time:
/// each is the number of a backend, or none.
#[inline(never)]
fn known(service: &Service, request: &Request) -> Option<&'static mut Locality> {
    let key = &affinity::key(service, request, &request.server);
    if LOCALITIES.get_ptr(key).is_none() {
        #[expect(
            clippy::needless_borrows_for_generic_args,
            reason = "it would be copied to the stack"
        )]
        let _ = LOCALITIES.insert(key, &NOTHING, u64::from(BPF_NOEXIST));
    }
    // SAFETY: the pointer came from the map during this run.
    let known = LOCALITIES.get_ptr_mut(key).map(|it| unsafe { &mut *it })?;
    let now = now_ns();
    if !known.holds(now) {
        known.backends = [0; Locality::MOST];
    }
    known.last_ns = now;
    Some(known)
}

/// The backend for the destination, and what is known of it henceforth.
#[inline(never)]
fn settle(known: &mut Locality, scratch: &Scratch) -> u32 {
    let is_replicated = scratch.algorithm == Algorithm::ReplicatedLocality as u32;
    let now = now_ns();
    if is_replicated && scratch.most.id != scratch.least.id && known.shrinks(now) {
        replace(known, scratch.most.id, 0);
        known.changed_ns = now;
    }
    if scratch.least.id != 0 && !(scratch.least.is_overloaded() && scratch.roomy != 0) {
        return scratch.least.id;
    }
    let best = scratch.best.id;
    known.changed_ns = now;
    if !is_replicated || !join(known, best, scratch.most.id) {
        known.backends[0] = best;
    }
    best
}

/// Adds a member unless it is one: in a free place, or in that of the most loaded one. `false` when
/// there is neither: then no member is a candidate any more.
#[inline(always)]
fn join(known: &mut Locality, id: u32, most: u32) -> bool {
    replace(known, id, id) || replace(known, 0, id) || replace(known, most, id)
}

/// Puts `new` in the place of `old`; `false` when that is nowhere.
#[inline(never)]
fn replace(known: &mut Locality, old: u32, new: u32) -> bool {
    let mut index = 0;
    while index < Locality::MOST {
        if known.backends[index] == old {
            known.backends[index] = new;
            return true;
        }
        index += 1;
    }
    false
}
