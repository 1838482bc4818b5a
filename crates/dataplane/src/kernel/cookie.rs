//! The cookies by which the kernel programs know network namespaces.
#![expect(unsafe_code, reason = "a socket option that no library has")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketType, socket};

use super::netns::Netns;

/// `SO_NETNS_COOKIE` of asm-generic/socket.h.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The cookie of the namespace that the calling thread is in.
pub(crate) fn own() -> io::Result<u64> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?;
    // SAFETY: the socket is open, and `cookie` has the length that is given.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(cookie)
}

/// The cookies of namespaces; those that cannot be entered are passed over.
pub(crate) fn of(namespaces: &BTreeSet<&Path>) -> BTreeMap<PathBuf, u64> {
    let cookie = |path: &&Path| {
        let namespace = Netns::open(path).ok()?;
        let cookie = namespace.run(own).ok()?.ok()?;
        Some((path.to_path_buf(), cookie))
    };
    namespaces.iter().filter_map(cookie).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_keeps_its_cookie() {
        let here = Path::new("/proc/thread-self/ns/net");
        assert_eq!(own().unwrap(), own().unwrap());
        if rustix::process::geteuid().is_root() {
            let found = of(&BTreeSet::from([here, Path::new("/proc/self/status")]));
            assert_eq!(found, BTreeMap::from([(here.to_owned(), own().unwrap())]));
        } else {
            eprintln!("SKIPPED: needs root");
        }
    }
}
