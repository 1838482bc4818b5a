//! What each backend has to do, counted where it begins and where it ends.

use abi::{Correction, Load};
use aya_ebpf::programs::TcContext;

use crate::{atomic, maps::LOADS};

/// A flow was given to the backend.
#[inline(always)]
pub(crate) fn picked(backend: u32) {
    add(backend, |load| &raw mut load.picked);
}

/// It was answered.
#[inline(always)]
pub(crate) fn opened(backend: u32) {
    add(backend, |load| &raw mut load.opened);
}

/// A flow that was answered has ended.
#[inline(always)]
pub(crate) fn closed(backend: u32) {
    add(backend, |load| &raw mut load.closed);
}

/// A flow has ended before it was answered.
#[inline(always)]
pub(crate) fn failed(backend: u32) {
    add(backend, |load| &raw mut load.failed);
}

/// A socket was led to the backend.
#[inline(always)]
pub(crate) fn led(backend: u32) {
    add(backend, |load| &raw mut load.led);
}

/// It is gone, or led elsewhere.
#[inline(always)]
pub(crate) fn left(backend: u32) {
    add(backend, |load| &raw mut load.left);
}

/// What is going on at the backend, as far as this node carries it.
#[inline(always)]
pub(crate) fn current(backend: u32) -> u32 {
    let Some(load) = LOADS.get_ptr(backend) else {
        return 0;
    };
    // SAFETY: the pointer came from the map during this run. Its words are read one by one while
    // others add to them.
    unsafe { &*load }.current()
}

/// Adds what user space has found out to the counts: see [`Correction`].
#[inline(always)]
pub(crate) fn correct(context: &TcContext) -> i32 {
    let mut number = 0;
    while number < Correction::MOST {
        let offset = Correction::OFFSET + number * size_of::<Correction>();
        let Ok(correction) = context.load::<Correction>(offset) else {
            break;
        };
        apply(&correction);
        number += 1;
    }
    0
}

#[inline(always)]
fn apply(correction: &Correction) {
    let Some(load) = LOADS.get_ptr_mut(correction.backend) else {
        return;
    };
    let more = &correction.load;
    // SAFETY: as in `add`.
    let load = unsafe { &mut *load };
    for (word, value) in [
        (&raw mut load.picked, more.picked),
        (&raw mut load.opened, more.opened),
        (&raw mut load.closed, more.closed),
        (&raw mut load.failed, more.failed),
    ] {
        // SAFETY: an aligned word of the value.
        unsafe { atomic::add_u64(word, value) };
    }
}

#[inline(always)]
fn add(backend: u32, field: impl Fn(&mut Load) -> *mut u64) {
    let Some(load) = LOADS.get_ptr_mut(backend) else {
        return;
    };
    // SAFETY: the pointer came from the map during this run.
    let field = field(unsafe { &mut *load });
    // SAFETY: `field` is an aligned word of it.
    unsafe { atomic::add_u64(field, 1) };
}
