//! What the data plane knows of the kernel since it last looked: that it holds what was applied.
//!
//! An edit of the desired state is planned from that instead of from what every table holds. Somebody
//! else's changes go unnoticed so until the next look, which each audit is.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::apply::Outcome;
use crate::desired::Desired;
use crate::edit::Edit;
use crate::handle::{ApplyError, Dataplane, Report};
use crate::lower::{self, Facts};
use crate::plan::{self, Change, Observed, TableChange};
use crate::problem::Problem;
use crate::slice::{self, Relations};
use crate::tables::{FrontendKey, Place};
use crate::world::{LinkName, World};

/// Edits larger than this are not worth their slices.
const LARGEST_EDIT: usize = 4096;

/// The state that the kernel was brought to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Known {
    desired: Desired,
    relations: Relations,
    facts: Facts,
    /// Where the picks of each frontend are.
    places: BTreeMap<FrontendKey, Place>,
    /// Numbers of the node's interfaces.
    index: BTreeMap<LinkName, u32>,
}

impl Known {
    /// After `changes` have led from `observed` to `wanted` without a problem.
    pub(crate) fn new(
        desired: &Desired,
        (facts, wanted): (Facts, &World),
        (observed, changes): (Observed, &[Change]),
        index: BTreeMap<LinkName, u32>,
    ) -> Self {
        let mut places = observed.places;
        follow(&mut places, changes);
        Self {
            desired: desired.clone(),
            relations: Relations::of(desired),
            facts: Facts {
                vteps: wanted.tables.numbers(),
                ..facts
            },
            places,
            index,
        }
    }

    /// The numbers that nodes have, whatever the kernel says.
    pub(crate) const fn vteps(&self) -> &BTreeMap<u32, abi::Address> {
        &self.facts.vteps
    }

    /// The changes from what is there to what was known to be; `wanted` is what `desired` and `facts`
    /// lead to.
    pub(crate) fn drift(
        &self,
        (desired, facts, wanted): (&Desired, &Facts, &World),
        observed: &mut Observed,
    ) -> Vec<Change> {
        // That old picks are given up is the planner's own doing.
        let outlived = std::mem::take(&mut observed.outlived);
        let drift = if self.desired == *desired && self.facts == *facts {
            plan::plan(wanted, observed).ok()
        } else {
            let before = lower::lower(&self.desired, &self.facts).ok();
            before.and_then(|before| plan::plan(&before, observed).ok())
        };
        observed.outlived = outlived;
        drift.unwrap_or_default()
    }

    /// What leads from here to `desired`, when it is small and concerns the tables only.
    pub(crate) fn edit(&self, desired: &Desired) -> Option<Edit> {
        let edit = Edit::between(&self.desired, desired)?;
        // Nodes that are to answer clients themselves are asked first.
        let asks = edit.published.values().any(|it| it.returns_direct);
        (!edit.is_empty() && edit.len() <= LARGEST_EDIT && !asks).then_some(edit)
    }

    /// What the tables hold of what the edit concerns, and what they are to hold.
    pub(crate) fn lower(&self, edit: &Edit) -> Result<[World; 2], Vec<Problem>> {
        let (old, new) = slice::slices(&self.desired, &self.relations, edit);
        Ok([
            lower::lower_tables(&old, &self.facts)?,
            lower::lower_tables(&new, &self.facts)?,
        ])
    }

    /// After `changes` have made the edit.
    pub(crate) fn follow(&mut self, edit: &Edit, changes: &[Change]) {
        self.relations.edit(&self.desired, edit);
        edit.apply(&mut self.desired);
        follow(&mut self.places, changes);
    }
}

/// Keeps up with where picks are.
fn follow(places: &mut BTreeMap<FrontendKey, Place>, changes: &[Change]) {
    for change in changes {
        if let Change::Table(TableChange::PutFrontends(frontends)) = change {
            places.extend(
                frontends
                    .iter()
                    .map(|(key, value)| (*key, Place::of(value))),
            );
        } else if let Change::Table(TableChange::RemoveFrontends(keys)) = change {
            for key in keys {
                places.remove(key);
            }
        }
    }
}

impl Dataplane {
    /// Changes what an edit concerns. Whatever goes wrong, the next time looks at everything.
    ///
    /// # Errors
    /// As [`Self::apply`]; also when nothing has been applied yet.
    pub async fn edit(&mut self, edit: &Edit) -> Result<Report, ApplyError> {
        let Some(mut known) = self.known.take() else {
            return Err(ApplyError::nothing_to_edit());
        };
        let worlds = known.lower(edit);
        let [present, wanted] = worlds.map_err(ApplyError::unchanged)?;
        let mut observed = Observed {
            world: present,
            places: std::mem::take(&mut known.places),
            quarantine: self.quarantined(Instant::now()),
            pick_capacity: self.maps.picks.capacity(),
            ..Observed::default()
        };
        let planned = plan::plan_tables(&wanted.tables, &observed);
        let changes = planned.map_err(|problem| ApplyError::unchanged(vec![problem]))?;
        self.isolate(&changes, &observed);
        let index = std::mem::take(&mut known.index);
        let (outcome, index) = self.execute(&changes, index).await;
        self.end_sockets(&changes, &known.facts.cookies);
        known.index = index;
        known.places = std::mem::take(&mut observed.places);
        let Outcome { done, problems, .. } = outcome;
        if !problems.is_empty() {
            let changed = done > 0;
            return Err(ApplyError { problems, changed });
        }
        known.follow(edit, &changes);
        self.known = Some(known);
        Ok(Report {
            changes: done,
            ..Report::default()
        })
    }
}
