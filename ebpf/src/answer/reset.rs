//! TCP resets (RFC 9293 §3.10.7.1): what a host without that connection would say.

use abi::{DropReason, Fragment, Header, checksum, protocol, tcp};
use aya_ebpf::bindings::BPF_F_PSEUDO_HDR;

use crate::skb::Skb;

const TTL: u8 = 64;
const TCP_HEADER: u16 = 20;

/// Whether the segment may be answered so: no reset, which is never answered, and no piece of a
/// segment, whose answer would look like a piece too.
#[inline(always)]
pub(super) fn is_due(header: &Header) -> bool {
    header.flags & tcp::RST == 0 && header.fragment == Fragment::Whole
}

/// Turns a segment into the reset that answers it. Where the kernel does not cut it, what was above its
/// header becomes the reset's data, which nobody reads.
#[inline(always)]
pub(super) fn write(skb: Skb, header: &Header) -> Result<(), DropReason> {
    let l4 = u32::from(header.l4);
    skb.copy(l4, super::quote::<5>()?)?;
    let is_cut = skb.resize(l4 + u32::from(TCP_HEADER)).is_ok();
    let length = if is_cut { TCP_HEADER } else { length(header) };
    super::swap_addresses(skb, header)?;
    super::write_length(skb, header, length, TTL)?;
    write_segment(skb, header, is_cut)
}

/// Of the segment, as it came.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "an IP packet ends below 2^16 bytes after it began"
)]
fn length(header: &Header) -> u16 {
    (header.end - u32::from(header.l4)) as u16
}

#[inline(never)]
fn write_segment(skb: Skb, header: &Header, is_cut: bool) -> Result<(), DropReason> {
    let field = u32::from(header.l4) + 16;
    let segment: &mut [u32; 5] = super::quote()?;
    let [low, high, urgent @ ..] = segment[4].to_ne_bytes();
    segment[4] = u32::from_ne_bytes([0, 0, urgent[0], urgent[1]]);
    let before = checksum::fold(checksum::sum_words(segment));
    reset(header, segment, length(header));
    let after = checksum::sum_words(segment);
    segment[4] = u32::from_ne_bytes([low, high, 0, 0]);
    skb.store(u32::from(header.l4), segment)?;
    if !is_cut {
        let difference = checksum::fold(checksum::add(u32::from(!before), after));
        return skb.replace_in_checksum(field, 0, u32::from(difference), 0);
    }
    let pseudo = checksum::pseudo_header(
        &header.source.words,
        &header.destination.words,
        TCP_HEADER,
        protocol::TCP,
    );
    let wanted = !checksum::fold(checksum::add(pseudo, after));
    let old_checksum = u16::from_ne_bytes([low, high]);
    settle(skb, field, old_checksum, length(header), wanted)
}

/// Makes a segment's first five words those of the reset, without its checksum.
#[inline(always)]
fn reset(header: &Header, segment: &mut [u32; 5], old_length: u16) {
    let (sequence, acknowledgement) = (u32::from_be(segment[1]), u32::from_be(segment[2]));
    let (sequence, acknowledgement, flags) = if header.flags & tcp::ACK != 0 {
        (acknowledgement, 0, tcp::RST)
    } else {
        let [length, ..] = segment[3].to_ne_bytes();
        let payload = old_length.wrapping_sub(u16::from(length >> 4) * 4);
        let length = u32::from(payload)
            + u32::from(header.flags & tcp::SYN != 0)
            + u32::from(header.flags & tcp::FIN != 0);
        (0, sequence.wrapping_add(length), tcp::RST | tcp::ACK)
    };
    let [s0, s1] = header.destination_port.to_be_bytes();
    let [d0, d1] = header.source_port.to_be_bytes();
    segment[0] = u32::from_ne_bytes([s0, s1, d0, d1]);
    segment[1] = sequence.to_be();
    segment[2] = acknowledgement.to_be();
    segment[3] = u32::from_ne_bytes([5 << 4, flags, 0, 0]);
    segment[4] = 0;
}

/// Brings the checksum field from its old value to `wanted`, in two steps that are also right while
/// the field holds the pseudo header's sum alone and the device is to complete it: the length is
/// part of the pseudo header, the rest is not.
#[inline(always)]
fn settle(skb: Skb, field: u32, old: u16, old_length: u16, wanted: u16) -> Result<(), DropReason> {
    let (from, to) = (u32::from(old_length.to_be()), u32::from(TCP_HEADER.to_be()));
    skb.replace_in_checksum(field, from, to, u64::from(BPF_F_PSEUDO_HDR) | 2)?;
    let between = checksum::update(old, checksum::add(u32::from(!old_length.to_be()), to));
    let rest = checksum::fold(checksum::add(u32::from(!wanted), u32::from(between)));
    skb.replace_in_checksum(field, 0, u32::from(rest), 0)
}
