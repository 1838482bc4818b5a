//! The one place where a decision becomes what the kernel does.

use abi::{Action, DropReason, Header, HeaderError, Verdict};
use aya_ebpf::{
    bindings::{TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::generated::{bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer},
};

use crate::{
    drops,
    maps::{HEADER, slot},
    skb::Skb,
};

/// Whether the headers could be read.
pub(crate) type Parsed = Result<(), HeaderError>;

/// Reads the headers, lets the hook decide, and carries the decision out.
#[inline(always)]
pub(crate) fn run(
    skb: Skb,
    hook: impl Fn(Skb, &mut Header, Parsed) -> Result<Verdict, DropReason>,
) -> i32 {
    // Never happens, but the verifier cannot know that the slot exists.
    let Ok(header) = slot(&HEADER) else {
        return TC_ACT_SHOT;
    };
    let parsed = if header.read_plain(&skb) {
        Ok(())
    } else {
        read(skb, header)
    };
    let verdict = match hook(skb, header, parsed) {
        Ok(verdict) => verdict,
        Err(reason) => {
            drops::count(skb, reason, header, skb.len());
            return TC_ACT_SHOT;
        }
    };
    let ifindex = verdict.ifindex;
    let result = match verdict.action {
        // Not "ok" but "next": programs of others on the same hook get their turn.
        Action::Pass => return TC_ACT_UNSPEC,
        Action::Arranged => return TC_ACT_REDIRECT,
        Action::Undecided => return TC_ACT_SHOT,
        // SAFETY: takes numbers only, and checks them.
        Action::Peer => unsafe { bpf_redirect_peer(ifindex, 0) },
        // SAFETY: takes numbers only, and checks them.
        Action::Device => unsafe { bpf_redirect(ifindex, 0) },
        // SAFETY: no parameters are given, so the pointer is not read.
        Action::Neighbour => unsafe { bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) },
    };
    done(result)
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
