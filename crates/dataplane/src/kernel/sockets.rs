//! Sockets of the node that are bound to a port, and the processes that hold them, by /proc.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use abi::protocol;

/// A socket that takes what comes to its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    /// TCP or UDP.
    pub(crate) protocol: u8,
    /// The address; unspecified for any.
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    /// The socket's number, by which the process that holds it is found.
    pub(crate) inode: u64,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    pub(crate) name: String,
}

/// The files with sockets by protocol, and the state of one that takes packets from anybody:
/// `TCP_LISTEN` and, of UDP, `TCP_CLOSE` (not connected) of include/net/tcp_states.h.
const FILES: [(&str, u8, &str); 4] = [
    ("tcp", protocol::TCP, "0A"),
    ("tcp6", protocol::TCP, "0A"),
    ("udp", protocol::UDP, "07"),
    ("udp6", protocol::UDP, "07"),
];

/// Every listening TCP socket and every unconnected UDP socket of this namespace. What the kernel
/// has no file for, has no sockets.
pub(crate) fn bound() -> io::Result<Vec<Bound>> {
    let mut all = Vec::new();
    for (file, protocol, state) in FILES {
        let file = match File::open(format!("/proc/thread-self/net/{file}")) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in BufReader::new(file).lines().skip(1) {
            let Some((found, bound)) = read(&line?, protocol) else {
                continue;
            };
            if found == state {
                all.push(bound);
            } else if protocol == protocol::TCP {
                // Those that listen come first (`tcp_seq_start` in net/ipv4/tcp_ipv4.c); of the
                // others there may be very many.
                break;
            }
        }
    }
    Ok(all)
}

/// Whoever holds the socket; `None` when it is the kernel, or nobody any more.
pub(crate) fn holder(inode: u64) -> Option<Holder> {
    if inode == 0 {
        return None;
    }
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        holds(&entry.path(), &wanted).then(|| Holder {
            pid,
            name: name(&entry.path()),
        })
    })
}

fn holds(process: &Path, wanted: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    descriptors
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == wanted))
}

fn name(process: &Path) -> String {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

/// A line's state and socket.
fn read(line: &str, protocol: u8) -> Option<(String, Bound)> {
    let mut fields = line.split_whitespace();
    let (address, port) = fields.nth(1)?.split_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    Some((
        state.to_owned(),
        Bound {
            protocol,
            address: address_of(address)?,
            port: u16::from_str_radix(port, 16).ok()?,
            inode: inode.parse().ok()?,
        },
    ))
}

/// Words of the host's byte order, in hexadecimal digits.
fn address_of(text: &str) -> Option<IpAddr> {
    let mut octets = Vec::with_capacity(16);
    for start in (0..text.len()).step_by(8) {
        let word = u32::from_str_radix(text.get(start..start + 8)?, 16).ok()?;
        octets.extend(word.to_ne_bytes());
    }
    if let Ok(octets) = <[u8; 4]>::try_from(octets.as_slice()) {
        return Some(Ipv4Addr::from(octets).into());
    }
    let octets = <[u8; 16]>::try_from(octets.as_slice()).ok()?;
    Some(Ipv6Addr::from(octets).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn lines_are_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 \
                    0        0 12345 1 0000000000000000 100 0 0 10 0";
        let (state, bound) = read(line, protocol::TCP).unwrap();
        assert_eq!(state, "0A");
        assert_eq!(
            bound,
            Bound {
                protocol: protocol::TCP,
                address: "127.0.0.1".parse().unwrap(),
                port: 8080,
                inode: 12345
            }
        );
        let (_, bound) = read(
            "1: 00000000000000000000000001000000:0050 0:0 0A 0:0 0:0 0 0 0 7",
            protocol::TCP,
        )
        .unwrap();
        assert_eq!((bound.address, bound.port), ("::1".parse().unwrap(), 80));
        assert!(read("sl local_address", protocol::TCP).is_none());
    }

    #[test]
    fn own_sockets_are_found_with_their_process() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        let all = bound().unwrap();
        for (protocol, own) in [
            (protocol::TCP, tcp.local_addr().unwrap()),
            (protocol::UDP, udp.local_addr().unwrap()),
        ] {
            let bound = all
                .iter()
                .find(|it| it.protocol == protocol && it.port == own.port())
                .unwrap();
            assert_eq!(bound.address, own.ip());
            assert_eq!(holder(bound.inode).unwrap().pid, std::process::id());
        }
        assert_eq!(holder(0), None);
    }
}
