//! Reading the headers of a packet: Ethernet, IPv4 or IPv6 with its extension headers, and as much
//! of TCP, UDP or ICMP as a decision needs.

use crate::{Address, DropReason};

/// Where a packet's bytes come from: the kernel's buffer, or a slice.
pub trait Bytes {
    /// Copies `N` bytes from `offset`; `None` when the packet ends before.
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
    /// Length of the whole frame, in bytes.
    fn length(&self) -> usize;
}

impl Bytes for [u8] {
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }

    fn length(&self) -> usize {
        self.len()
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
    /// Echo request, IPv4.
    pub const ECHO_REQUEST: u8 = 8;
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
    First(u32),
    /// A later piece: no header above IP.
    Later(u32),
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
    /// Piece or whole.
    pub fragment: Fragment,
}

/// Why no [`Header`] could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// The frame is not IP; its EtherType.
    NotIp(u16),
    /// The packet is malformed.
    Malformed(DropReason),
}

impl From<DropReason> for HeaderError {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        Self::Malformed(reason)
    }
}

const ETHERNET: usize = 14;
const IPV6_HEADER: usize = 40;
const MAX_EXTENSIONS: usize = 6;

impl Header {
    /// Reads the headers of an Ethernet frame.
    ///
    /// # Errors
    /// [`HeaderError::NotIp`] for other frames, [`HeaderError::Malformed`] for packets that end too
    /// soon or contradict themselves.
    #[inline(always)]
    pub fn read<B: Bytes + ?Sized>(frame: &B) -> Result<Self, HeaderError> {
        let ethertype: [u8; 2] = frame.load(12).ok_or(DropReason::Truncated)?;
        let mut header = match u16::from_be_bytes(ethertype) {
            ethertype::IPV4 => Self::read_v4(frame)?,
            ethertype::IPV6 => Self::read_v6(frame)?,
            other => return Err(HeaderError::NotIp(other)),
        };
        if !matches!(header.fragment, Fragment::Later(_)) {
            header.read_transport(frame)?;
        }
        Ok(header)
    }

    /// Whether the packet has a header above IP.
    #[inline(always)]
    #[must_use]
    pub const fn has_transport(&self) -> bool {
        !matches!(self.fragment, Fragment::Later(_))
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

    #[inline(always)]
    fn read_v4<B: Bytes + ?Sized>(frame: &B) -> Result<Self, DropReason> {
        let ip: [u8; 20] = frame.load(ETHERNET).ok_or(DropReason::Truncated)?;
        let header_length = usize::from(ip[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        if ip[0] >> 4 != 4 || header_length < 20 || total < header_length {
            return Err(DropReason::BadHeader);
        }
        if ETHERNET + total > frame.length() {
            return Err(DropReason::Truncated);
        }
        let id = u32::from(u16::from_be_bytes([ip[4], ip[5]]));
        let offset = u16::from_be_bytes([ip[6], ip[7]]);
        let fragment = match (offset & 0x1fff != 0, offset & 0x2000 != 0) {
            (true, _) => Fragment::Later(id),
            (false, true) => Fragment::First(id),
            (false, false) => Fragment::Whole,
        };
        #[expect(clippy::cast_possible_truncation, reason = "both are below 2^17")]
        let (l4, end) = ((ETHERNET + header_length) as u16, (ETHERNET + total) as u32);
        Ok(Self {
            family: Family::V4,
            source: Address::from_v4_word(u32::from_ne_bytes([ip[12], ip[13], ip[14], ip[15]])),
            destination: Address::from_v4_word(u32::from_ne_bytes([
                ip[16], ip[17], ip[18], ip[19],
            ])),
            protocol: ip[9],
            flags: 0,
            source_port: 0,
            destination_port: 0,
            l4,
            end,
            fragment,
        })
    }

    #[inline(always)]
    fn read_v6<B: Bytes + ?Sized>(frame: &B) -> Result<Self, DropReason> {
        let ip: [u8; IPV6_HEADER] = frame.load(ETHERNET).ok_or(DropReason::Truncated)?;
        if ip[0] >> 4 != 6 {
            return Err(DropReason::BadHeader);
        }
        let end = ETHERNET + IPV6_HEADER + usize::from(u16::from_be_bytes([ip[4], ip[5]]));
        if end > frame.length() {
            return Err(DropReason::Truncated);
        }
        let extensions = Extensions::read(frame, ip[6])?;
        let mut source = [0; 16];
        source.copy_from_slice(&ip[8..24]);
        let mut destination = [0; 16];
        destination.copy_from_slice(&ip[24..40]);
        #[expect(clippy::cast_possible_truncation, reason = "below 2^17")]
        let end = end as u32;
        Ok(Self {
            family: Family::V6,
            source: Address::from_v6_octets(source),
            destination: Address::from_v6_octets(destination),
            protocol: extensions.protocol,
            flags: 0,
            source_port: 0,
            destination_port: 0,
            l4: extensions.l4,
            end,
            fragment: extensions.fragment,
        })
    }

    #[inline(always)]
    fn read_transport<B: Bytes + ?Sized>(&mut self, frame: &B) -> Result<(), DropReason> {
        let l4 = usize::from(self.l4);
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
                let [kind]: [u8; 1] = frame.load(l4).ok_or(DropReason::Truncated)?;
                self.flags = kind;
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

/// The chain between the IPv6 header and the protocol above (RFC 8200 §4).
struct Extensions {
    protocol: u8,
    l4: u16,
    fragment: Fragment,
}

impl Extensions {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;

    #[inline(always)]
    fn read<B: Bytes + ?Sized>(frame: &B, next: u8) -> Result<Self, DropReason> {
        #[expect(clippy::cast_possible_truncation, reason = "54")]
        let mut chain = Self {
            protocol: next,
            l4: (ETHERNET + IPV6_HEADER) as u16,
            fragment: Fragment::Whole,
        };
        let mut steps = 0;
        while steps < MAX_EXTENSIONS {
            if !chain.step(frame)? {
                return Ok(chain);
            }
            steps += 1;
        }
        if Self::is_extension(chain.protocol) {
            Err(DropReason::ExtensionHeaders)
        } else {
            Ok(chain)
        }
    }

    #[inline(always)]
    const fn is_extension(next: u8) -> bool {
        matches!(
            next,
            Self::HOP_BY_HOP | Self::ROUTING | Self::FRAGMENT | Self::DESTINATION
        )
    }

    /// Walks over one extension header; false when there is none left that can be read.
    #[inline(always)]
    fn step<B: Bytes + ?Sized>(&mut self, frame: &B) -> Result<bool, DropReason> {
        if !Self::is_extension(self.protocol) || matches!(self.fragment, Fragment::Later(_)) {
            return Ok(false);
        }
        let bytes: [u8; 8] = frame
            .load(usize::from(self.l4))
            .ok_or(DropReason::Truncated)?;
        let length = match self.protocol {
            Self::FRAGMENT => {
                let id = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
                let offset = u16::from_be_bytes([bytes[2], bytes[3]]);
                self.fragment = match (offset & 0xfff8 != 0, offset & 1 != 0) {
                    (true, _) => Fragment::Later(id),
                    (false, true) => Fragment::First(id),
                    (false, false) => Fragment::Whole,
                };
                8
            }
            Self::ROUTING if bytes[2] == 0 => return Err(DropReason::ExtensionHeaders),
            _ => (u16::from(bytes[1]) + 1) * 8,
        };
        self.protocol = bytes[0];
        self.l4 += length;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
