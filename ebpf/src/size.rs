//! What fits into the tunnel: packets, and the segments that a connection through the mesh may send.

use abi::{DropReason, Header, SegmentSize, TcpOption, packet_length, protocol, tcp};

use crate::{
    deliver,
    maps::{OPTION, slot},
    skb::{Deep, Skb},
};

const ETHERNET: u32 = 14;

/// Whether each packet that the frame consists of, or will be cut into, fits into the tunnel.
#[inline(never)]
pub(crate) fn fits(skb: Skb, header: &Header) -> Result<bool, DropReason> {
    let most = u32::from(deliver::settings()?.overlay_mtu);
    Ok(packet_length(&Deep(skb), header, skb.gso_size()) <= most)
}

/// Whether the frame is small enough to fit without a closer look.
#[inline(always)]
pub(crate) fn fits_plainly(skb: Skb) -> bool {
    let most = deliver::settings().map_or(0, |settings| u32::from(settings.overlay_mtu));
    skb.gso_size() == 0 && skb.len() <= most + ETHERNET
}

/// Lowers the segment size that a SYN of either side announces to what the tunnel takes. Others may
/// stop the errors that would say so later.
#[inline(always)]
pub(crate) fn clamp(skb: Skb, header: &Header) -> Result<(), DropReason> {
    let is_syn = header.protocol == protocol::TCP && header.flags & tcp::SYN != 0;
    if is_syn && header.has_transport() {
        lower(skb, header)
    } else {
        Ok(())
    }
}

#[inline(never)]
fn lower(skb: Skb, header: &Header) -> Result<(), DropReason> {
    let most = SegmentSize::within(header.family, deliver::settings()?.overlay_mtu);
    let Some(found) = announced(skb, header) else {
        return Ok(());
    };
    if found.bytes <= most {
        return Ok(());
    }
    let (mut from, mut to) = (found.bytes.to_be(), most.to_be());
    // The sum is over words at even places: at an odd one the octets stand in two of them.
    if (found.offset ^ header.l4) & 1 != 0 {
        (from, to) = (from.swap_bytes(), to.swap_bytes());
    }
    let field = u32::from(header.l4) + 16;
    skb.replace_in_checksum(field, u32::from(from), u32::from(to), 2)?;
    skb.store_anywhere(u32::from(found.offset), &most.to_be_bytes())
}

#[inline(always)]
fn announced(skb: Skb, header: &Header) -> Option<SegmentSize> {
    let (begin, end) = TcpOption::range(&Deep(skb), header)?;
    let place = core::ptr::from_mut(slot(&OPTION).ok()?);
    let mut at = u32::from(begin);
    let mut steps = 0;
    while steps < TcpOption::MOST {
        // By way of a map, the place is any number to the verifier: it need not follow every way in
        // which options of every length can follow each other.
        // SAFETY: `place` is a word of this CPU's own.
        unsafe { place.write_volatile(at) };
        // SAFETY: as above.
        let here = unsafe { place.read_volatile() };
        #[expect(clippy::cast_possible_truncation, reason = "it was sixteen bits wide")]
        let here = here as u16;
        match TcpOption::read(&Deep(skb), here, end) {
            TcpOption::SegmentSize(size) => return Some(size),
            TcpOption::Other(next) => at = u32::from(next),
            TcpOption::End => return None,
        }
        steps += 1;
    }
    None
}
