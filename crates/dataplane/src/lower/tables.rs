//! The contents of the maps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use abi::{
    Address, Backend, Endpoint, EndpointKey, EndpointKind, Iface, NetId, Network, PublishedKey,
    ServiceKey, Settings, backend_state, endpoint, iface, service_flag,
};

use super::{Facts, direct, node};
use crate::desired::{Desired, Frontend, Location, Published, Service};
use crate::names::mac_of;
use crate::picks::{self, Candidate};
use crate::problem::{Problem, ProblemCode};
use crate::tables::{Balance, FrontendKey, LinkRef, Local, Tables};

/// ICMP errors that each CPU sends in a second, as many as Linux itself allows (`icmp_msgs_per_sec`).
const ERRORS_PER_SECOND: u32 = 1000;

pub(super) fn lower(
    desired: &Desired,
    facts: &Facts,
    mtu: u32,
    problems: &mut Vec<Problem>,
) -> Tables {
    let vteps = number_vteps(desired, facts);
    if vteps.len() > facts.vtep_capacity as usize {
        problems.push(Problem::new(
            ProblemCode::Desired,
            format!(
                "{} nodes are more than the table of nodes holds",
                vteps.len()
            ),
            format!("at most {}", facts.vtep_capacity),
        ));
    }
    let lowering = Lowering {
        desired,
        facts,
        numbers: vteps
            .iter()
            .map(|(number, address)| (*address, *number))
            .collect(),
        backing: desired
            .backends
            .values()
            .map(|b| (b.net, b.address))
            .collect(),
    };
    let settings = Settings {
        ingress_net: desired.ingress.unwrap_or_default(),
        vxlan_ifindex: 0,
        data_path_port: desired.data_path_port,
        overlay_mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
        addressed_ports: u32::from(
            desired
                .published
                .keys()
                .any(|published| !published.address.is_unspecified()),
        ),
        errors_per_second: ERRORS_PER_SECOND,
    };
    let tunnel = Some(LinkRef::Named(facts.names.tunnel()));
    let frontends = lowering.frontends();
    Tables {
        settings: Some(Local {
            link: tunnel,
            value: settings,
        }),
        networks: desired
            .networks
            .iter()
            .map(|(net, n)| (*net, network(n)))
            .collect(),
        netns: super::sockets::lower(desired, facts),
        ifaces: lowering.ifaces(),
        addresses: own_addresses(facts),
        endpoints: lowering.endpoints(problems),
        backends: lowering.backends(problems),
        cursors: frontends.values().map(|balance| balance.service).collect(),
        loads: desired.backends.keys().copied().collect(),
        frontends,
        vteps: super::carrier::lower(desired, facts, &vteps),
    }
}

/// Numbers every node: the number it has, or the lowest that nobody has or is about to lose, since
/// flows may still name the old owner.
fn number_vteps(desired: &Desired, facts: &Facts) -> BTreeMap<u32, Address> {
    let own = Address::from(desired.address);
    let wanted: BTreeSet<Address> = desired.vteps.iter().map(|a| Address::from(*a)).collect();
    let mut vteps: BTreeMap<u32, Address> = facts
        .vteps
        .iter()
        .filter(|(number, address)| **number != 0 && wanted.contains(address))
        .map(|(number, address)| (*number, *address))
        .collect();
    vteps.insert(0, own);
    let numbered: BTreeSet<Address> = vteps
        .iter()
        .filter(|(number, _)| **number != 0)
        .map(|(_, address)| *address)
        .collect();
    let mut number = 1;
    for address in wanted.difference(&numbered) {
        while vteps.contains_key(&number) || facts.vteps.contains_key(&number) {
            number += 1;
        }
        vteps.insert(number, *address);
    }
    vteps
}

fn network(network: &crate::desired::Network) -> Network {
    let gateways: Vec<IpAddr> = network
        .subnets
        .iter()
        .map(|(_, gateway)| *gateway)
        .collect();
    let (gateway_v4, gateway_v6) = by_family(&gateways);
    Network {
        gateway_v4,
        gateway_v6,
    }
}

/// The first address of each family, or unspecified.
pub(super) fn by_family(addresses: &[IpAddr]) -> (Address, Address) {
    let first = |wanted: fn(&IpAddr) -> bool| {
        addresses
            .iter()
            .copied()
            .find(wanted)
            .map_or(Address::UNSPECIFIED, Address::from)
    };
    (first(IpAddr::is_ipv4), first(IpAddr::is_ipv6))
}

fn own_addresses(facts: &Facts) -> BTreeMap<Address, LinkRef> {
    let mut addresses = BTreeMap::new();
    for (name, uplink) in &facts.uplinks {
        for address in &uplink.addresses {
            addresses.insert(Address::from(*address), LinkRef::Named(name.clone()));
        }
    }
    addresses
}

struct Lowering<'a> {
    desired: &'a Desired,
    facts: &'a Facts,
    /// Underlay address to number.
    numbers: BTreeMap<Address, u32>,
    /// What some backend stands for.
    backing: BTreeSet<(NetId, IpAddr)>,
}

impl Lowering<'_> {
    fn ifaces(&self) -> BTreeMap<LinkRef, Iface> {
        let mut ifaces = BTreeMap::new();
        for (name, attachment) in &self.desired.attachments {
            let addresses: Vec<IpAddr> = attachment.addresses.iter().map(|a| a.ip()).collect();
            let (v4, v6) = by_family(&addresses);
            let iface = Iface {
                net: attachment.net,
                flags: self.backs(attachment.net, &addresses, iface::BACKS),
                v4,
                v6,
                mac: mac_of(attachment.net, name),
                ..Iface::default()
            };
            ifaces.insert(LinkRef::Named(self.facts.names.attachment(name)), iface);
        }
        for (namespace, gateway) in &self.desired.gateways {
            let (v4, v6) = by_family(&gateway.addresses);
            let (ingress_v4, ingress_v6) = by_family(&gateway.ingress);
            let ingress = self.desired.ingress.unwrap_or_default();
            let iface = Iface {
                net: NetId::GATEWAY,
                flags: iface::GATEWAY | self.backs(ingress, &gateway.ingress, iface::BACKS),
                v4,
                v6,
                ingress_v4,
                ingress_v6,
                mac: mac_of(NetId::GATEWAY, &namespace.to_string_lossy()),
                ..Iface::default()
            };
            ifaces.insert(LinkRef::Named(self.facts.names.gateway(namespace)), iface);
        }
        ifaces.extend(node::iface(self.desired, self.facts));
        ifaces
    }

    /// `flag`, if one of the addresses stands behind some service.
    fn backs(&self, net: NetId, addresses: &[IpAddr], flag: u32) -> u32 {
        let backs = addresses
            .iter()
            .any(|address| self.backing.contains(&(net, *address)));
        if backs { flag } else { 0 }
    }

    fn endpoints(&self, problems: &mut Vec<Problem>) -> BTreeMap<EndpointKey, Local<Endpoint>> {
        let key = |net, address: IpAddr| EndpointKey {
            net,
            address: address.into(),
        };
        let mut endpoints = BTreeMap::new();
        for (frontend, service) in &self.desired.services {
            let vip = endpoints
                .entry(key(frontend.net, frontend.address))
                .or_insert_with(|| nowhere(EndpointKind::Vip));
            if service.backends.iter().any(|id| self.weight(*id) > 0) {
                vip.value.flags |= endpoint::ANSWERS;
            }
        }
        for (net, network) in &self.desired.networks {
            for (_, gateway) in &network.subnets {
                endpoints.insert(key(*net, *gateway), nowhere(EndpointKind::Gateway));
            }
        }
        for ((net, address), endpoint) in &self.desired.endpoints {
            match self.locate(*net, *address, &endpoint.location) {
                Some(found) => drop(endpoints.insert(key(*net, *address), found)),
                None => problems.push(dangling(&format!("endpoint {address}"))),
            }
        }
        for (address, place) in self.desired.ingress.iter().flat_map(|net| {
            let nodes = self.desired.node_addresses.iter();
            nodes.map(|(address, place)| (key(*net, *address), place))
        }) {
            match self.node(*place) {
                Some(found) => drop(endpoints.insert(address, found)),
                None => problems.push(dangling(&format!("node {place}"))),
            }
        }
        for (namespace, gateway) in &self.desired.gateways {
            for address in &gateway.addresses {
                let location = Location::Gateway(namespace.clone());
                let found = self.locate(NetId::GATEWAY, *address, &location);
                endpoints.extend(found.map(|found| (key(NetId::GATEWAY, *address), found)));
            }
        }
        endpoints
    }

    /// The attachment of a node, by its underlay address.
    fn node(&self, node: IpAddr) -> Option<Local<Endpoint>> {
        let is_own = node == self.desired.address;
        let value = Endpoint {
            vtep: if is_own {
                0
            } else {
                *self.numbers.get(&Address::from(node))?
            },
            mac: if is_own {
                node::mac()
            } else {
                abi::Mac::default()
            },
            kind: EndpointKind::Node as u8,
            ..Endpoint::default()
        };
        let link = is_own.then(|| LinkRef::Named(self.facts.names.node()));
        Some(Local { link, value })
    }

    fn locate(&self, net: NetId, address: IpAddr, at: &Location) -> Option<Local<Endpoint>> {
        let names = &self.facts.names;
        let (link, mac, vtep) = match at {
            Location::Attachment(name) => {
                let attachment = self.desired.attachments.get(name)?;
                (
                    Some(names.attachment(name)),
                    mac_of(attachment.net, name),
                    0,
                )
            }
            Location::Gateway(namespace) => {
                self.desired.gateways.get(namespace)?;
                let mac = mac_of(NetId::GATEWAY, &namespace.to_string_lossy());
                (Some(names.gateway(namespace)), mac, 0)
            }
            Location::Node(node) => (
                None,
                abi::Mac::default(),
                *self.numbers.get(&Address::from(*node))?,
            ),
        };
        let backs = self.backing.contains(&(net, address));
        let value = Endpoint {
            ifindex: 0,
            vtep,
            mac,
            kind: EndpointKind::Task as u8,
            flags: if backs { endpoint::BACKS } else { 0 },
        };
        Some(Local {
            link: link.map(LinkRef::Named),
            value,
        })
    }

    fn backends(&self, problems: &mut Vec<Problem>) -> BTreeMap<u32, Backend> {
        let mut backends = BTreeMap::new();
        for (id, backend) in &self.desired.backends {
            let endpoint = self.desired.endpoints.get(&(backend.net, backend.address));
            let found = endpoint
                .and_then(|endpoint| self.locate(backend.net, backend.address, &endpoint.location));
            let Some(found) = found else {
                problems.push(dangling(&format!("backend {id} ({})", backend.address)));
                continue;
            };
            let value = Backend {
                address: backend.address.into(),
                net: backend.net,
                vtep: found.value.vtep,
                port: backend.port,
                weight: backend.weight,
                state: if backend.is_draining {
                    backend_state::DRAINING
                } else {
                    backend_state::READY
                },
                reserved: [0; 3],
            };
            backends.insert(*id, value);
        }
        backends
    }

    fn frontends(&self) -> BTreeMap<FrontendKey, Balance> {
        let inside = self.desired.services.iter().map(|(frontend, service)| {
            (
                service_key(frontend),
                self.balance(service, every_port(frontend)),
            )
        });
        let outside = self.desired.published.iter().map(|(published, service)| {
            (
                published_key(published),
                self.balance(service, service_flag::PUBLISHED | self.direct(service)),
            )
        });
        inside.chain(outside).collect()
    }

    fn direct(&self, service: &Service) -> u32 {
        if service.returns_direct && direct::is_proven(self.desired, self.facts, service) {
            service_flag::DSR
        } else {
            0
        }
    }

    fn weight(&self, id: u32) -> u16 {
        self.desired
            .backends
            .get(&id)
            .map_or(0, |backend| backend.weight)
    }

    /// Who may be picked: ready backends, or where there is none that takes flows, those that drain. The
    /// last one of a service serves until it is gone.
    fn candidates(&self, service: &Service) -> Vec<Candidate> {
        let backends = service.backends.iter();
        let known = backends.filter_map(|id| Some((*id, self.desired.backends.get(id)?)));
        let (draining, ready): (Vec<_>, Vec<_>) =
            known.partition(|(_, backend)| backend.is_draining);
        let candidates = |backends: Vec<(u32, &crate::desired::Backend)>| {
            let candidates = backends.into_iter().map(|(id, backend)| Candidate {
                id,
                weight: backend.weight,
            });
            candidates
                .filter(|candidate| candidate.weight > 0)
                .collect::<Vec<_>>()
        };
        let ready = candidates(ready);
        if ready.is_empty() {
            return candidates(draining);
        }
        ready
    }

    fn balance(&self, service: &Service, flags: u32) -> Balance {
        let candidates = self.candidates(service);
        Balance {
            service: service.id,
            algorithm: service.algorithm,
            flags,
            affinity_seconds: service.affinity_seconds,
            picks: picks::table(service.algorithm, &candidates),
        }
    }
}

fn every_port(frontend: &Frontend) -> u32 {
    if frontend.port.is_none() {
        service_flag::EVERY_PORT
    } else {
        0
    }
}

/// An address that every node answers for.
fn nowhere(kind: EndpointKind) -> Local<Endpoint> {
    Local {
        link: None,
        value: Endpoint {
            kind: kind as u8,
            ..Endpoint::default()
        },
    }
}

fn dangling(what: &str) -> Problem {
    Problem::new(
        ProblemCode::Desired,
        format!("{what} is at a place that does not exist"),
        "",
    )
}

fn service_key(frontend: &Frontend) -> FrontendKey {
    let (port, protocol) = frontend.port.unwrap_or((0, 0));
    let address = frontend.address.into();
    FrontendKey::Service(ServiceKey {
        net: frontend.net,
        address,
        port,
        protocol,
        reserved: 0,
    })
}

fn published_key(published: &Published) -> FrontendKey {
    let Published {
        address,
        port,
        protocol,
    } = *published;
    FrontendKey::Published(PublishedKey {
        address: address.into(),
        port,
        protocol,
        reserved: 0,
    })
}
