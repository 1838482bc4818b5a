//! The data plane's words in those of the API.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;

use dataplane::{Dataplane, NetId, Status, mac_of};
use model::Topology;

use super::live::{
    Answer, Attached, Direction, Drop, Flow, FlowState, Interface, Load, Question, Sample,
    Transfer, Unanswered,
};
use super::state::Applied;

/// Answers a question, or says why it cannot be.
pub(super) fn answer(
    dataplane: Option<&mut Dataplane>,
    topology: Option<&Topology>,
    question: Question,
) {
    let Some(dataplane) = dataplane else {
        return refuse(question);
    };
    match question {
        Question::Flows(to) => send(
            to,
            dataplane
                .flows()
                .map(|flows| flows.iter().map(flow).collect()),
        ),
        Question::FlowCount(to) => send(to, dataplane.flow_count()),
        Question::Drops(to) => {
            let all = dataplane.drops();
            send(to, all.map(|all| all.iter().map(dropped).collect()));
        }
        Question::Loads(to) => {
            let load = |(id, load): (u32, _)| (id, backend_load(&load));
            send(
                to,
                dataplane
                    .loads()
                    .map(|all| all.into_iter().map(load).collect()),
            );
        }
        Question::Attached(to) => {
            send(
                to,
                Ok::<_, dataplane::ReadError>(attached(dataplane.status(), topology)),
            );
        }
        Question::Trace(place, packet, to) => send(to, dataplane.trace(&place, packet)),
        Question::Watch(client, time, to) => send(to, dataplane.watch(&client, time)),
        Question::Sightings(to) => send(to, dataplane.sightings()),
        // The agent itself has answered it: there is something to be said without a data plane.
        Question::Subject(_) => {}
    }
}

fn refuse(question: Question) {
    let why = || Unanswered::Dataplane("it is not open".to_owned());
    // Whoever has stopped waiting misses nothing.
    match question {
        Question::Flows(to) => drop(to.send(Err(why()))),
        Question::FlowCount(to) => drop(to.send(Err(why()))),
        Question::Drops(to) => drop(to.send(Err(why()))),
        Question::Loads(to) => drop(to.send(Err(why()))),
        Question::Attached(to) => drop(to.send(Err(why()))),
        Question::Subject(to) => drop(to.send(Err(why()))),
        Question::Trace(_, _, to) => drop(to.send(Err(why()))),
        Question::Watch(_, _, to) => drop(to.send(Err(why()))),
        Question::Sightings(to) => drop(to.send(Err(why()))),
    }
}

fn send<T>(to: Answer<T>, result: Result<T, impl Error>) {
    // Whoever has stopped waiting misses nothing.
    drop(to.send(result.map_err(|error| Unanswered::Dataplane(chain(&error)))));
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string does not fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// What the data plane uses of this host.
pub(super) fn applied(status: &Status) -> Option<Applied> {
    let underlay = status.underlay.as_ref()?;
    Some(Applied {
        underlay: underlay.interface.clone(),
        address: underlay.address,
        underlay_mtu: underlay.mtu,
        overlay_mtu: status.overlay_mtu?,
        device: status.device.clone(),
        ways: status.ways.clone(),
    })
}

fn flow(flow: &dataplane::Flow) -> Flow {
    let direction = match (flow.via, flow.target) {
        (Some(node), _) => Direction::From(node),
        (None, Some(node)) => Direction::To(node),
        (None, None) => Direction::Local,
    };
    let transfer = |packets, bytes| Transfer { packets, bytes };
    Flow {
        net: flow.net.0,
        protocol: flow.protocol,
        client: flow.client,
        frontend: Some(flow.frontend),
        backend: flow.backend_id,
        server: flow.backend,
        service: flow.service_id,
        state: flow_state(flow.state, flow.protocol),
        direction,
        idle: flow.idle,
        expires: flow.expires,
        forward: transfer(flow.forward.packets, flow.forward.bytes),
        reply: transfer(flow.reply.packets, flow.reply.bytes),
    }
}

/// Only TCP says when it is done.
fn flow_state(state: dataplane::FlowState, protocol: u8) -> FlowState {
    use dataplane::FlowState as Seen;
    let tcp = protocol == model::Protocol::Tcp.number();
    match (state, tcp) {
        (Seen::Opening, true) => FlowState::Syn,
        (Seen::Established, true) => FlowState::Established,
        (Seen::Closing, true) => FlowState::Closing,
        (Seen::Closed, true) => FlowState::Closed,
        (Seen::Opening, false) => FlowState::OneWay,
        (Seen::Established | Seen::Closing | Seen::Closed, false) => FlowState::Answered,
    }
}

fn dropped(drop: &dataplane::Drop) -> Drop {
    let sample = |sample: &dataplane::Sample| Sample {
        time: sample.time,
        interface: sample.interface.clone().unwrap_or_default(),
        net: sample.net.map_or(0, |net| net.0),
        protocol: sample.protocol,
        source: sample.source,
        destination: sample.destination,
        length: sample.length,
    };
    Drop {
        number: drop.reason as u32,
        reason: drop.reason.name(),
        description: drop.reason.description(),
        count: drop.count,
        last: drop.last.as_ref().map(sample),
    }
}

const fn backend_load(load: &dataplane::Load) -> Load {
    Load {
        active: load.active(),
        inactive: load.inactive(),
        total: load.total(),
    }
}

fn attached(status: Status, topology: Option<&Topology>) -> Attached {
    let programs = status.programs.into_iter();
    let interface = |(name, host): (String, String)| {
        let mac = topology
            .and_then(|topology| mac(topology, &name))
            .unwrap_or_default();
        (name, Interface { host, mac })
    };
    Attached {
        programs: programs
            .map(|(name, interfaces)| (name.to_owned(), interfaces.into_iter().collect()))
            .collect(),
        endpoints: status
            .host_interfaces
            .into_iter()
            .map(interface)
            .collect::<BTreeMap<_, _>>(),
        flow_capacity: u64::from(status.flow_capacity),
    }
}

fn mac(topology: &Topology, endpoint: &str) -> Option<String> {
    let network = &topology.endpoints.get(&endpoint.parse().ok()?)?.network;
    let net = NetId(topology.networks.get(network)?.vni.get());
    Some(
        mac_of(net, endpoint)
            .map(|byte| format!("{byte:02x}"))
            .join(":"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tcp_flows_have_a_beginning_and_an_end() {
        use dataplane::FlowState as Seen;
        assert_eq!(flow_state(Seen::Opening, 6), FlowState::Syn);
        assert_eq!(flow_state(Seen::Closed, 6), FlowState::Closed);
        assert_eq!(flow_state(Seen::Opening, 17), FlowState::OneWay);
        assert_eq!(flow_state(Seen::Closed, 17), FlowState::Answered);
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let error = anyhow::anyhow!("no such map").context("read flows");
        assert_eq!(chain(error.as_ref()), "read flows: no such map");
    }
}
