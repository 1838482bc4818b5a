use std::net::{IpAddr, SocketAddr};

use api::{Hop, Next, Step, Trace, TraceQuestion, TraceVerdict};
use axum::Json;
use axum::extract::{Query, State};
use dataplane::NetId;
use dataplane::trace::{Outcome, Packet, Path};

use self::start::{Start, first};
use super::names::{Names, protocol};
use super::refusal::Refusal;
use super::snapshot::Snapshot;
use crate::agent::{Handle, TracePlace};

pub(super) mod start;

pub(super) async fn show(
    State(agent): State<Handle>,
    Query(question): Query<TraceQuestion>,
) -> Result<Json<Trace>, Refusal> {
    let snapshot = Snapshot::of(&agent)?;
    let start = if question.from.is_empty() {
        first(&snapshot, &question)?
    } else {
        arriving(&question)?
    };
    let name = format!("{} -> {}", question.source, question.destination);
    let (place, packet) = match start {
        Start::Here(place, packet) => (place, packet),
        Start::Elsewhere(node) => {
            return Ok(Json(Trace {
                id: name.clone(),
                name,
                hops: Vec::new(),
                next: Some(Next { node, question }),
                probe: None,
            }));
        }
    };
    let path = agent.live.trace(place, packet).await?;
    let telling = Telling::new(&snapshot);
    let mut hops = vec![telling.hop(&path, packet)];
    let next = telling.next(&path);
    hops.extend(next.as_ref().map(|next| telling.guess(&path, next)));
    Ok(Json(Trace {
        id: shown(&packet),
        name,
        hops,
        next,
        probe: None,
    }))
}

/// A packet that another node has sent on.
fn arriving(question: &TraceQuestion) -> Result<Start, Refusal> {
    let malformed = || Refusal::Unusable("the packet from the other node is malformed".to_owned());
    let packet = Packet {
        protocol: number(&question.protocol)?,
        source: question.source.parse().map_err(|_| malformed())?,
        destination: question.destination.parse().map_err(|_| malformed())?,
    };
    let place = TracePlace::Overlay {
        net: NetId(question.vni),
        from: question.from.parse().map_err(|_| malformed())?,
        backend: question.backend,
    };
    Ok(Start::Here(place, packet))
}

/// A protocol's number.
fn number(name: &str) -> Result<u8, Refusal> {
    match name {
        "" | "tcp" => Ok(model::Protocol::Tcp.number()),
        "udp" => Ok(model::Protocol::Udp.number()),
        other => Err(Refusal::Unusable(format!(
            "protocol {other} cannot be traced: tcp or udp"
        ))),
    }
}

pub(super) fn shown(packet: &Packet) -> String {
    let name = protocol(packet.protocol);
    format!("{name} {} -> {}", packet.source, packet.destination)
}

/// What a path is told with.
pub(super) struct Telling<'a> {
    snapshot: &'a Snapshot,
    names: Names<'a>,
}

impl<'a> Telling<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot,
            names: Names::new(Some(&snapshot.topology)),
        }
    }

    fn hop(&self, path: &Path, packet: Packet) -> Hop {
        let steps = path.steps.iter().map(|step| Step {
            table: step.table.to_owned(),
            key: step.key.clone(),
            found: step.found.clone(),
        });
        let is_vip = path.steps.iter().any(|step| step.table == "services");
        let sockets = is_vip.then(|| Step {
            table: "sockets".to_owned(),
            key: packet.destination.to_string(),
            found: "a process that dials a VIP is led to a backend before it sends; what follows \
                    is for a packet that bears the VIP"
                .to_owned(),
        });
        let (verdict, reason, message) = self.verdict(path.outcome, &path.packet);
        Hop {
            node: self.snapshot.state.node.to_string(),
            verified: true,
            program: path.program.to_owned(),
            packet: shown(&packet),
            destination: path.packet.destination.to_string(),
            steps: sockets.into_iter().chain(steps).collect(),
            verdict,
            reason,
            backend: backend(path.backend),
            message,
        }
    }

    /// The verdict, the drop reason and the sentence for what becomes of a packet that goes on as `end`.
    pub(super) fn verdict(&self, outcome: Outcome, end: &Packet) -> (TraceVerdict, String, String) {
        let task = self.task(end.destination.ip());
        let end = shown(end);
        let (verdict, message) = match outcome {
            Outcome::Task(_) => (TraceVerdict::Deliver, format!("into {task} as {end}")),
            Outcome::Node {
                to, net, native, ..
            } => {
                let (node, net) = (self.names.node(to), self.names.network(net.0));
                let carrier = if native { "native" } else { "device" };
                let message =
                    format!("to node {node} through network {net} by carrier {carrier} as {end}");
                (TraceVerdict::Tunnel, message)
            }
            Outcome::Uplink(_) => (TraceVerdict::Uplink, format!("to its client as {end}")),
            Outcome::Own => (
                TraceVerdict::Stack,
                format!("to one of the node's own processes as {end}"),
            ),
            Outcome::Stack => (
                TraceVerdict::Stack,
                "left to the node's own stack, which routes it or has a socket for it".to_owned(),
            ),
            Outcome::Dropped { reason, told } => {
                let message = reason.description().trim_end_matches('.').to_owned();
                let verdict = if told {
                    TraceVerdict::Refuse
                } else {
                    TraceVerdict::Drop
                };
                return (verdict, reason.name().to_owned(), message);
            }
            Outcome::Unknown(what) => (TraceVerdict::Unknown, what.to_owned()),
        };
        (verdict, String::new(), message)
    }

    /// The node that the packet goes to, and what its netd is to be asked.
    fn next(&self, path: &Path) -> Option<Next> {
        let Outcome::Node {
            to, net, backend, ..
        } = path.outcome
        else {
            return None;
        };
        let own = &self.snapshot.topology.nodes[&self.snapshot.state.node];
        Some(Next {
            node: self.names.node(to),
            question: TraceQuestion {
                source: path.packet.source.to_string(),
                destination: path.packet.destination.to_string(),
                protocol: protocol(path.packet.protocol),
                from: own.address.to_string(),
                vni: net.0,
                backend,
                ..TraceQuestion::default()
            },
        })
    }

    /// What is to be expected of the other node, from this one's topology.
    fn guess(&self, path: &Path, next: &Next) -> Hop {
        let mut packet = path.packet;
        if next.question.backend != 0 {
            let dialled = Some(packet.destination.port());
            let known = self.names.backend(next.question.backend, dialled);
            packet.destination = known.unwrap_or(packet.destination);
        }
        let task = self.task(packet.destination.ip());
        Hop {
            node: next.node.clone(),
            verified: false,
            program: "from_overlay".to_owned(),
            packet: shown(&path.packet),
            destination: packet.destination.to_string(),
            steps: Vec::new(),
            verdict: TraceVerdict::Deliver,
            reason: String::new(),
            backend: backend(path.backend),
            message: format!("expected: into {task} as {}", shown(&packet)),
        }
    }

    /// The node that a packet goes to; empty when it goes to none.
    pub(super) fn to(&self, outcome: Outcome) -> String {
        if let Outcome::Node { to, .. } = outcome {
            self.names.node(to)
        } else {
            String::new()
        }
    }

    /// The name of the endpoint or task that has an address.
    fn task(&self, address: IpAddr) -> String {
        let topology = &self.snapshot.topology;
        let endpoint = topology
            .endpoints
            .iter()
            .find(|(_, it)| it.addresses.iter().any(|own| *own == address));
        let name = endpoint.map(|(name, _)| name).or_else(|| {
            let mut tasks = topology.tasks.values();
            let has = |it: &&model::Task| it.ingress.iter().any(|own| *own == address);
            tasks.find(has)?.endpoints.first()
        });
        name.map_or_else(|| address.to_string(), ToString::to_string)
    }
}

fn backend(id: u32) -> String {
    match id {
        0 => String::new(),
        id => format!("{id:08x}"),
    }
}

/// An address with a port.
fn place(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}
