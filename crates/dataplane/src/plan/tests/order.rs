//! What has to be there before what.

use super::super::{Change, EndChange, TableChange};
use super::*;

/// So many tasks on this node behind one VIP.
fn serving(tasks: u8) -> Case {
    let template = publishing_task();
    let task = |number| Task {
        number,
        gateway: false,
        publishes: false,
        ..template.tasks[0].clone()
    };
    Case {
        tasks: (1..=tasks).map(task).collect(),
        ..template
    }
}

/// Where the changes of a kind are in a plan.
fn places(changes: &[Change], is_meant: impl Fn(&Change) -> bool) -> Vec<usize> {
    let all = changes.iter().enumerate();
    all.filter(|(_, change)| is_meant(change))
        .map(|(at, _)| at)
        .collect()
}

fn publishes(change: &Change) -> bool {
    matches!(change, Change::Table(TableChange::PutFrontends(_)))
}

fn brings_up(change: &Change) -> bool {
    matches!(
        change,
        Change::Configure {
            change: EndChange::Up,
            ..
        }
    )
}

#[test]
fn a_new_task_is_picked_when_it_can_be_reached() {
    let mut model = node();
    reach(&mut model, &serving(1));
    let changes = plan(&wanted(&serving(2), &model), &model.observe()).unwrap();
    let (up, published) = (places(&changes, brings_up), places(&changes, publishes));
    assert_eq!(
        (up.len(), published.len()),
        (2, 1),
        "both ends, one frontend"
    );
    assert!(up.iter().max() < published.iter().min(), "{changes:?}");
}

#[test]
fn a_new_service_is_there_before_its_clients_are() {
    let model = node();
    let changes = plan(&wanted(&serving(1), &model), &model.observe()).unwrap();
    let (up, published) = (places(&changes, brings_up), places(&changes, publishes));
    assert!(published.iter().max() < up.iter().min(), "{changes:?}");
}
