//! A kernel that does what it is told and nothing else, and complains about what the real one would
//! refuse or what traffic would suffer from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use abi::{Backend, Endpoint, EndpointKey, Iface, Service, Settings};

use super::{Change, EndChange, EndRef, Observed, Side, TableChange, bare};
use crate::tables::{Balance, FrontendKey, LinkRef, Local, NamesLink, Place, Tables};
use crate::world::{End, Hook, LinkName, Pair, Program, World};

pub(super) const PICKS: u32 = 65_536;

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    world: World,
    touched: BTreeSet<PathBuf>,
    links: BTreeMap<LinkName, u32>,
    last_link: u32,
    hooks: BTreeSet<(u32, Program)>,
    settings: Option<Settings>,
    ifaces: BTreeMap<u32, Iface>,
    addresses: BTreeMap<abi::Address, u32>,
    endpoints: BTreeMap<EndpointKey, Endpoint>,
    backends: BTreeMap<u32, Backend>,
    frontends: BTreeMap<FrontendKey, Service>,
    picks: BTreeMap<u32, u32>,
    original_sysctls: BTreeMap<String, String>,
    /// One flow to each backend and one from each endpoint, with where they were when it began.
    flows: (BTreeMap<u32, Backend>, BTreeMap<EndpointKey, Endpoint>),
}

impl Model {
    /// A node with these interfaces of its own.
    pub(super) fn new(uplinks: &[LinkName]) -> Self {
        let mut model = Self::default();
        for name in uplinks {
            model.add_link(name);
        }
        model
    }

    pub(super) fn observe(&self) -> Observed {
        let link = |number: &u32| {
            let name = self.links.iter().find(|(_, other)| *other == number);
            name.map_or(LinkRef::Gone(*number), |(name, _)| {
                LinkRef::Named(name.clone())
            })
        };
        let mut world = self.world.clone();
        world.hooks = self
            .hooks
            .iter()
            .map(|(n, program)| Hook {
                link: link(n),
                program: *program,
            })
            .collect();
        world.tables = Tables {
            settings: self.settings.map(|settings| local(settings, link)),
            ifaces: self
                .ifaces
                .iter()
                .map(|(n, iface)| (link(n), *iface))
                .collect(),
            addresses: self.addresses.iter().map(|(a, n)| (*a, link(n))).collect(),
            endpoints: self
                .endpoints
                .iter()
                .map(|(k, e)| (*k, local(*e, link)))
                .collect(),
            backends: self.backends.clone(),
            frontends: self
                .frontends
                .iter()
                .map(|(k, s)| (*k, self.balance(s)))
                .collect(),
            ..world.tables
        };
        Observed {
            world,
            places: self
                .frontends
                .iter()
                .map(|(key, service)| (*key, Place::of(service)))
                .collect(),
            pick_capacity: PICKS,
            touched: self.touched.clone(),
            indexes: self.links.clone(),
            ..Observed::default()
        }
    }

    fn balance(&self, service: &Service) -> Balance {
        let place = Place::of(service);
        let picks = if place.range().is_empty() {
            service
                .inline
                .iter()
                .copied()
                .take(service.pick_length as usize)
                .collect()
        } else {
            place.range().map(|at| self.picks[&at]).collect()
        };
        let algorithm = abi::Algorithm::from_u32(service.algorithm).unwrap();
        Balance {
            service: service.id,
            algorithm,
            flags: service.flags,
            affinity_seconds: service.affinity_seconds,
            picks,
        }
    }

    pub(super) fn apply(&mut self, change: &Change) {
        self.change(change);
        self.check(change);
    }

    /// No flow leads to where nobody is any more.
    pub(super) fn check_flows(&self) {
        for (id, then) in &self.flows.0 {
            let now = self
                .backends
                .get(id)
                .expect("a flow to a backend that is gone");
            let place = |b: &Backend| (b.net, b.address, b.port, b.vtep);
            assert_eq!(place(now), place(then), "a flow to where the backend was");
        }
        for (key, then) in &self.flows.1 {
            let now = self
                .endpoints
                .get(key)
                .expect("a flow of an endpoint that is gone");
            let place = |e: &Endpoint| (e.ifindex, e.vtep, e.mac, e.kind);
            assert_eq!(place(now), place(then), "a flow of where the endpoint was");
        }
    }

    /// What a new process does once: forgets flows that lead nowhere.
    pub(super) fn sweep(&mut self) {
        let place = |b: &Backend| (b.net, b.address, b.port, b.vtep);
        let backends = &self.backends;
        self.flows
            .0
            .retain(|id, then| backends.get(id).map(place) == Some(place(then)));
        self.flows.1.clear();
    }

    /// Begins the flows that end with what they belong to.
    pub(super) fn begin_flows(&mut self) {
        self.flows = (self.backends.clone(), self.endpoints.clone());
    }

    /// What traffic relies on between any two changes.
    fn check(&self, after: &Change) {
        for service in self.frontends.values() {
            for id in self.balance(service).backends() {
                assert!(
                    self.backends.contains_key(&id),
                    "a pick of nobody after {after:?}"
                );
            }
        }
        for backend in self.backends.values() {
            let known = self.world.tables.vteps.contains_key(&backend.vtep);
            assert!(known, "a backend on no node after {after:?}");
        }
        if let Change::Configure {
            end,
            change: EndChange::Up,
        } = after
        {
            let number = self.links[&end.pair];
            assert!(
                self.hooks.contains(&(number, Program::FromTask)),
                "up without its program"
            );
            assert!(
                self.ifaces.contains_key(&number),
                "up before its program knows it"
            );
        }
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::SetSysctl { key, value } => {
                self.original_sysctls.entry(key.clone()).or_default();
                self.world.sysctls.insert(key.clone(), value.clone());
            }
            Change::RestoreSysctl { key } => {
                assert!(self.original_sysctls.remove(key).is_some());
                self.world.sysctls.remove(key);
            }
            Change::CreateTunnel { name, tunnel } => {
                assert!(
                    self.world.tunnel.is_none(),
                    "two devices cannot share a port"
                );
                self.add_link(name);
                let tunnel = crate::world::Tunnel {
                    up: false,
                    ..*tunnel
                };
                self.world.tunnel = Some((name.clone(), tunnel));
            }
            Change::SetTunnelMtu { mtu, .. } => self.world.tunnel.as_mut().unwrap().1.mtu = *mtu,
            Change::SetTunnelUp { .. } => self.world.tunnel.as_mut().unwrap().1.up = true,
            Change::CreatePair { name, pair } => {
                self.add_link(name);
                let task_end = |pair: &Pair| (pair.namespace.clone(), pair.interface.clone());
                let mut others = self.world.pairs.values();
                assert!(
                    others.all(|other| task_end(other) != task_end(pair)),
                    "{} exists in the namespace",
                    pair.interface
                );
                self.world.pairs.insert(name.clone(), bare(pair));
            }
            Change::DeleteLink { name } => {
                assert!(self.links.remove(name).is_some(), "{name} does not exist");
                self.world.pairs.remove(name);
                self.world.tunnel.take_if(|(tunnel, _)| tunnel == name);
            }
            Change::Configure { end, change } => configure(self.end(end), change),
            Change::AddRule { namespace, rule } => {
                self.touched.insert(namespace.clone());
                let rules = &mut self
                    .world
                    .namespaces
                    .entry(namespace.clone())
                    .or_default()
                    .rules;
                assert!(rules.insert(*rule));
            }
            Change::RemoveRule { namespace, rule } => {
                assert!(
                    self.world
                        .namespaces
                        .get_mut(namespace)
                        .unwrap()
                        .rules
                        .remove(rule)
                );
            }
            Change::SetNamespaceSysctl {
                namespace,
                key,
                value,
            } => {
                self.touched.insert(namespace.clone());
                let namespace = self.world.namespaces.entry(namespace.clone()).or_default();
                namespace.sysctls.insert(key.clone(), value.clone());
            }
            Change::RestoreNamespace { namespace } => {
                assert!(self.touched.remove(namespace));
                let restored = self.world.namespaces.remove(namespace).unwrap_or_default();
                assert!(restored.rules.is_empty());
            }
            Change::ReplaceFirewall { firewall } => self.world.firewall = Some(firewall.clone()),
            Change::DeleteFirewall { .. } => self.world.firewall = None,
            Change::Attach { hook } => {
                let number = self.number(&hook.link);
                assert!(self.hooks.insert((number, hook.program)), "attached twice");
            }
            Change::Detach { hook } => {
                let number = self.number(&hook.link);
                assert!(self.hooks.remove(&(number, hook.program)));
            }
            Change::AttachSockets { hooks } => {
                for hook in hooks {
                    assert!(self.world.sockets.insert(*hook), "attached twice");
                }
            }
            Change::DetachSocket { hook } => assert!(self.world.sockets.remove(hook)),
            Change::Table(change) => self.table(change),
        }
    }

    fn table(&mut self, change: &TableChange) {
        let tables = &mut self.world.tables;
        match change {
            TableChange::PutSettings(settings) => self.settings = Some(self.numbered(settings)),
            TableChange::PutVteps(vteps) => tables.vteps.extend(vteps.iter().cloned()),
            TableChange::RemoveVteps(vteps) => {
                tables
                    .vteps
                    .retain(|number, vtep| !vteps.contains(&(*number, vtep.value.address)));
            }
            TableChange::PutNetworks(networks) => tables.networks.extend(networks.iter().copied()),
            TableChange::RemoveNetworks(keys) => {
                tables.networks.retain(|key, _| !keys.contains(key));
            }
            TableChange::PutIfaces(ifaces) => {
                for (link, iface) in ifaces {
                    self.ifaces.insert(self.number(link), *iface);
                }
            }
            TableChange::RemoveIfaces(links) => {
                for link in links {
                    assert!(self.ifaces.remove(&self.number(link)).is_some());
                }
            }
            TableChange::PutAddresses(addresses) => {
                for (address, link) in addresses {
                    self.addresses.insert(*address, self.number(link));
                }
            }
            TableChange::RemoveAddresses(keys) => {
                self.addresses.retain(|key, _| !keys.contains(key));
            }
            TableChange::PutEndpoints(endpoints) => {
                for (key, endpoint) in endpoints {
                    self.endpoints.insert(*key, self.numbered(endpoint));
                }
            }
            TableChange::RemoveEndpoints(keys) => {
                self.endpoints.retain(|key, _| !keys.contains(key));
            }
            TableChange::PutNetns(namespaces) => tables.netns.extend(namespaces.iter().copied()),
            TableChange::RemoveNetns(keys) => {
                tables.netns.retain(|key, _| !keys.contains(key));
            }
            TableChange::PutLoads(ids) => tables.loads.extend(ids),
            TableChange::RemoveLoads(ids) => tables.loads.retain(|id| !ids.contains(id)),
            TableChange::PutCursors(ids) => tables.cursors.extend(ids),
            TableChange::RemoveCursors(ids) => tables.cursors.retain(|id| !ids.contains(id)),
            TableChange::PutBackends(backends) => self.backends.extend(backends.iter().copied()),
            TableChange::RemoveBackends(ids) => self.backends.retain(|id, _| !ids.contains(id)),
            TableChange::WritePicks(picks) => self.write_picks(picks),
            TableChange::PutFrontends(frontends) => {
                for (key, service) in frontends {
                    self.check_second(key, service);
                    self.frontends.insert(*key, *service);
                }
            }
            TableChange::RemoveFrontends(keys) => {
                self.frontends.retain(|key, _| !keys.contains(key));
            }
            TableChange::PurgeFlows(purge) => {
                self.flows.0.retain(|id, _| !purge.backends.contains(id));
                self.flows.1.retain(|key, _| !purge.endpoints.contains(key));
                let picked = self
                    .frontends
                    .values()
                    .flat_map(|s| self.balance(s).backends().collect::<Vec<_>>());
                let moved =
                    |id: &u32| purge.backends.contains(id) && !self.backends.contains_key(id);
                assert!(
                    !picked.collect::<Vec<_>>().iter().any(moved),
                    "purged while picked"
                );
            }
        }
    }

    /// The second choice of a new value is what the old one picks from.
    fn check_second(&self, key: &FrontendKey, new: &Service) {
        let second = Place::of(new).second_range();
        if second.is_empty() {
            return;
        }
        let kept: Vec<u32> = second.map(|at| self.picks[&at]).collect();
        let old = self.balance(&self.frontends[key]);
        assert_eq!(kept, old.picks, "another table than the one before");
    }

    /// Old picks must stay readable: programs may hold a value that names them.
    fn write_picks(&mut self, picks: &[(u32, Vec<u32>)]) {
        for (offset, ids) in picks {
            for (at, id) in (*offset..).zip(ids) {
                assert!(at < PICKS);
                let used = self
                    .frontends
                    .values()
                    .map(Place::of)
                    .any(|it| it.range().contains(&at) || it.second_range().contains(&at));
                assert!(!used, "picks in use are overwritten");
                self.picks.insert(at, *id);
            }
        }
    }

    fn add_link(&mut self, name: &LinkName) {
        self.last_link += 1;
        assert!(
            self.links.insert(name.clone(), self.last_link).is_none(),
            "{name} exists"
        );
    }

    fn number(&self, link: &LinkRef) -> u32 {
        match link {
            LinkRef::Named(name) => self.links[name],
            LinkRef::Gone(number) => {
                assert!(!self.links.values().any(|other| other == number));
                *number
            }
        }
    }

    fn numbered<T: NamesLink>(&self, value: &Local<T>) -> T {
        value
            .value
            .with_ifindex(value.link.as_ref().map_or(0, |link| self.number(link)))
    }

    fn end(&mut self, end: &EndRef) -> &mut End {
        let pair: &mut Pair = self.world.pairs.get_mut(&end.pair).expect("pair exists");
        match &end.side {
            Side::Node => &mut pair.node,
            Side::Task {
                namespace,
                interface,
            } => {
                assert_eq!((namespace, interface), (&pair.namespace, &pair.interface));
                &mut pair.task
            }
        }
    }
}

fn local<T: NamesLink>(value: T, link: impl Fn(&u32) -> LinkRef) -> Local<T> {
    let number = value.ifindex();
    Local {
        link: (number != 0).then(|| link(&number)),
        value: value.with_ifindex(0),
    }
}

fn configure(end: &mut End, change: &EndChange) {
    match change {
        EndChange::Mac(mac) => end.mac = *mac,
        EndChange::Mtu(mtu) => end.mtu = *mtu,
        EndChange::Up => {
            let settled = end.sysctls.contains_key("ipv6/addr_gen_mode");
            assert!(settled, "the kernel makes an address of its own");
            end.up = true;
        }
        EndChange::Sysctl(key, value) => drop(end.sysctls.insert(key, value.clone())),
        EndChange::AddAddress(address) => assert!(end.addresses.insert(*address)),
        EndChange::RemoveAddress(address) => assert!(end.addresses.remove(address)),
        EndChange::AddRoute(route) => {
            assert!(end.up, "the network is down");
            let same = |old: &&crate::world::Route| {
                (old.table, old.destination) == (route.table, route.destination)
            };
            assert!(!end.routes.iter().any(|old| same(&old)), "file exists");
            end.routes.insert(route.clone());
        }
        EndChange::RemoveRoute(route) => assert!(end.routes.remove(route)),
        EndChange::AddNeighbour(address, mac) => drop(end.neighbours.insert(*address, *mac)),
        EndChange::RemoveNeighbour(address) => assert!(end.neighbours.remove(address).is_some()),
    }
}
