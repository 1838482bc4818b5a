//! The packet that an ICMP error speaks of, as far as the error quotes it.
//!
//! RFC 792 promises the IP header and eight octets of what follows, no more: ports, and UDP's
//! checksum, but not TCP's. Nothing behind them is read.

use crate::{Address, Bytes, Family, Header, protocol};

/// What an error says of the packet that caused it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quote {
    /// Its source.
    pub source: Address,
    /// Its destination.
    pub destination: Address,
    /// Its source port.
    pub source_port: u16,
    /// Its destination port.
    pub destination_port: u16,
    /// Offset in the frame of its IP header.
    pub ip: u16,
    /// Offset in the frame of its TCP or UDP header.
    pub l4: u16,
    /// TCP or UDP.
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

const _: () = assert!(size_of::<Quote>() == 44);

/// Octets above IP that every error quotes.
const PROMISED: u16 = 8;
/// Octets of the ICMP header before the quote.
const ICMP_HEADER: u16 = 8;
/// IPv6 fragment header, and its length.
const FRAGMENT: u8 = 44;
const FRAGMENT_HEADER: u16 = 8;

impl Quote {
    /// Reads what the error with this header quotes; `None` when that is no TCP or UDP packet's
    /// beginning, or ends too soon. What was there before is then spoiled.
    #[inline(always)]
    #[must_use]
    pub fn read_into<B: Bytes + ?Sized>(&mut self, frame: &B, header: &Header) -> Option<()> {
        self.ip = header.l4 + ICMP_HEADER;
        self.reserved = [0; 3];
        match header.family {
            Family::V4 => self.read_v4(frame)?,
            Family::V6 => self.read_v6(frame)?,
        }
        let is_known = self.protocol == protocol::TCP || self.protocol == protocol::UDP;
        if !is_known || u32::from(self.l4) + u32::from(PROMISED) > header.end {
            return None;
        }
        let [a, b, c, d] = frame.load(usize::from(self.l4))?;
        self.source_port = u16::from_be_bytes([a, b]);
        self.destination_port = u16::from_be_bytes([c, d]);
        Some(())
    }

    #[inline(always)]
    fn read_v4<B: Bytes + ?Sized>(&mut self, frame: &B) -> Option<()> {
        let ip: [u8; 20] = frame.load(usize::from(self.ip))?;
        let length = u16::from(ip[0] & 0x0f) * 4;
        // A later piece has no ports.
        let is_later = u16::from_be_bytes([ip[6], ip[7]]) & 0x1fff != 0;
        if ip[0] >> 4 != 4 || length < 20 || is_later {
            return None;
        }
        self.source = Address::from_v4_word(u32::from_ne_bytes([ip[12], ip[13], ip[14], ip[15]]));
        self.destination =
            Address::from_v4_word(u32::from_ne_bytes([ip[16], ip[17], ip[18], ip[19]]));
        self.protocol = ip[9];
        self.l4 = self.ip + length;
        Some(())
    }

    #[inline(always)]
    fn read_v6<B: Bytes + ?Sized>(&mut self, frame: &B) -> Option<()> {
        let at = usize::from(self.ip);
        let ip: [u8; 8] = frame.load(at)?;
        if ip[0] >> 4 != 6 {
            return None;
        }
        self.source = Address::from_v6_octets(frame.load(at + 8)?);
        self.destination = Address::from_v6_octets(frame.load(at + 24)?);
        self.protocol = ip[6];
        self.l4 = self.ip + 40;
        if self.protocol == FRAGMENT {
            let piece: [u8; 8] = frame.load(usize::from(self.l4))?;
            if u16::from_be_bytes([piece[2], piece[3]]) & 0xfff8 != 0 {
                return None;
            }
            self.protocol = piece[0];
            self.l4 += FRAGMENT_HEADER;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::Fragment;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn error(family: Family, end: u32) -> Header {
        Header {
            family,
            source: Address::UNSPECIFIED,
            destination: Address::UNSPECIFIED,
            protocol: 0,
            flags: 0,
            source_port: 0,
            destination_port: 0,
            l4: if family == Family::V4 { 34 } else { 54 },
            end,
            fragment_id: 0,
            fragment: Fragment::Whole,
        }
    }

    fn v4(first: u8, offset: u8, protocol: u8, behind: &[u8]) -> Vec<u8> {
        let mut frame = std::vec![0; 42];
        frame.extend([
            first,
            0,
            0,
            60,
            0,
            1,
            offset >> 5,
            offset << 3,
            64,
            protocol,
            0,
            0,
        ]);
        frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(behind);
        frame
    }

    fn read(family: Family, frame: &[u8]) -> Option<Quote> {
        let mut quote = Quote::default();
        let end = u32::try_from(frame.len()).unwrap();
        quote.read_into(frame, &error(family, end)).map(|()| quote)
    }

    #[test]
    fn eight_octets_of_transport_are_enough() {
        let frame = v4(0x45, 0, protocol::TCP, &[0x1f, 0x90, 0, 80, 1, 2, 3, 4]);
        let quote = read(Family::V4, &frame).unwrap();
        assert_eq!((quote.source_port, quote.destination_port), (8080, 80));
        assert_eq!((quote.ip, quote.l4), (42, 62));
        assert_eq!(read(Family::V4, &frame[..frame.len() - 1]), None);
    }

    #[test]
    fn options_of_the_quoted_packet_are_skipped() {
        let frame = v4(
            0x46,
            0,
            protocol::UDP,
            &[1, 1, 1, 1, 0, 7, 0, 9, 0, 8, 0, 0],
        );
        let quote = read(Family::V4, &frame).unwrap();
        assert_eq!((quote.source_port, quote.destination_port), (7, 9));
    }

    #[test]
    fn later_pieces_and_other_protocols_are_nobodys() {
        let ports = [0, 7, 0, 9, 0, 8, 0, 0];
        assert_eq!(read(Family::V4, &v4(0x45, 1, protocol::UDP, &ports)), None);
        assert_eq!(read(Family::V4, &v4(0x45, 0, protocol::ICMP, &ports)), None);
        assert_eq!(read(Family::V4, &v4(0x44, 0, protocol::UDP, &ports)), None);
    }

    #[test]
    fn a_first_fragment_of_ipv6_is_read_behind_its_header() {
        let mut frame = std::vec![0; 62];
        frame.extend([0x60, 0, 0, 0, 0, 60, FRAGMENT, 64]);
        frame.extend([1; 16]);
        frame.extend([2; 16]);
        frame.extend([protocol::UDP, 0, 0, 1, 0, 0, 0, 5]);
        frame.extend([0, 7, 0, 9, 0, 8, 0, 0]);
        let quote = read(Family::V6, &frame).unwrap();
        assert_eq!((quote.source_port, quote.destination_port), (7, 9));
        assert_eq!((quote.ip, quote.l4), (62, 110));
        frame[105] = 8;
        assert_eq!(read(Family::V6, &frame), None);
    }

    proptest! {
        #[test]
        fn nothing_behind_the_promised_octets_is_looked_at(
            bytes in proptest::collection::vec(any::<u8>(), 0..160), more in any::<[u8; 4]>(), six in any::<bool>()
        ) {
            let family = if six { Family::V6 } else { Family::V4 };
            if let Some(quote) = read(family, &bytes) {
                let end = usize::from(quote.l4) + 8;
                prop_assert!(end <= bytes.len());
                let mut other = bytes[..end].to_vec();
                other.extend(more);
                prop_assert_eq!(read(family, &other), Some(quote));
            }
        }
    }
}
