//! VXLAN (RFC 7348) as the programs write and read it themselves: what stands between the outer
//! Ethernet header and the inner packet.
//!
//! ```text
//!  14            34 or 54    +8        +8          +14
//!  +-------------+-----------+---------+-----------+----------------
//!  | IPv4 or IPv6| UDP       | VXLAN   | Ethernet  | inner packet
//!  +-------------+-----------+---------+-----------+----------------
//! ```
//! A word is the native-endian reading of its four octets.

use crate::{Address, NetId, checksum, ethertype, protocol};

/// Bytes between the outer Ethernet header and the inner packet, over IPv4.
pub const ROOM_V4: usize = 50;
/// Bytes between the outer Ethernet header and the inner packet, over IPv6.
pub const ROOM_V6: usize = 70;
/// The longest inner frame that fits into an outer packet of either family, in bytes.
pub const LONGEST: u32 = 65_535 - 56;

/// An Ethernet header.
pub type Ethernet = [u8; 14];

const DONT_FRAGMENT: u32 = 0x4000;
const TTL: u32 = 64;
const UDP: u32 = protocol::UDP as u32;
/// The network identifier is valid: the one flag that there is.
const FLAGS: u32 = 0x0800_0000;
/// Congestion experienced.
const ECN_CE: u8 = 3;
const ECN_ECT_0: u8 = 2;
/// Source ports are private ones (RFC 7348 §5).
const FIRST_PORT: u32 = 49_152;

/// What an inner frame is wrapped in. No checksum over UDP: zero is allowed for tunnels over IPv6 too
/// (RFC 6935), and what is inside has its own.
#[derive(Clone, Copy, Debug)]
pub struct Outer<'a> {
    /// The sending node.
    pub source: &'a Address,
    /// The receiving node, of the same family.
    pub destination: &'a Address,
    /// The UDP port of the tunnel.
    pub port: u16,
    /// The network.
    pub net: NetId,
    /// The same for all packets of an inner flow: routers and receive queues tell flows apart by it.
    pub hash: u32,
    /// The inner packet's ECN field.
    pub ecn: u8,
    /// Length of the inner frame in bytes, at most [`LONGEST`].
    pub length: u16,
}

/// What goes before the inner packet over IPv4; the last two octets are not sent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadV4 {
    ip: [u32; 5],
    tunnel: [u32; 4],
    /// The inner frame's Ethernet header.
    pub ethernet: Ethernet,
    reserved: [u8; 2],
}

const _: () = assert!(size_of::<HeadV4>() == ROOM_V4 + 2);

/// What goes before the inner packet over IPv6; the last two octets are not sent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadV6 {
    ip: [u32; 10],
    tunnel: [u32; 4],
    /// The inner frame's Ethernet header.
    pub ethernet: Ethernet,
    reserved: [u8; 2],
}

const _: () = assert!(size_of::<HeadV6>() == ROOM_V6 + 2);

impl HeadV4 {
    /// Writes all but the Ethernet header.
    #[inline(always)]
    pub fn write(&mut self, outer: &Outer<'_>) {
        let start = (0x4500 | outer.outer_ecn()) << 16 | (u32::from(outer.length) + 36);
        let (start, hops) = (start.to_be(), (TTL << 24 | UDP << 16).to_be());
        let (source, destination) = (outer.source.words[3], outer.destination.words[3]);
        // A packet that is never cut needs no identification (RFC 6864 §4.1).
        let flags = DONT_FRAGMENT.to_be();
        let sum = checksum::sum_words(&[start, flags, hops, source, destination]);
        let sum = u32::from(u16::from_be(!checksum::fold(sum)));
        self.ip = [start, flags, hops | sum.to_be(), source, destination];
        self.tunnel = outer.tunnel();
    }
}

impl HeadV6 {
    /// Writes all but the Ethernet header.
    #[inline(always)]
    pub fn write(&mut self, outer: &Outer<'_>) {
        // The flow label tells flows apart (RFC 6438 §2).
        let start = 6 << 28 | outer.outer_ecn() << 20 | outer.hash & 0x000f_ffff;
        let length = (u32::from(outer.length) + 16) << 16 | UDP << 8 | TTL;
        let [a, b, c, d] = outer.source.words;
        let [e, f, g, h] = outer.destination.words;
        self.ip = [start.to_be(), length.to_be(), a, b, c, d, e, f, g, h];
        self.tunnel = outer.tunnel();
    }
}

impl Outer<'_> {
    /// UDP and VXLAN.
    #[inline(always)]
    fn tunnel(&self) -> [u32; 4] {
        let source = FIRST_PORT | (self.hash ^ self.hash >> 16) & 0x3fff;
        [
            (source << 16 | u32::from(self.port)).to_be(),
            ((u32::from(self.length) + 16) << 16).to_be(),
            FLAGS.to_be(),
            (self.net.0 << 8).to_be(),
        ]
    }

    /// As the kernel's tunnels do: congestion that was met before stays inside (RFC 3168 §9.1.1).
    #[inline(always)]
    fn outer_ecn(&self) -> u32 {
        let inner = self.ecn & 3;
        u32::from(if inner == ECN_CE { ECN_ECT_0 } else { inner })
    }
}

/// What was wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// The network.
    pub net: NetId,
    /// The inner frame's Ethernet header; its type is that of IPv4 or of IPv6.
    pub ethernet: Ethernet,
}

impl Inner {
    /// Whether the inner packet is IPv6.
    #[inline(always)]
    #[must_use]
    pub const fn is_v6(&self) -> bool {
        let [.., a, b] = self.ethernet;
        u16::from_be_bytes([a, b]) == ethertype::IPV6
    }

    /// Reads what stands before the inner packet over IPv4; `length` is that of the outer packet with
    /// all its headers but Ethernet's. `None` for anything but the ordinary case: options, fragments, a
    /// checksum over UDP, congestion on the way, flags that nobody knows; for what contradicts itself;
    /// and for what is not IP inside.
    #[inline(always)]
    #[must_use]
    pub fn from_v4(bytes: &[u8; ROOM_V4], length: u32) -> Option<Self> {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let mut sum = 0;
        let mut at = 0;
        while at < 20 {
            sum += u32::from(word(at));
            at += 2;
        }
        let is_plain = bytes[0] == 0x45
            && bytes[1] & 3 != ECN_CE
            && u32::from(u16::from_be(word(2))) == length
            && (word(6) == 0 || u16::from_be(word(6)) == 0x4000)
            && checksum::fold(sum) == 0xffff;
        if !is_plain {
            return None;
        }
        let (_, rest) = bytes.split_first_chunk::<20>()?;
        Self::from_tunnel(rest.first_chunk()?, length - 20)
    }

    /// As [`Self::from_v4`], over IPv6. Extension headers are not ordinary either.
    #[inline(always)]
    #[must_use]
    pub fn from_v6(bytes: &[u8; ROOM_V6], length: u32) -> Option<Self> {
        let is_plain = bytes[0] >> 4 == 6
            && (bytes[1] >> 4) & 3 != ECN_CE
            && u32::from(u16::from_be_bytes([bytes[4], bytes[5]])) + 40 == length;
        if !is_plain {
            return None;
        }
        let (_, rest) = bytes.split_first_chunk::<40>()?;
        Self::from_tunnel(rest.first_chunk()?, length - 40)
    }

    /// From the UDP header on.
    #[inline(always)]
    fn from_tunnel(bytes: &[u8; 30], length: u32) -> Option<Self> {
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let is_plain = u32::from(word(4)) == length
            && word(6) == 0
            && u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) == FLAGS
            && bytes[15] == 0
            && (word(28) == ethertype::IPV4 || word(28) == ethertype::IPV6);
        if !is_plain {
            return None;
        }
        let net = NetId(u32::from_be_bytes([0, bytes[12], bytes[13], bytes[14]]));
        let (_, ethernet) = bytes.split_first_chunk::<16>()?;
        Some(Self {
            net,
            ethernet: *ethernet.first_chunk()?,
        })
    }
}

#[cfg(test)]
mod tests;
