//! The address that a process gives to the kernel or is about to get from it.

use abi::{Address, Family, Fragment, Header, protocol, tcp};
use aya_ebpf::{
    bindings::{bpf_sock, bpf_sock_addr},
    helpers::generated::{bpf_get_netns_cookie, bpf_get_prandom_u32, bpf_get_socket_cookie},
    programs::SockAddrContext,
};

/// A socket and the address at hand, under one run of a program.
#[derive(Clone, Copy)]
pub(crate) struct Dial {
    raw: *mut bpf_sock_addr,
    /// Which of the context's two addresses it is.
    family: Family,
}

/// A word of the context.
macro_rules! field {
    ($self:ident.$name:ident $([$index:literal])?) => {
        // SAFETY: `raw` is the context that the kernel called the program with.
        unsafe { &raw mut (*$self.raw).$name $([$index])? }
    };
}

impl Dial {
    /// For a hook of IPv4.
    #[inline(always)]
    pub(crate) fn v4(context: &SockAddrContext) -> Self {
        Self {
            raw: context.sock_addr,
            family: Family::V4,
        }
    }

    /// For a hook of IPv6, whose address may be a mapped one.
    #[inline(always)]
    pub(crate) fn v6(context: &SockAddrContext) -> Self {
        Self {
            raw: context.sock_addr,
            family: Family::V6,
        }
    }

    /// The context, for helpers that are called elsewhere.
    #[inline(always)]
    pub(super) fn context(self) -> SockAddrContext {
        SockAddrContext::new(self.raw)
    }

    #[inline(always)]
    pub(super) fn netns_cookie(self) -> u64 {
        // SAFETY: `raw` is the context that the kernel called the program with.
        unsafe { bpf_get_netns_cookie(self.raw.cast()) }
    }

    /// Number of the socket, of which no two are alike.
    #[inline(always)]
    pub(super) fn cookie(self) -> u64 {
        // SAFETY: `raw` is the context that the kernel called the program with.
        unsafe { bpf_get_socket_cookie(self.raw.cast()) }
    }

    /// Whether the socket's protocol is one that is balanced.
    #[inline(always)]
    pub(super) fn is_balanced(self) -> bool {
        let number = self.protocol();
        number == u32::from(protocol::TCP) || number == u32::from(protocol::UDP)
    }

    #[inline(always)]
    fn protocol(self) -> u32 {
        load(field!(self.protocol))
    }

    #[inline(always)]
    pub(super) fn address(self) -> Address {
        match self.family {
            Family::V4 => Address::from_v4_word(load(field!(self.user_ip4))),
            Family::V6 => Address {
                words: [
                    load(field!(self.user_ip6[0])),
                    load(field!(self.user_ip6[1])),
                    load(field!(self.user_ip6[2])),
                    load(field!(self.user_ip6[3])),
                ],
            },
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a word whose first half is the port"
    )]
    #[inline(always)]
    pub(super) fn port(self) -> u16 {
        u16::from_be(load(field!(self.user_port)) as u16)
    }

    /// Whether the socket is bound to no address, or to this one.
    #[inline(always)]
    pub(super) fn can_send_from(self, address: &Address) -> bool {
        // SAFETY: as in `field!`; the union has one member of use.
        let socket = unsafe { &raw const (*self.raw).__bindgen_anon_1 };
        // SAFETY: the context is that of this run.
        let socket: *mut bpf_sock = unsafe { socket.cast::<*mut bpf_sock>().read_volatile() };
        let bound = match self.family {
            // SAFETY: the kernel runs these hooks for a socket, which outlives the run.
            Family::V4 => Address::from_v4_word(load(unsafe { &raw mut (*socket).src_ip4 })),
            Family::V6 => Address {
                words: [
                    // SAFETY: as above.
                    load(unsafe { &raw mut (*socket).src_ip6[0] }),
                    // SAFETY: as above.
                    load(unsafe { &raw mut (*socket).src_ip6[1] }),
                    // SAFETY: as above.
                    load(unsafe { &raw mut (*socket).src_ip6[2] }),
                    // SAFETY: as above.
                    load(unsafe { &raw mut (*socket).src_ip6[3] }),
                ],
            },
        };
        bound.is_unspecified() || bound == Address::ANY_V4 || bound == *address
    }

    /// Puts another address in the place of the one at hand.
    #[inline(always)]
    pub(super) fn set(self, address: &Address, port: u16) {
        let [a, b, c, d] = address.words;
        match self.family {
            Family::V4 => store(field!(self.user_ip4), d),
            Family::V6 => {
                store(field!(self.user_ip6[0]), a);
                store(field!(self.user_ip6[1]), b);
                store(field!(self.user_ip6[2]), c);
                store(field!(self.user_ip6[3]), d);
            }
        }
        store(field!(self.user_port), u32::from(port.to_be()));
    }

    /// The first packet that the process would send: what a backend is chosen by. The kernel has not
    /// picked its port yet, so that one stands for it which spreads connections as well.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the protocol is one byte, a port is some of the random bits"
    )]
    #[inline(always)]
    pub(crate) fn header(self) -> Header {
        let destination = self.address();
        // SAFETY: takes nothing and returns a number.
        let random = unsafe { bpf_get_prandom_u32() };
        Header {
            family: if destination.is_v4() {
                Family::V4
            } else {
                Family::V6
            },
            source: Address::UNSPECIFIED,
            destination,
            protocol: self.protocol() as u8,
            flags: tcp::SYN,
            source_port: random as u16,
            destination_port: self.port(),
            l4: 0,
            end: 0,
            fragment_id: 0,
            fragment: Fragment::Whole,
        }
    }
}

/// The verifier wants each field read by itself.
#[inline(always)]
fn load(word: *mut u32) -> u32 {
    // SAFETY: `word` is a word of the context; all that are used here may be read in every hook.
    unsafe { word.read_volatile() }
}

#[inline(always)]
fn store(word: *mut u32, value: u32) {
    // SAFETY: as in `load`; the hooks that store may write the address and the port.
    unsafe { word.write_volatile(value) };
}
