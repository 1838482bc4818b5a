//! The part of a desired state that an edit concerns.
//!
//! What the tables hold for one thing depends on a few others: an endpoint's flags on the backends at
//! its address, a backend on its endpoint's place, a frontend on its backends' weights. A slice has
//! everything that an edit touches and everything that this depends on, so that lowering the slice
//! gives the entries that lowering the whole would give, at a cost that does not grow with the whole.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use abi::NetId;

use crate::desired::{Backend, Desired, Frontend, Location, Published, Service};
use crate::edit::Edit;

/// An address in a network.
type Place = (NetId, IpAddr);

/// A frontend of either kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Front {
    Inside(Frontend),
    Outside(Published),
}

/// Who names whom, the other way round than [`Desired`] says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Relations {
    /// The backends at each address.
    at: BTreeSet<(Place, u32)>,
    /// The frontends before each backend.
    before: BTreeSet<(u32, Front)>,
}

impl Relations {
    pub(crate) fn of(desired: &Desired) -> Self {
        let at = desired.backends.iter();
        let inside = desired.services.iter().flat_map(|(frontend, service)| {
            let front = Front::Inside(frontend.clone());
            service.backends.iter().map(move |id| (*id, front.clone()))
        });
        let outside = desired.published.iter().flat_map(|(published, service)| {
            let front = Front::Outside(published.clone());
            service.backends.iter().map(move |id| (*id, front.clone()))
        });
        Self {
            at: at.map(|(id, backend)| (place(backend), *id)).collect(),
            before: inside.chain(outside).collect(),
        }
    }

    /// Follows an edit of `old`.
    pub(crate) fn edit(&mut self, old: &Desired, edit: &Edit) {
        for (id, backend) in &edit.backends {
            if let Some(old) = old.backends.get(id) {
                self.at.remove(&(place(old), *id));
            }
            self.at.extend(backend.iter().map(|it| (place(it), *id)));
        }
        for (frontend, service) in &edit.services {
            let front = Front::Inside(frontend.clone());
            self.replace(&front, old.services.get(frontend), service.as_ref());
        }
        for (published, service) in &edit.published {
            let front = Front::Outside(published.clone());
            self.replace(&front, old.published.get(published), Some(service));
        }
    }

    fn replace(&mut self, front: &Front, old: Option<&Service>, new: Option<&Service>) {
        for id in old.iter().flat_map(|service| &service.backends) {
            self.before.remove(&(*id, front.clone()));
        }
        let new = new.iter().flat_map(|service| &service.backends);
        self.before.extend(new.map(|id| (*id, front.clone())));
    }

    fn at(&self, place: Place) -> impl Iterator<Item = u32> {
        let range = (place, u32::MIN)..=(place, u32::MAX);
        self.at.range(range).map(|(_, id)| *id)
    }

    fn before(&self, id: u32) -> impl Iterator<Item = &Front> {
        let first = Front::Inside(Frontend {
            net: NetId(0),
            address: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            port: None,
        });
        let range = self.before.range((id, first)..);
        range.take_while(move |(of, _)| *of == id).map(|(_, it)| it)
    }
}

fn place(backend: &Backend) -> Place {
    (backend.net, backend.address)
}

/// The part of `old` that `edit` concerns, and the same part as it is to be. `relations` are those of
/// `old`.
pub(crate) fn slices(old: &Desired, relations: &Relations, edit: &Edit) -> (Desired, Desired) {
    let mut new_relations = Relations::default();
    // Only what the edit brings; what it takes away does no harm.
    new_relations.edit(&shell(old), edit);
    let mut keys = Keys {
        old,
        edit,
        relations: [relations, &new_relations],
        endpoints: edit.endpoints.keys().copied().collect(),
        backends: edit.backends.keys().copied().collect(),
        services: edit.services.keys().cloned().collect(),
        published: edit.published.keys().cloned().collect(),
    };
    keys.close();
    keys.cut()
}

struct Keys<'a> {
    old: &'a Desired,
    edit: &'a Edit,
    /// Those of the old state, and those that the edit adds.
    relations: [&'a Relations; 2],
    endpoints: BTreeSet<Place>,
    backends: BTreeSet<u32>,
    services: BTreeSet<Frontend>,
    published: BTreeSet<Published>,
}

impl Keys<'_> {
    /// Adds what the entries of these keys depend on.
    fn close(&mut self) {
        self.add_places_of_backends();
        self.add_backends_at_places();
        self.add_frontends();
        self.add_backends_of_frontends();
        self.add_places_of_backends();
        self.add_neighbours();
        self.add_backends_at_places();
    }

    fn add_places_of_backends(&mut self) {
        let old = self.backends.iter();
        let old = old.filter_map(|id| self.old.backends.get(id));
        let new = self.edit.backends.values().flatten();
        self.endpoints.extend(old.chain(new).map(place));
    }

    fn add_backends_at_places(&mut self) {
        for relations in self.relations {
            let at = self.endpoints.iter().flat_map(|it| relations.at(*it));
            self.backends.extend(at);
        }
    }

    /// Every frontend before one of the backends, and every other one of its VIP, whose endpoint
    /// answers as long as one of them has a backend.
    fn add_frontends(&mut self) {
        for relations in self.relations {
            let fronts = self.backends.iter().flat_map(|it| relations.before(*it));
            for front in fronts {
                match front {
                    Front::Inside(frontend) => drop(self.services.insert(frontend.clone())),
                    Front::Outside(published) => drop(self.published.insert(published.clone())),
                }
            }
        }
        let vips: BTreeSet<Place> = self
            .services
            .iter()
            .map(|it| (it.net, it.address))
            .collect();
        for (net, address) in vips {
            let first = Frontend {
                net,
                address,
                port: None,
            };
            let is_there = |it: &&Frontend| (it.net, it.address) == (net, address);
            let old = self.old.services.range(&first..).map(|(key, _)| key);
            self.services.extend(old.take_while(is_there).cloned());
        }
    }

    fn add_backends_of_frontends(&mut self) {
        let old = self.services.iter();
        let old = old.filter_map(|key| self.old.services.get(key));
        let new = self.edit.services.values().flatten();
        let outside = self.published.iter();
        let outside = outside.filter_map(|key| self.old.published.get(key));
        let all = old
            .chain(new)
            .chain(outside)
            .chain(self.edit.published.values());
        self.backends.extend(all.flat_map(|it| &it.backends));
    }

    /// The other addresses of the attachments that the endpoints are at.
    fn add_neighbours(&mut self) {
        let mut places = Vec::new();
        for location in self.locations() {
            match location {
                Location::Attachment(name) => {
                    let attachment = self.old.attachments.get(name);
                    places.extend(attachment.into_iter().flat_map(|it| {
                        let net = it.net;
                        it.addresses.iter().map(move |address| (net, address.ip()))
                    }));
                }
                Location::Gateway(namespace) => {
                    let ingress = self.old.ingress.unwrap_or_default();
                    let gateway = self.old.gateways.get(namespace);
                    let addresses = gateway.into_iter().flat_map(|it| &it.ingress);
                    places.extend(addresses.map(|address| (ingress, *address)));
                }
                Location::Node(_) => {}
            }
        }
        self.endpoints.extend(places);
    }

    fn locations(&self) -> impl Iterator<Item = &Location> {
        let old = self.endpoints.iter();
        let old = old.filter_map(|key| self.old.endpoints.get(key));
        let new = self.edit.endpoints.values().flatten();
        old.chain(new).map(|endpoint| &endpoint.location)
    }

    fn cut(&self) -> (Desired, Desired) {
        let old = self.old;
        let mut slice = Desired {
            endpoints: pick(&old.endpoints, &self.endpoints),
            backends: pick(&old.backends, &self.backends),
            services: pick(&old.services, &self.services),
            published: pick(&old.published, &self.published),
            ..shell(old)
        };
        for location in self.locations() {
            match location {
                Location::Attachment(name) => {
                    let attachment = old.attachments.get_key_value(name);
                    let attachment = attachment.map(|(name, it)| (name.clone(), it.clone()));
                    slice.attachments.extend(attachment);
                }
                Location::Gateway(namespace) => {
                    let gateway = old.gateways.get_key_value(namespace);
                    let gateway = gateway.map(|(path, it)| (path.clone(), it.clone()));
                    slice.gateways.extend(gateway);
                }
                Location::Node(_) => {}
            }
        }
        let mut edited = slice.clone();
        self.edit.apply(&mut edited);
        (slice, edited)
    }
}

fn pick<K: Ord + Clone, V: Clone>(from: &BTreeMap<K, V>, keys: &BTreeSet<K>) -> BTreeMap<K, V> {
    let found = keys.iter().filter_map(|key| from.get_key_value(key));
    found
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// What an edit cannot change and every table depends on. Networks have entries of their own only.
fn shell(desired: &Desired) -> Desired {
    Desired {
        carrier: desired.carrier,
        data_path_port: desired.data_path_port,
        ingress: desired.ingress,
        vteps: desired.vteps.clone(),
        ..Desired::empty(desired.address)
    }
}
