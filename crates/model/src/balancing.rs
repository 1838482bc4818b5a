//! How a service's backends are chosen, and the numbers by which every node knows them.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

macro_rules! algorithms {
    ($($(#[$doc:meta])* $name:ident $text:literal)*) => {
        /// How a backend is chosen for a new flow. Names and semantics are those of IPVS; backends
        /// of weight 0 are never chosen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Algorithm {
            $($(#[$doc])* $name,)*
        }

        impl Algorithm {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name: `rr`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

algorithms! {
    /// Round robin: one after the other, per node.
    Rr "rr"
    /// Weighted round robin: exact shares over a cycle.
    Wrr "wrr"
    /// The fewest connections.
    Lc "lc"
    /// The fewest connections for its weight.
    Wlc "wlc"
    /// One backend for each destination address, until it is overloaded.
    Lblc "lblc"
    /// A set of backends for each destination address, which grows under overload.
    Lblcr "lblcr"
    /// Destination hashing: by the address that was dialled.
    Dh "dh"
    /// Source hashing: by the client's address.
    Sh "sh"
    /// Shortest expected delay.
    Sed "sed"
    /// Any that is idle, else the shortest expected delay.
    Nq "nq"
    /// Maglev hashing: by the client's address and port, the same on every node.
    Mh "mh"
    /// The less loaded of two chosen at random.
    P2c "p2c"
}

/// A string that names no algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an algorithm is `rr`, `wrr`, `lc`, `wlc`, `lblc`, `lblcr`, `dh`, `sh`, `sed`, `nq`, `mh` or `p2c`"
)]
pub struct UnknownAlgorithm;

impl Algorithm {
    /// Of a VIP unless the service says otherwise.
    pub const DEFAULT_VIP: Self = Self::Rr;
    /// Of a published port unless it says otherwise: every node picks the same backend.
    pub const DEFAULT_PUBLISHED: Self = Self::Mh;

    /// Whether a backend of twice the weight gets twice as much; else weights but 0 mean nothing.
    #[must_use]
    pub const fn weighs(self) -> bool {
        !matches!(self, Self::Rr | Self::Lc)
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        let known = Self::ALL
            .iter()
            .find(|algorithm| algorithm.as_str() == name);
        known.copied().ok_or(UnknownAlgorithm)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a frontend is balanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Balancing {
    /// How a backend is chosen.
    pub algorithm: Algorithm,
    /// How long a client stays with its backend after its last new flow.
    pub affinity: Affinity,
}

/// How long a client stays with its backend: seconds, 0 for not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Affinity(u32);

/// A number that is no time of affinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an affinity is 0 to {} seconds", Affinity::LONGEST)]
pub struct BadAffinity;

impl Affinity {
    /// The longest: a week.
    pub const LONGEST: u32 = 7 * 24 * 3600;

    /// The seconds; 0 for no affinity.
    #[must_use]
    pub const fn seconds(self) -> u32 {
        self.0
    }
}

impl TryFrom<i64> for Affinity {
    type Error = BadAffinity;

    fn try_from(seconds: i64) -> Result<Self, BadAffinity> {
        let seconds = u32::try_from(seconds).ok();
        let seconds = seconds.filter(|seconds| *seconds <= Self::LONGEST);
        seconds.map(Self).ok_or(BadAffinity)
    }
}

/// An endpoint behind a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The endpoint.
    pub endpoint: crate::EndpointName,
    /// Its weight, 0 to 65,535; 0 takes no new flows.
    pub weight: u16,
    /// Whether it is on its way out.
    pub state: BackendState,
}

/// Whether a backend takes new flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackendState {
    /// It does.
    #[default]
    Ready,
    /// It keeps the connections that it has and gets no more, unless there is nobody else.
    Draining,
}

/// A string that names no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a state is `ready` or `draining`")]
pub struct UnknownState;

impl BackendState {
    /// The name: `ready`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

impl FromStr for BackendState {
    type Err = UnknownState;

    fn from_str(name: &str) -> Result<Self, UnknownState> {
        match name {
            "ready" => Ok(Self::Ready),
            "draining" => Ok(Self::Draining),
            _ => Err(UnknownState),
        }
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
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.as_str().parse(), Ok(*algorithm));
            let told = UnknownAlgorithm.to_string();
            assert!(told.contains(&format!("`{algorithm}`")), "{told}");
        }
        assert_eq!("wlcr".parse::<Algorithm>(), Err(UnknownAlgorithm));
    }

    #[test]
    fn an_affinity_is_up_to_a_week() {
        assert_eq!(
            Affinity::try_from(604_800).map(Affinity::seconds),
            Ok(604_800)
        );
        assert_eq!(Affinity::try_from(604_801), Err(BadAffinity));
        assert_eq!(Affinity::try_from(-1), Err(BadAffinity));
    }
}
