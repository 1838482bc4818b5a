//! The kernel's routes.

use abi::{Address, Flow, Header, Verdict};
use aya_ebpf::helpers::generated::{bpf_fib_lookup, bpf_redirect_neigh};

use crate::{
    flows,
    maps::{ROUTE, WAYS, slot},
    skb::Skb,
};

/// `struct bpf_fib_lookup`, word by word.
pub(crate) type Question = [u32; 16];

const LENGTH: i32 = 64;
const _: () = assert!(size_of::<Question>() == 64);
const INTERFACE: usize = 2;
const SOURCE: usize = 4;
const DESTINATION: usize = 8;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `BPF_FIB_LOOKUP_OUTPUT`: the question is of a packet that leaves by the interface.
const OUTPUT: u32 = 1 << 1;
const FOUND: i64 = 0;
/// The neighbour is not known yet: whoever sends there asks for it.
const NO_NEIGHBOUR: i64 = 7;
/// The packet at hand, which is another one, would not fit.
const TOO_BIG: i64 = 8;

/// `struct bpf_redir_neigh`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct NextHop {
    family: u32,
    address: [u32; 4],
}

const NEXT_HOP_LENGTH: i32 = 20;
const _: () = assert!(size_of::<NextHop>() == NEXT_HOP_LENGTH as usize);

impl NextHop {
    /// The next hop with this address.
    #[inline(always)]
    pub(crate) fn of(address: &Address) -> Self {
        if address.is_v4() {
            Self {
                family: u32::from(AF_INET),
                address: [address.v4_word(), 0, 0, 0],
            }
        } else {
            Self {
                family: u32::from(AF_INET6),
                address: address.words,
            }
        }
    }

    /// Arranges that the packet leaves by `interface` to this next hop. Its Ethernet address is the
    /// kernel's business: it is asked for, kept fresh and given up like that of any other packet.
    #[inline(always)]
    pub(crate) fn redirect(mut self, interface: u32) {
        let raw = core::ptr::from_mut(&mut self).cast();
        // SAFETY: `raw` points to an initialised next hop of the size given.
        unsafe { bpf_redirect_neigh(interface, raw, NEXT_HOP_LENGTH, 0) };
    }
}

/// What the routes have said of packets to a destination.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Way {
    /// When they were asked, in ticks of the kernel.
    asked: u64,
    destination: Address,
    /// Rules may tell ways by it.
    source: Address,
    interface: u32,
    hop: NextHop,
}

impl Way {
    #[inline(always)]
    fn leads(&self, interface: u32, destination: &Address, source: &Address, now: u64) -> bool {
        self.interface == interface
            && self.destination == *destination
            && self.source == *source
            && now.wrapping_sub(self.asked) < Flow::CONFIRMED_TICKS
    }
}

/// Sends the packet out of `interface` towards its destination.
///
/// To look the routes up for every packet is dear. What they have said is taken at its word as long as the
/// entry of a flow is.
#[inline(always)]
pub(crate) fn leave(skb: Skb, interface: u32, destination: &Address, source: &Address) -> Verdict {
    if arrange(skb, interface, destination, source) {
        Verdict::routed(interface)
    } else {
        Verdict::neighbour(interface)
    }
}

/// False where the kernel has to decide.
#[inline(never)]
fn arrange(skb: Skb, interface: u32, destination: &Address, source: &Address) -> bool {
    let [.., a, b] = destination.words[3].to_ne_bytes();
    let Some(way) = WAYS.get_ptr_mut(u32::from(a ^ b)) else {
        return false;
    };
    // SAFETY: a per-CPU array's slot outlives the program, and packets' programs do not interrupt each
    // other.
    let way = unsafe { &mut *way };
    let now = flows::ticks();
    if !way.leads(interface, destination, source, now) {
        let Some(hop) = next_hop(skb, interface, destination, source) else {
            return false;
        };
        way.asked = now;
        way.destination = *destination;
        way.source = *source;
        way.interface = interface;
        way.hop.family = hop.family;
        way.hop.address = hop.address;
    }
    way.hop.redirect(interface);
    true
}

/// The next hop on the way by an interface; the destination itself where no router is in between.
#[inline(always)]
fn next_hop(skb: Skb, interface: u32, destination: &Address, source: &Address) -> Option<NextHop> {
    if !ask(skb, interface, destination, source, OUTPUT) {
        return None;
    }
    let answer = slot(&ROUTE).ok()?;
    if answer[INTERFACE] != interface {
        return None;
    }
    let [family, ..] = answer[0].to_ne_bytes();
    Some(NextHop {
        family: u32::from(family),
        address: [
            answer[DESTINATION],
            answer[DESTINATION + 1],
            answer[DESTINATION + 2],
            answer[DESTINATION + 3],
        ],
    })
}

/// The interface by which an answer to the packet leaves this node; 0 when the answer is for the node
/// itself, or for nobody that it can reach.
#[inline(never)]
pub(crate) fn back(skb: Skb, header: &Header) -> u32 {
    let (destination, source) = (&header.source, &header.destination);
    if !ask(skb, skb.ifindex(), destination, source, 0) {
        return 0;
    }
    slot(&ROUTE).map_or(0, |answer| answer[INTERFACE])
}

/// Asks for the way to a destination; the answer is in [`ROUTE`] when there is one.
#[inline(never)]
fn ask(skb: Skb, interface: u32, destination: &Address, source: &Address, flags: u32) -> bool {
    let Ok(question) = slot(&ROUTE) else {
        return false;
    };
    *question = [0; 16];
    question[INTERFACE] = interface;
    if destination.is_v4() {
        question[0] = u32::from_ne_bytes([AF_INET, 0, 0, 0]);
        question[SOURCE] = source.v4_word();
        question[DESTINATION] = destination.v4_word();
    } else {
        question[0] = u32::from_ne_bytes([AF_INET6, 0, 0, 0]);
        let [a, b, c, d] = source.words;
        question[SOURCE] = a;
        question[SOURCE + 1] = b;
        question[SOURCE + 2] = c;
        question[SOURCE + 3] = d;
        let [a, b, c, d] = destination.words;
        question[DESTINATION] = a;
        question[DESTINATION + 1] = b;
        question[DESTINATION + 2] = c;
        question[DESTINATION + 3] = d;
    }
    let raw = question.as_mut_ptr().cast();
    // SAFETY: `question` has the size of the structure, which the helper reads and writes.
    let answer = unsafe { bpf_fib_lookup(skb.raw().cast(), raw, LENGTH, flags) };
    matches!(answer, FOUND | NO_NEIGHBOUR | TOO_BIG)
}
