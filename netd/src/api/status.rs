use api::{
    Audit, Counts, NodeState, Problem, Program, Repair, Status, Topology, TopologyError, Underlay,
    Vtep,
};
use axum::Json;
use axum::extract::State;

use crate::agent::{self, Attached, Handle, Unanswered};

/// The status is always answered: what the kernel does not say is missing from it, and named.
pub(super) async fn show(State(agent): State<Handle>) -> Json<Status> {
    let state = agent.state.borrow().clone();
    let kernel = Kernel::ask(&agent).await;
    let (kernel, silence) = match kernel {
        Ok(kernel) => (kernel, None),
        Err(error) => (Kernel::default(), Some(error)),
    };
    let device = match &state.applied {
        Some(applied) => applied.device.clone(),
        None => Some("nothing is in force yet".to_owned()),
    };
    let ready = state.is_ready() && silence.is_none();
    Json(Status {
        node: state.node.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mode: "static".to_owned(),
        state: if ready {
            NodeState::Ready
        } else {
            NodeState::Degraded
        },
        since: state.since.into(),
        underlay: state.applied.as_ref().map(|applied| Underlay {
            interface: applied.underlay.clone(),
            address: applied.address,
            mtu: applied.underlay_mtu,
        }),
        overlay_mtu: state.applied.as_ref().map(|applied| applied.overlay_mtu),
        carrier: kind(device.as_ref()),
        carrier_reason: device,
        vteps: vteps(&state),
        programs: programs(&kernel.attached),
        topology: topology(&state.load),
        problems: problems(&state, silence),
        audit: audit(&state.audit),
        counts: counts(&state, &kernel),
    })
}

/// What only the kernel knows.
#[derive(Default)]
struct Kernel {
    attached: Attached,
    flows: u64,
    drops: u64,
}

impl Kernel {
    async fn ask(agent: &Handle) -> Result<Self, Unanswered> {
        let drops = agent.live.drops().await?;
        Ok(Self {
            attached: agent.live.attached().await?,
            flows: agent.live.flow_count().await? as u64,
            drops: drops.iter().map(|drop| drop.count).sum(),
        })
    }
}

/// The carrier of a node, or to one: `device` is why it is that.
fn kind(device: Option<&String>) -> String {
    let kind = if device.is_some() { "device" } else { "native" };
    kind.to_owned()
}

fn vteps(state: &agent::State) -> Vec<Vtep> {
    let (Some(topology), Some(applied)) = (&state.topology, &state.applied) else {
        return Vec::new();
    };
    let vtep = |(name, node): (&model::NodeName, &model::Node)| {
        let way = applied.ways.get(&node.address)?;
        Some(Vtep {
            node: name.to_string(),
            address: node.address,
            carrier: kind(way.device.as_ref()),
            carrier_reason: way.device.clone(),
            interface: way.interface.clone(),
            next_hop: way.next_hop,
        })
    };
    topology.nodes.iter().filter_map(vtep).collect()
}

fn programs(attached: &Attached) -> Vec<Program> {
    let programs = attached.programs.iter();
    programs
        .map(|(name, attached)| Program {
            name: name.clone(),
            attached: attached.clone(),
        })
        .collect()
}

fn topology(load: &agent::Load) -> Topology {
    let errors = load.errors.iter().map(|error| TopologyError {
        file: error.file.display().to_string(),
        line: u32::try_from(error.line).ok().filter(|line| *line > 0),
        message: error.message.clone(),
    });
    Topology {
        file: load.file.display().to_string(),
        loaded_at: load.loaded_at.map(Into::into),
        generation: load.generation,
        errors: errors.collect(),
    }
}

fn audit(audit: &agent::Audit) -> Audit {
    let repair = |repair: &agent::Repair| Repair {
        time: repair.time.into(),
        what: repair.what.clone(),
    };
    Audit {
        last: audit.last.map(Into::into),
        repaired: audit.repaired,
        recent: audit.recent.iter().map(repair).collect(),
    }
}

fn problems(state: &agent::State, silence: Option<Unanswered>) -> Vec<Problem> {
    let mut problems: Vec<_> = state
        .problems
        .iter()
        .map(|obstacle| Problem {
            code: obstacle.code.clone(),
            message: obstacle.message.clone(),
            needed: obstacle.needed.clone(),
        })
        .collect();
    if let (Some(silence), true) = (silence, problems.is_empty()) {
        problems.push(Problem {
            code: "no-dataplane".to_owned(),
            message: silence.to_string(),
            needed: "netd's log says more".to_owned(),
        });
    }
    problems
}

fn counts(state: &agent::State, kernel: &Kernel) -> Counts {
    let mut counts = Counts {
        flows: kernel.flows,
        flow_capacity: kernel.attached.flow_capacity,
        drops: kernel.drops,
        ..Counts::default()
    };
    let Some(topology) = &state.topology else {
        return counts;
    };
    let local = |endpoint: &&model::Endpoint| endpoint.task.node == state.node;
    let services = topology.services.values();
    counts.networks = (topology.networks.len() + usize::from(topology.ingress.is_some())) as u64;
    counts.endpoints = topology.endpoints.len() as u64;
    counts.local_endpoints = topology.endpoints.values().filter(local).count() as u64;
    counts.services = topology.services.len() as u64;
    counts.backends = services.clone().map(|it| it.members.len() as u64).sum();
    counts.published_ports = services.map(|it| it.published.len() as u64).sum();
    counts
}
