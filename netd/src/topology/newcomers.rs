//! Backends that have just come, on other nodes.
//!
//! Every node reads the file for itself, one a little later than the other. Whoever picks a backend that
//! its own node does not know yet sends clients into a void that they leave after a second, when TCP
//! repeats its SYN. So a new backend waits until its node has had time to read.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use dataplane::{Desired, Location};
use tokio::time::Instant;

/// How long a backend that has come on another node takes no new flows while others do.
const GRACE: Duration = Duration::from_secs(1);

/// A backend on another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    node: IpAddr,
    /// Until when it waits; `None` when it does not.
    waits: Option<Instant>,
}

/// The backends on other nodes, between two passes.
#[derive(Debug, Default)]
pub(crate) struct Newcomers {
    /// `None` before the first pass: what the file names then was there before this process.
    known: Option<BTreeMap<u32, Place>>,
}

impl Newcomers {
    /// Takes backends that have just come out of the services that have others. Returns when the next
    /// one has waited long enough.
    pub(crate) fn hold_back(&mut self, desired: &mut Desired, now: Instant) -> Option<Instant> {
        let known = self.look(desired, now);
        let waiting = |id: &u32| known.get(id).is_some_and(|place| place.waits.is_some());
        let next = known.values().filter_map(|place| place.waits).min();
        if next.is_some() {
            let backends = &desired.backends;
            let takes = |id: &u32| {
                let backend = backends.get(id);
                backend.is_some_and(|it| it.weight > 0 && !it.is_draining) && !waiting(id)
            };
            let services = desired.services.values_mut();
            for service in services.chain(desired.published.values_mut()) {
                if service.backends.iter().any(takes) {
                    service.backends.retain(|id| !waiting(id));
                }
            }
        }
        self.known = Some(known);
        next
    }

    fn look(&self, desired: &Desired, now: Instant) -> BTreeMap<u32, Place> {
        let place = |(id, backend): (&u32, &dataplane::Backend)| {
            let endpoint = desired.endpoints.get(&(backend.net, backend.address))?;
            let Location::Node(node) = endpoint.location else {
                return None;
            };
            let waits = match &self.known {
                None => None,
                Some(known) => match known.get(id) {
                    Some(old) if old.node == node => old.waits.filter(|until| *until > now),
                    Some(_) | None => Some(now + GRACE),
                },
            };
            Some((*id, Place { node, waits }))
        };
        desired.backends.iter().filter_map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::load::check_text;

    fn part() -> Desired {
        let topology = check_text(include_str!("tests/cluster.toml")).unwrap();
        crate::topology::desired(&topology, &"n1".parse().unwrap()).unwrap()
    }

    /// The backends that are picked, of all services.
    fn picked(desired: &Desired) -> Vec<Vec<u32>> {
        let all = desired.services.values().chain(desired.published.values());
        all.map(|service| service.backends.clone()).collect()
    }

    /// With those backends only whose tasks are elsewhere, or those whose are not.
    fn backends(are_elsewhere: bool) -> Desired {
        let mut desired = part();
        let elsewhere = |it: &dataplane::Endpoint| matches!(it.location, Location::Node(_));
        let endpoints = desired.endpoints.clone();
        desired
            .backends
            .retain(|_, it| elsewhere(&endpoints[&(it.net, it.address)]) == are_elsewhere);
        let backends = desired.backends.clone();
        let services = desired.services.values_mut();
        for service in services.chain(desired.published.values_mut()) {
            service.backends.retain(|id| backends.contains_key(id));
        }
        desired
    }

    /// As long as they are only on n1.
    fn smaller() -> Desired {
        backends(false)
    }

    #[test]
    fn newcomers_do_not_wait_where_there_are_no_others() {
        let (now, mut newcomers) = (Instant::now(), Newcomers::default());
        newcomers.hold_back(&mut smaller(), now);
        let mut desired = backends(true);
        assert!(picked(&desired).iter().any(|picked| !picked.is_empty()));
        assert_eq!(newcomers.hold_back(&mut desired, now), Some(now + GRACE));
        assert_eq!(desired, backends(true));
    }

    #[test]
    fn what_was_there_before_the_process_does_not_wait() {
        let mut desired = part();
        assert_eq!(
            Newcomers::default().hold_back(&mut desired, Instant::now()),
            None
        );
        assert_eq!(desired, part());
    }

    #[test]
    fn a_newcomer_waits_once_where_there_are_others() {
        let (now, mut newcomers) = (Instant::now(), Newcomers::default());
        let mut desired = smaller();
        newcomers.hold_back(&mut desired, now);
        assert_eq!(desired, smaller());
        let mut desired = part();
        assert_eq!(newcomers.hold_back(&mut desired, now), Some(now + GRACE));
        assert_eq!(
            desired.backends,
            part().backends,
            "it is known all the same"
        );
        for ((held, old), whole) in picked(&desired)
            .iter()
            .zip(picked(&smaller()))
            .zip(picked(&part()))
        {
            assert_eq!(*held, if old.is_empty() { whole } else { old });
        }
        let mut desired = part();
        assert_eq!(newcomers.hold_back(&mut desired, now + GRACE), None);
        assert_eq!(desired, part());
        let mut desired = part();
        assert_eq!(newcomers.hold_back(&mut desired, now), None);
    }

    #[test]
    fn one_that_moves_to_another_node_waits_again() {
        let (now, mut newcomers) = (Instant::now(), Newcomers::default());
        newcomers.hold_back(&mut part(), now);
        let mut moved = part();
        for endpoint in moved.endpoints.values_mut() {
            if let Location::Node(node) = &mut endpoint.location {
                *node = "192.0.2.13".parse().unwrap();
            }
        }
        assert_eq!(newcomers.hold_back(&mut moved, now), Some(now + GRACE));
    }
}
