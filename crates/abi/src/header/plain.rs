//! The short way through the headers of ordinary packets: IPv4 without options or IPv6 without
//! extension headers, whole, and TCP or UDP above.

use super::{Bytes, Family, Fragment, Head, Header, ethertype, protocol};
use crate::Address;

const IPV4: u16 = ethertype::IPV4.to_be();
const IPV6: u16 = ethertype::IPV6.to_be();
/// Ethernet, IPv4 and UDP.
const SHORTEST: usize = 42;
/// Version 4, five words long.
const VERSION_AND_LENGTH: u8 = 0x45;
/// More fragments, and the offset.
const PIECE: u16 = 0x3fff_u16.to_be();
const L4_V4: u16 = 34;
const L4_V6: u16 = 54;

impl Header {
    /// Reads the headers of an ordinary packet in the place of what was there; false for packets that
    /// [`Self::read_into`] has to look at, which reads the same from those that are read here.
    #[inline(always)]
    pub fn read_plain<B: Bytes + ?Sized>(&mut self, frame: &B) -> bool {
        let Some(head) = frame.head::<SHORTEST>() else {
            return false;
        };
        match head.half::<12>() {
            IPV4 => self.read_plain_v4(frame, &head),
            IPV6 => self.read_plain_v6(frame),
            _ => false,
        }
    }

    #[inline(always)]
    fn read_plain_v4<B: Bytes + ?Sized>(&mut self, frame: &B, head: &impl Head) -> bool {
        if head.byte::<14>() != VERSION_AND_LENGTH || head.half::<20>() & PIECE != 0 {
            return false;
        }
        self.family = Family::V4;
        self.source = Address::from_v4_word(head.word::<26>());
        self.destination = Address::from_v4_word(head.word::<30>());
        self.place(L4_V4, u32::from(u16::from_be(head.half::<16>())) + 14);
        if self.end as usize > frame.length() {
            return false;
        }
        match head.byte::<23>() {
            protocol::TCP => frame
                .head::<54>()
                .is_some_and(|head| self.tcp::<34, 46, 47>(&head)),
            protocol::UDP => self.udp::<34, 38>(head),
            _ => false,
        }
    }

    #[inline(always)]
    fn read_plain_v6<B: Bytes + ?Sized>(&mut self, frame: &B) -> bool {
        let Some(head) = frame.head::<62>() else {
            return false;
        };
        if head.byte::<14>() >> 4 != 6 {
            return false;
        }
        self.family = Family::V6;
        self.source.words = [
            head.word::<22>(),
            head.word::<26>(),
            head.word::<30>(),
            head.word::<34>(),
        ];
        self.destination.words = [
            head.word::<38>(),
            head.word::<42>(),
            head.word::<46>(),
            head.word::<50>(),
        ];
        if self.source.is_v4() || self.destination.is_v4() {
            return false;
        }
        self.place(L4_V6, u32::from(u16::from_be(head.half::<18>())) + 54);
        if self.end as usize > frame.length() {
            return false;
        }
        match head.byte::<20>() {
            protocol::TCP => frame
                .head::<74>()
                .is_some_and(|head| self.tcp::<54, 66, 67>(&head)),
            protocol::UDP => self.udp::<54, 58>(&head),
            _ => false,
        }
    }

    #[inline(always)]
    fn place(&mut self, l4: u16, end: u32) {
        self.l4 = l4;
        self.end = end;
        self.fragment_id = 0;
        self.fragment = Fragment::Whole;
    }

    #[inline(always)]
    fn tcp<const PORTS: usize, const LENGTH: usize, const FLAGS: usize>(
        &mut self,
        head: &impl Head,
    ) -> bool {
        self.protocol = protocol::TCP;
        self.flags = head.byte::<FLAGS>();
        self.plain_ports(head.word::<PORTS>());
        let length = u32::from(head.byte::<LENGTH>() >> 4) * 4;
        length >= 20 && u32::from(self.l4) + length <= self.end
    }

    #[inline(always)]
    fn udp<const PORTS: usize, const LENGTH: usize>(&mut self, head: &impl Head) -> bool {
        self.protocol = protocol::UDP;
        self.flags = 0;
        self.plain_ports(head.word::<PORTS>());
        u32::from(self.l4) + 8 <= self.end && u16::from_be(head.half::<LENGTH>()) >= 8
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "two halves of a word")]
    const fn plain_ports(&mut self, word: u32) {
        let word = u32::from_be(word);
        self.source_port = (word >> 16) as u16;
        self.destination_port = word as u16;
    }
}
