//! How a packet gets to another node: handed to the collect-metadata VXLAN device with its tunnel
//! key (`Documentation/networking/vxlan.rst`, `bpf_skb_set_tunnel_key`).
//!
//! Nothing outside this file knows how the packet is wrapped.

use abi::{Address, DropReason, NetId, Settings, Verdict, Vtep};
use aya_ebpf::{
    bindings::{BPF_F_DONT_FRAGMENT, BPF_F_TUNINFO_IPV6, BPF_F_ZERO_CSUM_TX, bpf_tunnel_key},
    helpers::generated::{bpf_skb_get_tunnel_key, bpf_skb_set_tunnel_key},
};

use crate::{
    maps::{VTEP_IDS, VTEPS},
    skb::Skb,
};

/// `struct bpf_tunnel_key` of the kernel without its unions. IPv4 addresses stand in the first word
/// in host byte order, IPv6 addresses in network order.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct TunnelKey {
    id: u32,
    remote: [u32; 4],
    tos: u8,
    ttl: u8,
    flags: u16,
    label: u32,
    local: [u32; 4],
}

const _: () = assert!(size_of::<TunnelKey>() == size_of::<bpf_tunnel_key>());

const KEY_SIZE: u32 = 44;

const _: () = assert!(size_of::<TunnelKey>() == KEY_SIZE as usize);

const ETHERNET: u32 = 14;
const TTL: u8 = 64;

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

/// Sends the packet to the node `vtep` in network `net`.
///
/// The outer header forbids fragmentation: what does not fit is dropped here and counted, where
/// fragments of the tunnel would only be slow.
#[inline(never)]
pub(crate) fn send(
    skb: Skb,
    settings: &Settings,
    net: NetId,
    vtep: u32,
) -> Result<Verdict, DropReason> {
    let remote = address(vtep).ok_or(DropReason::NoVtep)?;
    let local = address(0).ok_or(DropReason::NoVtep)?;
    if skb.gso_size() == 0 && skb.len() > u32::from(settings.overlay_mtu) + ETHERNET {
        return Err(DropReason::TooBig);
    }
    let mut key = TunnelKey {
        id: net.0,
        ttl: TTL,
        ..TunnelKey::default()
    };
    let mut flags = u64::from(BPF_F_DONT_FRAGMENT);
    if remote.is_v4() {
        key.remote[0] = u32::from_be(remote.v4_word());
        key.local[0] = u32::from_be(local.v4_word());
        flags |= u64::from(BPF_F_ZERO_CSUM_TX);
    } else {
        key.remote = remote.words;
        key.local = local.words;
        // An IPv6 UDP checksum of zero is for tunnels an exception that the receiving device has to
        // be told to accept (RFC 6936); the sum is sent.
        flags |= u64::from(BPF_F_TUNINFO_IPV6);
    }
    let raw = core::ptr::from_mut(&mut key).cast();
    // SAFETY: `raw` points to an initialised key of the size given.
    let result = unsafe { bpf_skb_set_tunnel_key(skb.raw(), raw, KEY_SIZE, flags) };
    if result == 0 {
        Ok(Verdict::device(settings.vxlan_ifindex))
    } else {
        Err(DropReason::Rewrite)
    }
}

/// Reads where the packet on the VXLAN device came from; false when it carries no tunnel key.
#[inline(never)]
pub(crate) fn origin(skb: Skb, origin: &mut Origin) -> bool {
    let mut key = TunnelKey::default();
    if get(skb, &mut key, 0) {
        origin.remote = Address::from_v4_word(key.remote[0].to_be());
        origin.local = Address::from_v4_word(key.local[0].to_be());
    } else if get(skb, &mut key, u64::from(BPF_F_TUNINFO_IPV6)) {
        origin.remote = Address { words: key.remote };
        origin.local = Address { words: key.local };
    } else {
        return false;
    }
    origin.net = NetId(key.id);
    true
}

#[inline(always)]
fn get(skb: Skb, key: &mut TunnelKey, flags: u64) -> bool {
    let raw = core::ptr::from_mut(key).cast();
    // SAFETY: `raw` points to room for a key of the size given.
    unsafe { bpf_skb_get_tunnel_key(skb.raw(), raw, KEY_SIZE, flags) == 0 }
}

/// The underlay address of a node; `None` for a number that no node has.
#[inline(always)]
pub(crate) fn address(vtep: u32) -> Option<Address> {
    let vtep: &Vtep = VTEPS.get(vtep)?;
    (!vtep.address.is_unspecified()).then_some(vtep.address)
}

/// Whether other nodes send VXLAN to this address, or this node takes it there.
#[inline(always)]
pub(crate) fn is_node(address: &Address) -> bool {
    VTEP_IDS.get_ptr(address).is_some() || self::address(0) == Some(*address)
}
