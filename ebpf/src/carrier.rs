//! How a packet gets to another node, and from there: in VXLAN, which either the programs write and
//! remove themselves or the kernel's device does. On the wire both are the same.
//!
//! Nothing outside this module knows how the packet is wrapped.

mod device;
mod native;
pub(crate) mod probe;

use abi::{Address, DropReason, NetId, Settings, TunnelKey, Verdict, Vtep, vtep};

use crate::{
    maps::{SENDERS, VTEP_IDS, VTEPS},
    skb::Skb,
};

pub(crate) use native::{Room, Taken, take};

const ETHERNET: u32 = 14;

/// Where a tunnelled packet came from.
#[derive(Clone, Copy, Default)]
pub(crate) struct Origin {
    /// The network it says it belongs to.
    pub net: NetId,
    /// The outer source.
    pub remote: Address,
    /// The outer destination.
    pub(crate) local: Address,
}

/// Sends the packet to the node `number` in network `net`.
///
/// The outer header forbids fragmentation: what does not fit is dropped here and counted, where
/// fragments of the tunnel would only be slow.
#[inline(never)]
pub(crate) fn send(
    skb: Skb,
    settings: &Settings,
    net: NetId,
    number: u32,
) -> Result<Verdict, DropReason> {
    let remote = vtep(number).ok_or(DropReason::NoVtep)?;
    let local = vtep(0).ok_or(DropReason::NoVtep)?;
    if skb.gso_size() == 0 && skb.len() > u32::from(settings.overlay_mtu) + ETHERNET {
        return Err(DropReason::TooBig);
    }
    if remote.flags & vtep::NATIVE != 0 {
        let verdict = native::send(skb, settings, net, remote, &local.address)?;
        if verdict != Verdict::PASS {
            return Ok(verdict);
        }
    }
    device::send(skb, settings, net, &remote.address, &local.address)
}

/// Reads where the packet on the VXLAN device came from; false when it did not come through a tunnel.
#[inline(always)]
pub(crate) fn origin(skb: Skb, origin: &mut Origin) -> bool {
    device::origin(skb, origin)
}

/// Copies the tunnel key that the packet carries, as it came or as it goes; returns the family of its
/// addresses, 4 or 6, or 0 when there is none.
#[inline(always)]
pub(crate) fn raw_key(skb: Skb, key: &mut [u32; TunnelKey::WORDS]) -> u32 {
    device::raw_key(skb, key)
}

/// The underlay address of a node; `None` for a number that no node has.
#[inline(always)]
pub(crate) fn address(number: u32) -> Option<Address> {
    vtep(number).map(|vtep| vtep.address)
}

/// The number of the node with this underlay address; `None` when there is no such node.
///
/// Who has sent something sends more: a remembered number costs two reads of arrays, and is believed
/// only if it still is the address's.
#[inline(always)]
pub(crate) fn number(address: &Address) -> Option<u32> {
    let [.., last] = address.words[3].to_ne_bytes();
    let remembered = SENDERS.get_ptr_mut(u32::from(last))?;
    // SAFETY: the pointer came from the map during this run; an aligned word that may be overwritten any
    // time, by a number that is looked at as well.
    let number = unsafe { *remembered };
    if number != 0 && self::address(number) == Some(*address) {
        return Some(number);
    }
    let number = VTEP_IDS.get_ptr(address)?;
    // SAFETY: the pointer came from the map during this run; an aligned word.
    let number = unsafe { *number };
    // SAFETY: as above.
    unsafe { *remembered = number };
    Some(number)
}

/// Whether other nodes send VXLAN to this address, or this node takes it there.
#[inline(always)]
pub(crate) fn is_node(address: &Address) -> bool {
    VTEP_IDS.get_ptr(address).is_some() || self::address(0) == Some(*address)
}

#[inline(always)]
fn vtep(number: u32) -> Option<&'static Vtep> {
    VTEPS
        .get(number)
        .filter(|vtep| !vtep.address.is_unspecified())
}
