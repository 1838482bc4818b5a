//! From the kernel to what the planner compares.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::kernel::bpf::{LinkNames, PinError, PinnedLink, TableError};
use crate::kernel::netlink::{Kind, Link, LinkAddress, LinkNeighbour, Netlink, NetlinkError};
use crate::kernel::netns::{Netns, NetnsError};
use crate::kernel::nft::{self, NftError};
use crate::kernel::sysctl::{self, SysctlError};
use crate::lower::carrier::{Medium, NextHop};
use crate::lower::direct::Proof;
use crate::lower::{FORWARDING_V6, Facts, RESERVED_PORTS, Uplink};
use crate::names::{self, LinkRole, Names};
use crate::plan::Observed;
use crate::record::Record;
use crate::tables::LinkRef;
use crate::world::{End, Hook, LinkName, Namespace, Pair, Route, SocketHook, Tunnel, World};

/// The kernel cannot be observed; nothing has been changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObserveError {
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    #[error(transparent)]
    Nft(#[from] NftError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// What is known of the other nodes, and of the ways to them.
#[derive(Debug)]
pub(crate) struct Nodes {
    pub(crate) vteps: BTreeMap<u32, abi::Address>,
    pub(crate) vtep_capacity: u32,
    pub(crate) next_hops: BTreeMap<IpAddr, NextHop>,
    pub(crate) native: Result<(), String>,
    pub(crate) direct: BTreeMap<IpAddr, Proof>,
}

/// The node's own side: its interfaces and what is on them.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) links: Vec<Link>,
    addresses: Vec<LinkAddress>,
    neighbours: Vec<LinkNeighbour>,
    routes: Vec<(u32, Route)>,
}

impl Node {
    pub(crate) async fn observe(netlink: &Netlink) -> Result<Self, NetlinkError> {
        Ok(Self {
            links: netlink.links().await?,
            addresses: netlink.addresses().await?,
            neighbours: netlink.neighbours().await?,
            routes: netlink.routes().await?,
        })
    }

    /// Names of all interfaces by number.
    pub(crate) fn names(&self) -> LinkNames {
        named(&self.links)
    }

    /// Everything about the node that is not ours to decide.
    pub(crate) fn facts(
        &self,
        names: &Names,
        record: &Record,
        nodes: Nodes,
    ) -> Result<Facts, ObserveError> {
        let before = |key: &str| match record.node().get(key) {
            Some(value) => Ok(Some(value.clone())),
            None => sysctl::read(key),
        };
        let mut uplinks = self.uplinks();
        for (name, uplink) in &mut uplinks {
            let accept_ra = before(&format!("net/ipv6/conf/{name}/accept_ra"))?;
            uplink.accepts_ra = accept_ra.as_deref() == Some("1");
        }
        Ok(Facts {
            names: names.clone(),
            uplinks,
            cookie: None,
            cookies: BTreeMap::new(),
            vteps: nodes.vteps,
            vtep_capacity: nodes.vtep_capacity,
            next_hops: nodes.next_hops,
            native: nodes.native,
            direct: nodes.direct,
            reserved_ports: before(RESERVED_PORTS)?.unwrap_or_default(),
            forwarded_v6: before(FORWARDING_V6)?.map(|value| value != "0"),
        })
    }

    /// The interfaces that are not ours, loopback excepted, without their settings.
    pub(crate) fn uplinks(&self) -> BTreeMap<LinkName, Uplink> {
        let uplink = |link: &Link| {
            let foreign = link.kind != Kind::Loopback && names::parse(&link.name).is_none();
            let addresses = self.global_addresses(link.index);
            let name = LinkName::new(&link.name).filter(|_| foreign)?;
            Some((
                name,
                Uplink {
                    mtu: link.mtu,
                    addresses,
                    medium: medium(link.kind),
                    accepts_ra: false,
                },
            ))
        };
        self.links.iter().filter_map(uplink).collect()
    }

    fn global_addresses(&self, index: u32) -> BTreeSet<IpAddr> {
        let own = self
            .addresses
            .iter()
            .filter(|a| a.index == index && a.global);
        own.map(|a| a.address.ip()).collect()
    }

    fn end(&self, link: &Link) -> End {
        end(link, &self.addresses, &self.neighbours, &self.routes)
    }
}

/// Names of interfaces by number.
pub(crate) fn named(links: &[Link]) -> LinkNames {
    let named = |link: &Link| Some((link.index, LinkName::new(&link.name)?));
    links.iter().filter_map(named).collect()
}

/// What is on the other sides of the node's interfaces.
#[derive(Debug)]
struct Inside {
    links: Vec<Link>,
    addresses: Vec<LinkAddress>,
    neighbours: Vec<LinkNeighbour>,
    routes: Vec<(u32, Route)>,
    namespace: Namespace,
    /// Values by interface and setting.
    sysctls: BTreeMap<(LinkName, &'static str), String>,
}

/// Where things are to be looked for, and what the pins and maps say.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) names: &'a Names,
    pub(crate) node: &'a Node,
    pub(crate) record: &'a Record,
    pub(crate) pinned: Vec<PinnedLink>,
    pub(crate) sockets: BTreeSet<SocketHook>,
}

/// Observes everything that `wanted` speaks of, and everything of ours that it does not. The tables
/// are left to the caller.
pub(crate) async fn observe(
    wanted: &World,
    sources: Sources<'_>,
) -> Result<Observed, ObserveError> {
    let node = sources.node;
    let inside = observe_namespaces(wanted, sources.record).await?;
    let mut observed = Observed::default();
    for link in &node.links {
        let Some(name) = LinkName::new(&link.name) else {
            continue;
        };
        let Some(role) = sources.names.role(&link.name) else {
            continue;
        };
        observed.indexes.insert(name.clone(), link.index);
        match role {
            LinkRole::Tunnel => observed.world.tunnel = Some((name, tunnel(link))),
            // Goes with the other end.
            LinkRole::NodeFar => {}
            LinkRole::Attachment | LinkRole::Gateway | LinkRole::Node => {
                match pair(link, &name, wanted, node, &inside)? {
                    Some(pair) => drop(observed.world.pairs.insert(name, pair)),
                    None => observed.broken.push(name),
                }
            }
        }
    }
    observed.world.hooks = hooks(&sources.pinned, &node.names());
    observed.world.sockets = sources.sockets;
    observed.world.sysctls = node_sysctls(wanted, sources.record)?;
    observed.touched = sources.record.namespaces().keys().cloned().collect();
    observed.world.namespaces = inside
        .into_iter()
        .map(|(path, inside)| (path, inside.namespace))
        .collect();
    observed.world.firewall = nft::observe(&sources.names.table())?;
    Ok(observed)
}

fn medium(kind: Kind) -> Medium {
    match kind {
        Kind::Veth | Kind::Ethernet => Medium::Ethernet,
        Kind::Layered | Kind::Vxlan { .. } => Medium::Layered,
        Kind::Loopback | Kind::Other => Medium::Other,
    }
}

fn tunnel(link: &Link) -> Tunnel {
    let (port, external) = match link.kind {
        Kind::Vxlan { port, external } => (port, external),
        Kind::Loopback | Kind::Veth | Kind::Ethernet | Kind::Layered | Kind::Other => (0, false),
    };
    Tunnel {
        port,
        mtu: link.mtu,
        up: link.up,
        external,
    }
}

/// Finds the other end of a pair; `None` when it is not where it should be, or, of a pair that is not
/// wanted, when it is in no namespace that is looked into.
fn pair(
    link: &Link,
    name: &LinkName,
    wanted: &World,
    node: &Node,
    inside: &BTreeMap<PathBuf, Inside>,
) -> Result<Option<Pair>, SysctlError> {
    let wanted = wanted.pairs.get(name);
    let is_peer = |other: &&Link| {
        other.kind == Kind::Veth && link.peer == Some(other.index) && other.peer == Some(link.index)
    };
    let mut places = inside
        .iter()
        .filter(|(path, _)| wanted.is_none_or(|wanted| wanted.namespace == **path));
    let found = places.find_map(|(path, inside)| {
        let peer = inside.links.iter().find(is_peer)?;
        Some((path, inside, peer, LinkName::new(&peer.name)?))
    });
    let Some((namespace, inside, peer, interface)) = found else {
        return Ok(None);
    };
    let mut near = node.end(link);
    for key in wanted.into_iter().flat_map(|pair| pair.node.sysctls.keys()) {
        near.sysctls
            .extend(sysctl::read(&end_sysctl(name, key))?.map(|value| (*key, value)));
    }
    let mut far = end(peer, &inside.addresses, &inside.neighbours, &inside.routes);
    far.sysctls = inside
        .sysctls
        .iter()
        .filter(|((link, _), _)| *link == interface)
        .map(|((_, key), value)| (*key, value.clone()))
        .collect();
    Ok(Some(Pair {
        namespace: namespace.clone(),
        interface,
        node: near,
        task: far,
    }))
}

fn end(
    link: &Link,
    addresses: &[LinkAddress],
    neighbours: &[LinkNeighbour],
    routes: &[(u32, Route)],
) -> End {
    let here = |index: u32| index == link.index;
    End {
        mac: link.mac,
        mtu: link.mtu,
        up: link.up,
        addresses: addresses
            .iter()
            .filter(|a| here(a.index) && a.global)
            .map(|a| a.address)
            .collect(),
        routes: routes
            .iter()
            .filter(|(index, _)| here(*index))
            .map(|(_, r)| r.clone())
            .collect(),
        neighbours: neighbours
            .iter()
            .filter(|n| here(n.index))
            .map(|n| (n.address, n.mac))
            .collect(),
        sysctls: BTreeMap::new(),
    }
}

/// The path below /proc/sys of a per-interface setting.
pub(crate) fn end_sysctl(link: &LinkName, key: &str) -> String {
    let (family, name) = key.split_once('/').unwrap_or(("ipv4", key));
    format!("net/{family}/conf/{link}/{name}")
}

fn hooks(pinned: &[PinnedLink], names: &LinkNames) -> BTreeSet<Hook> {
    let hook = |pinned: &PinnedLink| {
        let name = names.get(&pinned.ifindex).filter(|_| pinned.alive);
        let link = name.map_or(LinkRef::Gone(pinned.ifindex), |n| LinkRef::Named(n.clone()));
        Hook {
            link,
            program: pinned.program,
        }
    };
    pinned.iter().map(hook).collect()
}

fn node_sysctls(wanted: &World, record: &Record) -> Result<BTreeMap<String, String>, SysctlError> {
    read_sysctls(
        &wanted
            .sysctls
            .keys()
            .chain(record.node().keys())
            .cloned()
            .collect(),
    )
}

fn read_sysctls(keys: &BTreeSet<String>) -> Result<BTreeMap<String, String>, SysctlError> {
    let mut values = BTreeMap::new();
    for key in keys {
        values.extend(sysctl::read(key)?.map(|value| (key.clone(), value)));
    }
    Ok(values)
}

/// What has to be read in one namespace.
struct Questions {
    path: PathBuf,
    /// Settings of the namespace.
    settings: BTreeSet<String>,
    /// Settings of its interfaces.
    ends: BTreeSet<(LinkName, &'static str)>,
}

async fn observe_namespaces(
    wanted: &World,
    record: &Record,
) -> Result<BTreeMap<PathBuf, Inside>, ObserveError> {
    let wanted_paths: BTreeSet<&Path> = wanted
        .pairs
        .values()
        .map(|pair| pair.namespace.as_path())
        .chain(wanted.namespaces.keys().map(PathBuf::as_path))
        .collect();
    let recorded = record.namespaces().keys().map(PathBuf::as_path);
    let all: BTreeSet<&Path> = wanted_paths.iter().copied().chain(recorded).collect();
    let mut inside = BTreeMap::new();
    for path in all {
        let namespace = match Netns::open(path) {
            Ok(namespace) => namespace,
            // A namespace that has gone took everything of ours with it.
            Err(_) if !wanted_paths.contains(path) => continue,
            Err(error) => return Err(error.into()),
        };
        let questions = questions(path, wanted, record);
        inside.insert(
            path.to_owned(),
            observe_namespace(&namespace, &questions).await?,
        );
    }
    Ok(inside)
}

fn questions(path: &Path, wanted: &World, record: &Record) -> Questions {
    let settings = match wanted.namespaces.get(path) {
        Some(namespace) => namespace.sysctls.keys().cloned().collect(),
        None => record
            .namespaces()
            .get(path)
            .into_iter()
            .flat_map(|s| s.keys().cloned())
            .collect(),
    };
    let pairs = wanted.pairs.values().filter(|pair| pair.namespace == path);
    let ends = pairs.flat_map(|pair| {
        pair.task
            .sysctls
            .keys()
            .map(|key| (pair.interface.clone(), *key))
    });
    Questions {
        path: path.to_owned(),
        settings,
        ends: ends.collect(),
    }
}

async fn observe_namespace(
    namespace: &Netns,
    questions: &Questions,
) -> Result<Inside, ObserveError> {
    let (settings, sysctls) = namespace.run(|| read_inside(questions))??;
    let netlink = Netlink::open_in(namespace)??;
    tracing::trace!(path = %questions.path.display(), "observing namespace");
    Ok(Inside {
        links: netlink.links().await?,
        addresses: netlink.addresses().await?,
        neighbours: netlink.neighbours().await?,
        routes: netlink.routes().await?,
        namespace: Namespace {
            rules: netlink.rules().await?.into_iter().collect(),
            sysctls: settings,
        },
        sysctls,
    })
}

type EndSysctls = BTreeMap<(LinkName, &'static str), String>;

fn read_inside(
    questions: &Questions,
) -> Result<(BTreeMap<String, String>, EndSysctls), SysctlError> {
    let settings = read_sysctls(&questions.settings)?;
    let mut sysctls = BTreeMap::new();
    for (link, key) in &questions.ends {
        let value = sysctl::read(&end_sysctl(link, key))?;
        sysctls.extend(value.map(|value| ((link.clone(), *key), value)));
    }
    Ok((settings, sysctls))
}
