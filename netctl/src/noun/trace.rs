//! A traced packet: the arguments of `netctl trace`, and the text that tells its way.
//!
//! What the tables say is told hop by hop with each lookup. What became of a real packet follows,
//! each program once, timed from its sending, and last whether both agree. Nothing is asked or
//! compared here: that is `run`'s.

use std::time::Duration;

use api::{Hop, Next, Probe, Sighting, SightingKind, Step, Trace, TraceQuestion, TraceVerdict};

use crate::output::{Shown, align};

/// What is traced.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Ends {
    /// Who sends: an endpoint's name, a node's, an address in a network, or a client's address outside
    #[arg(value_name = "SRC")]
    source: String,
    /// Where to: a service, an endpoint, a node or an address, and a port, as in web:80
    #[arg(value_name = "DST:PORT")]
    destination: String,
    /// The protocol
    #[arg(long, value_name = "NAME", default_value = "tcp", ignore_case = true, value_parser = ["tcp", "udp"])]
    protocol: String,
    /// The sender's port; hashing algorithms choose by it
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    source_port: u16,
    /// The network in which SRC is meant, when networks overlap
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    network: String,
    /// Send a real packet from SRC, a task or a node, and tell what the programs made of it
    #[arg(long)]
    send: bool,
    /// How many seconds its answer is waited for, 1 to 30
    #[arg(long, value_name = "N", default_value_t = 2, requires = "send",
        value_parser = clap::value_parser!(u64).range(1..=30))]
    timeout: u64,
}

impl Ends {
    /// How long the answer to a real packet is waited for; `None` when none is to be sent.
    pub(crate) fn sending(&self) -> Option<Duration> {
        self.send.then(|| Duration::from_secs(self.timeout))
    }

    /// What netd is asked.
    pub(crate) fn question(self) -> TraceQuestion {
        TraceQuestion {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol.to_ascii_lowercase(),
            source_port: self.source_port,
            network: self.network,
            ..TraceQuestion::default()
        }
    }
}

impl Shown for Trace {
    fn example() -> Self {
        let packet = "tcp 10.0.1.3:40000 -> 10.0.1.2:80";
        Self {
            id: packet.to_owned(),
            name: "probe -> web:80".to_owned(),
            hops: vec![Hop {
                node: "n1".to_owned(),
                verified: true,
                program: "from_task".to_owned(),
                packet: packet.to_owned(),
                destination: "10.0.1.2:80".to_owned(),
                steps: vec![Step {
                    table: "endpoints".to_owned(),
                    key: "10.0.1.2 in 4097".to_owned(),
                    found: "a VIP".to_owned(),
                }],
                verdict: TraceVerdict::Refuse,
                reason: "no-backend".to_owned(),
                backend: "0badf00d".to_owned(),
                message: "The service has no backend".to_owned(),
            }],
            next: Some(Next {
                node: "n2".to_owned(),
                question: TraceQuestion::default(),
            }),
            probe: None,
        }
    }
}

/// What people read.
pub(crate) fn describe(trace: &Trace) -> Vec<String> {
    let mut lines = vec![format!("{}: {}", trace.name, trace.id)];
    for hop in &trace.hops {
        lines.push(String::new());
        lines.extend(describe_hop(hop));
    }
    if let Some(probe) = &trace.probe {
        lines.push(String::new());
        lines.extend(describe_probe(probe, !trace.hops.is_empty()));
    }
    lines
}

fn describe_probe(probe: &Probe, is_explained: bool) -> Vec<String> {
    let sent = &probe.sent;
    let mut lines = vec![format!("sent by {}: {}", sent.node, sent.packet)];
    if !probe.led.is_empty() {
        lines.push(format!("  its socket was led to {} before that", probe.led));
    }
    let rows: Vec<_> = shown(&probe.sightings)
        .map(|it| describe_sighting(it, sent.time_us))
        .collect();
    if probe.stayed {
        lines.push(
            "  it has not left its sender's namespace: the sender has answered itself".to_owned(),
        );
    } else if rows.is_empty() {
        lines.push("  none of the programs that were asked has seen it".to_owned());
    }
    lines.extend(align(&rows));
    for node in &probe.unwatched {
        lines.push(format!(
            "  what {node} did is not known: name that node's netd by another --socket"
        ));
    }
    lines.push(format!("  => {} after {} us", sent.message, sent.after_us));
    match (&probe.differences[..], is_explained) {
        ([], _) if probe.stayed => {}
        ([], true) => lines.push("  as explained".to_owned()),
        ([], false) => lines.push("  the tables alone do not explain it".to_owned()),
        (differences, _) => {
            let tell = |it: &String| format!("  not as explained: {it}");
            lines.extend(differences.iter().map(tell));
        }
    }
    lines
}

/// The first packet and what answered it, each program's once: packets that were sent again and what
/// follows say nothing new.
fn shown(sightings: &[Sighting]) -> impl Iterator<Item = &Sighting> {
    let same = |one: &Sighting, other: &Sighting| {
        (&one.node, &one.program, one.kind, &one.packet, &one.message)
            == (
                &other.node,
                &other.program,
                other.kind,
                &other.packet,
                &other.message,
            )
    };
    let later = |it: &Sighting| it.kind == SightingKind::Later;
    sightings.iter().enumerate().filter_map(move |(at, it)| {
        let is_known = sightings[..at].iter().any(|before| same(before, it));
        (!later(it) && !is_known).then_some(it)
    })
}

fn describe_sighting(sighting: &Sighting, since_us: u64) -> String {
    let (sign, time) = match sighting.time_us.checked_sub(since_us) {
        Some(time) => ('+', time),
        None => ('-', since_us - sighting.time_us),
    };
    let reason = match sighting.reason.as_str() {
        "" => String::new(),
        reason => format!(" {reason}:"),
    };
    format!(
        "  {sign}{time} us\t{}\t{}\t{}\t{}\t{}\t=> {}:{reason} {}",
        sighting.node,
        sighting.program,
        sighting.interface,
        sighting.kind.as_str(),
        sighting.packet,
        sighting.verdict.as_str(),
        sighting.message
    )
}

fn describe_hop(hop: &Hop) -> Vec<String> {
    let sure = if hop.verified {
        ""
    } else {
        " (not verified: name that node's netd by another --socket)"
    };
    let mut lines = vec![format!(
        "{}: {} gets {}{sure}",
        hop.node, hop.program, hop.packet
    )];
    let rows: Vec<_> = hop
        .steps
        .iter()
        .map(|step| format!("  {}\t{}\t{}", step.table, step.key, step.found))
        .collect();
    lines.extend(align(&rows));
    let reason = match hop.reason.as_str() {
        "" => String::new(),
        reason => format!(" {reason}:"),
    };
    lines.push(format!(
        "  => {}:{reason} {}",
        hop.verdict.as_str(),
        hop.message
    ));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{ProbeAnswer, ProbeSent};

    fn probe() -> Probe {
        let sighting = Sighting {
            node: "n1".to_owned(),
            time_us: 1_012,
            program: "from_task".to_owned(),
            interface: "nd0123456789abc".to_owned(),
            kind: SightingKind::Probe,
            packet: "tcp 10.0.1.3:40000 -> 10.0.1.2:81".to_owned(),
            destination: "10.0.1.2:81".to_owned(),
            verdict: TraceVerdict::Refuse,
            reason: "no-port".to_owned(),
            to: String::new(),
            message: "The VIP does not have this port".to_owned(),
        };
        Probe {
            sent: ProbeSent {
                node: "n1".to_owned(),
                packet: sighting.packet.clone(),
                destination: sighting.destination.clone(),
                time_us: 1_000,
                after_us: 31,
                answer: ProbeAnswer::Refused,
                message: "refused".to_owned(),
            },
            led: String::new(),
            stayed: false,
            sightings: vec![
                Sighting {
                    time_us: 990,
                    kind: SightingKind::Later,
                    ..sighting.clone()
                },
                sighting.clone(),
                Sighting {
                    time_us: 2_000,
                    ..sighting
                },
            ],
            differences: Vec::new(),
            unwatched: Vec::new(),
        }
    }

    #[test]
    fn what_was_seen_is_told_once_and_timed_from_its_sending() {
        let mut trace = Trace::example();
        trace.probe = Some(probe());
        let text = describe(&trace).join("\n");
        assert_eq!(text.matches(" us").count(), 2, "{text}");
        assert!(text.contains("+12 us"), "{text}");
        assert!(text.contains("=> refuse: no-port: The VIP"), "{text}");
        assert!(
            text.ends_with("=> refused after 31 us\n  as explained"),
            "{text}"
        );
    }

    #[test]
    fn what_differs_or_is_not_known_is_said() {
        let mut trace = Trace::example();
        let mut probe = probe();
        probe.differences.push("n1 dropped it".to_owned());
        probe.unwatched.push("n2".to_owned());
        trace.probe = Some(probe);
        let text = describe(&trace).join("\n");
        assert!(text.contains("not as explained: n1 dropped it"), "{text}");
        assert!(text.contains("what n2 did is not known"), "{text}");
        assert!(!text.contains("\n  as explained"), "{text}");
    }

    #[test]
    fn a_guess_is_told_as_one() {
        let mut trace = Trace::example();
        assert!(!describe(&trace).join("\n").contains("not verified"));
        trace.hops[0].verified = false;
        let text = describe(&trace).join("\n");
        assert!(text.contains("not verified"), "{text}");
        assert!(text.contains("=> refuse: no-backend:"), "{text}");
    }
}
