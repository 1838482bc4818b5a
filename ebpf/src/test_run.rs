//! What test runs in the kernel need in the place of what they cannot bring along.

use abi::{Address, DropReason, Header, NetId, Verdict};

use crate::{
    action::Parsed,
    carrier::{self, Origin},
    from_overlay,
    skb::Skb,
};

/// The overlay's hook with the origin from the packet's control words: the network, and the number
/// of a node (one that no node has stands for a stranger). A third word that is not zero makes the packet
/// one that still counts as wrapped.
#[inline(always)]
pub(crate) fn run(skb: Skb, header: &mut Header, parsed: Parsed) -> Result<Verdict, DropReason> {
    if skb.control(2) != 0 {
        carrier::probe::mark(skb);
    }
    let net = NetId(skb.control(0));
    let remote = carrier::address(skb.control(1)).unwrap_or(Address::UNSPECIFIED);
    let local = carrier::address(0).unwrap_or(Address::UNSPECIFIED);
    from_overlay::receive(skb, &Origin { net, remote, local }, header, parsed)
}
