//! One address form for both families.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv6 address, or an IPv4 address mapped into `::ffff:0:0/96` (RFC 4291 §2.5.5.2).
///
/// The four words hold the sixteen octets in network order; a word is the native-endian reading of
/// its four octets, so that words compare, hash and sum without a byte swap.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Octets 0–3, 4–7, 8–11 and 12–15.
    pub words: [u32; 4],
}

const _: () = assert!(size_of::<Address>() == 16);

const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

impl Address {
    /// The all-zero address: "none"; as a published address, any IPv6 address.
    pub const UNSPECIFIED: Self = Self { words: [0; 4] };
    /// `0.0.0.0` mapped: as a published address, any IPv4 address.
    pub const ANY_V4: Self = Self::from_v4_word(0);

    /// Maps an IPv4 address given by the native-endian reading of its four octets.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_word(word: u32) -> Self {
        Self {
            words: [0, 0, MAPPED, word],
        }
    }

    /// Takes the sixteen octets of an IPv6 address.
    #[inline(always)]
    #[must_use]
    pub const fn from_v6_octets(octets: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
        Self {
            words: [
                u32::from_ne_bytes([a, b, c, d]),
                u32::from_ne_bytes([e, f, g, h]),
                u32::from_ne_bytes([i, j, k, l]),
                u32::from_ne_bytes([m, n, o, p]),
            ],
        }
    }

    /// Whether this is a mapped IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == MAPPED
    }

    /// Whether all sixteen octets are zero.
    #[inline(always)]
    #[must_use]
    pub const fn is_unspecified(&self) -> bool {
        (self.words[0] | self.words[1] | self.words[2] | self.words[3]) == 0
    }

    /// Whether no packet to this address is for one receiver: IPv4 or IPv6 multicast, and everything
    /// above IPv4 multicast, which is reserved (RFC 1112 §4) up to the limited broadcast address.
    #[inline(always)]
    #[must_use]
    pub const fn is_group(&self) -> bool {
        if self.is_v4() {
            self.words[3].to_ne_bytes()[0] >= 224
        } else {
            self.words[0].to_ne_bytes()[0] == 0xff
        }
    }

    /// Whether no packet from outside may have this source: unspecified ("this network", RFC 1122
    /// §3.2.1.3), loopback, or a group.
    #[inline(always)]
    #[must_use]
    pub const fn is_martian(&self) -> bool {
        if self.is_v4() {
            let first = self.words[3].to_ne_bytes()[0];
            first == 0 || first == 127 || first >= 224
        } else {
            let high = self.words[0] | self.words[1] | self.words[2];
            self.is_group() || (high == 0 && u32::from_be(self.words[3]) <= 1)
        }
    }

    /// The IPv4 octets as one native-endian word; meaningful only when [`Self::is_v4`].
    #[inline(always)]
    #[must_use]
    pub const fn v4_word(&self) -> u32 {
        self.words[3]
    }

    /// The sixteen octets in network order.
    #[inline(always)]
    #[must_use]
    pub const fn octets(&self) -> [u8; 16] {
        let [a, b, c, d] = self.words[0].to_ne_bytes();
        let [e, f, g, h] = self.words[1].to_ne_bytes();
        let [i, j, k, l] = self.words[2].to_ne_bytes();
        let [m, n, o, p] = self.words[3].to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
}

impl From<Ipv4Addr> for Address {
    fn from(address: Ipv4Addr) -> Self {
        Self::from_v4_word(u32::from_ne_bytes(address.octets()))
    }
}

impl From<Ipv6Addr> for Address {
    fn from(address: Ipv6Addr) -> Self {
        Self::from_v6_octets(address.octets())
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        if address.is_v4() {
            Self::V4(Ipv4Addr::from(address.v4_word().to_ne_bytes()))
        } else {
            Self::V6(Ipv6Addr::from(address.octets()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_survive_the_round_trip() {
        for text in ["192.0.2.1", "0.0.0.0", "2001:db8::1", "::", "fe80::1"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Address::from(address)), address);
        }
    }

    #[test]
    fn sources_that_cannot_be_are_recognised() {
        for (text, martian) in [
            ("0.0.0.0", true),
            ("0.1.2.3", true),
            ("127.0.0.1", true),
            ("224.0.0.1", true),
            ("255.255.255.255", true),
            ("::", true),
            ("::1", true),
            ("ff02::1", true),
            ("126.255.255.255", false),
            ("128.0.0.1", false),
            ("::2", false),
            ("fe80::1", false),
        ] {
            assert_eq!(
                Address::from(text.parse::<IpAddr>().unwrap()).is_martian(),
                martian,
                "{text}"
            );
        }
    }

    #[test]
    fn groups_are_recognised() {
        for (text, group) in [
            ("224.0.0.1", true),
            ("240.0.0.1", true),
            ("255.255.255.255", true),
            ("223.255.255.255", false),
            ("ff02::1", true),
            ("10.0.0.1", false),
            ("fd00::1", false),
        ] {
            assert_eq!(
                Address::from(text.parse::<IpAddr>().unwrap()).is_group(),
                group,
                "{text}"
            );
        }
    }
}
