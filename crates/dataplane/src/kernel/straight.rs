//! Whether other nodes can send from this node's address. Each is asked for two echoes: one that its
//! kernel gives, and one that its programs send from the address of whoever asks (`abi::STRAIGHT`).
#![expect(unsafe_code, reason = "a socket option that rustix does not have")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZero;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketType, recv, socket};

use super::echo::Probe;
use crate::lower::direct::Proof;

/// How often a node is asked, and how long each time it may take.
const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_millis(150);

/// Asks all `nodes` to answer `own`, an address of the same family.
pub(crate) fn ask(own: IpAddr, nodes: &BTreeSet<IpAddr>) -> io::Result<BTreeMap<IpAddr, Proof>> {
    let mut proofs: BTreeMap<IpAddr, Proof> =
        nodes.iter().map(|node| (*node, Proof::Silent)).collect();
    if nodes.is_empty() {
        return Ok(proofs);
    }
    let echoes = listen(own.is_ipv4())?;
    let probe = Probe::open(own.is_ipv4())?;
    for _ in 0..ROUNDS {
        let missing = |proof: &Proof| *proof != Proof::Arrives;
        for ((node, proof), number) in proofs.iter().zip(0u16..) {
            if missing(proof) {
                probe.send(*node, number, &[0; 56]);
                probe.send(*node, number, &abi::STRAIGHT);
            }
        }
        let deadline = Instant::now() + PATIENCE;
        while proofs.values().any(missing) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            set_socket_timeout(&echoes, Timeout::Recv, Some(left))?;
            let Some((source, number)) = receive(&echoes, &probe) else {
                continue;
            };
            let asked = proofs.iter_mut().nth(usize::from(number));
            match asked {
                Some((_, proof)) if source == own => *proof = Proof::Arrives,
                Some((node, proof)) if source == *node && *proof == Proof::Silent => {
                    *proof = Proof::Lost;
                }
                _ => {}
            }
        }
    }
    Ok(proofs)
}

/// A packet socket: the stack itself takes nothing from an address of its own.
fn listen(is_v4: bool) -> io::Result<OwnedFd> {
    let (kind, next, at, reply): (u16, _, _, _) = if is_v4 {
        (0x0800, (9, 1), 20, 0)
    } else {
        (0x86dd, (6, 58), 40, 129)
    };
    let protocol = NonZero::new(u32::from(kind.to_be())).map(Protocol::from_raw);
    let socket = socket(AddressFamily::PACKET, SocketType::DGRAM, protocol)?;
    // ICMP's echo replies, and nothing else: ldb [next]; jne drop; ldb [type]; jne drop.
    let step = |code: u16, jf: u8, k: u32| libc::sock_filter { code, jt: 0, jf, k };
    let mut filter = [
        step(0x30, 0, next.0),
        step(0x15, 3, next.1),
        step(0x30, 0, at),
        step(0x15, 1, reply),
        step(0x06, 0, 128),
        step(0x06, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: 6,
        filter: filter.as_mut_ptr(),
    };
    const LENGTH: libc::socklen_t = 16;
    const _: () = assert!(size_of::<libc::sock_fprog>() == 16);
    // SAFETY: `program` describes `filter`, and both outlive the call, which copies them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            std::ptr::from_ref(&program).cast(),
            LENGTH,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

/// Who answered which of our requests.
fn receive(socket: &OwnedFd, probe: &Probe) -> Option<(IpAddr, u16)> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 128];
    let ((packet, _), _) = recv(socket, &mut buffer[..], RecvFlags::empty()).ok()?;
    let (source, start) = if packet.first()? >> 4 == 4 {
        let octets: [u8; 4] = *packet.get(12..)?.first_chunk()?;
        (IpAddr::from(Ipv4Addr::from(octets)), 20)
    } else {
        let octets: [u8; 16] = *packet.get(8..)?.first_chunk()?;
        (IpAddr::from(Ipv6Addr::from(octets)), 40)
    };
    Some((source, probe.answered(packet.get(start..)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_not_there_is_silent() {
        let own: IpAddr = "127.0.0.1".parse().unwrap();
        let nobody: IpAddr = "127.0.0.2".parse().unwrap();
        assert!(ask(own, &BTreeSet::new()).unwrap().is_empty());
        // A host without our programs answers from its own address.
        let proofs = ask(own, &[nobody].into()).unwrap();
        assert_eq!(proofs[&nobody], Proof::Lost);
    }
}
