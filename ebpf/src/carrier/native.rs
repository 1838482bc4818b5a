//! VXLAN written and removed here (`bpf_skb_adjust_room`): the packet meets neither the device nor
//! the node's own IP stack. Whatever is not the ordinary case is left to the device.

use abi::{
    Address, Bytes, DropReason, Mesh, MeshDirection, NetId, Settings, Verdict, Vtep, ethertype,
    protocol, vtep,
    vxlan::{self, HeadV4, HeadV6, Inner, Outer, ROOM_V4, ROOM_V6},
};
use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_ADJ_ROOM_ENCAP_L2_SHIFT, BPF_CSUM_LEVEL_DEC, BPF_F_ADJ_ROOM_DECAP_L3_IPV4,
        BPF_F_ADJ_ROOM_DECAP_L3_IPV6, BPF_F_ADJ_ROOM_ENCAP_L2_ETH, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4,
        BPF_F_ADJ_ROOM_ENCAP_L3_IPV6, BPF_F_ADJ_ROOM_ENCAP_L4_UDP, BPF_F_ADJ_ROOM_FIXED_GSO,
        BPF_F_ADJ_ROOM_NO_CSUM_RESET,
    },
    helpers::generated::{
        bpf_csum_level, bpf_get_hash_recalc, bpf_skb_pull_data, bpf_skb_store_bytes,
    },
};

use super::Origin;
use crate::{
    maps::{OUTER, SETTINGS, VTEPS, slot},
    route::NextHop,
    skb::Skb,
};

const ETHERNET: usize = 14;
const ETHERNET_LENGTH: u32 = 14;
pub(super) const GROWTH_V4: i32 = 50;
pub(super) const GROWTH_V6: i32 = 70;
/// The outer headers and the inner Ethernet header.
const HEAD_V4: u32 = 64;
const HEAD_V6: u32 = 84;

const _: () = assert!(ROOM_V4 == 50 && ROOM_V6 == 70);

/// The packet is a tunnel's, with an Ethernet frame inside. Without `FIXED_GSO` the kernel would cut
/// the segments of the inner connection shorter, which are right as they are: the task's MTU leaves
/// room for the outer headers.
pub(super) const WRAP: u64 = BPF_F_ADJ_ROOM_ENCAP_L4_UDP as u64
    | BPF_F_ADJ_ROOM_ENCAP_L2_ETH as u64
    | BPF_F_ADJ_ROOM_FIXED_GSO as u64
    | (ETHERNET_LENGTH as u64) << BPF_ADJ_ROOM_ENCAP_L2_SHIFT;
/// The device has looked at the checksums in their order, from the outside: what it found must be
/// counted down, not forgotten.
pub(super) const UNWRAP: u64 =
    BPF_F_ADJ_ROOM_FIXED_GSO as u64 | BPF_F_ADJ_ROOM_NO_CSUM_RESET as u64;

/// The bit of an Ethernet address that says it is a group's.
const GROUP: u8 = 1;

/// Room for what is written before an inner packet.
pub(crate) struct Room {
    v4: HeadV4,
    v6: HeadV6,
}

/// Wraps the packet and sends it to the node's next hop; [`Verdict::PASS`] when it cannot be, and is
/// as it was.
#[inline(never)]
pub(super) fn send(
    skb: Skb,
    settings: &Settings,
    net: NetId,
    remote: &Vtep,
    local: &Address,
) -> Result<Verdict, DropReason> {
    let length = skb.len();
    let [first, _] = skb.load(0).ok_or(DropReason::Truncated)?;
    // The helper drops what is addressed to a group, uncounted.
    if length > vxlan::LONGEST || first & GROUP != 0 {
        return Ok(Verdict::PASS);
    }
    let [version, class] = skb.load(ETHERNET).ok_or(DropReason::Truncated)?;
    let outer = Outer {
        source: local,
        destination: &remote.address,
        port: settings.data_path_port,
        net,
        // SAFETY: the helper takes the context alone.
        hash: unsafe { bpf_get_hash_recalc(skb.raw()) },
        ecn: if version >> 4 == 4 { class } else { class >> 4 },
        #[expect(clippy::cast_possible_truncation, reason = "compared above")]
        length: length as u16,
    };
    let room = slot(&OUTER)?;
    let is_done = if remote.address.is_v4() {
        room.v4.write(&outer);
        room.v4.ethernet = skb.load(0).ok_or(DropReason::Truncated)?;
        skb.adjust_room(GROWTH_V4, WRAP | u64::from(BPF_F_ADJ_ROOM_ENCAP_L3_IPV4))
            .then(|| store(skb, &room.v4, ROOM_V4))
    } else {
        room.v6.write(&outer);
        room.v6.ethernet = skb.load(0).ok_or(DropReason::Truncated)?;
        skb.adjust_room(GROWTH_V6, WRAP | u64::from(BPF_F_ADJ_ROOM_ENCAP_L3_IPV6))
            .then(|| store(skb, &room.v6, ROOM_V6))
    };
    match is_done {
        Some(true) => {
            NextHop::of(&remote.next_hop).redirect(remote.ifindex);
            Ok(Verdict::ARRANGED)
        }
        Some(false) => Err(DropReason::Rewrite),
        None => Ok(Verdict::PASS),
    }
}

/// Writes the first octets of `head` after the outer Ethernet header.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a few words")]
fn store<T>(skb: Skb, head: &T, length: usize) -> bool {
    let from = core::ptr::from_ref(head).cast_mut().cast();
    let length = length.min(size_of::<T>()) as u32;
    // SAFETY: `from` points to at least `length` initialised octets; the helper checks the place.
    unsafe { bpf_skb_store_bytes(skb.raw(), ETHERNET_LENGTH, from, length, 0) == 0 }
}

/// What became of a packet on an uplink.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is as it was.
    No = 0,
    /// It was another node's to this one, and is unwrapped.
    Yes = 1,
    /// It was, and is of no use any more.
    Broken = 2,
}

/// Unwraps the packet if it is VXLAN to this node, an ordinary case, and not to be sent on whole.
///
/// A packet whose sender is not known is unwrapped as well: its origin is refused where that of every
/// other is judged.
#[inline(never)]
pub(crate) fn take(skb: Skb, origin: &mut Origin) -> Taken {
    let (Some(settings), Some(local)) = (SETTINGS.get(0), VTEPS.get(0)) else {
        return Taken::No;
    };
    // A frame of a VLAN belongs to that VLAN's interface, on which it appears next.
    if local.flags & vtep::NATIVE == 0 || vlan_present(skb) {
        return Taken::No;
    }
    skb.pull_head();
    let (inner, room) = if skb.protocol() == u32::from(ethertype::IPV4.to_be()) {
        (read_v4(skb, settings, local, origin), ROOM_V4)
    } else if skb.protocol() == u32::from(ethertype::IPV6.to_be()) {
        (read_v6(skb, settings, local, origin), ROOM_V6)
    } else {
        return Taken::No;
    };
    let Some(inner) = inner else {
        return Taken::No;
    };
    if skb.gso_size() != 0 && !is_whole_for_task(skb, settings, &inner, room) {
        return Taken::No;
    }
    origin.net = inner.net;
    unwrap(skb, &inner, room)
}

#[inline(always)]
fn unwrap(skb: Skb, inner: &Inner, room: usize) -> Taken {
    let growth = if room == ROOM_V4 {
        -GROWTH_V4
    } else {
        -GROWTH_V6
    };
    if !shrink(skb, growth, inner.is_v6()) {
        return Taken::No;
    }
    if skb.store(0, &inner.ethernet).is_err() {
        return Taken::Broken;
    }
    Taken::Yes
}

#[inline(always)]
fn read_v4(skb: Skb, settings: &Settings, local: &Vtep, origin: &mut Origin) -> Option<Inner> {
    let start: [u8; 24] = skb.load(ETHERNET)?;
    let port = u16::from_be_bytes([start[22], start[23]]);
    if start[9] != protocol::UDP || port != settings.data_path_port {
        return None;
    }
    let word = |at: usize| {
        Address::from_v4_word(u32::from_ne_bytes([
            start[at],
            start[at + 1],
            start[at + 2],
            start[at + 3],
        ]))
    };
    if word(16) != local.address {
        return None;
    }
    origin.remote = word(12);
    origin.local = local.address;
    pull(skb, HEAD_V4);
    let bytes: [u8; ROOM_V4] = skb.load(ETHERNET)?;
    Inner::from_v4(&bytes, skb.len() - ETHERNET_LENGTH)
}

#[inline(always)]
fn read_v6(skb: Skb, settings: &Settings, local: &Vtep, origin: &mut Origin) -> Option<Inner> {
    let start: [u8; 44] = skb.load(ETHERNET)?;
    let port = u16::from_be_bytes([start[42], start[43]]);
    if start[6] != protocol::UDP || port != settings.data_path_port {
        return None;
    }
    let (_, rest) = start.split_first_chunk::<8>()?;
    let (source, rest) = rest.split_first_chunk::<16>()?;
    if Address::from_v6_octets(*rest.first_chunk()?) != local.address {
        return None;
    }
    origin.remote = Address::from_v6_octets(*source);
    origin.local = local.address;
    pull(skb, HEAD_V6);
    let bytes: [u8; ROOM_V6] = skb.load(ETHERNET)?;
    Inner::from_v6(&bytes, skb.len() - ETHERNET_LENGTH)
}

/// Whether a packet that is yet to be cut may be unwrapped here. The kernel keeps it marked as a
/// tunnel's, which no TCP socket minds; but what cuts it, for a UDP socket or on another way out,
/// would look for a tunnel in it.
#[inline(never)]
fn is_whole_for_task(skb: Skb, settings: &Settings, inner: &Inner, room: usize) -> bool {
    let at = ETHERNET + room + if inner.is_v6() { 6 } else { 9 };
    let Some([protocol]) = skb.load(at) else {
        return false;
    };
    if inner.net == settings.ingress_net {
        let (addresses, _) = inner.ethernet.split_at(12);
        let mesh = addresses.first_chunk().and_then(Mesh::from_addresses);
        if mesh.is_none_or(|mesh| mesh.direction == MeshDirection::Reply || mesh.second != 0) {
            return false;
        }
    }
    protocol == protocol::TCP
}

/// Makes sure that so much of the packet can be read directly.
#[inline(always)]
fn pull(skb: Skb, length: u32) {
    let raw: *mut __sk_buff = skb.raw();
    // SAFETY: the context is valid for the run.
    let data = unsafe { (*raw).data };
    // SAFETY: as above.
    let end = unsafe { (*raw).data_end };
    if end - data < length {
        // SAFETY: the helper checks the length; nothing points into the packet. When it fails, the
        // headers cannot be read, and the packet is left to the device.
        unsafe { bpf_skb_pull_data(raw, length) };
    }
}

#[inline(always)]
fn vlan_present(skb: Skb) -> bool {
    let raw: *mut __sk_buff = skb.raw();
    // SAFETY: the context is valid for the run.
    unsafe { (*raw).vlan_present != 0 }
}

/// Removes the outer headers and the inner Ethernet header.
#[inline(always)]
pub(super) fn shrink(skb: Skb, difference: i32, is_v6: bool) -> bool {
    let family = if is_v6 {
        BPF_F_ADJ_ROOM_DECAP_L3_IPV6
    } else {
        BPF_F_ADJ_ROOM_DECAP_L3_IPV4
    };
    if !skb.adjust_room(difference, UNWRAP | u64::from(family)) {
        return false;
    }
    // SAFETY: the helper takes the context and a number.
    unsafe { bpf_csum_level(skb.raw(), u64::from(BPF_CSUM_LEVEL_DEC)) };
    true
}
