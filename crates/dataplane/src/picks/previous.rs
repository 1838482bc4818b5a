//! How long the table before the present one is kept beside it.
//!
//! A flow that this node does not know, in the middle of its life, was picked from the present table
//! or from the one before: another node, or a first choice that has moved since, may have it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::tables::{FrontendKey, Place};

/// How long a table that has been replaced is kept at least.
const KEPT: Duration = Duration::from_secs(30);

/// Since when tables that were replaced have been kept.
#[derive(Debug, Default)]
pub(crate) struct Previous {
    since: BTreeMap<FrontendKey, (Instant, Range<u32>)>,
}

impl Previous {
    /// The frontends whose previous table has been kept long enough by `now`. One that is seen for
    /// the first time counts from then.
    pub(crate) fn outlived(
        &mut self,
        places: &BTreeMap<FrontendKey, Place>,
        now: Instant,
    ) -> BTreeSet<FrontendKey> {
        let kept = places
            .iter()
            .filter(|(_, place)| !place.second_range().is_empty());
        self.since = kept
            .map(|(key, place)| {
                let range = place.second_range();
                let known = self.since.get(key).filter(|(_, known)| *known == range);
                let since = known.map_or(now, |(since, _)| *since);
                (*key, (since, range))
            })
            .collect();
        let over = |(since, _): &(Instant, Range<u32>)| now.duration_since(*since) >= KEPT;
        self.since
            .iter()
            .filter(|(_, kept)| over(kept))
            .map(|(key, _)| *key)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(second_offset: u32) -> BTreeMap<FrontendKey, Place> {
        let place = Place {
            second_offset,
            second_length: 1601,
            ..Place::default()
        };
        BTreeMap::from([(FrontendKey::Service(abi::ServiceKey::default()), place)])
    }

    #[test]
    fn a_table_is_kept_for_half_a_minute_from_its_own_replacement() {
        let mut previous = Previous::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(previous.outlived(&places(0), start).is_empty());
        assert!(previous.outlived(&places(0), after(29)).is_empty());
        assert!(previous.outlived(&places(500), after(31)).is_empty());
        assert!(previous.outlived(&places(500), after(60)).is_empty());
        assert_eq!(previous.outlived(&places(500), after(61)).len(), 1);
        assert!(previous.outlived(&BTreeMap::new(), after(62)).is_empty());
        assert!(previous.since.is_empty());
    }
}
