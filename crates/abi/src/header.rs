//! Reading the headers of a packet: Ethernet, IPv4 or IPv6 with its extension headers, and as much
//! of TCP, UDP or ICMP as a decision needs.

mod plain;

use crate::{Address, DropReason};

/// Where a packet's bytes come from: the kernel's buffer, or a slice.
pub trait Bytes {
    /// Copies `N` bytes from `offset`; `None` when the packet ends before.
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
    /// Length of the whole frame, in bytes.
    fn length(&self) -> usize;
    /// The first `N` bytes, at hand without copying; `None` when the packet ends before, or when its
    /// beginning is not in one piece.
    fn head<const N: usize>(&self) -> Option<impl Head>;
}

/// The beginning of a packet. Words are read as the machine reads them, and stand where they are
/// aligned in a frame whose IP header is.
pub trait Head {
    /// The byte at `AT`.
    fn byte<const AT: usize>(&self) -> u8;
    /// The two bytes from `AT` on.
    fn half<const AT: usize>(&self) -> u16;
    /// The four bytes from `AT` on.
    fn word<const AT: usize>(&self) -> u32;
}

impl Bytes for [u8] {
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }

    fn length(&self) -> usize {
        self.len()
    }

    fn head<const N: usize>(&self) -> Option<impl Head> {
        self.first_chunk::<N>()
    }
}

impl<const N: usize> Head for &[u8; N] {
    fn byte<const AT: usize>(&self) -> u8 {
        self[AT]
    }

    fn half<const AT: usize>(&self) -> u16 {
        u16::from_ne_bytes([self[AT], self[AT + 1]])
    }

    fn word<const AT: usize>(&self) -> u32 {
        u32::from_ne_bytes([self[AT], self[AT + 1], self[AT + 2], self[AT + 3]])
    }
}

/// EtherType values, in host byte order.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
}

/// IP protocol numbers.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

/// TCP flags.
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;

    /// Whether the flags are those of a connection's first packet.
    #[inline(always)]
    #[must_use]
    pub const fn is_initial(flags: u8) -> bool {
        flags & (SYN | ACK | RST | FIN) == SYN
    }
}

/// ICMP types.
pub mod icmp {
    /// Echo reply, IPv4.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable, IPv4.
    pub const UNREACHABLE: u8 = 3;
    /// Code of [`UNREACHABLE`]: no such port.
    pub const PORT_UNREACHABLE: u8 = 3;
    /// Code of [`UNREACHABLE`]: larger than the next link takes, and not to be fragmented.
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// Time exceeded, IPv4.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem, IPv4.
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// Echo request, IPv4.
    pub const ECHO_REQUEST: u8 = 8;
    /// Destination unreachable, IPv6.
    pub const V6_UNREACHABLE: u8 = 1;
    /// Code of [`V6_UNREACHABLE`]: no such port.
    pub const V6_PORT_UNREACHABLE: u8 = 4;
    /// Packet too big, IPv6.
    pub const V6_TOO_BIG: u8 = 2;
    /// Parameter problem, IPv6; the highest of the errors that may quote a flow's packet.
    pub const V6_PARAMETER_PROBLEM: u8 = 4;
    /// Echo request, IPv6.
    pub const V6_ECHO_REQUEST: u8 = 128;
    /// Echo reply, IPv6.
    pub const V6_ECHO_REPLY: u8 = 129;
    /// Neighbour solicitation.
    pub const V6_NEIGHBOUR_SOLICITATION: u8 = 135;
}

/// Address family of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Whether the packet is a piece of a larger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// The packet is whole.
    Whole,
    /// The first piece, which has the ports.
    First,
    /// A later piece: no header above IP.
    Later,
}

/// What the headers say. Ports are 0 where there are none: other protocols, and later fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// IPv4 or IPv6.
    pub family: Family,
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// The protocol above IP and its extension headers.
    pub protocol: u8,
    /// TCP flags; for ICMP the type.
    pub flags: u8,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Offset in the frame of the header above IP; meaningless in a later fragment.
    pub l4: u16,
    /// Offset in the frame of the end of the IP packet (link-layer padding follows).
    pub end: u32,
    /// What the pieces of one packet have in common; 0 when it is whole.
    pub fragment_id: u32,
    /// Piece or whole.
    pub fragment: Fragment,
}

/// Why no [`Header`] could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// The frame is an ARP packet.
    Arp,
    /// The frame is neither IP nor ARP.
    NotIp,
    /// The packet is malformed.
    Malformed(DropReason),
}

impl From<DropReason> for HeaderError {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        Self::Malformed(reason)
    }
}

const ETHERNET: u16 = 14;
const IPV6_HEADER: u16 = 40;
const IP: usize = ETHERNET as usize;
const MAX_EXTENSIONS: usize = 6;

impl Header {
    const BLANK: Self = Self {
        family: Family::V4,
        source: Address::UNSPECIFIED,
        destination: Address::UNSPECIFIED,
        protocol: 0,
        flags: 0,
        source_port: 0,
        destination_port: 0,
        l4: 0,
        end: 0,
        fragment_id: 0,
        fragment: Fragment::Whole,
    };

    /// Reads the headers of an Ethernet frame.
    ///
    /// # Errors
    /// As [`Self::read_into`].
    pub fn read<B: Bytes + ?Sized>(frame: &B) -> Result<Self, HeaderError> {
        let mut header = Self::BLANK;
        header.read_into(frame)?;
        Ok(header)
    }

    /// Reads the headers of an Ethernet frame in the place of what was there.
    ///
    /// # Errors
    /// [`HeaderError::Malformed`] for packets that end too soon or contradict themselves, the others
    /// for frames that are not IP. What was read until then is there.
    #[inline(always)]
    pub fn read_into<B: Bytes + ?Sized>(&mut self, frame: &B) -> Result<(), HeaderError> {
        *self = Self::BLANK;
        let ethertype: [u8; 2] = frame.load(12).ok_or(DropReason::Truncated)?;
        match u16::from_be_bytes(ethertype) {
            ethertype::IPV4 => self.read_v4(frame)?,
            ethertype::IPV6 => self.read_v6(frame)?,
            ethertype::ARP => return Err(HeaderError::Arp),
            _ => return Err(HeaderError::NotIp),
        }
        if self.has_transport() {
            self.read_transport(frame)?;
        }
        Ok(())
    }

    /// Whether the packet has a header above IP.
    #[inline(always)]
    #[must_use]
    pub const fn has_transport(&self) -> bool {
        !matches!(self.fragment, Fragment::Later)
    }

    /// Whether the packet is an ICMP or ICMPv6 echo request.
    #[inline(always)]
    #[must_use]
    pub const fn is_echo_request(&self) -> bool {
        if !matches!(self.fragment, Fragment::Whole) {
            return false;
        }
        match self.family {
            Family::V4 => self.protocol == protocol::ICMP && self.flags == icmp::ECHO_REQUEST,
            Family::V6 => self.protocol == protocol::ICMPV6 && self.flags == icmp::V6_ECHO_REQUEST,
        }
    }

    /// Whether the packet is an ICMP or ICMPv6 error that may speak of a flow's packet: unreachable,
    /// too big, time exceeded, parameter problem.
    #[inline(always)]
    #[must_use]
    pub const fn is_error(&self) -> bool {
        if !matches!(self.fragment, Fragment::Whole) {
            return false;
        }
        match self.family {
            Family::V4 => {
                self.protocol == protocol::ICMP
                    && matches!(
                        self.flags,
                        icmp::UNREACHABLE | icmp::TIME_EXCEEDED | icmp::PARAMETER_PROBLEM
                    )
            }
            Family::V6 => {
                self.protocol == protocol::ICMPV6
                    && self.flags >= icmp::V6_UNREACHABLE
                    && self.flags <= icmp::V6_PARAMETER_PROBLEM
            }
        }
    }

    #[inline(always)]
    fn read_v4<B: Bytes + ?Sized>(&mut self, frame: &B) -> Result<(), DropReason> {
        let ip: [u8; 20] = frame.load(IP).ok_or(DropReason::Truncated)?;
        let header_length = u16::from(ip[0] & 0x0f) * 4;
        let total = u16::from_be_bytes([ip[2], ip[3]]);
        if ip[0] >> 4 != 4 || header_length < 20 || total < header_length {
            return Err(DropReason::BadHeader);
        }
        self.end = u32::from(ETHERNET) + u32::from(total);
        if self.end as usize > frame.length() {
            return Err(DropReason::Truncated);
        }
        let offset = u16::from_be_bytes([ip[6], ip[7]]);
        let id = u32::from(u16::from_be_bytes([ip[4], ip[5]]));
        self.piece(id, offset & 0x1fff != 0, offset & 0x2000 != 0);
        self.family = Family::V4;
        self.source = Address::from_v4_word(u32::from_ne_bytes([ip[12], ip[13], ip[14], ip[15]]));
        self.destination =
            Address::from_v4_word(u32::from_ne_bytes([ip[16], ip[17], ip[18], ip[19]]));
        self.protocol = ip[9];
        self.l4 = ETHERNET + header_length;
        Ok(())
    }

    #[inline(always)]
    fn read_v6<B: Bytes + ?Sized>(&mut self, frame: &B) -> Result<(), DropReason> {
        let ip: [u8; 8] = frame.load(IP).ok_or(DropReason::Truncated)?;
        if ip[0] >> 4 != 6 {
            return Err(DropReason::BadHeader);
        }
        let payload = u16::from_be_bytes([ip[4], ip[5]]);
        self.end = u32::from(ETHERNET + IPV6_HEADER) + u32::from(payload);
        if self.end as usize > frame.length() {
            return Err(DropReason::Truncated);
        }
        let source = frame.load(IP + 8).ok_or(DropReason::Truncated)?;
        self.source = Address::from_v6_octets(source);
        let destination = frame.load(IP + 24).ok_or(DropReason::Truncated)?;
        self.destination = Address::from_v6_octets(destination);
        // Such addresses are for sockets; on the wire they would pass for IPv4 ones.
        if self.source.is_v4() || self.destination.is_v4() {
            return Err(DropReason::BadHeader);
        }
        self.family = Family::V6;
        self.protocol = ip[6];
        self.l4 = ETHERNET + IPV6_HEADER;
        self.read_extensions(frame)
    }

    /// Walks the chain between the IPv6 header and the protocol above (RFC 8200 §4).
    #[inline(always)]
    fn read_extensions<B: Bytes + ?Sized>(&mut self, frame: &B) -> Result<(), DropReason> {
        let mut steps = 0;
        while steps < MAX_EXTENSIONS {
            if !extension::is(self.protocol) || !self.has_transport() {
                return Ok(());
            }
            self.read_extension(frame)?;
            steps += 1;
        }
        if extension::is(self.protocol) && self.has_transport() {
            Err(DropReason::ExtensionHeaders)
        } else {
            Ok(())
        }
    }

    #[inline(always)]
    fn read_extension<B: Bytes + ?Sized>(&mut self, frame: &B) -> Result<(), DropReason> {
        let bytes: [u8; 8] = self.load_transport(frame)?;
        let length = match self.protocol {
            extension::FRAGMENT => {
                let id = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
                let offset = u16::from_be_bytes([bytes[2], bytes[3]]);
                self.piece(id, offset & 0xfff8 != 0, offset & 1 != 0);
                8
            }
            extension::ROUTING if bytes[2] == 0 => return Err(DropReason::ExtensionHeaders),
            _ => (u16::from(bytes[1]) + 1) * 8,
        };
        self.protocol = bytes[0];
        self.l4 += length;
        if u32::from(self.l4) > self.end {
            return Err(DropReason::Truncated);
        }
        Ok(())
    }

    #[inline(always)]
    fn piece(&mut self, id: u32, has_offset: bool, has_more: bool) {
        if has_offset || has_more {
            self.fragment = if has_offset {
                Fragment::Later
            } else {
                Fragment::First
            };
            self.fragment_id = id;
        }
    }

    #[inline(always)]
    fn read_transport<B: Bytes + ?Sized>(&mut self, frame: &B) -> Result<(), DropReason> {
        match self.protocol {
            protocol::TCP => {
                let tcp: [u8; 20] = self.load_transport(frame)?;
                let header_length = u32::from(tcp[12] >> 4) * 4;
                if header_length < 20 || u32::from(self.l4) + header_length > self.end {
                    return Err(DropReason::BadHeader);
                }
                self.ports([tcp[0], tcp[1], tcp[2], tcp[3]]);
                self.flags = tcp[13];
            }
            protocol::UDP => {
                let udp: [u8; 8] = self.load_transport(frame)?;
                if u16::from_be_bytes([udp[4], udp[5]]) < 8 {
                    return Err(DropReason::BadHeader);
                }
                self.ports([udp[0], udp[1], udp[2], udp[3]]);
            }
            protocol::ICMP | protocol::ICMPV6 => {
                let icmp: [u8; 8] = self.load_transport(frame)?;
                self.flags = icmp[0];
            }
            _ => {}
        }
        Ok(())
    }

    #[inline(always)]
    fn load_transport<B: Bytes + ?Sized, const N: usize>(
        &self,
        frame: &B,
    ) -> Result<[u8; N], DropReason> {
        if usize::from(self.l4) + N > self.end as usize {
            return Err(DropReason::Truncated);
        }
        frame
            .load(usize::from(self.l4))
            .ok_or(DropReason::Truncated)
    }

    #[inline(always)]
    fn ports(&mut self, bytes: [u8; 4]) {
        self.source_port = u16::from_be_bytes([bytes[0], bytes[1]]);
        self.destination_port = u16::from_be_bytes([bytes[2], bytes[3]]);
    }
}

/// IPv6 extension headers that may stand before the protocol above.
mod extension {
    const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;

    #[inline(always)]
    pub(super) const fn is(next: u8) -> bool {
        matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION)
    }
}

#[cfg(test)]
mod tests;
