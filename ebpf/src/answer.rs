//! Answers that a program gives by itself, in the packet that asked.

mod arp;
mod echo;
mod limit;
mod neighbour;
mod reset;
mod straight;
mod too_big;
mod unreachable;

use abi::{
    Address, Bytes, DropReason, Family, Header, Mac, Mesh, MeshDirection, Verdict, checksum,
    protocol,
};

use aya_ebpf::helpers::generated::bpf_csum_diff;

pub(crate) use arp::answer as arp;
pub(crate) use echo::answer as echo;
pub(crate) use neighbour::answer as neighbour;
pub(crate) use straight::answer as straight;

use crate::{
    carrier, deliver, drops,
    maps::{ANSWERED, slot},
    node, rewrite,
    skb::Skb,
};

/// The way back to whoever sent the packet.
#[derive(Clone, Copy)]
pub(crate) enum Back {
    /// A task on this node, or the node itself.
    Task {
        /// The host's end of its veth.
        ifindex: u32,
        /// The Ethernet address of its own end.
        mac: Mac,
    },
    /// Somebody outside, by the interface that the packet came in by.
    Uplink {
        /// That interface.
        ifindex: u32,
    },
    /// The client of a frame of the mesh, by the node that it came from.
    Mesh {
        /// That node, a key of `vteps`.
        vtep: u32,
        /// The backend that the frame named.
        backend: u32,
    },
}

impl Back {
    /// Sends the packet, which has become an answer.
    #[inline(always)]
    fn send(self, skb: Skb) -> Result<Verdict, DropReason> {
        match self {
            Self::Task { ifindex, mac } => {
                rewrite::to_task(skb, mac)?;
                Ok(node::inside(ifindex))
            }
            Self::Uplink { ifindex } => Ok(Verdict::neighbour(ifindex)),
            Self::Mesh { vtep, backend } => {
                let direction = MeshDirection::Reply;
                let mesh = Mesh {
                    backend,
                    second: 0,
                    direction,
                };
                skb.store(0, &mesh.to_addresses())?;
                let settings = deliver::settings()?;
                carrier::send(skb, settings, settings.ingress_net, vtep)
            }
        }
    }
}

/// Tells the sender that the packet goes nowhere: TCP by a reset, anything else by an error message.
/// Counted under `reason`, like a drop.
///
/// # Errors
/// `reason`, when it is none that senders are told, or the packet one that must not be answered; another
/// one when there is no way back, or the packet cannot become the answer.
#[inline(never)]
pub(crate) fn refuse(
    skb: Skb,
    header: &Header,
    reason: DropReason,
    back: Back,
) -> Result<Verdict, DropReason> {
    if !reason.is_told() || !header.has_transport() {
        return Err(reason);
    }
    let length = skb.len();
    if header.protocol == protocol::TCP {
        if !reset::is_due(header) {
            return Err(reason);
        }
        reset::write(skb, header)?;
    } else {
        if !unreachable::is_due(header) || !limit::admits() {
            return Err(reason);
        }
        unreachable::write(skb, header)?;
    }
    told(skb, (reason, length), back)
}

/// Tells the sender, in the name of `source`, that the packet does not fit into the tunnel, and what
/// would. Counted like a drop.
///
/// # Errors
/// [`DropReason::TooBig`] when the packet is one that must not be answered.
#[inline(never)]
pub(crate) fn too_big(
    skb: Skb,
    header: &Header,
    source: &Address,
    back: Back,
) -> Result<Verdict, DropReason> {
    if !too_big::is_due(header) || !limit::admits() {
        return Err(DropReason::TooBig);
    }
    let length = skb.len();
    too_big::write(skb, header, source, deliver::settings()?.overlay_mtu)?;
    told(skb, (DropReason::TooBig, length), back)
}

/// Sends the answer, and counts what it answers: once, and not when it cannot be sent, which is counted
/// by itself.
#[inline(always)]
fn told(skb: Skb, (reason, length): (DropReason, u32), back: Back) -> Result<Verdict, DropReason> {
    let verdict = back.send(skb)?;
    drops::count(skb, reason, length);
    Ok(verdict)
}

/// The beginning of the IP packet, kept outside the stack.
#[inline(always)]
fn quoted<const WORDS: usize>(skb: Skb) -> Result<&'static [u32; WORDS], DropReason> {
    let words = quote()?;
    skb.copy(14, words)?;
    Ok(words)
}

/// What was kept of the packet.
#[inline(always)]
fn quote<const WORDS: usize>() -> Result<&'static mut [u32; WORDS], DropReason> {
    slot(&ANSWERED)?
        .first_chunk_mut()
        .ok_or(DropReason::Truncated)
}

/// The sum over the words and what was summed before, by the kernel: to add many words up takes room on
/// the stack.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a sum of 32 bits, or an error that these arguments do not meet"
)]
fn sum<const WORDS: usize>(words: &[u32; WORDS], before: u32) -> u32 {
    let words = core::ptr::from_ref(words).cast_mut().cast();
    let nothing = core::ptr::null_mut();
    // SAFETY: `words` points to as many initialised words, and of `nothing` none are read.
    unsafe { bpf_csum_diff(nothing, 0, words, (WORDS * 4) as u32, before) as u32 }
}

/// Turns the IP packet around. The sum over both addresses, and so every checksum, stays.
#[inline(never)]
fn swap_addresses(skb: Skb, header: &Header) -> Result<(), DropReason> {
    match header.family {
        Family::V4 => skb.store(26, &[header.destination.v4_word(), header.source.v4_word()]),
        Family::V6 => skb.store(22, &[header.destination.words, header.source.words]),
    }
}

/// Writes the length of what follows the IP header and its extensions, and a fresh TTL.
#[inline(never)]
fn write_length(skb: Skb, header: &Header, payload: u16, ttl: u8) -> Result<(), DropReason> {
    match header.family {
        Family::V4 => {
            let mut ip: [u8; 12] = skb.load(14).ok_or(DropReason::Truncated)?;
            let old = words(&ip);
            let [high, low] = (header.l4 - 14 + payload).to_be_bytes();
            ip[2] = high;
            ip[3] = low;
            ip[8] = ttl;
            let sum = u16::from_ne_bytes([ip[10], ip[11]]);
            ip[10] = 0;
            ip[11] = 0;
            let mut old = old;
            old[2] &= u32::from_ne_bytes([0xff, 0xff, 0, 0]);
            let sum = checksum::update(sum, checksum::difference(&old, &words(&ip)));
            let [high, low] = sum.to_ne_bytes();
            ip[10] = high;
            ip[11] = low;
            skb.store(14, &ip)
        }
        Family::V6 => {
            let length = (header.l4 - 54 + payload).to_be();
            skb.store(18, &length)?;
            skb.store(21, &ttl)
        }
    }
}

#[inline(always)]
fn words(bytes: &[u8; 12]) -> [u32; 3] {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        u32::from_ne_bytes([i, j, k, l]),
    ]
}
