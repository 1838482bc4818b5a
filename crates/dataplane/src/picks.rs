//! From a service's backends to the table that new flows are picked from.
//!
//! Tables depend on nothing but the set of backends, so that every node builds the same ones.

mod maglev;
mod previous;
mod ranges;
mod weighted;

use abi::Algorithm;

pub(crate) use previous::Previous;
pub(crate) use ranges::Ranges;

/// Least length of a table for source or destination hashing, as in IPVS (`IP_VS_SH_TAB_SIZE`).
const HASH_LENGTH: usize = 256;

/// Most shares that are dealt out in one turn of such a table.
const HASH_SHARES: u32 = 256;

/// Something to be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    /// The backend's number.
    pub(crate) id: u32,
    /// Its weight; 0 takes no new flows.
    pub(crate) weight: u16,
}

/// Builds the table of `algorithm`; empty when nothing may be picked. Algorithms that look at loads
/// get pairs: a backend's number, then its weight.
pub(crate) fn table(algorithm: Algorithm, backends: &[Candidate]) -> Vec<u32> {
    let mut candidates: Vec<Candidate> = backends
        .iter()
        .copied()
        .filter(|candidate| candidate.weight > 0)
        .collect();
    candidates.sort_unstable();
    candidates.dedup_by_key(|candidate| candidate.id);
    if candidates.is_empty() {
        return Vec::new();
    }
    // All places of a longer table would say the same.
    if let [only] = candidates[..]
        && !algorithm.is_live()
    {
        return vec![only.id];
    }
    match algorithm {
        Algorithm::RoundRobin => candidates.iter().map(|candidate| candidate.id).collect(),
        Algorithm::WeightedRoundRobin => weighted::round_robin(&candidates),
        Algorithm::SourceHash | Algorithm::DestinationHash => hash(&candidates),
        Algorithm::Maglev => maglev::table(&candidates),
        Algorithm::LeastConnection
        | Algorithm::WeightedLeastConnection
        | Algorithm::Locality
        | Algorithm::ReplicatedLocality
        | Algorithm::ShortestDelay
        | Algorithm::NeverQueue
        | Algorithm::TwoChoices => candidates
            .iter()
            .flat_map(|candidate| [candidate.id, u32::from(candidate.weight)])
            .collect(),
    }
}

/// Deals the buckets out in turn, each backend as many at once as its share
/// (`ip_vs_sh_reassign` in net/netfilter/ipvs/ip_vs_sh.c, which does not reduce weights and so gives
/// all buckets to the first of several heavy ones). There are at least four buckets for each.
fn hash(candidates: &[Candidate]) -> Vec<u32> {
    let length = HASH_LENGTH.max((candidates.len() * 4).next_power_of_two());
    candidates
        .iter()
        .zip(weighted::shares(candidates, HASH_SHARES))
        .cycle()
        .flat_map(|(candidate, share)| std::iter::repeat_n(candidate.id, share as usize))
        .take(length)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidates(ids: &[u32]) -> Vec<Candidate> {
        ids.iter()
            .map(|id| Candidate { id: *id, weight: 1 })
            .collect()
    }

    #[test]
    fn nothing_to_pick_from_is_an_empty_table() {
        for algorithm in Algorithm::ALL {
            assert!(table(algorithm, &[]).is_empty());
            assert!(table(algorithm, &[Candidate { id: 1, weight: 0 }]).is_empty());
        }
    }

    #[test]
    fn the_only_backend_takes_one_place_with_every_algorithm() {
        let only = [
            Candidate { id: 7, weight: 3 },
            Candidate { id: 8, weight: 0 },
        ];
        for algorithm in Algorithm::ALL {
            let wanted: &[u32] = if algorithm.is_live() { &[7, 3] } else { &[7] };
            assert_eq!(table(algorithm, &only), wanted, "{algorithm:?}");
        }
    }

    #[test]
    fn source_hash_deals_by_weight() {
        let table = table(
            Algorithm::SourceHash,
            &[
                Candidate { id: 5, weight: 3 },
                Candidate { id: 6, weight: 1 },
            ],
        );
        assert_eq!(table.len(), 256);
        assert_eq!(table[..5], [5, 5, 5, 6, 5]);
    }

    #[test]
    fn heavy_weights_share_the_buckets() {
        let pair = |weight| [5, 6].map(|id| Candidate { id, weight });
        let table = table(Algorithm::DestinationHash, &pair(65_535));
        assert_eq!(table.iter().filter(|id| **id == 5).count(), 128);
    }

    #[test]
    fn live_algorithms_get_the_weights_along() {
        let backends = [
            Candidate { id: 7, weight: 3 },
            Candidate { id: 5, weight: 0 },
            Candidate { id: 6, weight: 1 },
        ];
        assert_eq!(table(Algorithm::NeverQueue, &backends), [6, 1, 7, 3]);
    }

    proptest! {
        #[test]
        fn order_of_the_backends_does_not_matter(mut ids in proptest::collection::vec(1u32.., 1..20)) {
            for algorithm in Algorithm::ALL {
                let forward = table(algorithm, &candidates(&ids));
                ids.reverse();
                prop_assert_eq!(&forward, &table(algorithm, &candidates(&ids)));
                prop_assert!(ids.iter().all(|id| forward.contains(id)));
            }
        }
    }
}
