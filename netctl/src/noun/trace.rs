use api::{Hop, Next, Step, Trace, TraceQuestion, TraceVerdict};

use crate::output::{Shown, align};

/// What is traced.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Ends {
    /// Who sends: an endpoint's name, an address in a network, or a client's address outside
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
}

impl Ends {
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
    lines
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
