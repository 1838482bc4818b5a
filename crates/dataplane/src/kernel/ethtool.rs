//! What interfaces do by themselves, by the ioctls of ethtool (include/uapi/linux/ethtool.h).
#![expect(unsafe_code, reason = "ioctls that take addresses")]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETH_SS_FEATURES: u32 = 4;
/// Bytes of a feature's name, zeroes at its end included.
const NAME: usize = 32;
/// More features than any kernel has.
const MOST: usize = 512;

/// Every feature of an interface, and whether it is on.
pub(crate) fn features(interface: &str) -> io::Result<BTreeMap<String, bool>> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    // struct ethtool_sset_info: cmd, reserved, sset_mask (64 bits), data.
    let mut count = [ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_FEATURES, 0, 0];
    ioctl(&socket, interface, words(&mut count))?;
    let features = (count[4] as usize).min(MOST);
    // struct ethtool_gstrings: cmd, string_set, len, data.
    let mut names = vec![0; 12 + features * NAME];
    let length = u32::try_from(features).unwrap_or(0);
    for (place, word) in names
        .chunks_exact_mut(4)
        .zip([ETHTOOL_GSTRINGS, ETH_SS_FEATURES, length])
    {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    ioctl(&socket, interface, &mut names)?;
    // struct ethtool_gfeatures: cmd, size, blocks of available, requested, active, never_changed.
    let blocks = features.div_ceil(32);
    let mut bits = vec![0; 2 + blocks * 4];
    bits[0] = ETHTOOL_GFEATURES;
    bits[1] = u32::try_from(blocks).unwrap_or(0);
    ioctl(&socket, interface, words(&mut bits))?;
    let names = names[12..].chunks_exact(NAME);
    let active = |index: usize| bits[2 + index / 32 * 4 + 2] & 1 << (index % 32) != 0;
    Ok(names
        .enumerate()
        .map(|(index, name)| {
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(NAME);
            let name = String::from_utf8_lossy(&name[..end]).into_owned();
            (name, active(index))
        })
        .collect())
}

fn words(words: &mut [u32]) -> &mut [u8] {
    let length = size_of_val(words);
    let start = words.as_mut_ptr().cast();
    // SAFETY: the same memory, which holds plain numbers, for as long as it is borrowed.
    unsafe { std::slice::from_raw_parts_mut(start, length) }
}

/// One request; `data` begins with the command, and the kernel writes no more than was said there.
fn ioctl(socket: &OwnedFd, interface: &str, data: &mut [u8]) -> io::Result<()> {
    // SAFETY: all zeroes is a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    request.ifr_ifru.ifru_data = data.as_mut_ptr().cast();
    let request = std::ptr::from_mut(&mut request);
    // SAFETY: `request` names an interface with a zero at its end, and points to `data`, which is as
    // long as the command and the lengths at its beginning ask for.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_features_and_nobody_has_none() {
        let features = features("lo").unwrap();
        assert_eq!(features.get("tx-udp_tnl-segmentation"), Some(&false));
        assert_eq!(features.get("tx-checksum-ip-generic"), Some(&true));
        assert!(super::features("no-such-thing0").is_err());
        assert!(super::features("a-name-that-is-far-too-long").is_err());
    }
}
