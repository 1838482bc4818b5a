//! Everything that touches the kernel; nothing else in this crate does.
//!
//! Each surface is one module that speaks of our own types. No type of rtnetlink or aya leaves it.

pub(crate) mod bpf;
pub(crate) mod cookie;
pub(crate) mod diag;
pub(crate) mod dial;
pub(crate) mod echo;
pub(crate) mod ethtool;
pub(crate) mod netlink;
pub(crate) mod netns;
pub(crate) mod nft;
pub(crate) mod probe;
pub(crate) mod sockets;
pub(crate) mod straight;
pub(crate) mod sysctl;
#[cfg(test)]
pub(crate) mod testing;
