//! Shares by weight in tables of bounded length.

use super::Candidate;

/// Longest cycle of weighted round robin.
const LONGEST: u32 = 4096;

/// One cycle of weighted round robin, in which each backend stands as often as its weight over the
/// common divisor of all says, as evenly spread as can be: "smooth" weighted round robin, as nginx
/// does it. A cycle of more than [`LONGEST`] places is scaled down to that; every backend keeps at
/// least one place.
pub(super) fn round_robin(candidates: &[Candidate]) -> Vec<u32> {
    let shares = shares(candidates, LONGEST);
    let total = shares.iter().map(|share| i64::from(*share)).sum::<i64>();
    let mut credits = vec![0_i64; shares.len()];
    let mut cycle = Vec::new();
    for _ in 0..total {
        for (credit, share) in credits.iter_mut().zip(&shares) {
            *credit += i64::from(*share);
        }
        // Of equals the first, so that every node builds the same cycle.
        let next = (0..credits.len()).rev().max_by_key(|index| credits[*index]);
        let Some(next) = next else { break };
        credits[next] -= total;
        cycle.push(candidates[next].id);
    }
    cycle
}

/// Weights over their common divisor, scaled down where their sum is more than `longest`; none is
/// less than 1.
pub(super) fn shares(candidates: &[Candidate], longest: u32) -> Vec<u32> {
    let divisor = candidates
        .iter()
        .fold(0, |divisor, candidate| gcd(divisor, candidate.weight))
        .max(1);
    let reduced: Vec<u64> = candidates
        .iter()
        .map(|candidate| u64::from(candidate.weight / divisor))
        .collect();
    let total: u64 = reduced.iter().sum();
    let longest = u64::from(longest);
    let scaled = |share: u64| {
        let share = if total > longest {
            (share * longest / total).max(1)
        } else {
            share
        };
        u32::try_from(share).unwrap_or(u32::MAX)
    };
    reduced.into_iter().map(scaled).collect()
}

pub(super) fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidates(weights: &[u16]) -> Vec<Candidate> {
        (1..)
            .zip(weights)
            .map(|(id, weight)| Candidate {
                id,
                weight: *weight,
            })
            .collect()
    }

    #[test]
    fn a_cycle_is_spread_evenly() {
        assert_eq!(
            round_robin(&candidates(&[5, 1, 1])),
            [1, 1, 2, 1, 3, 1, 1],
            "the example of nginx"
        );
        assert_eq!(round_robin(&candidates(&[100, 100])), [1, 2]);
        assert_eq!(round_robin(&candidates(&[30, 10])).len(), 4);
    }

    #[test]
    fn long_cycles_are_scaled_and_nobody_is_lost() {
        let cycle = round_robin(&candidates(&[65_535, 65_534, 1]));
        assert!(cycle.len() <= 4097, "{}", cycle.len());
        let count = |id| cycle.iter().filter(|other| **other == id).count();
        assert_eq!((count(1), count(2), count(3)), (2048, 2047, 1));
    }

    proptest! {
        #[test]
        fn shares_are_exact_over_a_cycle(weights in proptest::collection::vec(1u16..200, 1..12)) {
            let all = candidates(&weights);
            let cycle = round_robin(&all);
            let divisor = weights.iter().fold(0, |divisor, weight| gcd(divisor, *weight));
            for candidate in &all {
                let count = cycle.iter().filter(|id| **id == candidate.id).count();
                prop_assert_eq!(count, usize::from(candidate.weight / divisor));
            }
        }

        #[test]
        fn no_backend_runs_ahead_within_a_cycle(weights in proptest::collection::vec(1u16..50, 1..8)) {
            let all = candidates(&weights);
            let cycle = round_robin(&all);
            for candidate in &all {
                let per_pick = f64::from(candidate.weight)
                    / weights.iter().map(|weight| f64::from(*weight)).sum::<f64>();
                let mut count = 0.0;
                for (picks, id) in (1..).zip(&cycle) {
                    count += f64::from(u8::from(*id == candidate.id));
                    let due = per_pick * f64::from(picks);
                    prop_assert!((count - due).abs() < all.len() as f64, "{count} of {due}");
                }
            }
        }
    }
}
