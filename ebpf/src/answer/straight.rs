//! An echo request of another node for a reply from that node's own address: it shows whether the
//! underlay lets this node send so, as it does when it answers clients of the other one straight.

use abi::{Bytes, DropReason, Fragment, Header, STRAIGHT, Verdict};

use super::echo;
use crate::{
    icmp,
    maps::{ADDRESSES, VTEP_IDS},
    skb::{Deep, Skb},
};

/// Octets of an echo request before its payload.
const ICMP_HEADER: usize = 8;

/// Answers, or leaves the request to the node's stack when it is an ordinary one.
#[inline(never)]
pub(crate) fn answer(skb: Skb, header: &Header) -> Result<Verdict, DropReason> {
    // Only nodes are answered so, and only at their own address: nobody else can be made to hear it.
    let is_due = header.fragment == Fragment::Whole
        && VTEP_IDS.get_ptr(header.source).is_some()
        && ADDRESSES.get_ptr(header.destination).is_some();
    let payload: Option<[u8; 8]> = Deep(skb).load(usize::from(header.l4) + ICMP_HEADER);
    if !is_due || payload != Some(STRAIGHT) {
        return Ok(Verdict::PASS);
    }
    echo::become_reply(skb, header)?;
    icmp::readdress(skb, header, &header.source, &header.source)?;
    Ok(Verdict::neighbour(skb.ifindex()))
}
