//! Picks by what backends have to do at the moment.

use abi::{Algorithm, Candidate, Locality, Service};
use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_loop};

use super::pick::{Request, Scratch, cursor, entry};
use crate::loads;

/// What one step of a look at every candidate needs.
#[repr(C)]
struct Step {
    service: *const Service,
    scratch: *mut Scratch,
    /// Whose members are looked at apart; null for nobody's.
    locality: *const Locality,
}

/// The best of all candidates.
#[inline(always)]
pub(super) fn best(service: &Service, request: &mut Request, algorithm: Algorithm) -> u32 {
    scan(service, request, algorithm, core::ptr::null());
    request.scratch.best.id
}

/// Looks at every candidate, beginning with another one each time: equals are picked in turn.
#[inline(always)]
pub(super) fn scan(
    service: &Service,
    request: &mut Request,
    algorithm: Algorithm,
    locality: *const Locality,
) {
    let scratch = &mut request.scratch;
    scratch.count = count(service);
    scratch.start = cursor(service.id).checked_rem(scratch.count).unwrap_or(0);
    scratch.algorithm = algorithm as u32;
    scratch.roomy = 0;
    scratch.best = Candidate::default();
    scratch.least = Candidate::default();
    scratch.most = Candidate::default();
    let count = scratch.count;
    let mut step = Step {
        service,
        scratch,
        locality,
    };
    let visit: extern "C" fn(u32, *mut Step) -> i64 = visit;
    let context = &raw mut step;
    // SAFETY: `visit` is a callback of the kind that the helper wants, and `context` is on the stack.
    unsafe { bpf_loop(count, visit as *mut _, context.cast(), 0) };
}

/// One step of [`scan`]. The kernel bounds the steps, so that there may be any number of candidates.
#[inline(never)]
extern "C" fn visit(number: u32, step: *mut Step) -> i64 {
    // SAFETY: `scan` hands over its own, which outlives the loop.
    let step = unsafe { &mut *step };
    // SAFETY: as above.
    let scratch = unsafe { &mut *step.scratch };
    let mut index = scratch.start.wrapping_add(number);
    if index >= scratch.count {
        index = index.wrapping_sub(scratch.count);
    }
    // SAFETY: as above.
    let one = candidate(unsafe { &*step.service }, index);
    if one.id == 0 {
        return 0;
    }
    let algorithm = Algorithm::from_u32(scratch.algorithm).unwrap_or(Algorithm::LeastConnection);
    if scratch.best.id == 0 || algorithm.prefers(&one, &scratch.best) {
        scratch.best = one;
    }
    if !step.locality.is_null() {
        // SAFETY: as above.
        member(scratch, unsafe { &*step.locality }, one);
    }
    0
}

#[inline(always)]
fn member(scratch: &mut Scratch, locality: &Locality, one: Candidate) {
    if one.is_roomy() {
        scratch.roomy = 1;
    }
    let mut index = 0;
    while index < Locality::MOST {
        if locality.backends[index] == one.id {
            if scratch.least.id == 0 || one.is_lighter(&scratch.least) {
                scratch.least = one;
            }
            if scratch.most.id == 0 || scratch.most.is_lighter(&one) {
                scratch.most = one;
            }
            return;
        }
        index += 1;
    }
}

/// The less loaded of two that are drawn.
#[inline(never)]
pub(super) fn less_of_two(service: &Service) -> u32 {
    let count = count(service);
    let first = draw(count);
    let one = candidate(service, first);
    if count < 2 {
        return one.id;
    }
    let mut second = first + 1 + draw(count - 1);
    if second >= count {
        second -= count;
    }
    let other = candidate(service, second);
    if other.id != 0 && other.is_lighter(&one) {
        other.id
    } else {
        one.id
    }
}

/// Candidates in turn: where the best one's connection would collide.
#[inline(always)]
pub(super) fn next(service: &Service) -> u32 {
    let index = cursor(service.id).checked_rem(count(service)).unwrap_or(0);
    entry(service, index * 2)
}

/// A random number below `bound`; 0 when there is none.
#[inline(always)]
fn draw(bound: u32) -> u32 {
    // SAFETY: takes nothing and returns a number.
    let number = unsafe { bpf_get_prandom_u32() };
    number.checked_rem(bound).unwrap_or(0)
}

/// How many candidates a service has.
#[inline(always)]
const fn count(service: &Service) -> u32 {
    service.pick_length / 2
}

/// The candidate at a place.
#[inline(always)]
fn candidate(service: &Service, index: u32) -> Candidate {
    let id = entry(service, index * 2);
    let weight = entry(service, index * 2 + 1);
    Candidate {
        id,
        weight,
        load: loads::current(id),
    }
}
