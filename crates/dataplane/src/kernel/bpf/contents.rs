//! The maps' contents as values, and changes of them.

use std::collections::{BTreeMap, BTreeSet};

use abi::hash::murmur3_32;
use abi::{Address, Algorithm, Flow, FlowKey, Service, Vtep, delivery};

use super::flows::origin;
use super::object::Maps;
use super::table::{Plain, Table, TableError};
use crate::plan::{Purge, TableChange};
use crate::tables::{Balance, FrontendKey, LinkRef, Local, NamesLink, Place, Tables};
use crate::world::LinkName;

/// Names of the node's interfaces by number.
pub(crate) type LinkNames = BTreeMap<u32, LinkName>;

/// A change of a map failed; the batches before it are done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContentsError {
    #[error(transparent)]
    Table(#[from] TableError),
    /// An entry names an interface that could not be made.
    #[error("interface {0} does not exist")]
    NoLink(String),
}

impl Maps {
    /// Reads everything that user space has written.
    pub(crate) fn observe(
        &self,
        names: &LinkNames,
    ) -> Result<(Tables, BTreeMap<FrontendKey, Place>), TableError> {
        let settings = self
            .settings
            .get(&0)?
            .filter(|s| *s != abi::Settings::default());
        let used = |(_, vtep): &(u32, Vtep)| !vtep.address.is_unspecified();
        // One whose inverse is missing lets nobody in: it counts as unknown, and is written again.
        let inverse: BTreeMap<Address, u32> = self.vtep_ids.entries()?.into_iter().collect();
        let whole = |(number, vtep): &(u32, Vtep)| {
            *number == 0 || inverse.get(&vtep.address) == Some(number)
        };
        let vteps = self.vteps.entries()?.into_iter();
        let vteps = vteps.filter(used).filter(whole);
        let ifaces = self.ifaces.entries()?.into_iter();
        let addresses = self.addresses.entries()?.into_iter();
        let endpoints = self.endpoints.entries()?.into_iter();
        let (frontends, places) = self.frontends()?;
        let tables = Tables {
            settings: settings.map(|settings| local(settings, names)),
            vteps: vteps
                .map(|(number, vtep)| (number, local(vtep, names)))
                .collect(),
            networks: self.networks.entries()?.into_iter().collect(),
            netns: self.netns.entries()?.into_iter().collect(),
            ifaces: ifaces
                .map(|(index, iface)| (link(index, names), iface))
                .collect(),
            addresses: addresses
                .map(|(address, index)| (address, link(index, names)))
                .collect(),
            endpoints: endpoints
                .map(|(key, value)| (key, local(value, names)))
                .collect(),
            backends: self.backends.entries()?.into_iter().collect(),
            cursors: keys(&self.cursors)?,
            loads: keys(&self.loads)?,
            frontends,
        };
        Ok((tables, places))
    }

    pub(super) fn frontends(&self) -> Result<(Frontends, Places), TableError> {
        let inside = self.services.entries()?.into_iter();
        let outside = self.published.entries()?.into_iter();
        let all = inside
            .map(|(key, value)| (FrontendKey::Service(key), value))
            .chain(outside.map(|(key, value)| (FrontendKey::Published(key), value)));
        let (mut frontends, mut places) = (BTreeMap::new(), BTreeMap::new());
        for (key, value) in all {
            let place = Place::of(&value);
            places.insert(key, place);
            frontends.extend(self.balance(&value, place)?.map(|balance| (key, balance)));
        }
        Ok((frontends, places))
    }

    /// `None` for a value that no build of this layout writes: it will be written again.
    fn balance(&self, value: &Service, place: Place) -> Result<Option<Balance>, TableError> {
        let Some(algorithm) = Algorithm::from_u32(value.algorithm) else {
            return Ok(None);
        };
        let picks = if place.range().is_empty() {
            value
                .inline
                .iter()
                .copied()
                .take(place.length as usize)
                .collect()
        } else {
            self.picks.range(place.range())?
        };
        Ok(Some(Balance {
            service: value.id,
            algorithm,
            flags: value.flags,
            affinity_seconds: value.affinity_seconds,
            picks,
        }))
    }

    /// Makes one change. `index` knows the numbers of the node's interfaces, `seed` differs between
    /// nodes.
    pub(crate) fn apply(
        &self,
        change: &TableChange,
        index: &BTreeMap<LinkName, u32>,
        seed: u32,
    ) -> Result<(), ContentsError> {
        match change {
            TableChange::PutSettings(settings) => {
                Ok(self.settings.put(&0, &numbered(settings, index)?)?)
            }
            TableChange::PutVteps(vteps) => self.put_vteps(vteps, index),
            TableChange::RemoveVteps(vteps) => Ok(self.remove_vteps(vteps)?),
            TableChange::PutNetworks(networks) => Ok(self.networks.put_all(networks)?),
            TableChange::RemoveNetworks(keys) => Ok(self.networks.remove_all(keys).map(drop)?),
            TableChange::PutIfaces(ifaces) => each(ifaces, |(link, iface)| {
                Ok(self.ifaces.put(&number(link, index)?, iface)?)
            }),
            TableChange::RemoveIfaces(links) => each(links, |link| {
                Ok(self.ifaces.remove(&number(link, index)?).map(drop)?)
            }),
            TableChange::PutAddresses(addresses) => each(addresses, |(address, link)| {
                Ok(self.addresses.put(address, &number(link, index)?)?)
            }),
            TableChange::RemoveAddresses(keys) => Ok(self.addresses.remove_all(keys).map(drop)?),
            TableChange::PutEndpoints(endpoints) => self.put_endpoints(endpoints, index),
            TableChange::RemoveEndpoints(keys) => Ok(self.endpoints.remove_all(keys).map(drop)?),
            TableChange::PutLoads(ids) => Ok(self.loads.put_all(&defaults(ids))?),
            TableChange::RemoveLoads(ids) => Ok(self.loads.remove_all(ids).map(drop)?),
            TableChange::PutBackends(backends) => Ok(self.backends.put_all(backends)?),
            TableChange::RemoveBackends(ids) => Ok(self.backends.remove_all(ids).map(drop)?),
            TableChange::PutCursors(ids) => {
                // Nodes begin at different backends, or the first would meet every node's first
                // client.
                let start = |id: &u32| (*id, murmur3_32(&id.to_le_bytes(), seed));
                Ok(self
                    .cursors
                    .put_all(&ids.iter().map(start).collect::<Vec<_>>())?)
            }
            TableChange::RemoveCursors(ids) => Ok(self.cursors.remove_all(ids).map(drop)?),
            TableChange::WritePicks(picks) => Ok(self.write_picks(picks)?),
            TableChange::PutFrontends(frontends) => Ok(self.put_frontends(frontends)?),
            TableChange::PutNetns(namespaces) => Ok(self.netns.put_all(namespaces)?),
            TableChange::RemoveNetns(cookies) => Ok(self.netns.remove_all(cookies).map(drop)?),
            TableChange::RemoveFrontends(keys) => Ok(self.remove_frontends(keys)?),
            TableChange::PurgeFlows(purge) => Ok(self.purge(purge)?),
        }
    }

    /// The number first, then its inverse: a packet that is let in finds whom it came from.
    fn put_vteps(
        &self,
        vteps: &[(u32, Local<Vtep>)],
        index: &BTreeMap<LinkName, u32>,
    ) -> Result<(), ContentsError> {
        let slot = |(number, vtep): &(u32, Local<Vtep>)| {
            // An uplink that has gone meanwhile: the next pass finds another way, the device this one.
            let vtep = numbered(vtep, index).unwrap_or(Vtep {
                address: vtep.value.address,
                ..Vtep::default()
            });
            (*number, vtep)
        };
        let slots: Vec<(u32, Vtep)> = vteps.iter().map(slot).collect();
        self.vteps.put_all(&slots)?;
        let others = slots.iter().filter(|(number, _)| *number != 0);
        let inverse: Vec<(Address, u32)> = others.map(|(n, vtep)| (vtep.address, *n)).collect();
        Ok(self.vtep_ids.put_all(&inverse)?)
    }

    fn remove_vteps(&self, vteps: &[(u32, Address)]) -> Result<(), TableError> {
        let addresses: Vec<Address> = vteps.iter().map(|(_, address)| *address).collect();
        self.vtep_ids.remove_all(&addresses)?;
        let empty: Vec<(u32, Vtep)> = vteps
            .iter()
            .map(|(number, _)| (*number, Vtep::default()))
            .collect();
        self.vteps.put_all(&empty)
    }

    fn put_endpoints(
        &self,
        endpoints: &[(abi::EndpointKey, Local<abi::Endpoint>)],
        index: &BTreeMap<LinkName, u32>,
    ) -> Result<(), ContentsError> {
        let mut missing = Ok(());
        let mut entries = Vec::with_capacity(endpoints.len());
        for (key, endpoint) in endpoints {
            match numbered(endpoint, index) {
                Ok(value) => entries.push((*key, value)),
                Err(error) => missing = Err(error),
            }
        }
        self.endpoints.put_all(&entries)?;
        missing
    }

    fn write_picks(&self, picks: &[(u32, Vec<u32>)]) -> Result<(), TableError> {
        let entries: Vec<(u32, u32)> = picks
            .iter()
            .flat_map(|(offset, ids)| (*offset..).zip(ids.iter().copied()))
            .collect();
        self.picks.put_all(&entries)
    }

    fn put_frontends(&self, frontends: &[(FrontendKey, Service)]) -> Result<(), TableError> {
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for (key, value) in frontends {
            match key {
                FrontendKey::Service(key) => inside.push((*key, *value)),
                FrontendKey::Published(key) => outside.push((*key, *value)),
            }
        }
        self.services.put_all(&inside)?;
        self.published.put_all(&outside)
    }

    fn remove_frontends(&self, keys: &[FrontendKey]) -> Result<(), TableError> {
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for key in keys {
            match key {
                FrontendKey::Service(key) => inside.push(*key),
                FrontendKey::Published(key) => outside.push(*key),
            }
        }
        self.published.remove_all(&outside)?;
        self.services.remove_all(&inside).map(drop)
    }

    fn purge(&self, purge: &Purge) -> Result<(), TableError> {
        let concerned = |(key, flow): &(FlowKey, Flow)| concerns(purge, key, flow);
        for table in [&self.flows, &self.embryos] {
            let gone: Vec<(FlowKey, Flow)> =
                table.entries()?.into_iter().filter(concerned).collect();
            self.forget_flows(table, &gone)?;
        }
        Ok(())
    }
}

pub(super) type Frontends = BTreeMap<FrontendKey, Balance>;
pub(super) type Places = BTreeMap<FrontendKey, Place>;

fn concerns(purge: &Purge, key: &FlowKey, flow: &Flow) -> bool {
    let endpoint = |address| {
        purge.endpoints.contains(&abi::EndpointKey {
            net: key.net,
            address,
        })
    };
    let through = matches!(flow.delivery.kind, delivery::TUNNEL | delivery::MESH)
        && purge.vteps.contains(&flow.delivery.target);
    let from = origin(key, flow).is_some_and(|node| purge.vteps.contains(&node));
    purge.backends.contains(&flow.backend)
        || endpoint(key.client)
        || endpoint(key.server)
        || through
        || from
}

fn link(index: u32, names: &LinkNames) -> LinkRef {
    names
        .get(&index)
        .map_or(LinkRef::Gone(index), |name| LinkRef::Named(name.clone()))
}

fn local<T: NamesLink>(value: T, names: &LinkNames) -> Local<T> {
    let index = value.ifindex();
    Local {
        link: (index != 0).then(|| link(index, names)),
        value: value.with_ifindex(0),
    }
}

fn number(link: &LinkRef, index: &BTreeMap<LinkName, u32>) -> Result<u32, ContentsError> {
    match link {
        LinkRef::Gone(number) => Ok(*number),
        LinkRef::Named(name) => index
            .get(name)
            .copied()
            .ok_or_else(|| ContentsError::NoLink(name.to_string())),
    }
}

fn numbered<T: NamesLink>(
    local: &Local<T>,
    index: &BTreeMap<LinkName, u32>,
) -> Result<T, ContentsError> {
    let number = local
        .link
        .as_ref()
        .map(|link| number(link, index))
        .transpose()?;
    Ok(local.value.with_ifindex(number.unwrap_or(0)))
}

/// Does as much as possible; returns the last error.
fn each<T>(
    items: &[T],
    act: impl Fn(&T) -> Result<(), ContentsError>,
) -> Result<(), ContentsError> {
    let mut result = Ok(());
    for item in items {
        result = act(item).and(result);
    }
    result
}

fn keys<V: Plain>(table: &Table<u32, V>) -> Result<BTreeSet<u32>, TableError> {
    Ok(table.entries()?.into_iter().map(|(key, _)| key).collect())
}

fn defaults<V: Default>(ids: &[u32]) -> Vec<(u32, V)> {
    ids.iter().map(|id| (*id, V::default())).collect()
}
