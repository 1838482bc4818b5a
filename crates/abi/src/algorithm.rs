//! How a backend is chosen, and when one is chosen rather than another.

/// How a backend is chosen for a new flow. Names and semantics are those of IPVS; a backend of
/// weight 0 is never chosen.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// Round robin: one after the other, per node.
    RoundRobin = 1,
    /// Source hashing: by the client's address.
    SourceHash = 2,
    /// Maglev hashing: by the client's address and port, the same on every node.
    Maglev = 3,
    /// Weighted round robin: exact shares over a cycle, spread evenly over it.
    WeightedRoundRobin = 4,
    /// The fewest connections.
    LeastConnection = 5,
    /// The fewest connections for its weight.
    WeightedLeastConnection = 6,
    /// One backend for each destination address, until it is overloaded.
    Locality = 7,
    /// A set of backends for each destination address, which grows while they are overloaded.
    ReplicatedLocality = 8,
    /// Destination hashing: by the address that was dialled.
    DestinationHash = 9,
    /// Shortest expected delay: (connections + 1) for its weight.
    ShortestDelay = 10,
    /// Any that is idle, else the shortest expected delay.
    NeverQueue = 11,
    /// The less loaded, for its weight, of two chosen at random.
    TwoChoices = 12,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::RoundRobin,
        Self::SourceHash,
        Self::Maglev,
        Self::WeightedRoundRobin,
        Self::LeastConnection,
        Self::WeightedLeastConnection,
        Self::Locality,
        Self::ReplicatedLocality,
        Self::DestinationHash,
        Self::ShortestDelay,
        Self::NeverQueue,
        Self::TwoChoices,
    ];

    /// Reads the field of a map value; `None` for a number that no algorithm has.
    #[inline(always)]
    #[must_use]
    pub const fn from_u32(value: u32) -> Option<Self> {
        match value {
            1 => Some(Self::RoundRobin),
            2 => Some(Self::SourceHash),
            3 => Some(Self::Maglev),
            4 => Some(Self::WeightedRoundRobin),
            5 => Some(Self::LeastConnection),
            6 => Some(Self::WeightedLeastConnection),
            7 => Some(Self::Locality),
            8 => Some(Self::ReplicatedLocality),
            9 => Some(Self::DestinationHash),
            10 => Some(Self::ShortestDelay),
            11 => Some(Self::NeverQueue),
            12 => Some(Self::TwoChoices),
            _ => None,
        }
    }

    /// Whether it looks at the backends' loads when it picks. The picks are then pairs: a backend's
    /// number and its weight.
    #[inline(always)]
    #[must_use]
    pub const fn is_live(self) -> bool {
        match self {
            Self::LeastConnection
            | Self::WeightedLeastConnection
            | Self::Locality
            | Self::ReplicatedLocality
            | Self::ShortestDelay
            | Self::NeverQueue
            | Self::TwoChoices => true,
            Self::RoundRobin
            | Self::SourceHash
            | Self::Maglev
            | Self::WeightedRoundRobin
            | Self::DestinationHash => false,
        }
    }

    /// Whether `one` is chosen rather than `best`, which was met before it. Equals are not.
    #[inline(always)]
    #[must_use]
    pub const fn prefers(self, one: &Candidate, best: &Candidate) -> bool {
        match self {
            Self::LeastConnection => one.load < best.load,
            Self::ShortestDelay => one.is_sooner(best),
            Self::NeverQueue => match (one.load == 0, best.load == 0) {
                (true, idle) => !idle,
                (false, true) => false,
                (false, false) => one.is_sooner(best),
            },
            Self::WeightedLeastConnection
            | Self::Locality
            | Self::ReplicatedLocality
            | Self::TwoChoices
            | Self::RoundRobin
            | Self::SourceHash
            | Self::Maglev
            | Self::WeightedRoundRobin
            | Self::DestinationHash => one.is_lighter(best),
        }
    }
}

/// A backend that may be chosen, as it is at the moment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Its number; 0 for none.
    pub id: u32,
    /// Its weight, 1 to 65,535.
    pub weight: u32,
    /// Flows that this node carries to it.
    pub load: u32,
}

impl Candidate {
    /// Whether it has fewer flows for its weight. (Cross-multiplied: nothing divides here.)
    #[inline(always)]
    #[must_use]
    pub const fn is_lighter(&self, other: &Self) -> bool {
        (self.load as u64) * (other.weight as u64) < (other.load as u64) * (self.weight as u64)
    }

    /// Whether it would have fewer flows for its weight after one more.
    #[inline(always)]
    #[must_use]
    pub const fn is_sooner(&self, other: &Self) -> bool {
        (self.load as u64 + 1) * (other.weight as u64)
            < (other.load as u64 + 1) * (self.weight as u64)
    }

    /// Whether it has more flows than its weight says (`is_overloaded` in `ip_vs_lblc.c`).
    #[inline(always)]
    #[must_use]
    pub const fn is_overloaded(&self) -> bool {
        self.load > self.weight
    }

    /// Whether it has less than half as many flows as its weight says.
    #[inline(always)]
    #[must_use]
    pub const fn is_roomy(&self) -> bool {
        (self.load as u64) * 2 < self.weight as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(load: u32, weight: u32) -> Candidate {
        Candidate {
            id: 1,
            weight,
            load,
        }
    }

    fn candidates() -> impl Strategy<Value = Candidate> {
        (0u32.., 1u32..65_536).prop_map(|(load, weight)| candidate(load, weight))
    }

    #[test]
    fn numbers_read_back() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_u32(algorithm as u32), Some(algorithm));
        }
        assert_eq!(Algorithm::from_u32(0), None);
        assert_eq!(Algorithm::from_u32(13), None);
    }

    #[test]
    fn connections_alone_do_not_see_weights() {
        let (heavy, light) = (candidate(2, 100), candidate(1, 1));
        assert!(Algorithm::LeastConnection.prefers(&light, &heavy));
        assert!(Algorithm::WeightedLeastConnection.prefers(&heavy, &light));
    }

    #[test]
    fn delay_counts_the_flow_that_is_coming() {
        let (fast, slow) = (candidate(1, 3), candidate(0, 1));
        assert!(Algorithm::ShortestDelay.prefers(&fast, &slow));
        assert!(Algorithm::NeverQueue.prefers(&slow, &fast));
        assert!(!Algorithm::NeverQueue.prefers(&fast, &slow));
    }

    #[test]
    fn among_idle_ones_the_first_is_taken_by_never_queue() {
        assert!(!Algorithm::NeverQueue.prefers(&candidate(0, 9), &candidate(0, 1)));
    }

    #[test]
    fn overload_is_more_than_the_weight_and_room_less_than_half() {
        assert!(!candidate(4, 4).is_overloaded());
        assert!(candidate(5, 4).is_overloaded());
        assert!(candidate(1, 4).is_roomy());
        assert!(!candidate(2, 4).is_roomy());
    }

    proptest! {
        #[test]
        fn nothing_is_preferred_to_itself_nor_both_to_each_other(one in candidates(), other in candidates()) {
            for algorithm in Algorithm::ALL {
                prop_assert!(!algorithm.prefers(&one, &one));
                prop_assert!(!(algorithm.prefers(&one, &other) && algorithm.prefers(&other, &one)));
            }
        }

        #[test]
        fn lighter_is_the_smaller_quotient(one in candidates(), other in candidates()) {
            let quotient = |c: &Candidate| f64::from(c.load) / f64::from(c.weight);
            let (a, b) = (quotient(&one), quotient(&other));
            prop_assume!((a - b).abs() > a.max(b) * 1e-9);
            prop_assert_eq!(one.is_lighter(&other), a < b);
        }
    }
}
