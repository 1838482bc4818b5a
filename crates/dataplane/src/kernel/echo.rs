//! Echo requests of two sizes that must not be cut: who answers, and whether the path is wide enough.
#![expect(unsafe_code, reason = "a socket option that rustix does not have")]

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, recv, sendto, socket};

/// How long answers may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of an ICMP echo's own header.
const HEADER: usize = 8;
/// Payload of the small request in bytes: as ping(8) has it.
const SMALL: usize = 56;

/// How far a node can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Echo {
    /// It answers.
    pub(crate) small: bool,
    /// It answers to a packet of the full size.
    pub(crate) full: bool,
}

/// Asks all `peers`, which are of one family, with packets of 84 bytes or so and of `mtu` bytes.
pub(crate) fn ask(peers: &[IpAddr], mtu: u32) -> io::Result<BTreeMap<IpAddr, Echo>> {
    let mut answers: BTreeMap<IpAddr, Echo> =
        peers.iter().map(|peer| (*peer, Echo::default())).collect();
    let Some(first) = peers.first() else {
        return Ok(answers);
    };
    let probe = Probe::open(first.is_ipv4())?;
    let full = (mtu as usize).saturating_sub(probe.ip_header() + HEADER);
    for (peer, number) in peers.iter().zip(0u16..) {
        for (payload, sequence) in [(SMALL, number * 2), (full, number * 2 + 1)] {
            probe.send(*peer, sequence, &vec![0; payload]);
        }
    }
    let deadline = Instant::now() + PATIENCE;
    let mut missing = answers.len() * 2;
    while missing > 0 {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        set_socket_timeout(&probe.socket, Timeout::Recv, Some(left))?;
        let Some(sequence) = probe.receive() else {
            continue;
        };
        let peer = peers.get(usize::from(sequence / 2));
        if let Some(echo) = peer.and_then(|peer| answers.get_mut(peer)) {
            let answered = if sequence % 2 == 0 {
                &mut echo.small
            } else {
                &mut echo.full
            };
            missing -= usize::from(!*answered);
            *answered = true;
        }
    }
    Ok(answers)
}

/// A raw socket and what marks its requests.
#[derive(Debug)]
pub(super) struct Probe {
    socket: OwnedFd,
    is_v4: bool,
    identifier: u16,
}

impl Probe {
    pub(super) fn open(is_v4: bool) -> io::Result<Self> {
        let (family, protocol) = if is_v4 {
            (AddressFamily::INET, ipproto::ICMP)
        } else {
            (AddressFamily::INET6, ipproto::ICMPV6)
        };
        let socket = socket(family, SocketType::RAW, Some(protocol))?;
        forbid_fragments(&socket, is_v4)?;
        let [low, high, ..] = std::process::id().to_ne_bytes();
        Ok(Self {
            socket,
            is_v4,
            identifier: u16::from_ne_bytes([low, high]),
        })
    }

    const fn ip_header(&self) -> usize {
        if self.is_v4 { 20 } else { 40 }
    }

    /// What cannot be sent is not answered either.
    pub(super) fn send(&self, peer: IpAddr, sequence: u16, payload: &[u8]) {
        let kind = if self.is_v4 { 8 } else { 128 };
        let mut packet = vec![0; HEADER];
        packet.extend(payload);
        packet[0] = kind;
        packet[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        packet[6..8].copy_from_slice(&sequence.to_be_bytes());
        if self.is_v4 {
            // Of IPv6 the kernel sets it.
            let sum = checksum(&packet);
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        let target = SocketAddr::new(peer, 0);
        if let Err(error) = sendto(&self.socket, &packet, SendFlags::empty(), &target) {
            tracing::debug!(%peer, payload = payload.len(), %error, "no echo request");
        }
    }

    /// The number of the request that was answered.
    fn receive(&self) -> Option<u16> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 128];
        let ((packet, _), _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty()).ok()?;
        let start = if self.is_v4 {
            usize::from(packet.first()? & 0xf) * 4
        } else {
            0
        };
        self.answered(packet.get(start..)?)
    }

    /// The number of the request that an ICMP message answers.
    pub(super) fn answered(&self, message: &[u8]) -> Option<u16> {
        let kind = if self.is_v4 { 0 } else { 129 };
        let header: [u8; HEADER] = *message.first_chunk()?;
        let [found, _, _, _, i0, i1, s0, s1] = header;
        let ours = found == kind && u16::from_be_bytes([i0, i1]) == self.identifier;
        ours.then(|| u16::from_be_bytes([s0, s1]))
    }
}

/// Sets "don't fragment", and has the kernel ignore what it believes about the path.
fn forbid_fragments(socket: &OwnedFd, is_v4: bool) -> io::Result<()> {
    let (level, option, value) = if is_v4 {
        (
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_PROBE,
        )
    } else {
        (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_PROBE,
        )
    };
    const LENGTH: libc::socklen_t = 4;
    let value: i32 = value;
    let value = std::ptr::from_ref(&value).cast();
    // SAFETY: `value` points to a number of four bytes.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value, LENGTH) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// RFC 1071.
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_answers_within_its_mtu() {
        for peer in ["127.0.0.1", "::1"] {
            let peer: IpAddr = peer.parse().unwrap();
            let answers = ask(&[peer], 9000).unwrap();
            assert_eq!(
                answers[&peer],
                Echo {
                    small: true,
                    full: true
                }
            );
        }
        assert!(ask(&[], 1500).unwrap().is_empty());
    }
}
