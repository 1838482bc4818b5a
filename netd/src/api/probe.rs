//! A probe: a real packet, sent from where a task or a node is, and what the programs make of it.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::{ProbeAnswer, ProbeSent, ProbeWait, Sighting, SightingKind, TraceQuestion, Watched};
use axum::Json;
use axum::extract::{Query, State};
use dataplane::probe::{Answer, Client, Dial, DialError, Kind, Sent};
use dataplane::trace::Packet;

use super::refusal::Refusal;
use super::snapshot::Snapshot;
use super::trace::start::{Ends, ends};
use super::trace::{Telling, shown};
use crate::agent::{Handle, chain};

/// How long the programs go on after the wait for an answer: until whoever asked has collected.
const MARGIN: Duration = Duration::from_secs(3);
/// The longest wait for an answer.
const LONGEST: Duration = Duration::from_secs(30);

fn time(wait: ProbeWait) -> Result<Duration, Refusal> {
    let time = Duration::from_millis(wait.milliseconds);
    if time.is_zero() || time > LONGEST {
        let most = LONGEST.as_secs();
        let text = format!("a probe is waited for at least a millisecond, at most {most} seconds");
        return Err(Refusal::Unusable(text));
    }
    Ok(time)
}

pub(super) async fn watch(
    State(agent): State<Handle>,
    Query(question): Query<TraceQuestion>,
    Query(wait): Query<ProbeWait>,
) -> Result<Json<Watched>, Refusal> {
    let snapshot = Snapshot::of(&agent)?;
    let ends = ends(&snapshot, &question)?;
    let client = Client {
        protocol: ends.protocol,
        addresses: ends.own,
        port: ends.port,
        dialled: ends.target,
    };
    let node = snapshot.state.node.to_string();
    if !agent.live.watch(client, time(wait)? + MARGIN).await? {
        return Err(Refusal::Busy(format!(
            "node {node} watches another probe: try again in a few seconds"
        )));
    }
    Ok(Json(Watched {
        node,
        source: ends.node.to_string(),
    }))
}

pub(super) async fn send(
    State(agent): State<Handle>,
    Query(question): Query<TraceQuestion>,
    Query(wait): Query<ProbeWait>,
) -> Result<Json<ProbeSent>, Refusal> {
    let snapshot = Snapshot::of(&agent)?;
    let ends = ends(&snapshot, &question)?;
    if ends.node != snapshot.state.node {
        return Err(Refusal::Unusable(format!(
            "{} is on node {}, not on {}",
            question.source, ends.node, snapshot.state.node
        )));
    }
    let dial = Dial {
        namespace: ends.namespace.clone(),
        protocol: ends.protocol,
        source: ends.own.map(|[own, _]| own),
        port: ends.port,
        destination: ends.target,
        timeout: time(wait)?,
    };
    let sending = tokio::task::spawn_blocking(move || dataplane::probe::send(&dial));
    let sent = sending
        .await
        .map_err(|error| Refusal::Failed(format!("send a probe: {error}")))?
        .map_err(unsent)?;
    Ok(Json(told(&ends, &sent)))
}

fn unsent(error: DialError) -> Refusal {
    match error {
        DialError::PortTaken(_) => Refusal::Busy(error.to_string()),
        DialError::Namespace(_) | DialError::Socket { .. } => {
            Refusal::Failed(format!("send a probe: {}", chain(&error)))
        }
    }
}

fn told(ends: &Ends, sent: &Sent) -> ProbeSent {
    let (answer, message) = match &sent.answer {
        Answer::Accepted => (
            ProbeAnswer::Accepted,
            "the connection was accepted, and is closed again".to_owned(),
        ),
        Answer::Datagram(bytes) => (
            ProbeAnswer::Datagram,
            format!("answered by a datagram of {bytes} bytes"),
        ),
        Answer::Refused => (ProbeAnswer::Refused, "refused".to_owned()),
        Answer::Failed(why) => (ProbeAnswer::Failed, format!("the sender was told: {why}")),
        Answer::Silence => (ProbeAnswer::Silence, "no answer".to_owned()),
    };
    let name = super::names::protocol(ends.protocol);
    let (node, port) = (ends.node.to_string(), ends.port);
    let own = match ends.own {
        Some([own, _]) => SocketAddr::new(own, port).to_string(),
        None => format!("{node}:{port}"),
    };
    ProbeSent {
        packet: format!("{name} {own} -> {}", ends.target),
        destination: ends.target.to_string(),
        node,
        time_us: microseconds(sent.time),
        after_us: u64::try_from(sent.after.as_micros()).unwrap_or(u64::MAX),
        answer,
        message,
    }
}

pub(super) async fn collect(State(agent): State<Handle>) -> Result<Json<Vec<Sighting>>, Refusal> {
    let snapshot = Snapshot::of(&agent)?;
    let telling = Telling::new(&snapshot);
    let node = snapshot.state.node.to_string();
    let seen = agent.live.sightings().await?;
    let tell = |seen: &dataplane::probe::Sighting| tell(&telling, node.clone(), seen);
    Ok(Json(seen.iter().map(tell).collect()))
}

fn tell(telling: &Telling<'_>, node: String, seen: &dataplane::probe::Sighting) -> Sighting {
    let (verdict, reason, message) = telling.verdict(seen.outcome, &seen.left);
    let to = telling.to(seen.outcome);
    Sighting {
        node,
        time_us: microseconds(seen.time),
        program: seen.program.to_owned(),
        interface: seen.interface.clone().unwrap_or_default(),
        kind: match seen.kind {
            Kind::Probe => SightingKind::Probe,
            Kind::Answer => SightingKind::Answer,
            Kind::Error => SightingKind::Error,
            Kind::Later => SightingKind::Later,
        },
        packet: packet(seen),
        destination: seen.packet.destination.to_string(),
        verdict,
        reason,
        to,
        message,
    }
}

/// A process that may not dial has no address yet.
fn packet(seen: &dataplane::probe::Sighting) -> String {
    let Packet {
        protocol,
        destination,
        ..
    } = seen.packet;
    if seen.program == "socket" {
        return format!("{} -> {destination}", super::names::protocol(protocol));
    }
    shown(&seen.packet)
}

fn microseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
