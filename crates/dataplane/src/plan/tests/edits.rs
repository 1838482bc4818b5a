//! Edits of a state that is known, against the same state as a whole.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::{Case, case, desired, lowered, node, v4};
use crate::desired::{Backend, Desired, Endpoint, Frontend, Location, Service};
use crate::edit::Edit;
use crate::known::Known;
use crate::lower::Facts;
use crate::plan::model::Model;
use crate::plan::{Observed, plan, plan_tables};
use crate::world::World;

/// Something that happens to a cluster; indexes choose what it happens to.
#[derive(Clone, Debug)]
enum Event {
    Weigh(Index, u16),
    Move(Index, u8),
    Leave(Index),
    Join(Index, Index),
    Open(Index, u16),
    Close(Index),
    Balance(Index, abi::Algorithm),
}

fn event() -> impl Strategy<Value = Event> {
    let algorithm = prop_oneof![
        Just(abi::Algorithm::RoundRobin),
        Just(abi::Algorithm::Maglev)
    ];
    let any = any::<Index>;
    prop_oneof![
        (any(), 0u16..3).prop_map(|(which, weight)| Event::Weigh(which, weight)),
        (any(), 0u8..3).prop_map(|(which, node)| Event::Move(which, node)),
        any().prop_map(Event::Leave),
        (any(), any()).prop_map(|(at, service)| Event::Join(at, service)),
        (any(), 81u16..84).prop_map(|(like, port)| Event::Open(like, port)),
        any().prop_map(Event::Close),
        (any(), algorithm).prop_map(|(which, how)| Event::Balance(which, how)),
    ]
}

fn nth<K: Ord + Clone, V>(map: &BTreeMap<K, V>, which: Index) -> Option<K> {
    (!map.is_empty()).then(|| map.keys().nth(which.index(map.len())).cloned())?
}

fn services(desired: &mut Desired) -> impl Iterator<Item = &mut Service> {
    desired
        .services
        .values_mut()
        .chain(desired.published.values_mut())
}

/// Does nothing where there is nothing that the event could happen to.
fn happen(desired: &mut Desired, event: &Event) -> Option<()> {
    match event {
        Event::Weigh(which, weight) => {
            let id = nth(&desired.backends, *which)?;
            desired.backends.get_mut(&id)?.weight = *weight;
        }
        Event::Move(which, to) => {
            let key = nth(&desired.endpoints, *which)?;
            let node = v4(192, 0, 2, 11 + to);
            let known = desired.vteps.contains(&node);
            let endpoint = desired.endpoints.get_mut(&key)?;
            let there = matches!(endpoint.location, Location::Node(_)) && known;
            *endpoint = there.then_some(Endpoint {
                location: Location::Node(node),
            })?;
        }
        Event::Leave(which) => {
            let id = nth(&desired.backends, *which)?;
            desired.backends.remove(&id);
            services(desired).for_each(|service| service.backends.retain(|it| *it != id));
        }
        Event::Join(at, to) => {
            let key = nth(&desired.endpoints, *at)?;
            let (net, address) = key;
            let id = desired.backends.keys().last().map_or(1, |last| last + 1);
            let backend = Backend {
                net,
                address,
                port: 90,
                weight: 1,
                is_draining: false,
            };
            desired.backends.insert(id, backend);
            let mut services: Vec<_> = services(desired).collect();
            let service = to.index(services.len().max(1));
            services.get_mut(service)?.backends.push(id);
        }
        Event::Open(like, port) => {
            let like = nth(&desired.services, *like)?;
            let service = desired.services.get(&like)?.clone();
            let port = Some((*port, 6));
            desired.services.insert(Frontend { port, ..like }, service);
        }
        Event::Close(which) => {
            let frontend = nth(&desired.services, *which)?;
            desired.services.remove(&frontend);
        }
        Event::Balance(which, how) => {
            let mut services: Vec<_> = services(desired).collect();
            let service = which.index(services.len().max(1));
            services.get_mut(service)?.algorithm = *how;
        }
    }
    Some(())
}

/// Brings the model to a state as a whole, and remembers it.
fn reach(model: &mut Model, desired: &Desired, case: &Case) -> Known {
    let (wanted, facts): (World, Facts) = lowered(desired, case, model);
    let observed: Observed = model.observe();
    let changes = plan(&wanted, &observed).unwrap();
    changes.iter().for_each(|change| model.apply(change));
    model.begin_flows();
    let to = (facts, &wanted);
    Known::new(desired, to, (observed, &changes), BTreeMap::new())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn edits_reach_what_the_whole_would(
        case in case(),
        steps in proptest::collection::vec(proptest::collection::vec(event(), 1..4), 1..6),
    ) {
        let mut model = node();
        let mut desired = desired(&case);
        let mut known = reach(&mut model, &desired, &case);
        for events in steps {
            let mut next = desired.clone();
            for event in &events {
                let _ = happen(&mut next, event);
            }
            let edit = Edit::between(&desired, &next).expect("nothing but tables differs");
            let [present, wanted] = known.lower(&edit).unwrap();
            let observed = Observed { world: present, ..model.observe() };
            let changes = plan_tables(&wanted.tables, &observed).unwrap();
            changes.iter().for_each(|change| model.apply(change));
            model.check_flows();
            model.begin_flows();
            known.follow(&edit, &changes);
            let (whole, _) = lowered(&next, &case, &model);
            prop_assert_eq!(&model.observe().world, &whole);
            prop_assert_eq!(plan(&whole, &model.observe()).unwrap(), []);
            prop_assert_eq!(&known, &reach(&mut model, &next, &case));
            desired = next;
        }
    }
}
