//! Atomic read-modify-write on words of map values: single BPF instructions (RFC 9669 §5.3).
//!
//! `core::sync::atomic` has none for this target, which knows no compare-and-swap before its
//! version 3; the intrinsics behind it do.

use core::intrinsics::{AtomicOrdering, atomic_or, atomic_xadd};

const RELAXED: AtomicOrdering = AtomicOrdering::Relaxed;
/// LLVM selects the instruction that does not fetch for every relaxed operation, whether its result is
/// used or not (`BPFInstrInfo.td`): whoever wants the old value must ask for an order.
const FETCHING: AtomicOrdering = AtomicOrdering::AcqRel;

/// Adds to a word and returns what it was.
///
/// # Safety
/// `word` points to an aligned word of a map value.
#[inline(always)]
pub(crate) unsafe fn add_u32(word: *mut u32, value: u32) -> u32 {
    // SAFETY: by this function's contract.
    unsafe { atomic_xadd::<u32, u32, FETCHING>(word, value) }
}

/// Adds to a word.
///
/// # Safety
/// `word` points to an aligned word of a map value.
#[inline(always)]
pub(crate) unsafe fn add_u64(word: *mut u64, value: u64) {
    // SAFETY: by this function's contract.
    unsafe { atomic_xadd::<u64, u64, RELAXED>(word, value) };
}

/// Sets bits in a word and returns what it was.
///
/// # Safety
/// `word` points to an aligned word of a map value.
#[inline(always)]
pub(crate) unsafe fn set_u32(word: *mut u32, bits: u32) -> u32 {
    // SAFETY: by this function's contract.
    unsafe { atomic_or::<u32, u32, FETCHING>(word, bits) }
}
