//! From a service's backends to the table that new flows are picked from.
//!
//! Tables depend on nothing but the set of backends, so that every node builds the same ones.

mod maglev;
mod previous;
mod ranges;

use abi::Algorithm;

pub(crate) use previous::Previous;
pub(crate) use ranges::Ranges;

/// Length of a source hash table, as in IPVS (`IP_VS_SH_TAB_SIZE`).
const SOURCE_HASH_LENGTH: usize = 256;

/// Something to be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    /// The backend's number.
    pub(crate) id: u32,
    /// Its weight; 0 takes no new flows.
    pub(crate) weight: u16,
}

/// Builds the table of `algorithm`; empty when nothing may be picked.
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
    match algorithm {
        Algorithm::RoundRobin => candidates.iter().map(|candidate| candidate.id).collect(),
        Algorithm::SourceHash => source_hash(&candidates),
        Algorithm::Maglev => maglev::table(&candidates),
    }
}

/// Deals the buckets out in turn, each backend as many at once as its weight
/// (`ip_vs_sh_reassign` in net/netfilter/ipvs/ip_vs_sh.c).
fn source_hash(candidates: &[Candidate]) -> Vec<u32> {
    candidates
        .iter()
        .cycle()
        .flat_map(|candidate| std::iter::repeat_n(candidate.id, usize::from(candidate.weight)))
        .take(SOURCE_HASH_LENGTH)
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
        for algorithm in [
            Algorithm::RoundRobin,
            Algorithm::SourceHash,
            Algorithm::Maglev,
        ] {
            assert!(table(algorithm, &[]).is_empty());
            assert!(table(algorithm, &[Candidate { id: 1, weight: 0 }]).is_empty());
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

    proptest! {
        #[test]
        fn order_of_the_backends_does_not_matter(mut ids in proptest::collection::vec(1u32.., 1..20)) {
            for algorithm in [Algorithm::RoundRobin, Algorithm::SourceHash, Algorithm::Maglev] {
                let forward = table(algorithm, &candidates(&ids));
                ids.reverse();
                prop_assert_eq!(&forward, &table(algorithm, &candidates(&ids)));
                prop_assert!(ids.iter().all(|id| forward.contains(id)));
            }
        }
    }
}
