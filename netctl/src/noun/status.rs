//! The node as a whole: one page for people, problems and what is missing with them.

use std::net::Ipv4Addr;
use std::time::SystemTime;

use api::{
    Audit, Counts, NodeState, Problem, Program, Repair, Status, Timestamp, Topology, TopologyError,
    Underlay, Vtep,
};

use crate::cell;
use crate::output::{Shown, align};

impl Shown for Status {
    fn example() -> Self {
        let moment = Timestamp(SystemTime::UNIX_EPOCH);
        Self {
            node: "n1".to_owned(),
            version: "0.1.0".to_owned(),
            mode: "static".to_owned(),
            state: NodeState::Ready,
            since: moment,
            underlay: Some(Underlay {
                interface: "eth0".to_owned(),
                address: Ipv4Addr::new(192, 0, 2, 11).into(),
                mtu: 1500,
            }),
            overlay_mtu: Some(1450),
            carrier: "native".to_owned(),
            carrier_reason: None,
            vteps: vec![Vtep {
                node: "n2".to_owned(),
                address: Ipv4Addr::new(192, 0, 2, 12).into(),
                carrier: "device".to_owned(),
                carrier_reason: Some("there is no route".to_owned()),
                interface: None,
                next_hop: None,
            }],
            programs: vec![Program {
                name: "from_uplink".to_owned(),
                attached: vec!["eth0".to_owned()],
            }],
            topology: Topology {
                file: "/etc/netd/topology.toml".to_owned(),
                loaded_at: Some(moment),
                generation: 1,
                errors: vec![TopologyError {
                    file: "/etc/netd/topology.toml".to_owned(),
                    line: Some(1),
                    message: "expected a value".to_owned(),
                }],
            },
            problems: vec![Problem {
                code: "forward-policy".to_owned(),
                message: "the policy of FORWARD is drop".to_owned(),
                needed: "a rule that accepts the underlay".to_owned(),
            }],
            audit: Audit {
                last: Some(moment),
                repaired: 1,
                recent: vec![Repair {
                    time: moment,
                    what: "program from_uplink on eth0".to_owned(),
                }],
            },
            counts: Counts::default(),
        }
    }
}

/// What people read of a node's status at the moment `now`.
pub(crate) fn describe(status: &Status, now: SystemTime) -> Vec<String> {
    let counts = &status.counts;
    let lines = [
        format!("Node:\t{}", status.node),
        format!("State:\t{}", status.state.as_str()),
        format!("Version:\t{}", status.version),
        format!("Mode:\t{}", status.mode),
        format!("Since:\t{}", moment(status.since, now)),
        format!("Underlay:\t{}", underlay(status.underlay.as_ref())),
        format!("Overlay MTU:\t{}", cell::optional(status.overlay_mtu)),
        format!("Carrier:\t{}", carrier(status)),
        format!("Topology:\t{}", topology(&status.topology, now)),
        format!("Networks:\t{}", counts.networks),
        format!(
            "Endpoints:\t{} ({} here)",
            counts.endpoints, counts.local_endpoints
        ),
        format!("Services:\t{}", counts.services),
        format!("Backends:\t{}", counts.backends),
        format!("Published ports:\t{}", counts.published_ports),
        format!(
            "Flows:\t{} (capacity {} entries)",
            counts.flows, counts.flow_capacity
        ),
        format!("Drops:\t{}", counts.drops),
        format!("Audit:\t{}", audit(&status.audit, now)),
    ];
    let mut lines = align(&lines);
    lines.extend(programs(&status.programs));
    lines.extend(errors(&status.topology));
    lines.extend(problems(&status.problems));
    lines.extend(repairs(&status.audit, now));
    lines
}

fn audit(audit: &Audit, now: SystemTime) -> String {
    let Some(last) = audit.last else {
        return "none yet".to_owned();
    };
    let last = moment(last, now);
    format!("{last}, {} repaired since the start", audit.repaired)
}

fn repairs(audit: &Audit, now: SystemTime) -> Vec<String> {
    if audit.recent.is_empty() {
        return Vec::new();
    }
    let mut lines = vec!["Repaired (somebody else had changed it):".to_owned()];
    let told = |it: &Repair| format!("  {}: {}", moment(it.time, now), it.what);
    lines.extend(audit.recent.iter().map(told));
    lines
}

fn moment(moment: Timestamp, now: SystemTime) -> String {
    format!("{moment} ({} ago)", cell::span(moment.age(now)))
}

fn underlay(underlay: Option<&Underlay>) -> String {
    cell::optional(underlay.map(|underlay| {
        format!(
            "{} on {}, MTU {}",
            underlay.address, underlay.interface, underlay.mtu
        )
    }))
}

/// With the nodes that are an exception.
fn carrier(status: &Status) -> String {
    let because = |kind: &str, reason: &Option<String>| match reason {
        Some(reason) => format!("{kind} ({reason})"),
        None => kind.to_owned(),
    };
    let exceptions = status
        .vteps
        .iter()
        .filter(|vtep| vtep.carrier != status.carrier)
        .map(|vtep| {
            let carrier = because(&vtep.carrier, &vtep.carrier_reason);
            format!("; to {}: {carrier}", vtep.node)
        });
    let all = because(&status.carrier, &status.carrier_reason);
    std::iter::once(all).chain(exceptions).collect()
}

fn topology(topology: &Topology, now: SystemTime) -> String {
    topology.loaded_at.map_or_else(
        || format!("{}, never loaded", topology.file),
        |loaded| {
            let (file, generation) = (&topology.file, topology.generation);
            format!(
                "{file}, generation {generation}, loaded {}",
                moment(loaded, now)
            )
        },
    )
}

fn programs(programs: &[Program]) -> Vec<String> {
    if programs.is_empty() {
        return Vec::new();
    }
    let rows: Vec<_> = programs
        .iter()
        .map(|program| format!("  {}\t{}", program.name, cell::list(&program.attached)))
        .collect();
    let mut lines = vec!["Programs:".to_owned()];
    lines.extend(align(&rows));
    lines
}

fn errors(topology: &Topology) -> Vec<String> {
    if topology.errors.is_empty() {
        return Vec::new();
    }
    let kept = match topology.generation {
        0 => "none is in force, the kernel keeps what it has".to_owned(),
        generation => format!("generation {generation} stays in force"),
    };
    let mut lines = vec![format!("Topology errors ({kept}):")];
    lines.extend(topology.errors.iter().map(|error| match error.line {
        Some(line) => format!("  {}:{line}: {}", error.file, error.message),
        None => format!("  {}: {}", error.file, error.message),
    }));
    lines
}

fn problems(problems: &[Problem]) -> Vec<String> {
    if problems.is_empty() {
        return Vec::new();
    }
    let mut lines = vec!["Problems:".to_owned()];
    for problem in problems {
        lines.push(format!("  {}: {}", problem.code, problem.message));
        if !problem.needed.is_empty() {
            lines.push(format!("    needed: {}", problem.needed));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn everything_that_is_wrong_is_named() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(90);
        let text = describe(&Status::example(), now).join("\n");
        for expected in [
            "State:             ready",
            "Since:             1970-01-01T00:00:00.000Z (1m30s ago)",
            "Underlay:          192.0.2.11 on eth0, MTU 1500",
            "Carrier:           native; to n2: device (there is no route)",
            "  from_uplink   eth0",
            "Topology errors (generation 1 stays in force):",
            "  /etc/netd/topology.toml:1: expected a value",
            "  forward-policy: the policy of FORWARD is drop",
            "    needed: a rule that accepts the underlay",
            "1 repaired since the start",
            "  1970-01-01T00:00:00.000Z (1m30s ago): program from_uplink on eth0",
        ] {
            assert!(text.contains(expected), "{expected:?} not in\n{text}");
        }
    }

    #[test]
    fn a_healthy_node_has_no_section_for_what_is_wrong() {
        let mut status = Status::example();
        status.problems.clear();
        status.topology.errors.clear();
        let text = describe(&status, SystemTime::UNIX_EPOCH).join("\n");
        assert!(
            !text.contains("rror") && !text.contains("Problems"),
            "{text}"
        );
    }
}
