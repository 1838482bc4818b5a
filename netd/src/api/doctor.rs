use api::{Finding, Verdict};
use axum::Json;
use axum::extract::State;
use model::{Carrier, Node, NodeName};

use super::names::Names;
use super::refusal::Refusal;
use crate::agent::{self, Handle, Unanswered};

/// Checks take as long as other nodes are waited for: they run beside everything else.
pub(super) async fn list(State(agent): State<Handle>) -> Result<Json<Vec<Finding>>, Refusal> {
    let state = agent.state.borrow().clone();
    let subject = agent.live.subject().await?;
    let checks = tokio::task::spawn_blocking(move || dataplane::examine(&subject));
    let found = checks.await.map_err(|_| Unanswered::Stopping)?;
    let names = Names::new(state.topology.as_deref());
    let findings = own(&state)
        .into_iter()
        .chain(carriers(&state))
        .chain(found.into_iter().map(|it| finding(&names, it)));
    let numbered = findings
        .zip(1..)
        .map(|(finding, number): (_, u32)| Finding {
            id: number.to_string(),
            ..finding
        });
    Ok(Json(numbered.collect()))
}

fn finding(names: &Names<'_>, found: dataplane::Finding) -> Finding {
    Finding {
        id: String::new(),
        name: found.check.to_owned(),
        about: match found.about.parse() {
            Ok(address) => names.node(address),
            Err(_) => found.about,
        },
        verdict: match found.verdict {
            dataplane::Verdict::Ok => Verdict::Ok,
            dataplane::Verdict::Warn => Verdict::Warn,
            dataplane::Verdict::Fail => Verdict::Fail,
        },
        message: found.message,
        advice: found.advice,
    }
}

/// What netd knows without looking: its file, and what its last pass met.
fn own(state: &agent::State) -> Vec<Finding> {
    // What the checks look at themselves, and know better at this moment.
    const CHECKED: [&str; 3] = ["foreign-firewall", "port-taken", "feature"];
    let problems = state.problems.iter();
    let problems = problems.filter(|it| !CHECKED.contains(&it.code.as_str()));
    let mut findings: Vec<Finding> = problems
        .map(|it| {
            let advice = match it.needed.as_str() {
                "" => "see netd's log".to_owned(),
                needed => needed.to_owned(),
            };
            failed(&it.code, "", it.message.clone(), advice)
        })
        .collect();
    let file = state.load.file.display().to_string();
    findings.extend(state.load.errors.iter().map(|error| {
        let advice = "correct the file; what was in force before stays so";
        failed("topology", &file, error.to_string(), advice.to_owned())
    }));
    if findings.is_empty() {
        findings.push(Finding {
            id: String::new(),
            name: "netd".to_owned(),
            about: state.node.to_string(),
            verdict: Verdict::Ok,
            message: "everything that the topology asks for is in place".to_owned(),
            advice: String::new(),
        });
    }
    findings
}

/// How packets get to each other node, and why not natively.
fn carriers(state: &agent::State) -> Vec<Finding> {
    let (Some(topology), Some(applied)) = (&state.topology, &state.applied) else {
        return Vec::new();
    };
    let own = topology.nodes.get(&state.node);
    let asks = own.is_some_and(|node| node.carrier == Carrier::Device);
    let carrier = |(name, node): (&NodeName, &Node)| {
        let way = applied.ways.get(&node.address)?;
        let interface = way.interface.as_deref().unwrap_or("its route");
        let (verdict, message, advice) = match &way.device {
            None => (Verdict::Ok, format!("native, by {interface}"), ""),
            Some(reason) if asks => (Verdict::Ok, format!("by the VXLAN device: {reason}"), ""),
            Some(reason) => (
                Verdict::Warn,
                format!("by the VXLAN device, at a higher cost: {reason}"),
                "remove the cause, or say `carrier = \"device\"` for this node",
            ),
        };
        Some(Finding {
            id: String::new(),
            name: "carrier".to_owned(),
            about: name.to_string(),
            verdict,
            message,
            advice: advice.to_owned(),
        })
    };
    topology.nodes.iter().filter_map(carrier).collect()
}

fn failed(name: &str, about: &str, message: String, advice: String) -> Finding {
    Finding {
        id: String::new(),
        name: name.to_owned(),
        about: about.to_owned(),
        verdict: Verdict::Fail,
        message,
        advice,
    }
}
