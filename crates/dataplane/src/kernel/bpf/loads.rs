//! The counts of flows: read, added to, and compared with the flow tables.
//!
//! The kernel programs count what they see. A flow that the small table has pushed out for a newer
//! one is seen by nobody: whoever compares the counts with the tables now and then finds out.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use abi::{Correction, Flow, FlowKey, Load, Seen};

use super::flows::owns_state;
use super::object::Maps;
use super::sys;
use super::table::{TableError, slice};

/// Counts by backend.
pub(crate) type Loads = BTreeMap<u32, Load>;

/// Counts that the flow tables contradict, of which it is not yet certain that they are wrong:
/// tables and counts cannot be read at one moment.
#[derive(Debug, Default)]
pub(crate) struct Drift {
    suspected: Loads,
}

impl Drift {
    /// What has to be added to the counts: whatever two comparisons in a row have found.
    fn confirm(&mut self, found: Loads) -> Loads {
        let both = |(backend, load): (&u32, &Load)| {
            let before = self.suspected.get(backend)?;
            let both = Load {
                picked: load.picked.min(before.picked),
                opened: load.opened.min(before.opened),
                closed: load.closed.min(before.closed),
                failed: load.failed.min(before.failed),
                ..Load::default()
            };
            (both != Load::default()).then_some((*backend, both))
        };
        let confirmed: Loads = found.iter().filter_map(both).collect();
        self.suspected = found;
        for backend in confirmed.keys() {
            self.suspected.remove(backend);
        }
        confirmed
    }
}

/// Flows in the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Present {
    active: u64,
    inactive: u64,
}

/// What has to be added to the counts of a backend, read `before` and `after` its flows were
/// counted, so that they agree: no more than is wrong whatever happened in between.
fn difference(before: &Load, present: Present, after: &Load) -> Load {
    let (opened, closed) = (after.opened - before.opened, after.closed - before.closed);
    let (picked, failed) = (after.picked - before.picked, after.failed - before.failed);
    let open = i128::from(before.opened) - i128::from(before.closed);
    let waiting = i128::from(before.picked) - i128::from(before.opened) - i128::from(before.failed);
    let (active, inactive) = (i128::from(present.active), i128::from(present.inactive));
    let count = |excess: i128| u64::try_from(excess).unwrap_or(0);
    let missed = count(active - open - i128::from(opened));
    let unseen = count(inactive - waiting - i128::from(picked));
    Load {
        picked: missed + unseen,
        opened: missed,
        closed: count(open - active - i128::from(closed)),
        failed: count(waiting - inactive - i128::from(opened + failed)),
        ..Load::default()
    }
}

impl Maps {
    /// The counts of every backend.
    pub(crate) fn loads(&self) -> Result<Loads, TableError> {
        Ok(self.loads.entries()?.into_iter().collect())
    }

    /// Adds to counts while the kernel programs do the same.
    pub(super) fn correct_loads(&self, loads: &Loads) -> Result<(), TableError> {
        let corrections: Vec<Correction> = loads
            .iter()
            .map(|(backend, load)| Correction {
                backend: *backend,
                reserved: 0,
                load: *load,
            })
            .collect();
        for chunk in corrections.chunks(Correction::MOST) {
            let mut packet = vec![0; Correction::OFFSET];
            packet.extend_from_slice(slice(chunk));
            sys::test_run(self.correct.as_fd(), &packet).map_err(|source| TableError::Kernel {
                action: "correct",
                name: "LOADS",
                source,
            })?;
        }
        Ok(())
    }

    /// Compares the counts with the flow tables and repairs what is certain; returns how many
    /// backends that were.
    pub(crate) fn repair_loads(&self, drift: &mut Drift) -> Result<usize, TableError> {
        let before = self.loads()?;
        let present = self.present()?;
        let after = self.loads()?;
        let mut found = Loads::new();
        for (backend, before) in &before {
            let present = present.get(backend).copied().unwrap_or_default();
            let Some(after) = after.get(backend) else {
                continue;
            };
            let load = difference(before, present, after);
            if load != Load::default() {
                found.insert(*backend, load);
            }
        }
        let confirmed = drift.confirm(found);
        self.correct_loads(&confirmed)?;
        Ok(confirmed.len())
    }

    fn present(&self) -> Result<BTreeMap<u32, Present>, TableError> {
        let counts =
            |key: &FlowKey, flow: &Flow| owns_state(key, flow) && flow.seen & Seen::COUNTED == 0;
        let mut present: BTreeMap<u32, Present> = BTreeMap::new();
        for (key, flow) in self.embryos.entries()? {
            if counts(&key, &flow) {
                present.entry(flow.backend).or_default().inactive += 1;
            }
        }
        for (key, flow) in self.flows.entries()? {
            if counts(&key, &flow) {
                present.entry(flow.backend).or_default().active += 1;
            }
        }
        Ok(present)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn load(picked: u64, opened: u64, closed: u64, failed: u64) -> Load {
        Load {
            picked,
            opened,
            closed,
            failed,
            ..Load::default()
        }
    }

    #[test]
    fn openings_that_were_pushed_out_have_failed() {
        let counts = load(10, 4, 1, 2);
        let present = Present {
            active: 3,
            inactive: 1,
        };
        assert_eq!(difference(&counts, present, &counts), load(0, 0, 0, 3));
    }

    #[test]
    fn flows_that_nobody_counted_are_added() {
        let present = Present {
            active: 2,
            inactive: 1,
        };
        let counts = load(0, 0, 0, 0);
        assert_eq!(difference(&counts, present, &counts), load(3, 2, 0, 0));
    }

    #[test]
    fn only_what_is_found_twice_is_repaired() {
        let mut drift = Drift::default();
        let found = |failed| Loads::from([(1, load(0, 0, 0, failed))]);
        assert_eq!(drift.confirm(found(5)), Loads::new());
        assert_eq!(drift.confirm(found(3)), found(3));
        assert_eq!(drift.confirm(found(3)), Loads::new(), "it was repaired");
        assert_eq!(drift.confirm(Loads::new()), Loads::new());
        assert_eq!(drift.confirm(found(3)), Loads::new());
    }

    proptest! {
        /// Flows come and go while they are counted, each seen or not; nothing is wrong.
        #[test]
        fn traffic_during_the_count_is_no_difference(
            begun in 0u64..50, answered in 0u64..50, ended in 0u64..50, given_up in 0u64..50,
            during in proptest::collection::vec((0u8..4, any::<bool>()), 0..20),
        ) {
            let opened = answered.min(begun);
            let failed = given_up.min(begun - opened);
            let before = load(begun, opened, ended.min(opened), failed);
            let mut after = before;
            let mut present = Present { active: before.active(), inactive: before.inactive() };
            // What ends is missed or not, what begins is seen or not.
            for (event, seen) in during {
                match event {
                    0 => {
                        after.picked += 1;
                        present.inactive += u64::from(seen);
                    }
                    1 if after.inactive() > 0 => {
                        after.opened += 1;
                        present.active += u64::from(seen);
                        if !seen && present.inactive > 0 {
                            present.inactive -= 1;
                        }
                    }
                    2 if after.active() > 0 => {
                        after.closed += 1;
                        present.active -= u64::from(!seen && present.active > 0);
                    }
                    3 if after.inactive() > 0 => {
                        after.failed += 1;
                        present.inactive -= u64::from(!seen && present.inactive > 0);
                    }
                    _ => {}
                }
            }
            prop_assert_eq!(difference(&before, present, &after), Load::default());
        }
    }
}
