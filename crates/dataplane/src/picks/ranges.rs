//! Which parts of the flat array of picks are taken.

use std::collections::BTreeMap;
use std::ops::Range;

/// Disjoint ranges of places.
#[derive(Clone, Debug)]
pub(crate) struct Ranges {
    /// Start to end.
    taken: BTreeMap<u32, u32>,
    capacity: u32,
}

impl Ranges {
    /// Nothing is taken of `capacity` places.
    pub(crate) const fn new(capacity: u32) -> Self {
        Self {
            taken: BTreeMap::new(),
            capacity,
        }
    }

    /// Marks a range that is in use already. Ranges of broken tables may overlap: they are joined.
    pub(crate) fn take(&mut self, range: Range<u32>) {
        let mut range = range.start..range.end.min(self.capacity);
        if range.is_empty() {
            return;
        }
        while let Some((start, end)) = self
            .taken
            .range(..range.end)
            .next_back()
            .map(|(start, end)| (*start, *end))
            .filter(|(_, end)| *end > range.start)
        {
            self.taken.remove(&start);
            range = start.min(range.start)..end.max(range.end);
        }
        self.taken.insert(range.start, range.end);
    }

    /// Takes the first gap of `length` places; `None` when there is none.
    pub(crate) fn allocate(&mut self, length: u32) -> Option<Range<u32>> {
        let mut start: u32 = 0;
        for (taken, end) in &self.taken {
            if taken - start >= length {
                break;
            }
            start = *end;
        }
        let end = start
            .checked_add(length)
            .filter(|end| *end <= self.capacity)?;
        self.taken.insert(start, end);
        Some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn full_array_gives_nothing() {
        let mut ranges = Ranges::new(10);
        ranges.take(0..4);
        assert_eq!(ranges.allocate(7), None);
        assert_eq!(ranges.allocate(6), Some(4..10));
        assert_eq!(ranges.allocate(1), None);
    }

    proptest! {
        #[test]
        fn allocations_never_overlap(
            taken in proptest::collection::vec((0u32..900, 1u32..100), 0..8),
            lengths in proptest::collection::vec(1u32..100, 0..20),
        ) {
            let mut ranges = Ranges::new(1000);
            let mut used = vec![false; 1000];
            for (start, length) in taken {
                ranges.take(start..start + length);
                used[start as usize..(start + length) as usize].fill(true);
            }
            for length in lengths {
                match ranges.allocate(length) {
                    Some(range) => {
                        prop_assert_eq!(range.len(), length as usize);
                        for place in range {
                            prop_assert!(!std::mem::replace(&mut used[place as usize], true));
                        }
                    }
                    None => {
                        let gap = used.split(|used| *used).map(<[bool]>::len).max();
                        prop_assert!(gap < Some(length as usize));
                    }
                }
            }
        }
    }
}
