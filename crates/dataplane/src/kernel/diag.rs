//! Ending sockets that were led to a backend which is no more (sock_diag(7)).
//!
//! For streams, the kernel lists sockets together with what a map of socket-local storage keeps for
//! them (`INET_DIAG_REQ_SK_BPF_STORAGES`), so that exactly those are met that the hooks have led. Other
//! sockets it lists without (`inet_sk_diag_fill` of net/ipv4/inet_diag.c): those of datagrams are told
//! by their cookies. Each end is then asked for (`SOCK_DESTROY`): whoever waits gets `ECONNABORTED`.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use abi::{Lead, protocol};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

use super::bpf::read_plain;

/// From linux/sock_diag.h, linux/inet_diag.h and linux/bpf.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const INET_DIAG_REQ_SK_BPF_STORAGES: u16 = 2;
const INET_DIAG_SK_BPF_STORAGES: u16 = 20;
const SK_DIAG_BPF_STORAGE_REQ_MAP_FD: u16 = 1;
const SK_DIAG_BPF_STORAGE: u16 = 1;
const SK_DIAG_BPF_STORAGE_MAP_VALUE: u16 = 3;

/// Lengths of `struct nlmsghdr`, `inet_diag_req_v2`, `inet_diag_sockid` and `inet_diag_msg`.
const HEADER: usize = 16;
const REQUEST: usize = 56;
const ID: usize = 48;
const MESSAGE: usize = 72;

/// Sockets of one kind.
#[derive(Clone, Copy)]
struct Kind {
    family: i32,
    protocol: u8,
}

/// A socket as the kernel names it: `struct inet_diag_sockid`.
type Id = [u8; ID];

/// Ends the streams of the calling thread's namespace for which `is_over` says so, given where
/// `leads`, a map of socket-local storage, says they were led; returns how many.
///
/// # Errors
/// What the kernel refuses: it may have been built without `CONFIG_INET_DIAG_DESTROY`.
pub(crate) fn end_streams(leads: &impl AsFd, is_over: impl Fn(&Lead) -> bool) -> io::Result<usize> {
    let map = leads.as_fd().as_raw_fd().to_ne_bytes();
    let storages = attribute(SK_DIAG_BPF_STORAGE_REQ_MAP_FD, &map);
    let wanted = attribute(INET_DIAG_REQ_SK_BPF_STORAGES, &storages);
    end(protocol::TCP, &wanted, |body| {
        read_lead(body).is_some_and(|lead| is_over(&lead))
    })
}

/// Ends the datagram sockets of the calling thread's namespace with these cookies; returns how many.
///
/// # Errors
/// As [`end_streams`].
pub(crate) fn end_datagrams(cookies: &BTreeSet<u64>) -> io::Result<usize> {
    end(protocol::UDP, &[], |body| {
        read_cookie(body).is_some_and(|cookie| cookies.contains(&cookie))
    })
}

fn end(protocol: u8, wanted: &[u8], is_over: impl Fn(&[u8]) -> bool) -> io::Result<usize> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut ended = 0;
    for family in [libc::AF_INET, libc::AF_INET6] {
        let kind = Kind { family, protocol };
        for id in list(&socket, kind, wanted, &is_over)? {
            let request = message(SOCK_DESTROY, libc::NLM_F_ACK, &request(kind, &id));
            socket.send(&request, 0)?;
            match acknowledged(&socket) {
                Ok(()) => ended += 1,
                // It has ended by itself.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(ended)
}

/// The sockets of a kind, listed with the attributes `wanted`, that are over.
fn list(
    socket: &Socket,
    kind: Kind,
    wanted: &[u8],
    is_over: impl Fn(&[u8]) -> bool,
) -> io::Result<Vec<Id>> {
    let mut body = request(kind, &[0; ID]);
    body.extend(wanted);
    socket.send(&message(SOCK_DIAG_BY_FAMILY, libc::NLM_F_DUMP, &body), 0)?;
    let mut over = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while let Some((number, body, next)) = split(rest) {
            match i32::from(number) {
                libc::NLMSG_DONE => return Ok(over),
                libc::NLMSG_ERROR => return result(body).map(|()| over),
                _ if is_over(body) => over.extend(read_id(body)),
                _ => {}
            }
            rest = next;
        }
    }
}

fn acknowledged(socket: &Socket) -> io::Result<()> {
    let (datagram, _) = socket.recv_from_full()?;
    let (_, body, _) =
        split(&datagram).ok_or_else(|| io::Error::other("an answer without a header"))?;
    result(body)
}

/// `struct inet_diag_req_v2`: sockets in every state, or the one with this identity.
fn request(kind: Kind, id: &Id) -> Vec<u8> {
    let family = u8::try_from(kind.family).unwrap_or(0);
    let mut body = vec![family, kind.protocol, 0, 0];
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(id);
    debug_assert_eq!(body.len(), REQUEST);
    body
}

fn message(number: u16, flags: libc::c_int, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let flags = u16::try_from(libc::NLM_F_REQUEST | flags).unwrap_or(0);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(number.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

/// An attribute whose value has a length that needs no padding.
fn attribute(number: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(number.to_ne_bytes());
    bytes.extend(value);
    bytes
}

/// The first message of `bytes`: its type, its body, and what comes after it.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let number = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(HEADER..length)?;
    let next = bytes.get(length.next_multiple_of(4)..);
    Some((number, body, next.unwrap_or_default()))
}

/// The error number at the beginning of `struct nlmsgerr`.
fn result(body: &[u8]) -> io::Result<()> {
    match body.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::Error::other("an answer without an error number")),
    }
}

/// The socket of a `struct inet_diag_msg`.
fn read_id(body: &[u8]) -> Option<Id> {
    body.get(4..4 + ID)?.first_chunk().copied()
}

/// The last part of a socket's name, two words.
fn read_cookie(body: &[u8]) -> Option<u64> {
    let bytes = body.get(4 + ID - 8..4 + ID)?;
    bytes.first_chunk().map(|it| u64::from_ne_bytes(*it))
}

/// What the attributes after a `struct inet_diag_msg` say of where it was led; `None` for a socket that
/// is not.
fn read_lead(body: &[u8]) -> Option<Lead> {
    let storages = find(body.get(MESSAGE..)?, INET_DIAG_SK_BPF_STORAGES)?;
    let storage = find(storages, SK_DIAG_BPF_STORAGE)?;
    let value = find(storage, SK_DIAG_BPF_STORAGE_MAP_VALUE)?;
    let lead: Lead = read_plain(value.get(..size_of::<Lead>())?)?;
    (lead.backend != 0).then_some(lead)
}

/// The value of an attribute.
fn find(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    const NESTED: u16 = 1 << 15;
    loop {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let number = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
        let value = bytes.get(4..length)?;
        if number & !NESTED == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_answers_are_passed_over() {
        let inner = attribute(7, &[1, 2, 3, 4]);
        let bytes = [attribute(3, &[0; 8]), attribute(9 | 1 << 15, &inner)].concat();
        assert_eq!(find(find(&bytes, 9).unwrap(), 7), Some(&[1, 2, 3, 4][..]));
        assert_eq!(find(&bytes, 5), None);
        for end in 0..bytes.len() {
            assert_eq!(find(&bytes[..end], 9), None, "{end} bytes");
        }
        assert_eq!(find(&[0; 8], 9), None);
        let message = message(3, 0, &[5; 4]);
        assert_eq!(split(&message), Some((3, &[5; 4][..], &[][..])));
        assert_eq!(split(&message[..19]), None);
        assert_eq!(read_lead(&[0; 71]), None);
        assert_eq!(read_cookie(&[0; 51]), None);
    }
}
