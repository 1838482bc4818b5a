//! Maglev hashing (Eisenbud et al., NSDI 2016, §3.4): backends take turns to claim the next free
//! place of a permutation of their own, so that they get equal shares and a change of the set moves
//! little else.

use abi::hash::murmur3_32;

use super::Candidate;
use super::weighted::gcd;

/// Fills the table. `candidates` are sorted by id, unique, at least two, and have weights.
pub(super) fn table(candidates: &[Candidate]) -> Vec<u32> {
    let length = length(candidates.len());
    let turns = turns(candidates);
    let mut walks: Vec<Walk> = candidates
        .iter()
        .map(|candidate| Walk::new(candidate.id, length))
        .collect();
    let mut table = vec![0; length];
    let mut free = length;
    loop {
        for (walk, turns) in walks.iter_mut().zip(&turns) {
            for _ in 0..*turns {
                let place = walk.next_free(&table);
                table[place] = walk.id;
                free -= 1;
                if free == 0 {
                    return table;
                }
            }
        }
    }
}

/// Length of the table for `count` backends: a prime of at least two hundred places for each, at
/// which a backend that goes moves about one flow in a hundred that was not its own.
///
/// A table of another length is another table altogether, so a length that followed the count
/// closely would move nearly every flow with each change. It follows the count rounded up to a power
/// of eight: only the ninth, sixty-fifth … backend changes it.
pub(super) fn length(count: usize) -> usize {
    let mut rounded = 1;
    while rounded < count {
        rounded *= 8;
    }
    let mut candidate = rounded * 200;
    while !is_prime(candidate) {
        candidate += 1;
    }
    candidate
}

fn is_prime(number: usize) -> bool {
    number >= 2
        && (2..)
            .take_while(|d| d * d <= number)
            .all(|d| !number.is_multiple_of(d))
}

/// How many places each backend claims in a round: its weight over the common divisor, halved until
/// a round is no longer than 256 for the heaviest (as `ip_vs_mh_shift_weight` bounds it).
fn turns(candidates: &[Candidate]) -> Vec<u16> {
    let divisor = candidates
        .iter()
        .fold(0, |divisor, c| gcd(divisor, c.weight))
        .max(1);
    let heaviest = candidates
        .iter()
        .map(|c| c.weight / divisor)
        .max()
        .unwrap_or(1);
    let shift = (16 - heaviest.leading_zeros()).saturating_sub(8);
    candidates
        .iter()
        .map(|c| ((c.weight / divisor) >> shift).max(1))
        .collect()
}

/// One backend's way through the table: a permutation of its places.
struct Walk {
    id: u32,
    place: usize,
    step: usize,
    length: usize,
}

impl Walk {
    fn new(id: u32, length: usize) -> Self {
        let hash = |seed| murmur3_32(&id.to_le_bytes(), seed) as usize;
        Self {
            id,
            place: hash(0) % length,
            step: hash(1) % (length - 1) + 1,
            length,
        }
    }

    fn next_free(&mut self, table: &[u32]) -> usize {
        loop {
            let place = self.place;
            self.place = (self.place + self.step) % self.length;
            if table[place] == 0 {
                return place;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    fn equal(ids: &[u32]) -> Vec<Candidate> {
        ids.iter()
            .map(|id| Candidate { id: *id, weight: 1 })
            .collect()
    }

    fn shares(table: &[u32]) -> BTreeMap<u32, usize> {
        table.iter().fold(BTreeMap::new(), |mut shares, id| {
            *shares.entry(*id).or_default() += 1;
            shares
        })
    }

    #[test]
    fn lengths_are_primes_that_hold_over_ranges() {
        let lengths: Vec<usize> = [2, 8, 9, 64, 65, 512].map(length).to_vec();
        assert_eq!(lengths, [1601, 1601, 12809, 12809, 102_407, 102_407]);
    }

    #[test]
    fn weights_are_shares() {
        let table = table(&[
            Candidate { id: 1, weight: 100 },
            Candidate { id: 2, weight: 300 },
        ]);
        let shares = shares(&table);
        assert_eq!(shares[&1], table.len() / 4 + 1);
    }

    #[test]
    fn heavy_weights_still_share() {
        let table = table(&[
            Candidate { id: 1, weight: 1 },
            Candidate {
                id: 2,
                weight: 65_535,
            },
        ]);
        assert!(shares(&table)[&1] >= 1);
    }

    proptest! {
        #[test]
        fn shares_are_equal(ids in proptest::collection::btree_set(1u32.., 2..64)) {
            let ids: Vec<u32> = ids.into_iter().collect();
            let shares = shares(&table(&equal(&ids)));
            let (least, most) = (shares.values().min().unwrap(), shares.values().max().unwrap());
            prop_assert!(most - least <= 1, "{least} to {most}");
        }

        #[test]
        fn removal_moves_little_but_its_own(ids in proptest::collection::btree_set(1u32.., 3..17)) {
            let ids: Vec<u32> = ids.into_iter().collect();
            prop_assume!(length(ids.len()) == length(ids.len() - 1));
            // Now and then two backends walk in step, and the third's end moves much of theirs.
            let share = 1.0 / ids.len() as f64;
            let disruption = disruption(&ids);
            prop_assert!(disruption <= 0.02 + share, "{disruption} beside {share}");
        }
    }

    /// How much of the table moves that was not the gone backend's, on average over all backends.
    fn disruption(ids: &[u32]) -> f64 {
        let before = table(&equal(ids));
        let mut moved = 0;
        for gone in ids {
            let rest: Vec<u32> = ids.iter().copied().filter(|id| id != gone).collect();
            let after = table(&equal(&rest));
            moved += before
                .iter()
                .zip(&after)
                .filter(|(b, a)| b != a && *b != gone)
                .count();
        }
        moved as f64 / (before.len() * ids.len()) as f64
    }

    #[test]
    fn two_per_cent_move_on_average() {
        for count in [3, 5, 8, 16, 64] {
            let set = |seed: u32| -> Vec<u32> {
                let ids = (0..count).map(|n: u32| murmur3_32(&n.to_le_bytes(), seed).max(1));
                ids.collect::<std::collections::BTreeSet<_>>()
                    .into_iter()
                    .collect()
            };
            let average = (2..6).map(|seed| disruption(&set(seed))).sum::<f64>() / 4.0;
            assert!(average <= 0.02, "{average} of {count} backends");
        }
    }
}
