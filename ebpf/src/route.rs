//! The kernel's routes.

use abi::{Family, Header};
use aya_ebpf::helpers::generated::bpf_fib_lookup;

use crate::{
    maps::{ROUTE, slot},
    skb::Skb,
};

/// `struct bpf_fib_lookup`, word by word.
pub(crate) type Question = [u32; 16];

const LENGTH: i32 = 64;
const _: () = assert!(size_of::<Question>() == 64);
const INTERFACE: usize = 2;
const SOURCE: usize = 4;
const DESTINATION: usize = 8;
const AF_INET: u32 = u32::from_ne_bytes([2, 0, 0, 0]);
const AF_INET6: u32 = u32::from_ne_bytes([10, 0, 0, 0]);
const FOUND: i64 = 0;
/// The neighbour is not known yet: whoever sends there asks for it.
const NO_NEIGHBOUR: i64 = 7;
/// The packet at hand, which is another one, would not fit.
const TOO_BIG: i64 = 8;

/// The interface by which an answer to the packet leaves this node; 0 when the answer is for the node
/// itself, or for nobody that it can reach.
#[inline(never)]
pub(crate) fn back(skb: Skb, header: &Header) -> u32 {
    let Ok(question) = slot(&ROUTE) else {
        return 0;
    };
    *question = [0; 16];
    question[INTERFACE] = skb.ifindex();
    if header.family == Family::V4 {
        question[0] = AF_INET;
        question[SOURCE] = header.destination.v4_word();
        question[DESTINATION] = header.source.v4_word();
    } else {
        question[0] = AF_INET6;
        let [a, b, c, d] = header.destination.words;
        question[SOURCE] = a;
        question[SOURCE + 1] = b;
        question[SOURCE + 2] = c;
        question[SOURCE + 3] = d;
        let [a, b, c, d] = header.source.words;
        question[DESTINATION] = a;
        question[DESTINATION + 1] = b;
        question[DESTINATION + 2] = c;
        question[DESTINATION + 3] = d;
    }
    // SAFETY: `question` has the size of the structure, which the helper reads and writes.
    let answer =
        unsafe { bpf_fib_lookup(skb.raw().cast(), question.as_mut_ptr().cast(), LENGTH, 0) };
    if matches!(answer, FOUND | NO_NEIGHBOUR | TOO_BIG) {
        question[INTERFACE]
    } else {
        0
    }
}
