//! From what people type to a packet, and where it meets the first program.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use api::TraceQuestion;
use dataplane::trace::Packet;
use model::{Endpoint, EndpointName, Node, NodeName, PerFamily, Topology};

use super::super::refusal::Refusal;
use super::super::snapshot::Snapshot;
use super::{number, place};
use crate::agent::TracePlace;

/// A port that clients are given for a while: any would do.
const SOURCE_PORT: u16 = 40_000;

/// Where a trace begins.
pub(super) enum Start {
    Here(TracePlace, Packet),
    /// On the node of this name.
    Elsewhere(String),
}

/// Who sends.
enum Source<'a> {
    Task(&'a EndpointName, &'a Endpoint),
    Node(&'a NodeName, &'a Node),
    Outside(IpAddr),
}

/// Who sends a probe, and where to.
#[derive(Debug)]
pub(in crate::api) struct Ends {
    /// The node that the sender is on.
    pub(in crate::api) node: NodeName,
    /// Its namespace; `None` for the node's own processes.
    pub(in crate::api) namespace: Option<PathBuf>,
    /// TCP or UDP, as on the wire.
    pub(in crate::api) protocol: u8,
    /// The address that it sends from, and the one that its own network shows of it when it dials itself;
    /// `None` where its routes decide.
    pub(in crate::api) own: Option<[IpAddr; 2]>,
    /// The port that it sends from; never 0.
    pub(in crate::api) port: u16,
    /// What it dials.
    pub(in crate::api) target: SocketAddr,
}

/// Finds out who sends a probe, and where to.
pub(in crate::api) fn ends(snapshot: &Snapshot, question: &TraceQuestion) -> Result<Ends, Refusal> {
    let topology = &*snapshot.topology;
    let source = source(topology, question)?;
    let (host, port) = split(&question.destination)?;
    let target = target(snapshot, &source, host, question)?;
    let (node, namespace, own) = match source {
        Source::Outside(own) => {
            return Err(Refusal::Unusable(format!(
                "no probe can be sent from {own}: it is no task's and no node's here"
            )));
        }
        Source::Node(name, _) => (name.clone(), None, None),
        Source::Task(name, endpoint) => {
            let (_, own) = leave(topology, name, endpoint, target)?;
            let namespace = endpoint.task.namespace.clone();
            let alias = alias(topology, endpoint, own).unwrap_or(own);
            let node = endpoint.task.node.clone();
            (node, Some(namespace), Some([own, alias]))
        }
    };
    Ok(Ends {
        node,
        namespace,
        protocol: number(&question.protocol)?,
        own,
        port: match question.source_port {
            0 => SOURCE_PORT,
            port => port,
        },
        target: place(target, port),
    })
}

/// The gateway address of the network in which a task has an address; by its way out, of the ingress
/// network.
fn alias(topology: &Topology, endpoint: &Endpoint, own: IpAddr) -> Option<IpAddr> {
    let same = |both: &PerFamily<IpAddr>| {
        let mut both = both.iter().copied();
        both.find(|it| it.is_ipv4() == own.is_ipv4())
    };
    let task = topology.task_of(endpoint);
    let endpoints = task.endpoints.iter().map(|name| &topology.endpoints[name]);
    let mut having = endpoints.filter(|it| it.addresses.iter().any(|address| *address == own));
    match having.next() {
        Some(endpoint) => same(&topology.networks[&endpoint.network].gateways),
        None => same(&topology.ingress.as_ref()?.gateways),
    }
}

/// Finds out what is to be traced.
pub(super) fn first(snapshot: &Snapshot, question: &TraceQuestion) -> Result<Start, Refusal> {
    let protocol = number(&question.protocol)?;
    let topology = &*snapshot.topology;
    let source = source(topology, question)?;
    let port = match question.source_port {
        0 => SOURCE_PORT,
        port => port,
    };
    let (host, target_port) = split(&question.destination)?;
    let target = target(snapshot, &source, host, question)?;
    let packet = |own| Packet {
        protocol,
        source: place(own, port),
        destination: place(target, target_port),
    };
    match source {
        Source::Node(name, node) => by_node(snapshot, (name, node), packet(node.address)),
        Source::Outside(own) => {
            let node = topology
                .nodes
                .iter()
                .find(|(name, it)| it.address == target && **name != snapshot.state.node);
            Ok(match node {
                Some((name, _)) => Start::Elsewhere(name.to_string()),
                None if own.is_ipv4() != target.is_ipv4() => return Err(families(own, target)),
                None => Start::Here(TracePlace::Outside, packet(own)),
            })
        }
        Source::Task(_, endpoint) if endpoint.task.node != snapshot.state.node => {
            Ok(Start::Elsewhere(endpoint.task.node.to_string()))
        }
        Source::Task(name, endpoint) => {
            let (place, own) = leave(topology, name, endpoint, target)?;
            Ok(Start::Here(place, packet(own)))
        }
    }
}

/// A node's own process: the first program that its packets meet is the other node's.
fn by_node(
    snapshot: &Snapshot,
    (name, node): (&NodeName, &Node),
    packet: Packet,
) -> Result<Start, Refusal> {
    let (own, target) = (node.address, packet.destination.ip());
    if own.is_ipv4() != target.is_ipv4() {
        return Err(families(own, target));
    }
    let mut nodes = snapshot.topology.nodes.iter();
    match nodes.find(|(_, it)| it.address == target) {
        Some((there, _)) if there == name => Err(Refusal::Unusable(format!(
            "a process of {name} that dials {name} is led to a backend by its socket, before it sends"
        ))),
        Some((there, _)) if *there == snapshot.state.node => {
            Ok(Start::Here(TracePlace::Outside, packet))
        }
        Some((there, _)) => Ok(Start::Elsewhere(there.to_string())),
        None => Err(Refusal::Unusable(format!(
            "{target} is the underlay address of no node: where it leads is not known"
        ))),
    }
}

fn families(own: IpAddr, target: IpAddr) -> Refusal {
    Refusal::Unusable(format!("{own} and {target} are of two families"))
}

fn source<'a>(topology: &'a Topology, question: &TraceQuestion) -> Result<Source<'a>, Refusal> {
    let typed = question.source.as_str();
    let named = topology
        .endpoints
        .iter()
        .find(|(name, _)| name.as_str() == typed);
    if let Some((name, endpoint)) = named {
        return Ok(Source::Task(name, endpoint));
    }
    let mut nodes = topology.nodes.iter();
    if let Some((name, node)) = nodes.find(|(name, _)| name.as_str() == typed) {
        return Ok(Source::Node(name, node));
    }
    let unknown = || Refusal::NotFound {
        noun: "source",
        name: typed.to_owned(),
    };
    let address: IpAddr = typed.parse().map_err(|_| unknown())?;
    let mut having = topology.endpoints.iter().filter(|(_, it)| {
        let meant = question.network.is_empty() || it.network.as_str() == question.network;
        meant && it.addresses.iter().any(|own| *own == address)
    });
    match (having.next(), having.next()) {
        (Some((name, endpoint)), None) => Ok(Source::Task(name, endpoint)),
        (Some((_, one)), Some((_, other))) => Err(Refusal::Unusable(format!(
            "{address} is in {} and in {}: say which with --network",
            one.network, other.network
        ))),
        (None, _) if question.network.is_empty() => Ok(Source::Outside(address)),
        (None, _) => Err(unknown()),
    }
}

/// `HOST:PORT`, the host of IPv6 in brackets.
fn split(text: &str) -> Result<(&str, u16), Refusal> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| {
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']')?,
            None if host.contains(':') => return None,
            None => host,
        };
        let port = port.parse().ok().filter(|port| *port != 0)?;
        (!host.is_empty()).then_some((host, port))
    });
    parts.ok_or_else(|| {
        Refusal::Unusable(format!(
            "destination {text}: a name or an address and a port are expected, as in web:80 or \
             [fd00::2]:80"
        ))
    })
}

/// The address that a destination means.
fn target(
    snapshot: &Snapshot,
    source: &Source<'_>,
    host: &str,
    question: &TraceQuestion,
) -> Result<IpAddr, Refusal> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let topology = &*snapshot.topology;
    // The family of a source that was given as an address; IPv4 where there is a choice.
    let typed: Option<IpAddr> = question.source.parse().ok();
    let choose = |both: &PerFamily<IpAddr>| {
        let fits = |it: &&IpAddr| typed.is_none_or(|typed| typed.is_ipv4() == it.is_ipv4());
        both.iter().find(fits).copied()
    };
    let unknown = || Refusal::NotFound {
        noun: "destination",
        name: host.to_owned(),
    };
    let near = match source {
        Source::Task(_, endpoint) => &endpoint.task.node,
        Source::Node(name, _) => *name,
        Source::Outside(_) => &snapshot.state.node,
    };
    let own = &topology.nodes[near];
    let service = topology
        .services
        .iter()
        .find(|(name, _)| name.as_str() == host);
    if let Some((_, service)) = service {
        let is_near = match source {
            Source::Task(_, endpoint) => topology
                .task_of(endpoint)
                .endpoints
                .iter()
                .any(|name| topology.endpoints[name].network == service.network),
            Source::Node(..) | Source::Outside(_) => false,
        };
        // Everybody else dials the node.
        let vip = if is_near {
            choose(&service.vips)
        } else {
            Some(own.address)
        };
        return vip.ok_or_else(unknown);
    }
    let endpoint = topology
        .endpoints
        .iter()
        .find(|(name, _)| name.as_str() == host);
    if let Some((_, endpoint)) = endpoint {
        return choose(&endpoint.addresses).ok_or_else(unknown);
    }
    let node = topology
        .nodes
        .iter()
        .find(|(name, _)| name.as_str() == host);
    node.map(|(_, node)| node.address).ok_or_else(unknown)
}

/// By which attachment a task sends, and with which address: what its routes say.
fn leave(
    topology: &Topology,
    name: &EndpointName,
    endpoint: &Endpoint,
    target: IpAddr,
) -> Result<(TracePlace, IpAddr), Refusal> {
    let task = topology.task_of(endpoint);
    let others = task
        .endpoints
        .iter()
        .map(|name| (name, &topology.endpoints[name]));
    let mut own = std::iter::once((name, endpoint)).chain(others);
    let near = own.find_map(|(name, endpoint)| {
        let network = &topology.networks[&endpoint.network];
        let subnet = network.subnets.iter().find(|it| it.contains(target));
        let same = |it: &&IpAddr| it.is_ipv4() == target.is_ipv4();
        let address = *endpoint.addresses.iter().find(same)?;
        subnet.map(|_| (TracePlace::Attachment(name.to_string()), address))
    });
    let gateway = || {
        let same = |it: &&IpAddr| it.is_ipv4() == target.is_ipv4();
        let address = *task.gateway.iter().find(same)?;
        let namespace = endpoint.task.namespace.clone();
        Some((TracePlace::Gateway(namespace), address))
    };
    near.or_else(gateway).ok_or_else(|| {
        Refusal::Unusable(format!(
            "{name} has no route to {target}: it is in none of its networks, and it has no way out"
        ))
    })
}
