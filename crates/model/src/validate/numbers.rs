//! Numbers that every node gives to the same thing without asking.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

/// Hands out numbers by name.
#[derive(Debug)]
pub(super) struct Numbers {
    hash: fn(&str) -> u32,
    taken: BTreeSet<NonZeroU32>,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            hash: |name| xxhash_rust::xxh32::xxh32(name.as_bytes(), 0),
            taken: BTreeSet::new(),
        }
    }
}

impl Numbers {
    /// The number of a name that has none yet: its hash, or where that is taken the next that is
    /// free. Who comes first keeps its number, whoever follows.
    pub(super) fn assign(&mut self, name: &str) -> NonZeroU32 {
        let mut candidate = (self.hash)(name);
        loop {
            if let Some(number) = NonZeroU32::new(candidate)
                && self.taken.insert(number)
            {
                return number;
            }
            candidate = candidate.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_change_from_one_release_to_the_next() {
        assert_eq!(Numbers::default().assign("app/web").get(), 1_642_462_968);
    }

    #[test]
    fn a_collision_moves_the_later_one_and_zero_is_no_number() {
        let mut numbers = Numbers {
            hash: |_| u32::MAX,
            taken: BTreeSet::new(),
        };
        let assigned = ["a", "b", "c"].map(|name| numbers.assign(name).get());
        assert_eq!(assigned, [u32::MAX, 1, 2]);
    }
}
