//! `netctl trace --send`: explains, sends, collects what each node has seen, and compares.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use api::{
    Client, ClientError, Hop, Probe, ProbeAnswer, ProbeSent, Sighting, SightingKind, Trace,
    TraceQuestion,
};

use super::follow;
use crate::failure::Failure;

/// Ports that are chosen from: those that Linux gives to clients, and no demo's.
const PORTS: std::ops::Range<u16> = 33_000..60_000;
/// How often another port is tried.
const ATTEMPTS: usize = 3;
/// How long packets that are still on their way are given.
const REST: Duration = Duration::from_millis(50);

/// A netd whose programs take notes.
struct Watcher {
    client: Client,
    node: String,
}

/// What the tables say, or why they say nothing.
enum Explained {
    Trace(Box<Trace>),
    /// It begins on this node, whose netd cannot be asked.
    Elsewhere(String),
    Refused,
}

/// Sends one packet, and tells what became of it beside what was to be expected.
pub(super) async fn send(
    first: Client,
    others: Vec<Client>,
    mut question: TraceQuestion,
    timeout: Duration,
) -> Result<Trace, Failure> {
    let is_chosen = question.source_port != 0;
    let mut attempts = 0;
    loop {
        if !is_chosen {
            question.source_port = some_port();
        }
        attempts += 1;
        let explained = explain(&first, &others, question.clone()).await?;
        let clients = std::iter::once(&first).chain(&others);
        let (watchers, source) = watch(clients, &question, timeout).await?;
        let sent = match watchers.iter().find(|it| it.node == source) {
            Some(sender) => sender.client.send(&question, timeout).await,
            None => {
                collect(&watchers).await?;
                return Err(Failure::Elsewhere(source));
            }
        };
        tokio::time::sleep(REST).await;
        let sightings = collect(&watchers).await;
        match sent {
            Err(ClientError::Refused { status: 409, .. }) if !is_chosen && attempts < ATTEMPTS => {}
            Err(error) => return Err(error.into()),
            Ok(sent) => {
                let nodes = watchers.into_iter().map(|it| it.node).collect();
                let seen = Seen {
                    sent,
                    sightings: sightings?,
                    nodes,
                };
                return compare((first, others), question, explained, seen).await;
            }
        }
    }
}

fn some_port() -> u16 {
    let [low, high, ..] = RandomState::new().hash_one(0).to_ne_bytes();
    let random = u16::from_ne_bytes([low, high]);
    PORTS.start + random % (PORTS.end - PORTS.start)
}

/// What does not stand in the tables is no reason not to send; what is wrong with the question is told by
/// whoever is asked to watch.
async fn explain(
    first: &Client,
    others: &[Client],
    question: TraceQuestion,
) -> Result<Explained, Failure> {
    match follow(first.clone(), others.to_vec(), question).await {
        Ok(trace) => Ok(Explained::Trace(Box::new(trace))),
        Err(Failure::Elsewhere(node)) => Ok(Explained::Elsewhere(node)),
        Err(Failure::Client(ClientError::Refused { .. })) => Ok(Explained::Refused),
        Err(failure) => Err(failure),
    }
}

/// Has every netd take notes; names the node that the sender is on, too.
async fn watch(
    clients: impl Iterator<Item = &Client>,
    question: &TraceQuestion,
    timeout: Duration,
) -> Result<(Vec<Watcher>, String), Failure> {
    let mut watchers: Vec<Watcher> = Vec::new();
    let mut source = String::new();
    for client in clients {
        match client.watch(question, timeout).await {
            Ok(watched) => {
                source = watched.source;
                watchers.push(Watcher {
                    client: client.clone(),
                    node: watched.node,
                });
            }
            Err(error) => {
                // They stop by themselves, too.
                let _ = collect(&watchers).await;
                return Err(error.into());
            }
        }
    }
    Ok((watchers, source))
}

async fn collect(watchers: &[Watcher]) -> Result<Vec<Sighting>, Failure> {
    let mut all = Vec::new();
    let mut failure = None;
    for watcher in watchers {
        match watcher.client.collect().await {
            Ok(sightings) => all.extend(sightings),
            Err(error) => failure = Some(error),
        }
    }
    all.sort_by_key(|it| it.time_us);
    match failure {
        Some(error) => Err(error.into()),
        None => Ok(all),
    }
}

/// What was sent and seen, by which nodes.
struct Seen {
    sent: ProbeSent,
    sightings: Vec<Sighting>,
    nodes: Vec<String>,
}

async fn compare(
    (first, others): (Client, Vec<Client>),
    question: TraceQuestion,
    explained: Explained,
    seen: Seen,
) -> Result<Trace, Failure> {
    let led = led(&seen);
    let mut unwatched = unwatched(&seen);
    let mut differences = Vec::new();
    let mut trace = match explained {
        Explained::Trace(trace) => *trace,
        Explained::Elsewhere(node) => {
            unwatched.push(node);
            unexplained(&question, &seen.sent)
        }
        Explained::Refused => unexplained(&question, &seen.sent),
    };
    if !led.is_empty() && !trace.hops.is_empty() {
        if !trace.hops.iter().any(|hop| hop.destination == led) {
            differences.push(format!("its socket was led to {led}, another backend"));
        }
        // What was sent is another packet than the one that was explained.
        let direct = TraceQuestion {
            destination: led.clone(),
            ..question
        };
        if let Explained::Trace(explained) = explain(&first, &others, direct).await? {
            trace.hops = explained.hops;
            trace.next = explained.next;
        }
    }
    // Where a node was not asked, its programs may have seen it.
    let stayed = unwatched.is_empty() && has_stayed(&seen);
    if !stayed {
        differences.extend(differing(&trace.hops, &seen));
    }
    trace.probe = Some(Probe {
        sent: seen.sent,
        led,
        stayed,
        sightings: seen.sightings,
        differences,
        unwatched,
    });
    Ok(trace)
}

/// The explanation where there is none.
fn unexplained(question: &TraceQuestion, sent: &ProbeSent) -> Trace {
    Trace {
        id: sent.packet.clone(),
        name: format!("{} -> {}", question.source, question.destination),
        hops: Vec::new(),
        next: None,
        probe: None,
    }
}

/// Where the sender's socket was led: its first packet goes elsewhere than it has dialled.
fn led(seen: &Seen) -> String {
    let probes = || {
        let all = seen.sightings.iter();
        all.filter(|it| it.kind == SightingKind::Probe && it.program != "socket")
    };
    let near = probes().find(|it| it.node == seen.sent.node);
    match near.or_else(|| probes().next()) {
        Some(it) if it.destination != seen.sent.destination => it.destination.clone(),
        _ => String::new(),
    }
}

/// Whether it was answered where it was sent: whose socket is led to its own task meets no program.
fn has_stayed(seen: &Seen) -> bool {
    let is_answered = !matches!(seen.sent.answer, ProbeAnswer::Silence | ProbeAnswer::Failed);
    is_answered && seen.sightings.is_empty() && seen.nodes.contains(&seen.sent.node)
}

fn unwatched(seen: &Seen) -> Vec<String> {
    let to = seen.sightings.iter().map(|it| it.to.as_str());
    let mut nodes: Vec<_> = to
        .filter(|node| !node.is_empty() && !seen.nodes.iter().any(|it| it == node))
        .map(ToOwned::to_owned)
        .collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

fn differing<'a>(hops: &'a [Hop], seen: &'a Seen) -> impl Iterator<Item = String> {
    // What a node expects of another one was read from no table.
    let known = hops.iter().filter(|hop| hop.verified);
    known.filter_map(|hop| {
        let mut sightings = seen.sightings.iter();
        let is_it = |it: &&Sighting| {
            it.kind == SightingKind::Probe && it.node == hop.node && it.program == hop.program
        };
        let refused = |it: &Sighting| it.kind == SightingKind::Probe && it.program == "socket";
        match sightings.find(is_it) {
            // The same, said by a socket hook before there was a packet.
            None if seen
                .sightings
                .iter()
                .any(|it| refused(it) && it.reason == hop.reason) =>
            {
                None
            }
            None => Some(format!("{} on {} has not seen it", hop.program, hop.node)),
            Some(it) => difference(hop, it),
        }
    })
}

fn difference(hop: &Hop, seen: &Sighting) -> Option<String> {
    let told = (hop.verdict, &hop.reason, &hop.message);
    let is_same = told == (seen.verdict, &seen.reason, &seen.message);
    (!is_same).then(|| {
        format!(
            "{} on {} has done this: {} {}; this was expected: {} {}",
            hop.program,
            hop.node,
            seen.verdict.as_str(),
            seen.message,
            hop.verdict.as_str(),
            hop.message
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::TraceVerdict;

    fn hop(message: &str) -> Hop {
        Hop {
            node: "n1".to_owned(),
            verified: true,
            program: "from_task".to_owned(),
            packet: String::new(),
            destination: String::new(),
            steps: Vec::new(),
            verdict: TraceVerdict::Tunnel,
            reason: String::new(),
            backend: String::new(),
            message: message.to_owned(),
        }
    }

    fn seen(message: &str) -> Seen {
        let sighting = Sighting {
            node: "n1".to_owned(),
            time_us: 2,
            program: "from_task".to_owned(),
            interface: "nd".to_owned(),
            kind: SightingKind::Probe,
            packet: "tcp 10.0.1.3:40000 -> 10.0.1.12:8080".to_owned(),
            destination: "10.0.1.12:8080".to_owned(),
            verdict: TraceVerdict::Tunnel,
            reason: String::new(),
            to: "n2".to_owned(),
            message: message.to_owned(),
        };
        Seen {
            sent: ProbeSent {
                node: "n1".to_owned(),
                packet: "tcp 10.0.1.3:40000 -> 10.0.1.2:80".to_owned(),
                destination: "10.0.1.2:80".to_owned(),
                time_us: 1,
                after_us: 9,
                answer: ProbeAnswer::Silence,
                message: String::new(),
            },
            sightings: vec![sighting],
            nodes: vec!["n1".to_owned()],
        }
    }

    #[test]
    fn what_was_done_is_compared_with_what_was_expected() {
        let told = |hop, message| differing(&[hop], &seen(message)).collect::<Vec<_>>();
        assert!(told(hop("to n2"), "to n2").is_empty());
        let [difference] = &told(hop("to n2"), "to n3")[..] else {
            panic!("one difference")
        };
        assert!(difference.contains("tunnel to n3; this was expected: tunnel to n2"));
        let mut unseen = hop("to n2");
        unseen.node = "n3".to_owned();
        assert_eq!(
            told(unseen.clone(), "to n2"),
            ["from_task on n3 has not seen it"]
        );
        unseen.verified = false;
        assert!(told(unseen, "to n2").is_empty(), "a guess is no promise");
    }

    #[test]
    fn a_socket_that_was_led_and_a_node_that_was_not_asked_are_named() {
        assert_eq!(led(&seen("")), "10.0.1.12:8080");
        assert_eq!(unwatched(&seen("")), ["n2"]);
    }

    #[test]
    fn what_is_answered_and_seen_by_no_program_has_stayed_where_it_was() {
        let mut seen = seen("");
        assert!(!has_stayed(&seen));
        seen.sightings.clear();
        assert!(!has_stayed(&seen), "silence");
        seen.sent.answer = ProbeAnswer::Accepted;
        assert!(has_stayed(&seen));
        seen.nodes.clear();
        assert!(!has_stayed(&seen), "nobody has looked");
    }

    #[test]
    fn ports_are_those_of_clients() {
        assert!((0..100).all(|_| PORTS.contains(&some_port())));
    }
}
