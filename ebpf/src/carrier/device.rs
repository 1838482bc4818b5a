//! The collect-metadata VXLAN device: each packet is handed to it with its tunnel key
//! (`Documentation/networking/vxlan.rst`, `bpf_skb_set_tunnel_key`).

use abi::{Address, DropReason, NetId, Settings, Verdict};
use aya_ebpf::{
    bindings::{BPF_F_DONT_FRAGMENT, BPF_F_TUNINFO_IPV6, BPF_F_ZERO_CSUM_TX, bpf_tunnel_key},
    helpers::generated::{bpf_skb_get_tunnel_key, bpf_skb_set_tunnel_key},
};

use super::Origin;
use crate::skb::Skb;

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

const TTL: u8 = 64;

/// Hands the packet to the device.
#[inline(never)]
pub(super) fn send(
    skb: Skb,
    settings: &Settings,
    net: NetId,
    remote: &Address,
    local: &Address,
) -> Result<Verdict, DropReason> {
    let mut key = TunnelKey {
        id: net.0,
        ttl: TTL,
        ..TunnelKey::default()
    };
    // No checksum over UDP, over IPv6 neither: as the native carrier, which takes only such packets,
    // and every node's device is told to accept them.
    let mut flags = u64::from(BPF_F_DONT_FRAGMENT | BPF_F_ZERO_CSUM_TX);
    if remote.is_v4() {
        key.remote[0] = u32::from_be(remote.v4_word());
        key.local[0] = u32::from_be(local.v4_word());
    } else {
        key.remote = remote.words;
        key.local = local.words;
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

/// Reads where the packet on the device came from; false when it carries no tunnel key.
#[inline(never)]
pub(super) fn origin(skb: Skb, origin: &mut Origin) -> bool {
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
pub(super) fn raw_key(skb: Skb, key: &mut [u32; abi::TunnelKey::WORDS]) -> u32 {
    let raw: *mut bpf_tunnel_key = key.as_mut_ptr().cast();
    // SAFETY: `raw` points to room for a key of the size given.
    if unsafe { bpf_skb_get_tunnel_key(skb.raw(), raw, KEY_SIZE, 0) } == 0 {
        return 4;
    }
    let flags = u64::from(BPF_F_TUNINFO_IPV6);
    // SAFETY: as above.
    if unsafe { bpf_skb_get_tunnel_key(skb.raw(), raw, KEY_SIZE, flags) } == 0 {
        return 6;
    }
    0
}

#[inline(always)]
fn get(skb: Skb, key: &mut TunnelKey, flags: u64) -> bool {
    let raw = core::ptr::from_mut(key).cast();
    // SAFETY: `raw` points to room for a key of the size given.
    unsafe { bpf_skb_get_tunnel_key(skb.raw(), raw, KEY_SIZE, flags) == 0 }
}
