//! Echo (RFC 792, RFC 4443 §4.1–4.2): the request becomes its reply.

use abi::{DropReason, Family, Header, Verdict, icmp};

use super::Back;
use crate::skb::Skb;

/// Answers an echo request in the name of its destination.
#[inline(never)]
pub(crate) fn answer(skb: Skb, header: &Header, back: Back) -> Result<Verdict, DropReason> {
    become_reply(skb, header)?;
    super::swap_addresses(skb, header)?;
    back.send(skb)
}

/// Makes the request a reply, all but its addresses.
#[inline(always)]
pub(super) fn become_reply(skb: Skb, header: &Header) -> Result<(), DropReason> {
    let l4 = u32::from(header.l4);
    let (request, reply) = match header.family {
        Family::V4 => (icmp::ECHO_REQUEST, icmp::ECHO_REPLY),
        Family::V6 => (icmp::V6_ECHO_REQUEST, icmp::V6_ECHO_REPLY),
    };
    // The type is the high octet of a word.
    let word = |kind: u8| u32::from(u16::from_ne_bytes([kind, 0]));
    skb.replace_in_checksum(l4 + 2, word(request), word(reply), 2)?;
    skb.store(l4, &reply)
}
