//! What differs between two desired states, where that is no more than endpoints, backends and how
//! frontends are balanced: what changes all the time while a cluster works.

use std::collections::BTreeMap;
use std::net::IpAddr;

use abi::NetId;

use crate::desired::{Backend, Desired, Endpoint, Frontend, Published, Service};

/// Entries that are other than before; `None` for those that are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// Of [`Desired::endpoints`].
    pub endpoints: BTreeMap<(NetId, IpAddr), Option<Endpoint>>,
    /// Of [`Desired::backends`].
    pub backends: BTreeMap<u32, Option<Backend>>,
    /// Of [`Desired::services`].
    pub services: BTreeMap<Frontend, Option<Service>>,
    /// Of [`Desired::published`]; which ports are published must stay the same.
    pub published: BTreeMap<Published, Service>,
}

impl Edit {
    /// What leads from one state to another; `None` when something else differs as well.
    #[must_use]
    pub fn between(old: &Desired, new: &Desired) -> Option<Self> {
        // Whoever adds a field decides here whether a difference in it can be an edit.
        let Desired {
            address,
            carrier,
            data_path_port,
            ingress,
            gateway_blocks,
            vteps,
            networks,
            node_addresses,
            endpoints,
            attachments,
            gateways,
            services,
            published,
            backends,
        } = old;
        let rest = *address == new.address
            && *carrier == new.carrier
            && *data_path_port == new.data_path_port
            && *ingress == new.ingress
            && *gateway_blocks == new.gateway_blocks
            && *vteps == new.vteps
            && *networks == new.networks
            && *node_addresses == new.node_addresses
            && *attachments == new.attachments
            && *gateways == new.gateways
            && published.len() == new.published.len();
        let published = differences(published, &new.published).into_iter();
        Some(Self {
            endpoints: differences(endpoints, &new.endpoints),
            backends: differences(backends, &new.backends),
            services: differences(services, &new.services),
            published: published
                .map(|(key, service)| Some((key, service?)))
                .collect::<Option<_>>()?,
        })
        .filter(|_| rest)
    }

    /// How many entries differ.
    #[must_use]
    pub fn len(&self) -> usize {
        self.endpoints.len() + self.backends.len() + self.services.len() + self.published.len()
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the difference.
    pub fn apply(&self, desired: &mut Desired) {
        write(&mut desired.endpoints, &self.endpoints);
        write(&mut desired.backends, &self.backends);
        write(&mut desired.services, &self.services);
        let published = self.published.iter();
        desired
            .published
            .extend(published.map(|(key, service)| (key.clone(), service.clone())));
    }
}

fn write<K: Ord + Clone, V: Clone>(map: &mut BTreeMap<K, V>, edits: &BTreeMap<K, Option<V>>) {
    for (key, value) in edits {
        match value {
            Some(value) => drop(map.insert(key.clone(), value.clone())),
            None => drop(map.remove(key)),
        }
    }
}

/// Walks both maps side by side, which costs a tenth of looking each key up.
fn differences<K: Ord + Clone, V: PartialEq + Clone>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) -> BTreeMap<K, Option<V>> {
    let mut edits = BTreeMap::new();
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (Some((key, before)), Some((same, after))) if key == same => {
                if before != after {
                    edits.insert((*key).clone(), Some((*after).clone()));
                }
                old.next();
                new.next();
            }
            (Some((gone, _)), other) if other.is_none_or(|(next, _)| gone < next) => {
                edits.insert((*gone).clone(), None);
                old.next();
            }
            (_, Some((key, value))) => {
                edits.insert((*key).clone(), Some((*value).clone()));
                new.next();
            }
            (_, None) => return edits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn differences_lead_from_one_map_to_the_other(
            old in proptest::collection::btree_map(0u8..20, 0u8..3, 0..15),
            new in proptest::collection::btree_map(0u8..20, 0u8..3, 0..15),
        ) {
            let edits = differences(&old, &new);
            let mut reached = old.clone();
            write(&mut reached, &edits);
            prop_assert_eq!(&reached, &new);
            let superfluous = |(key, value): (&u8, &Option<u8>)| old.get(key) == value.as_ref();
            prop_assert!(!edits.iter().any(superfluous));
        }
    }
}
