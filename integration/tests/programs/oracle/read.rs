//! What stands in a frame: the oracle's own walk through the headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use abi::{Address, DropReason};

/// Piece of a packet or all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Whole,
    First,
    Later,
}

/// What a frame says.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) v6: bool,
    pub(crate) source: Address,
    pub(crate) destination: Address,
    pub(crate) protocol: u8,
    /// TCP flags or ICMP type.
    pub(crate) kind: u8,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
    /// Where the header above IP begins.
    pub(crate) l4: usize,
    /// Where the IP packet ends.
    pub(crate) end: usize,
    pub(crate) piece: Piece,
    pub(crate) id: u32,
}

/// Why there is nothing to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Arp,
    Foreign,
    Broken(DropReason),
}

use Unreadable::Broken;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMP: u8 = 1;
pub(crate) const ICMP6: u8 = 58;

const TOO_SHORT: Unreadable = Broken(DropReason::Truncated);
const WRONG: Unreadable = Broken(DropReason::BadHeader);
const CHAIN: Unreadable = Broken(DropReason::ExtensionHeaders);

pub(crate) fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Reads the IPv4 address at `at`.
pub(crate) fn v4(bytes: &[u8], at: usize) -> Address {
    let octets: [u8; 4] = bytes[at..at + 4].try_into().unwrap();
    IpAddr::from(Ipv4Addr::from(octets)).into()
}

/// Reads the IPv6 address at `at`.
pub(crate) fn v6(bytes: &[u8], at: usize) -> Address {
    let octets: [u8; 16] = bytes[at..at + 16].try_into().unwrap();
    IpAddr::from(Ipv6Addr::from(octets)).into()
}

impl Reading {
    pub(crate) fn of(frame: &[u8]) -> Result<Self, Unreadable> {
        let link = frame.get(..14).ok_or(TOO_SHORT)?;
        let mut reading = match short(link, 12) {
            0x0800 => Self::v4(frame)?,
            0x86dd => Self::v6(frame)?,
            0x0806 => return Err(Unreadable::Arp),
            _ => return Err(Unreadable::Foreign),
        };
        if reading.piece != Piece::Later {
            reading.upper(frame)?;
        }
        Ok(reading)
    }

    /// Whether the header above IP is in this packet.
    pub(crate) fn has_upper(&self) -> bool {
        self.piece != Piece::Later
    }

    pub(crate) fn is_echo(&self) -> bool {
        let request = if self.v6 { (ICMP6, 128) } else { (ICMP, 8) };
        self.piece == Piece::Whole && (self.protocol, self.kind) == request
    }

    pub(crate) fn has_ports(&self) -> bool {
        self.protocol == TCP || self.protocol == UDP
    }

    fn v4(frame: &[u8]) -> Result<Self, Unreadable> {
        let ip = frame.get(14..34).ok_or(TOO_SHORT)?;
        let header = usize::from(ip[0] % 16) * 4;
        let total = usize::from(short(ip, 2));
        if ip[0] / 16 != 4 || header < 20 || total < header {
            return Err(WRONG);
        }
        if 14 + total > frame.len() {
            return Err(TOO_SHORT);
        }
        let fragment = short(ip, 6);
        let piece = piece(fragment & 0x1fff != 0, fragment & 0x2000 != 0);
        Ok(Self {
            v6: false,
            source: v4(ip, 12),
            destination: v4(ip, 16),
            protocol: ip[9],
            kind: 0,
            sport: 0,
            dport: 0,
            l4: 14 + header,
            end: 14 + total,
            piece,
            id: if piece == Piece::Whole {
                0
            } else {
                short(ip, 4).into()
            },
        })
    }

    fn v6(frame: &[u8]) -> Result<Self, Unreadable> {
        let start = frame.get(14..22).ok_or(TOO_SHORT)?;
        if start[0] / 16 != 6 {
            return Err(WRONG);
        }
        let end = 54 + usize::from(short(start, 4));
        if end > frame.len() {
            return Err(TOO_SHORT);
        }
        let mut reading = Self {
            v6: true,
            source: v6(frame, 22),
            destination: v6(frame, 38),
            protocol: start[6],
            kind: 0,
            sport: 0,
            dport: 0,
            l4: 54,
            end,
            piece: Piece::Whole,
            id: 0,
        };
        if reading.source.is_v4() || reading.destination.is_v4() {
            return Err(WRONG);
        }
        reading.chain(frame)?;
        Ok(reading)
    }

    fn chain(&mut self, frame: &[u8]) -> Result<(), Unreadable> {
        let mut walked = 0;
        while [0, 43, 44, 60].contains(&self.protocol) && self.piece != Piece::Later {
            walked += 1;
            if walked > 6 {
                return Err(CHAIN);
            }
            let header = frame[self.l4..self.end].get(..8).ok_or(TOO_SHORT)?;
            let length = match self.protocol {
                44 => {
                    let fragment = short(header, 2);
                    let piece = piece(fragment >> 3 != 0, fragment & 1 != 0);
                    if piece != Piece::Whole {
                        self.piece = piece;
                        self.id = word(header, 4);
                    }
                    8
                }
                43 if header[2] == 0 => return Err(CHAIN),
                _ => usize::from(header[1]) * 8 + 8,
            };
            self.protocol = header[0];
            self.l4 += length;
            if self.l4 > self.end {
                return Err(TOO_SHORT);
            }
        }
        Ok(())
    }

    fn upper(&mut self, frame: &[u8]) -> Result<(), Unreadable> {
        let bytes = &frame[self.l4..self.end];
        match self.protocol {
            TCP => {
                let tcp = bytes.get(..20).ok_or(TOO_SHORT)?;
                let length = usize::from(tcp[12] / 16) * 4;
                if length < 20 || length > bytes.len() {
                    return Err(WRONG);
                }
                self.kind = tcp[13];
            }
            UDP => {
                let udp = bytes.get(..8).ok_or(TOO_SHORT)?;
                if short(udp, 4) < 8 {
                    return Err(WRONG);
                }
            }
            ICMP | ICMP6 => self.kind = bytes.get(..8).ok_or(TOO_SHORT)?[0],
            _ => {}
        }
        if self.has_ports() {
            self.sport = short(bytes, 0);
            self.dport = short(bytes, 2);
        }
        Ok(())
    }
}

fn piece(has_offset: bool, has_more: bool) -> Piece {
    match (has_offset, has_more) {
        (true, _) => Piece::Later,
        (false, true) => Piece::First,
        (false, false) => Piece::Whole,
    }
}
