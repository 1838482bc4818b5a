//! The number of a network on the wire.

use std::fmt;

/// VXLAN network identifier, 1 to 16,777,215.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vni(u32);

/// A number that is no VNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a VNI is a number from 1 to 16777215")]
pub struct BadVni;

impl Vni {
    /// What the ingress network has unless the topology says otherwise.
    pub const DEFAULT_INGRESS: Self = Self(4096);

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<i64> for Vni {
    type Error = BadVni;

    fn try_from(number: i64) -> Result<Self, BadVni> {
        match u32::try_from(number) {
            Ok(number @ 1..=0x00ff_ffff) => Ok(Self(number)),
            _ => Err(BadVni),
        }
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vni_has_24_bits_and_is_not_zero() {
        assert_eq!(Vni::try_from(1).unwrap().get(), 1);
        assert_eq!(Vni::try_from(0x00ff_ffff).unwrap().get(), 0x00ff_ffff);
        for number in [0, -1, 1 << 24, i64::MAX, i64::MIN] {
            assert_eq!(Vni::try_from(number), Err(BadVni));
        }
    }
}
