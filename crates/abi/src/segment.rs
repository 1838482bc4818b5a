//! The maximum segment size that a TCP connection announces (RFC 9293 §3.7.1), and how large the
//! packets of a segmented one become.

use crate::{Bytes, Family, Header, protocol};

/// Where an option of a SYN stands and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSize {
    /// Offset in the frame of the two octets of the value; may be odd.
    pub offset: u16,
    /// The announced size in bytes.
    pub bytes: u16,
}

/// No more options.
const END: u8 = 0;
/// An option of one octet.
const NOTHING: u8 = 1;
const SEGMENT_SIZE: u8 = 2;
const TCP_HEADER: u16 = 20;

/// What stands at one place among the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption {
    /// The segment size.
    SegmentSize(SegmentSize),
    /// Another one; the next begins here.
    Other(u16),
    /// No more.
    End,
}

impl TcpOption {
    /// No header has room for more.
    pub const MOST: u32 = 40;

    /// Where the options of a TCP header begin and end; `None` when the packet is shorter.
    #[inline(always)]
    #[must_use]
    pub fn range<B: Bytes + ?Sized>(frame: &B, header: &Header) -> Option<(u16, u16)> {
        let length = tcp_header(frame, header)?;
        Some((header.l4 + TCP_HEADER, header.l4 + length))
    }

    /// Reads the option at `at`.
    #[inline(always)]
    #[must_use]
    pub fn read<B: Bytes + ?Sized>(frame: &B, at: u16, end: u16) -> Self {
        if at + 2 > end {
            return Self::End;
        }
        let Some([kind, length]) = frame.load(usize::from(at)) else {
            return Self::End;
        };
        match kind {
            END => Self::End,
            NOTHING => Self::Other(at + 1),
            SEGMENT_SIZE if length == 4 && at + 4 <= end => match frame.load(usize::from(at) + 2) {
                Some(bytes) => Self::SegmentSize(SegmentSize {
                    offset: at + 2,
                    bytes: u16::from_be_bytes(bytes),
                }),
                None => Self::End,
            },
            _ if length < 2 => Self::End,
            _ => Self::Other(at.saturating_add(u16::from(length))),
        }
    }
}

impl SegmentSize {
    /// The size of segments that fit into IP packets of `mtu` bytes.
    #[inline(always)]
    #[must_use]
    pub const fn within(family: Family, mtu: u16) -> u16 {
        let headers = match family {
            Family::V4 => 20 + TCP_HEADER,
            Family::V6 => 40 + TCP_HEADER,
        };
        mtu.saturating_sub(headers)
    }
}

/// Length in bytes of the IP packets that a frame consists of: its own, or that of the largest
/// segment into which the kernel has yet to cut it.
#[inline(always)]
#[must_use]
pub fn packet_length<B: Bytes + ?Sized>(frame: &B, header: &Header, gso_size: u32) -> u32 {
    // Padding behind the packet travels as well.
    if gso_size == 0 || !header.has_transport() {
        return u32::try_from(frame.length())
            .unwrap_or(u32::MAX)
            .saturating_sub(ETHERNET);
    }
    let transport = match header.protocol {
        // The longest there is where it cannot be read.
        protocol::TCP => u32::from(tcp_header(frame, header).unwrap_or(60)),
        _ => UDP_HEADER,
    };
    u32::from(header.l4) - ETHERNET + transport + gso_size
}

const ETHERNET: u32 = 14;
const UDP_HEADER: u32 = 8;

#[inline(always)]
fn tcp_header<B: Bytes + ?Sized>(frame: &B, header: &Header) -> Option<u16> {
    let [offset, _] = frame.load(usize::from(header.l4) + 12)?;
    Some(u16::from(offset >> 4) * 4)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn syn(options: &[u8]) -> Vec<u8> {
        let mut frame = std::vec![0; 14];
        let length = 40 + options.len();
        frame[12] = 8;
        frame.extend([
            0x45,
            0,
            0,
            u8::try_from(length).unwrap(),
            0,
            1,
            0x40,
            0,
            64,
            6,
            0,
            0,
        ]);
        frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        let words = 5 + u8::try_from(options.len() / 4).unwrap();
        frame.extend([
            0,
            7,
            0,
            9,
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            0,
            words << 4,
            2,
            0,
            0,
            0,
            0,
            0,
            0,
        ]);
        frame.extend(options);
        frame
    }

    fn find(options: &[u8]) -> Option<(u16, u16)> {
        let frame = syn(options);
        let header = Header::read(&frame[..]).unwrap();
        let (mut at, end) = TcpOption::range(&frame[..], &header)?;
        for _ in 0..TcpOption::MOST {
            match TcpOption::read(&frame[..], at, end) {
                TcpOption::SegmentSize(size) => return Some((size.offset, size.bytes)),
                TcpOption::Other(next) => at = next,
                TcpOption::End => return None,
            }
        }
        None
    }

    #[test]
    fn the_option_is_found_wherever_it_stands() {
        assert_eq!(find(&[2, 4, 5, 0xb4]), Some((56, 1460)));
        assert_eq!(find(&[1, 2, 4, 5, 0xb4, 1, 1, 0]), Some((57, 1460)));
        assert_eq!(
            find(&[3, 3, 7, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 1, 2, 0, 0, 0]),
            Some((69, 258))
        );
    }

    #[test]
    fn what_is_no_option_is_not_found() {
        assert_eq!(find(&[]), None);
        assert_eq!(find(&[0, 2, 4, 5, 0xb4, 0, 0, 0]), None);
        assert_eq!(find(&[2, 3, 5, 0xb4]), None);
        assert_eq!(find(&[1, 1, 2, 4]), None);
        assert_eq!(find(&[9, 0, 2, 4, 5, 0xb4, 0, 0]), None);
        assert_eq!(find(&[9, 1, 2, 4, 5, 0xb4, 0, 0]), None);
    }

    #[test]
    fn segments_are_judged_not_what_they_are_cut_from() {
        let mut frame = syn(&[1; 12]);
        frame.resize(1514, 0);
        frame[16..18].copy_from_slice(&1500u16.to_be_bytes());
        let header = Header::read(&frame[..]).unwrap();
        assert_eq!(packet_length(&frame[..], &header, 0), 1500);
        assert_eq!(packet_length(&frame[..], &header, 1398), 1450);
    }

    proptest! {
        #[test]
        fn any_options_are_survived(options in proptest::collection::vec(any::<u8>(), 0..11)) {
            let mut padded: Vec<u8> = options;
            padded.resize(padded.len().div_ceil(4) * 4, 0);
            if let Some((offset, _)) = find(&padded) {
                prop_assert!(usize::from(offset) + 2 <= 54 + padded.len());
            }
        }
    }
}
