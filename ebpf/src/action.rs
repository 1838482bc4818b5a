//! The one place where a decision becomes what the kernel does.

use abi::{DropReason, Header, HeaderError, Observer, Verdict, decision};
use aya_ebpf::{
    bindings::{TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::generated::{bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer},
};

use crate::{
    drops,
    maps::{HEADER, slot},
    sight,
    skb::Skb,
};

/// What becomes of a packet, in numbers.
#[derive(Clone, Copy)]
pub(crate) struct Decided {
    /// One of [`decision`].
    pub(crate) what: u32,
    /// The interface that it is done with.
    pub(crate) target: u32,
}

/// Whether the headers could be read.
pub(crate) type Parsed = Result<(), HeaderError>;

/// Reads the headers, lets the hook decide, and carries the decision out.
#[inline(always)]
pub(crate) fn run(
    skb: Skb,
    observer: Observer,
    hook: impl Fn(Skb, &mut Header, Parsed) -> Result<Verdict, DropReason>,
) -> i32 {
    let Some((header, parsed)) = begin(skb) else {
        return TC_ACT_SHOT;
    };
    end(skb, observer, hook(skb, header, parsed))
}

/// Reads the headers. `None` never happens, but the verifier cannot know that the slot exists.
#[inline(always)]
pub(crate) fn begin(skb: Skb) -> Option<(&'static mut Header, Parsed)> {
    let header = slot(&HEADER).ok()?;
    let parsed = if header.read_plain(&skb) {
        Ok(())
    } else {
        read(skb, header)
    };
    Some((header, parsed))
}

/// Carries the decision out; what the program returns.
#[inline(always)]
pub(crate) fn end(skb: Skb, observer: Observer, verdict: Result<Verdict, DropReason>) -> i32 {
    let decided = match verdict {
        Ok(verdict) => Decided {
            what: verdict.action as u32,
            target: verdict.ifindex,
        },
        Err(reason) => {
            drops::count(skb, reason, skb.len());
            Decided {
                what: decision::DROPPED,
                target: 0,
            }
        }
    };
    if sight::is_armed() {
        return sight::note_and_finish(skb.raw(), observer as u32, decided.what, decided.target);
    }
    decided.carry_out()
}

impl Decided {
    /// What the program returns.
    #[inline(always)]
    pub(crate) fn carry_out(self) -> i32 {
        let ifindex = self.target;
        let result = match self.what {
            // Not "ok" but "next": programs of others on the same hook get their turn.
            decision::PASS => return TC_ACT_UNSPEC,
            decision::ARRANGED | decision::ROUTED => return TC_ACT_REDIRECT,
            // SAFETY: takes numbers only, and checks them.
            decision::PEER => unsafe { bpf_redirect_peer(ifindex, 0) },
            // SAFETY: takes numbers only, and checks them.
            decision::DEVICE => unsafe { bpf_redirect(ifindex, 0) },
            // SAFETY: no parameters are given, so the pointer is not read.
            decision::NEIGHBOUR => unsafe {
                bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0)
            },
            // Dropped, or undecided.
            _ => return TC_ACT_SHOT,
        };
        done(result)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the helpers return actions"
)]
#[inline(always)]
fn done(result: i64) -> i32 {
    result as i32
}

#[inline(never)]
fn read(skb: Skb, header: &mut Header) -> Parsed {
    skb.pull_head();
    header.read_into(&skb)
}
