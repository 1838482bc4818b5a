//! What is remembered of earlier picks.

use crate::Address;

/// Key of `affinity`, whose address is the client's, and of `localities`, whose address is the one
/// that was dialled.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AffinityKey {
    /// The service's number.
    pub service: u32,
    /// The client's, or the one that was dialled.
    pub address: Address,
    /// The frontend's port; 0 where it is every port.
    pub port: u16,
    /// IP protocol number; 0 where the frontend is every port.
    pub protocol: u8,
    /// 1 for a published port, 0 for a VIP: their backends differ.
    pub published: u8,
}

const _: () = assert!(size_of::<AffinityKey>() == 24);

/// Value of `affinity`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// When the client opened its last flow, nanoseconds of the coarse monotonic clock.
    pub last_ns: u64,
    /// The backend that it got.
    pub backend: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Affinity>() == 16);

impl Affinity {
    /// Whether a client that stays for `seconds` still does at `now_ns`.
    #[inline(always)]
    #[must_use]
    pub const fn holds(&self, seconds: u32, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.last_ns) <= (seconds as u64) * 1_000_000_000
    }
}

/// Value of `localities`: the backends that an address leads to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Locality {
    /// When a flow was last opened, nanoseconds of the coarse monotonic clock.
    pub last_ns: u64,
    /// When a backend was last added.
    pub changed_ns: u64,
    /// The backends' numbers, 0 for none. Only [`crate::Algorithm::ReplicatedLocality`] uses more
    /// than the first.
    pub backends: [u32; Self::MOST],
}

const _: () = assert!(size_of::<Locality>() == 48);

impl Locality {
    /// How many backends one address leads to at most.
    pub const MOST: usize = 8;

    /// How long an address is remembered, and how long a set has to stand before it loses a member:
    /// a day, as in IPVS (`DEFAULT_EXPIRATION` in `ip_vs_lblcr.c`).
    pub const EXPIRATION_NS: u64 = 24 * 3600 * 1_000_000_000;

    /// Whether the address is still remembered at `now_ns`.
    #[inline(always)]
    #[must_use]
    pub const fn holds(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.last_ns) <= Self::EXPIRATION_NS
    }

    /// Whether the set has stood long enough to lose a member.
    #[inline(always)]
    #[must_use]
    pub const fn shrinks(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.changed_ns) > Self::EXPIRATION_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_stays_for_exactly_its_time() {
        let affinity = Affinity {
            last_ns: 5,
            ..Affinity::default()
        };
        assert!(affinity.holds(1, 1_000_000_005));
        assert!(!affinity.holds(1, 1_000_000_006));
        assert!(affinity.holds(1, 0), "clocks of CPUs differ");
    }
}
