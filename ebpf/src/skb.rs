//! The packet: checked reads and writes over the kernel's buffer.
//!
//! Every access copies, so that no reference into the packet outlives a helper that moves it; what
//! is written on top of this is safe code.

mod head;

use abi::{Bytes, DropReason, Head};
use aya_ebpf::{
    EbpfContext,
    bindings::{__sk_buff, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC},
    helpers::generated::{
        bpf_csum_update, bpf_l4_csum_replace, bpf_skb_adjust_room, bpf_skb_change_tail,
        bpf_skb_load_bytes, bpf_skb_pull_data, bpf_skb_store_bytes,
    },
    programs::TcContext,
};

/// Ethernet, IPv4 and TCP.
const HEAD_V4: u32 = 14 + 20 + 20;
/// Ethernet, IPv6 and TCP.
const HEAD_V6: u32 = 14 + 40 + 20;
/// Ethernet and IPv4; the kernel cuts off no more.
const LEAST_V4: u32 = 14 + 20;
/// Ethernet and IPv6.
const LEAST_V6: u32 = 14 + 40;
/// What the kernel cuts off at once.
const MOST_CUT: u32 = 0xfff;
/// Cuts at the front of a jumbo frame; nothing longer comes in one piece.
const CUTS: usize = 3;
/// EtherType of IPv6 as the kernel keeps it, in network byte order.
const IPV6: u32 = abi::ethertype::IPV6.to_be() as u32;

/// A packet under one run of a program.
#[derive(Clone, Copy)]
pub(crate) struct Skb {
    raw: *mut __sk_buff,
}

macro_rules! field {
    ($(#[$doc:meta])+ $name:ident) => {
        $(#[$doc])+
        #[inline(always)]
        pub(crate) fn $name(self) -> u32 {
            // SAFETY: `raw` is the context the kernel called the program with, valid for the run.
            unsafe { (*self.raw).$name }
        }
    };
}

impl Skb {
    #[inline(always)]
    pub(crate) fn new(context: &TcContext) -> Self {
        Self {
            raw: context.as_ptr().cast(),
        }
    }

    /// The packet of the kernel's context.
    #[inline(always)]
    pub(crate) fn from_raw(raw: *mut __sk_buff) -> Self {
        Self { raw }
    }

    /// The kernel's context, for helpers that are called elsewhere.
    #[inline(always)]
    pub(crate) fn raw(self) -> *mut __sk_buff {
        self.raw
    }

    field!(
        /// The interface on whose hook the program runs.
        ifindex
    );
    field!(
        /// Length of the frame in bytes.
        len
    );
    field!(
        /// Payload bytes of each segment when the kernel has yet to cut the packet, else 0.
        gso_size
    );
    field!(
        /// The packet mark.
        mark
    );
    field!(
        /// The EtherType, in network byte order.
        protocol
    );

    /// A word of the scratch area that a test run can set.
    #[inline(always)]
    pub(crate) fn control(self, index: usize) -> u32 {
        // SAFETY: as in the field accessors.
        let words = unsafe { (*self.raw).cb };
        words[index & 3]
    }

    /// Overwrites bytes of the packet; checksums are the caller's business. The places where
    /// ordinary packets have what is translated are written directly, like [`Bytes::load`] reads.
    #[inline(always)]
    pub(crate) fn store<T: Copy>(self, offset: u32, value: &T) -> Result<(), DropReason> {
        // The verifier does not see the bound of a single byte in the comparison that LLVM makes of it.
        let is_word = size_of::<T>() > 1;
        let is_done = is_word
            && match offset {
                0 => self.write_head(0, value),
                22 => self.write_head(22, value),
                24 => self.write_head(24, value),
                26 => self.write_head(26, value),
                30 => self.write_head(30, value),
                34 => self.write_head(34, value),
                36 => self.write_head(36, value),
                38 => self.write_head(38, value),
                54 => self.write_head(54, value),
                56 => self.write_head(56, value),
                _ => false,
            };
        if is_done {
            Ok(())
        } else {
            self.store_anywhere(offset, value)
        }
    }

    /// Writes into the linear part of the packet; false when the place is not there.
    #[inline(always)]
    fn write_head<T: Copy>(self, offset: usize, value: &T) -> bool {
        // SAFETY: as in the field accessors.
        let data = unsafe { (*self.raw).data } as usize;
        // SAFETY: as above.
        let end = unsafe { (*self.raw).data_end } as usize;
        let start = data + offset;
        if start + size_of::<T>() > end {
            return false;
        }
        // SAFETY: the kernel gives data and end of one buffer that is this program's to write, and
        // the value's bytes from `start` lie inside.
        unsafe { core::ptr::write_unaligned(start as *mut T, *value) };
        true
    }

    /// As [`Self::store`], for places that no constant names.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "values are a few words")]
    pub(crate) fn store_anywhere<T: Copy>(self, offset: u32, value: &T) -> Result<(), DropReason> {
        let from = core::ptr::from_ref(value).cast_mut().cast();
        // SAFETY: `from` points to `size_of::<T>()` initialised bytes; the helper checks the offset.
        let result =
            unsafe { bpf_skb_store_bytes(self.raw, offset, from, size_of::<T>() as u32, 0) };
        done(result)
    }

    /// Replaces `from` by `to` in the upper-layer checksum at `offset`; `flags` as the helper's,
    /// their low bits the size (0 adds `to` as a difference).
    #[inline(always)]
    pub(crate) fn replace_in_checksum(
        self,
        offset: u32,
        from: u32,
        to: u32,
        flags: u64,
    ) -> Result<(), DropReason> {
        // SAFETY: the helper checks the offset and the flags.
        done(unsafe {
            bpf_l4_csum_replace(self.raw, offset, u64::from(from), u64::from(to), flags)
        })
    }

    /// Adds to the sum over the packet that its device has given, if it has.
    #[inline(always)]
    pub(crate) fn add_to_sum(self, difference: u32) {
        // SAFETY: takes a number; refuses where there is no such sum.
        unsafe { bpf_csum_update(self.raw, difference) };
    }

    /// Cuts or extends the frame at its end to `length` bytes, undoing any segmentation offload.
    ///
    /// The kernel refuses it for a packet that counts as wrapped (`__bpf_skb_change_tail` of
    /// net/core/filter.c): one that has been unwrapped here after a virtual wire, or one that its
    /// sender has wrapped by itself.
    #[inline(always)]
    pub(crate) fn resize(self, length: u32) -> Result<(), DropReason> {
        // SAFETY: the helper checks the length.
        done(unsafe { bpf_skb_change_tail(self.raw, length, 0) })
    }

    /// Makes the frame one of `length` bytes that are written anew, all but the Ethernet header.
    ///
    /// A packet that counts as wrapped is cut and extended behind its Ethernet header, as much as
    /// possible first: with what is cut goes the order to complete a checksum in it.
    #[inline(never)]
    pub(crate) fn renew(self, length: u32) -> Result<(), DropReason> {
        if self.resize(length).is_ok() {
            return Ok(());
        }
        // This way it would stay one to be cut into segments.
        if self.gso_size() != 0 {
            return Err(DropReason::Rewrite);
        }
        let least = if self.protocol() == IPV6 {
            LEAST_V6
        } else {
            LEAST_V4
        };
        for _ in 0..CUTS {
            let more = self.len().wrapping_sub(least).min(MOST_CUT);
            if more == 0 {
                break;
            }
            if !self.adjust_room(-more.cast_signed(), 0) {
                return Err(DropReason::Rewrite);
            }
        }
        let growth = length.wrapping_sub(least).cast_signed();
        if self.adjust_room(growth, 0) {
            Ok(())
        } else {
            Err(DropReason::Rewrite)
        }
    }

    /// Makes or removes room behind the Ethernet header; false when the kernel refuses, and the packet
    /// is as it was.
    #[inline(always)]
    pub(crate) fn adjust_room(self, difference: i32, flags: u64) -> bool {
        // SAFETY: the helper checks its arguments; nothing points into the packet.
        unsafe { bpf_skb_adjust_room(self.raw, difference, BPF_ADJ_ROOM_MAC, flags) == 0 }
    }
}

impl Skb {
    /// Makes sure that the headers of ordinary packets can be read without a helper's help.
    #[inline(always)]
    pub(crate) fn pull_head(self) {
        // SAFETY: as in the field accessors.
        let data = unsafe { (*self.raw).data };
        // SAFETY: as above.
        let end = unsafe { (*self.raw).data_end };
        // Asking for more than is needed costs a copy of every data packet: the stack keeps headers
        // linear and nothing else.
        let head = if self.protocol() == IPV6 {
            HEAD_V6
        } else {
            HEAD_V4
        };
        if end - data < head && self.len() > end - data {
            // SAFETY: the helper checks the length; nothing points into the packet yet. When it fails
            // the headers are found to be truncated.
            unsafe { bpf_skb_pull_data(self.raw, head.min(self.len())) };
        }
    }

    /// Reads from the linear part of the packet.
    #[inline(always)]
    fn read_head<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // SAFETY: as in the field accessors.
        let data = unsafe { (*self.raw).data } as usize;
        // SAFETY: as above.
        let end = unsafe { (*self.raw).data_end } as usize;
        let start = data + offset;
        if start + N > end {
            return None;
        }
        // SAFETY: the kernel gives data and end of one buffer, and N bytes from `start` lie inside.
        Some(unsafe { core::ptr::read_unaligned(start as *const [u8; N]) })
    }

    /// Copies words from anywhere in the packet.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a few words")]
    pub(crate) fn copy<const N: usize>(
        self,
        offset: u32,
        words: &mut [u32; N],
    ) -> Result<(), DropReason> {
        let to = words.as_mut_ptr().cast();
        // SAFETY: `to` has room for N words; the helper checks the offset against the packet.
        let result =
            unsafe { bpf_skb_load_bytes(self.raw.cast_const().cast(), offset, to, (N * 4) as u32) };
        done(result).map_err(|_| DropReason::Truncated)
    }

    /// Reads from anywhere in the packet.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "offsets are below 2^17")]
    fn read_anywhere<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        let to = bytes.as_mut_ptr().cast();
        // SAFETY: `to` has room for N bytes; the helper checks the offset against the packet.
        let result = unsafe {
            bpf_skb_load_bytes(self.raw.cast_const().cast(), offset as u32, to, N as u32)
        };
        (result == 0).then_some(bytes)
    }
}

impl Bytes for Skb {
    /// The places where ordinary packets have their headers are read directly, all others by a
    /// helper: the verifier wants constant offsets for the one, a call is what the other costs.
    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        match offset {
            0 => self.read_head(0),
            12 => self.read_head(12),
            14 => self.read_head(14),
            22 => self.read_head(22),
            24 => self.read_head(24),
            34 => self.read_head(34),
            38 => self.read_head(38),
            54 => self.read_head(54),
            62 => self.read_head(62),
            _ => self.read_anywhere(offset),
        }
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.len() as usize
    }

    #[inline(always)]
    fn head<const N: usize>(&self) -> Option<impl Head> {
        self.start::<N>()
    }
}

/// A packet whose every byte is read by a helper: for what stands behind the headers, at places that
/// no constant names.
#[derive(Clone, Copy)]
pub(crate) struct Deep(pub(crate) Skb);

impl Bytes for Deep {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.read_anywhere(offset)
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.0.length()
    }

    #[inline(always)]
    fn head<const N: usize>(&self) -> Option<impl Head> {
        self.0.start::<N>()
    }
}

#[inline(always)]
fn done(result: i64) -> Result<(), DropReason> {
    if result == 0 {
        Ok(())
    } else {
        Err(DropReason::Rewrite)
    }
}
