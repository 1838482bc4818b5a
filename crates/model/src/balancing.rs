//! How a service's backends are chosen, and the numbers by which every node knows them.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// How a backend is chosen for a new flow. Names and semantics are those of IPVS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// Round robin: one after the other, per node.
    Rr,
    /// Source hashing: by the client's address.
    Sh,
    /// Maglev hashing: by the client's address and port, the same on every node.
    Mh,
}

/// A string that names no algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an algorithm is `rr`, `sh` or `mh`")]
pub struct UnknownAlgorithm;

impl Algorithm {
    /// Of a VIP unless the service says otherwise.
    pub const DEFAULT_VIP: Self = Self::Rr;
    /// Of a published port unless it says otherwise: every node picks the same backend.
    pub const DEFAULT_PUBLISHED: Self = Self::Mh;

    /// The name: `rr`, `sh` or `mh`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Sh => "sh",
            Self::Mh => "mh",
        }
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        match name {
            "rr" => Ok(Self::Rr),
            "sh" => Ok(Self::Sh),
            "mh" => Ok(Self::Mh),
            _ => Err(UnknownAlgorithm),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub NonZeroU32);

        impl $name {
            /// The number.
            #[must_use]
            pub const fn get(self) -> u32 {
                self.0.get()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

numbers! {
    /// Number of a service, the same on every node.
    ServiceId
    /// Number of a backend, the same on every node: one endpoint's address of one family, at one
    /// port, behind one service's VIPs or published ports.
    BackendId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_algorithm_reads_back_from_its_name() {
        for algorithm in [Algorithm::Rr, Algorithm::Sh, Algorithm::Mh] {
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
        }
        assert_eq!("wlc".parse::<Algorithm>(), Err(UnknownAlgorithm));
    }
}
