//! Who is picked: frontends and their picks.

use std::ops::Range;

use abi::{Algorithm, Service};

use super::super::Observed;
use super::{Steps, TableChange, push};
use crate::picks::Ranges;
use crate::problem::{Problem, ProblemCode};
use crate::tables::{Balance, Place, Tables};

/// New picks go to new places, and old places stay as they are until no program can be reading
/// them: whoever has read a frontend's value finds the picks that it spoke of.
pub(super) fn plan(wanted: &Tables, observed: &Observed, steps: &mut Steps) -> Result<(), Problem> {
    let present = &observed.world.tables.frontends;
    let mut ranges = Ranges::new(observed.pick_capacity);
    observed
        .places
        .values()
        .flat_map(|place| [place.range(), place.second_range()])
        .for_each(|range| ranges.take(range));
    observed
        .quarantine
        .iter()
        .cloned()
        .for_each(|range| ranges.take(range));
    let mut picks = Vec::new();
    let (mut new, mut changed) = (Vec::new(), Vec::new());
    for (key, balance) in &wanted.frontends {
        let before = present.get(key);
        let old = observed.places.get(key).copied().unwrap_or_default();
        if before == Some(balance) {
            if observed.outlived.contains(key) {
                let place = Place {
                    second_offset: 0,
                    second_length: 0,
                    ..old
                };
                changed.push((*key, value(balance, place)));
            }
            continue;
        }
        let mut place = place(balance, old.generation.wrapping_add(1), &mut ranges)?;
        let is_maglev = |balance: &Balance| balance.algorithm == Algorithm::Maglev;
        if let Some(before) = before.filter(|before| is_maglev(balance) && is_maglev(before)) {
            let second = second(before, old, &mut ranges, &mut picks);
            place.second_offset = second.start;
            place.second_length = second.end - second.start;
        }
        if !place.range().is_empty() {
            picks.push((place.offset, balance.picks.clone()));
        }
        let services = if observed.places.contains_key(key) {
            &mut changed
        } else {
            &mut new
        };
        services.push((*key, value(balance, place)));
    }
    push(&mut steps.put, picks, TableChange::WritePicks);
    push(&mut steps.put, new, TableChange::PutFrontends);
    push(&mut steps.publish, changed, TableChange::PutFrontends);
    Ok(())
}

fn place(balance: &Balance, generation: u32, ranges: &mut Ranges) -> Result<Place, Problem> {
    let length = u32::try_from(balance.picks.len()).unwrap_or(u32::MAX);
    let place = Place {
        offset: 0,
        length,
        generation,
        ..Place::default()
    };
    if place.range().is_empty() {
        return Ok(place);
    }
    let range = ranges.allocate(length).ok_or_else(|| {
        Problem::new(
            ProblemCode::Desired,
            format!(
                "no room for the {length} picks of service {}",
                balance.service
            ),
            "fewer services with hashing algorithms, or a larger table of picks",
        )
    })?;
    Ok(Place {
        offset: range.start,
        ..place
    })
}

/// Where the table before the new one can be read from now on: where it is, or, if it stood in the value
/// itself, in places of its own. Where there are none left, there is no second choice.
fn second(
    before: &Balance,
    old: Place,
    ranges: &mut Ranges,
    picks: &mut Vec<(u32, Vec<u32>)>,
) -> Range<u32> {
    if old.length == 0 || !old.range().is_empty() {
        return old.range();
    }
    let Some(range) = ranges.allocate(old.length) else {
        return 0..0;
    };
    picks.push((range.start, before.picks.clone()));
    range
}

fn value(balance: &Balance, place: Place) -> Service {
    let mut inline = [0; Service::INLINE as usize];
    if place.range().is_empty() {
        for (slot, id) in inline.iter_mut().zip(&balance.picks) {
            *slot = *id;
        }
    }
    Service {
        id: balance.service,
        pick_offset: place.offset,
        pick_length: place.length,
        generation: place.generation,
        algorithm: balance.algorithm as u32,
        flags: balance.flags,
        affinity_seconds: balance.affinity_seconds,
        second_offset: place.second_offset,
        second_length: place.second_length,
        inline,
    }
}
