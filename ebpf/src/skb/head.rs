//! The beginning of a packet, read and written without a helper's help.

use abi::Head;

use super::Skb;

/// The first `N` bytes of a packet, proven to lie in its linear part. It must not outlive a helper
/// that moves the packet, which the verifier sees to.
///
/// Words are accessed whole. Where a machine minds, the kernel keeps IP headers, and with them every
/// word that is named here, aligned (`NET_IP_ALIGN`).
#[derive(Clone, Copy)]
pub(crate) struct Start<const N: usize> {
    data: usize,
}

impl Skb {
    /// The first `N` bytes; `None` when they are not all in the linear part.
    #[inline(always)]
    pub(crate) fn start<const N: usize>(self) -> Option<Start<N>> {
        // SAFETY: `raw` is the context the kernel called the program with, valid for the run.
        let data = unsafe { (*self.raw).data } as usize;
        // SAFETY: as above.
        let end = unsafe { (*self.raw).data_end } as usize;
        (data + N <= end).then_some(Start { data })
    }
}

impl<const N: usize> Start<N> {
    #[inline(always)]
    fn at<const AT: usize, T>(self) -> *mut T {
        const { assert!(AT + size_of::<T>() <= N) };
        (self.data + AT) as *mut T
    }

    /// Overwrites the two bytes from `AT` on.
    #[inline(always)]
    pub(crate) fn set_half<const AT: usize>(self, value: u16) {
        // SAFETY: the kernel gives data and end of one buffer that is this program's to write, and
        // the bytes lie inside.
        unsafe { *self.at::<AT, u16>() = value };
    }

    /// Overwrites the four bytes from `AT` on.
    #[inline(always)]
    pub(crate) fn set_word<const AT: usize>(self, value: u32) {
        // SAFETY: as in `set_half`.
        unsafe { *self.at::<AT, u32>() = value };
    }
}

impl<const N: usize> Head for Start<N> {
    #[inline(always)]
    fn byte<const AT: usize>(&self) -> u8 {
        // SAFETY: as in `set_half`.
        unsafe { *self.at::<AT, u8>() }
    }

    #[inline(always)]
    fn half<const AT: usize>(&self) -> u16 {
        // SAFETY: as in `set_half`.
        unsafe { *self.at::<AT, u16>() }
    }

    #[inline(always)]
    fn word<const AT: usize>(&self) -> u32 {
        // SAFETY: as in `set_half`.
        unsafe { *self.at::<AT, u32>() }
    }
}
