//! One node's part of the cluster, in the terms of the data plane.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use dataplane::{
    Algorithm, Attachment, Backend, Carrier, Desired, Endpoint, Frontend, Gateway, Location, NetId,
    Network, Published, Service,
};
use ipnetwork::IpNetwork;
use model::{
    BackendKind, Family, FrontendKind, NetworkName, NodeName, PerFamily, PublishMode, Returns,
    Topology, Vni,
};

/// What the kernel of a node should look like; `None` when the topology has no such node.
pub(crate) fn desired(topology: &Topology, node: &NodeName) -> Option<Desired> {
    let this = topology.nodes.get(node)?;
    let part = Part { topology, node };
    let (services, published) = part.frontends();
    Some(Desired {
        address: this.address,
        carrier: match this.carrier {
            model::Carrier::Auto => Carrier::Auto,
            model::Carrier::Native => Carrier::Native,
            model::Carrier::Device => Carrier::Device,
        },
        data_path_port: topology.data_path_port.get(),
        ingress: topology.ingress.as_ref().map(|ingress| net(ingress.vni)),
        gateway_blocks: this.gateway.iter().copied().collect(),
        vteps: part.others().collect(),
        networks: part.networks(),
        node_addresses: part.node_addresses(),
        endpoints: part.endpoints(),
        attachments: part.attachments(),
        gateways: part.gateways(),
        services,
        published,
        backends: part.backends(),
    })
}

struct Part<'a> {
    topology: &'a Topology,
    node: &'a NodeName,
}

impl Part<'_> {
    fn others(&self) -> impl Iterator<Item = IpAddr> {
        let others = self
            .topology
            .nodes
            .iter()
            .filter(|(name, _)| *name != self.node);
        others.map(|(_, node)| node.address)
    }

    fn networks(&self) -> BTreeMap<NetId, Network> {
        let mut networks = BTreeMap::new();
        for (name, network) in &self.topology.networks {
            let described = Network {
                name: name.to_string(),
                subnets: pairs(&network.subnets, &network.gateways),
                mtu: network.mtu,
                socket_lb: network.socket_lb,
            };
            networks.insert(net(network.vni), described);
        }
        if let Some(ingress) = &self.topology.ingress {
            let subnets = pairs(&ingress.subnets, &ingress.gateways);
            let described = Network {
                name: NetworkName::INGRESS.to_owned(),
                subnets,
                mtu: None,
                socket_lb: true,
            };
            networks.insert(net(ingress.vni), described);
        }
        networks
    }

    fn node_addresses(&self) -> BTreeMap<IpAddr, IpAddr> {
        let nodes = self.topology.nodes.values();
        nodes
            .flat_map(|node| node.ingress.iter().map(|address| (*address, node.address)))
            .collect()
    }

    fn endpoints(&self) -> BTreeMap<(NetId, IpAddr), Endpoint> {
        let mut endpoints = BTreeMap::new();
        for (name, endpoint) in &self.topology.endpoints {
            let here = || Location::Attachment(name.to_string());
            let location = self.location(&endpoint.task.node, here);
            let net = self.net_of(&endpoint.network);
            for address in endpoint.addresses.iter() {
                endpoints.insert(
                    (net, *address),
                    Endpoint {
                        location: location.clone(),
                    },
                );
            }
        }
        let ingress = self.topology.ingress.iter().map(|ingress| net(ingress.vni));
        for (net, (id, task)) in
            ingress.flat_map(|net| self.topology.tasks.iter().map(move |it| (net, it)))
        {
            let location = self.location(&id.node, || Location::Gateway(id.namespace.clone()));
            for address in task.ingress.iter() {
                endpoints.insert(
                    (net, *address),
                    Endpoint {
                        location: location.clone(),
                    },
                );
            }
        }
        endpoints
    }

    fn location(&self, node: &NodeName, here: impl FnOnce() -> Location) -> Location {
        if node == self.node {
            here()
        } else {
            Location::Node(self.topology.nodes[node].address)
        }
    }

    fn attachments(&self) -> BTreeMap<String, Attachment> {
        let here = self
            .topology
            .endpoints
            .iter()
            .filter(|(_, it)| it.task.node == *self.node);
        here.map(|(name, endpoint)| {
            let subnets = &self.topology.networks[&endpoint.network].subnets;
            let with_prefix = |address: &IpAddr| {
                let subnet = subnets.get(Family::of(*address))?;
                IpNetwork::new(*address, subnet.prefix()).ok()
            };
            let attachment = Attachment {
                namespace: endpoint.task.namespace.clone(),
                interface: endpoint.interface.clone(),
                net: self.net_of(&endpoint.network),
                addresses: endpoint.addresses.iter().filter_map(with_prefix).collect(),
            };
            (name.to_string(), attachment)
        })
        .collect()
    }

    fn gateways(&self) -> BTreeMap<PathBuf, Gateway> {
        let here = self
            .topology
            .tasks
            .iter()
            .filter(|(id, _)| id.node == *self.node);
        here.filter_map(|(id, task)| {
            let gateway = Gateway {
                interface: task.gateway_interface.clone()?,
                addresses: task.gateway.iter().copied().collect(),
                ingress: task.ingress.iter().copied().collect(),
            };
            Some((id.namespace.clone(), gateway))
        })
        .collect()
    }

    fn frontends(&self) -> (BTreeMap<Frontend, Service>, BTreeMap<Published, Service>) {
        let (mut services, mut published) = (BTreeMap::new(), BTreeMap::new());
        for service in self.topology.services.values() {
            for frontend in &service.frontends {
                let balanced = Service {
                    id: service.id.get(),
                    algorithm: algorithm(frontend.balancing.algorithm),
                    affinity_seconds: frontend.balancing.affinity.seconds(),
                    returns_direct: frontend.scope.returns == Returns::Direct,
                    backends: self.behind(frontend).map(|id| id.get()).collect(),
                };
                let port = frontend
                    .port
                    .map(|(port, protocol)| (port.get(), protocol.number()));
                match (frontend.kind, port) {
                    (FrontendKind::Vip(address), port) => {
                        let net = self.net_of(&service.network);
                        services.insert(Frontend { net, address, port }, balanced);
                    }
                    (FrontendKind::Published(family), Some((port, protocol))) => {
                        for address in self.answered(frontend, family) {
                            let dialled = Published {
                                address,
                                port,
                                protocol,
                            };
                            published.insert(dialled, balanced.clone());
                        }
                    }
                    (FrontendKind::Published(_), None) => {}
                }
            }
        }
        (services, published)
    }

    /// The backends to which this node leads a frontend's clients.
    fn behind<'f>(
        &'f self,
        frontend: &'f model::Frontend,
    ) -> impl Iterator<Item = &'f model::BackendId> {
        let every = frontend.scope.mode == PublishMode::Ingress;
        frontend.backends.iter().filter(move |id| {
            let endpoint = &self.topology.backends[id].endpoint;
            every || self.topology.endpoints[endpoint].task.node == *self.node
        })
    }

    /// The addresses on which this node answers a published port; none when it does not.
    fn answered(&self, frontend: &model::Frontend, family: Family) -> Vec<IpAddr> {
        let scope = &frontend.scope;
        let is_idle = scope.mode == PublishMode::Host && self.behind(frontend).next().is_none();
        if is_idle || !scope.includes(self.node) {
            return Vec::new();
        }
        if scope.addresses.is_empty() {
            return vec![any(family)];
        }
        let of_family = scope.addresses.iter().copied();
        of_family
            .filter(|address| Family::of(*address) == family)
            .collect()
    }

    fn backends(&self) -> BTreeMap<u32, Backend> {
        let mut backends = BTreeMap::new();
        for (id, backend) in &self.topology.backends {
            let ingress = self.topology.ingress.as_ref();
            let net = match backend.kind {
                BackendKind::Vip => {
                    Some(self.net_of(&self.topology.services[&backend.service].network))
                }
                BackendKind::Published => ingress.map(|ingress| net(ingress.vni)),
            };
            let Some(net) = net else { continue };
            let port = backend.port.map_or(0, model::Port::get);
            let weight = backend.weight;
            backends.insert(
                id.get(),
                Backend {
                    net,
                    address: backend.address,
                    port,
                    weight,
                    is_draining: backend.state == model::BackendState::Draining,
                },
            );
        }
        backends
    }

    fn net_of(&self, network: &NetworkName) -> NetId {
        net(self.topology.networks[network].vni)
    }
}

fn pairs(subnets: &PerFamily<IpNetwork>, own: &PerFamily<IpAddr>) -> Vec<(IpNetwork, IpAddr)> {
    subnets.iter().copied().zip(own.iter().copied()).collect()
}

const fn net(vni: Vni) -> NetId {
    NetId(vni.get())
}

const fn any(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

const fn algorithm(algorithm: model::Algorithm) -> Algorithm {
    match algorithm {
        model::Algorithm::Rr => Algorithm::RoundRobin,
        model::Algorithm::Wrr => Algorithm::WeightedRoundRobin,
        model::Algorithm::Lc => Algorithm::LeastConnection,
        model::Algorithm::Wlc => Algorithm::WeightedLeastConnection,
        model::Algorithm::Lblc => Algorithm::Locality,
        model::Algorithm::Lblcr => Algorithm::ReplicatedLocality,
        model::Algorithm::Dh => Algorithm::DestinationHash,
        model::Algorithm::Sh => Algorithm::SourceHash,
        model::Algorithm::Sed => Algorithm::ShortestDelay,
        model::Algorithm::Nq => Algorithm::NeverQueue,
        model::Algorithm::Mh => Algorithm::Maglev,
        model::Algorithm::P2c => Algorithm::TwoChoices,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::topology::load::check_text;

    fn part(node: &str) -> Desired {
        let topology = check_text(include_str!("tests/cluster.toml")).unwrap();
        desired(&topology, &node.parse().unwrap()).unwrap()
    }

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_trace_calls_algorithms_as_the_topology_does() {
        for one in model::Algorithm::ALL {
            let told = dataplane::trace::algorithm_name(algorithm(*one));
            assert_eq!(told, one.as_str());
        }
    }

    #[test]
    fn each_node_has_its_own_attachments_and_knows_the_others_endpoints() {
        let (n1, n2) = (part("n1"), part("n2"));
        assert_eq!(n1.vteps, BTreeSet::from([at("192.0.2.12")]));
        assert_eq!(n1.attachments.keys().collect::<Vec<_>>(), ["web-1"]);
        assert_eq!(n2.attachments.keys().collect::<Vec<_>>(), ["db-1", "web-2"]);
        let web = &n1.attachments["web-1"];
        assert_eq!(web.namespace, PathBuf::from("/run/netns/q-web-1"));
        let addresses: Vec<_> = web.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.1.2/24", "fd00:1::2/64"]);
        let key = (NetId(4097), at("10.0.1.2"));
        assert_eq!(
            n1.endpoints[&key].location,
            Location::Attachment("web-1".to_owned())
        );
        assert_eq!(
            n2.endpoints[&key].location,
            Location::Node(at("192.0.2.11"))
        );
        assert_eq!(
            n1.endpoints.keys().collect::<Vec<_>>(),
            n2.endpoints.keys().collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_published_task_is_reached_at_its_ingress_address() {
        let n1 = part("n1");
        let gateway = &n1.gateways[&PathBuf::from("/run/netns/q-web-1")];
        assert_eq!(gateway.interface, "eth1");
        assert_eq!(
            gateway.addresses,
            [at("172.31.1.2"), at("fd00:6e65:7464::2")]
        );
        assert_eq!(gateway.ingress, [at("10.255.0.2"), at("fd00:255::2")]);
        let key = (NetId(4096), at("10.255.0.2"));
        let location = Location::Gateway("/run/netns/q-web-1".into());
        assert_eq!(n1.endpoints[&key].location, location);
    }

    #[test]
    fn a_port_is_answered_where_it_is_published() {
        let part = |more: &str| {
            let text = include_str!("tests/cluster.toml");
            let (one, other) =
                text.split_at(text.find("publish = [{").unwrap() + "publish = [{".len());
            let topology = check_text(&format!("{one} {more},{other}")).unwrap();
            ["n1", "n2"].map(|node| desired(&topology, &node.parse().unwrap()).unwrap())
        };
        let [n1, n2] = part("nodes = ['n2']");
        assert!(n1.published.is_empty(), "{:?}", n1.published);
        assert_eq!(n2.published.len(), 2);
        let [n1, n2] = part("addresses = ['192.0.2.99']");
        let addresses: Vec<_> = n1.published.keys().map(|it| it.address).collect();
        assert_eq!(addresses, [at("192.0.2.99")]);
        assert_eq!(n1.published, n2.published);
        let [n1, n2] = part("mode = 'host'");
        let behind = |part: &Desired| -> BTreeSet<u32> {
            let services = part.published.values();
            services.flat_map(|it| it.backends.clone()).collect()
        };
        let (here, there) = (behind(&n1), behind(&n2));
        assert!(!here.is_empty() && !there.is_empty());
        assert!(here.is_disjoint(&there), "{here:?} {there:?}");
    }

    #[test]
    fn every_node_balances_alike() {
        let (n1, n2) = (part("n1"), part("n2"));
        assert_eq!((&n1.services, &n1.published), (&n2.services, &n2.published));
        assert_eq!(n1.backends, n2.backends);
        assert_eq!((n1.services.len(), n1.published.len()), (4, 2));
        let dns = Frontend {
            net: NetId(4097),
            address: at("10.0.1.10"),
            port: Some((53, 17)),
        };
        let balanced = &n1.services[&dns];
        assert_eq!(balanced.algorithm, Algorithm::SourceHash);
        let weights: Vec<_> = balanced
            .backends
            .iter()
            .map(|id| n1.backends[id].weight)
            .collect();
        assert_eq!(weights, [1, 3]);
        let mesh = Published {
            address: at("::"),
            port: 8080,
            protocol: 6,
        };
        let first = &n1.backends[&n1.published[&mesh].backends[0]];
        assert_eq!(
            (first.net, first.address, first.port),
            (NetId(4096), at("fd00:255::2"), 8080)
        );
    }

    #[test]
    fn whatever_is_named_exists() {
        for part in [part("n1"), part("n2")] {
            let all = part.services.values().chain(part.published.values());
            assert!(
                all.flat_map(|it| &it.backends)
                    .all(|id| part.backends.contains_key(id))
            );
            let known = |it: &Backend| part.endpoints.contains_key(&(it.net, it.address));
            assert!(part.backends.values().all(known));
            assert!(
                part.services
                    .keys()
                    .all(|it| part.networks.contains_key(&it.net))
            );
        }
    }

    #[test]
    fn a_node_that_is_not_there_has_no_part() {
        let topology = check_text(include_str!("tests/cluster.toml")).unwrap();
        assert_eq!(desired(&topology, &"n9".parse().unwrap()), None);
    }
}
