//! A server whose agent has a fixed state.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::Client;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};

use crate::agent::{
    self, Applied, Attached, Audit, BackendLoad, Direction, Drop, Handle, Interface, Live, Load,
    Obstacle, Question, Sample, State, Transfer, Unanswered,
};
use crate::api::Server;
use crate::topology;

const TOPOLOGY: &str = r#"
[ingress]
subnets = ["10.255.0.0/16", "fd00:255::/64"]
[[node]]
name = "n1"
address = "192.0.2.11"
[[node]]
name = "n2"
address = "192.0.2.12"
[[network]]
name = "app"
vni = 4097
subnets = ["10.0.1.0/24", "fd00:1::/64"]
mtu = 1400
[[network]]
name = "back"
vni = 4098
subnets = ["10.0.2.0/24"]
internal = true
[[endpoint]]
name = "web-1"
node = "n1"
namespace = "web-1"
network = "app"
addresses = ["10.0.1.11", "fd00:1::11"]
[[endpoint]]
name = "web-2"
node = "n2"
namespace = "web-2"
network = "app"
addresses = ["10.0.1.12", "fd00:1::12"]
[[endpoint]]
name = "db-1"
node = "n1"
namespace = "db-1"
network = "back"
[[service]]
name = "web"
network = "app"
vips = ["10.0.1.2", "fd00:1::2"]
ports = [{ port = 80, target = 8080 }]
publish = [{ port = 8080, target = 8080 }]
backends = ["web-1", { endpoint = "web-2", weight = 3 }]
[[service]]
name = "db"
network = "back"
backends = ["db-1"]
"#;

/// Whether the data plane works.
#[derive(Clone, Copy)]
pub(super) enum Kernel {
    Answers,
    Silent,
}

/// A server with a fixed state.
pub(super) struct Node {
    dir: TempDir,
    pub(super) client: Client,
    state: watch::Sender<Arc<State>>,
    pub(super) stop: Option<oneshot::Sender<()>>,
    pub(super) serving: tokio::task::JoinHandle<()>,
}

impl Node {
    pub(super) fn start(kernel: Kernel) -> Self {
        let dir = TempDir::new().unwrap();
        let (state, current) = watch::channel(Arc::new(state(dir.path())));
        let (live, questions) = Live::new(4);
        let topology = current.borrow().topology.clone().unwrap();
        tokio::spawn(answer(questions, kernel, topology));
        let socket = dir.path().join("netd.sock");
        let server = Server::bind(&socket).unwrap();
        let agent = Handle {
            state: current,
            live,
        };
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            server.serve(agent, stopped).await.unwrap();
        });
        Self {
            dir,
            client: Client::new(socket),
            state,
            stop: Some(stop),
            serving,
        }
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(|state| change(Arc::make_mut(state)));
    }

    pub(super) async fn raw(&self, line: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let socket = self.dir.path().join("netd.sock");
        let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        let request = format!("{line}\r\nHost: netd\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

fn state(dir: &Path) -> State {
    let file = dir.join("topology.toml");
    std::fs::write(&file, TOPOLOGY).unwrap();
    let loaded = topology::load(&file, None).unwrap();
    State {
        node: "n1".parse().unwrap(),
        since: SystemTime::now(),
        load: Load {
            file,
            loaded_at: Some(SystemTime::now()),
            generation: 3,
            errors: Vec::new(),
        },
        topology: Some(loaded.topology),
        applied: Some(Applied {
            underlay: "eth0".to_owned(),
            address: ip("192.0.2.11"),
            underlay_mtu: 1500,
            overlay_mtu: 1450,
            device: None,
            ways: BTreeMap::new(),
        }),
        audit: Audit::default(),
        problems: vec![Obstacle {
            code: "forward-policy".to_owned(),
            message: "the policy of FORWARD is drop".to_owned(),
            needed: "accept".to_owned(),
        }],
    }
}

async fn answer(
    mut questions: mpsc::Receiver<Question>,
    kernel: Kernel,
    topology: Arc<model::Topology>,
) {
    while let Some(question) = questions.recv().await {
        let silent = || Unanswered::Dataplane("no bpf here".to_owned());
        let works = matches!(kernel, Kernel::Answers);
        // The asker may have gone.
        match question {
            Question::Flows(to) => {
                drop(to.send(works.then(|| flows(&topology)).ok_or_else(silent)))
            }
            Question::FlowCount(to) => {
                drop(to.send(works.then(|| flows(&topology).len()).ok_or_else(silent)));
            }
            Question::Drops(to) => drop(to.send(works.then(drops).ok_or_else(silent))),
            Question::Loads(to) => {
                drop(to.send(works.then(|| loads(&topology)).ok_or_else(silent)))
            }
            Question::Watch(client, _, to) => drop(to.send(Ok(client.port != BUSY))),
            Question::Sightings(to) => drop(to.send(Ok(vec![sighting()]))),
            Question::Trace(_, packet, to) => drop(to.send(Ok(path(packet)))),
            Question::Subject(to) => {
                drop(to.send(Ok(dataplane::Subject::bare("/nowhere".into()))));
            }
            Question::Attached(to) => drop(to.send(works.then(attached).ok_or_else(silent))),
        }
    }
}

/// Every packet goes to `web-2` on the other node.
fn path(packet: dataplane::trace::Packet) -> dataplane::trace::Path {
    dataplane::trace::Path {
        program: "from_task",
        steps: Vec::new(),
        outcome: dataplane::trace::Outcome::Node {
            to: ip("192.0.2.12"),
            net: dataplane::NetId(4097),
            backend: 0,
            native: false,
        },
        packet: dataplane::trace::Packet {
            destination: place("10.0.1.12:8080"),
            ..packet
        },
        backend: 7,
        opens: true,
    }
}

fn backend(topology: &model::Topology, endpoint: &str, kind: model::BackendKind) -> u32 {
    let found = topology.backends.iter().find(|(_, it)| {
        it.endpoint.as_str() == endpoint && it.kind == kind && it.address.is_ipv4()
    });
    found.unwrap().0.get()
}

fn flows(topology: &model::Topology) -> Vec<agent::Flow> {
    let service = topology.services[&"web".parse().unwrap()].id.get();
    let mesh = agent::Flow {
        net: topology.ingress.as_ref().unwrap().vni.get(),
        protocol: 6,
        client: place("198.18.1.100:4001"),
        frontend: Some(place("192.0.2.11:8080")),
        backend: backend(topology, "web-2", model::BackendKind::Published),
        server: None,
        service,
        state: agent::FlowState::Established,
        direction: Direction::To(ip("192.0.2.12")),
        idle: Duration::from_millis(4),
        expires: Duration::from_secs(7_440),
        forward: Transfer::default(),
        reply: Transfer::default(),
    };
    let closed = agent::Flow {
        client: place("198.18.1.100:4002"),
        state: agent::FlowState::Closed,
        ..mesh
    };
    let inside = agent::Flow {
        net: 4097,
        protocol: 17,
        client: place("10.0.1.12:5000"),
        frontend: Some(place("10.0.1.2:80")),
        backend: backend(topology, "web-1", model::BackendKind::Vip),
        server: Some(place("10.0.1.11:8080")),
        state: agent::FlowState::OneWay,
        direction: Direction::From(ip("192.0.2.99")),
        idle: Duration::from_millis(1_500),
        expires: Duration::from_millis(28_500),
        forward: Transfer {
            packets: 3,
            bytes: 300,
        },
        reply: Transfer {
            packets: 1,
            bytes: 40,
        },
        ..mesh
    };
    vec![inside, closed, mesh]
}

/// The port of a client that comes too late: another is watched.
pub(super) const BUSY: u16 = 50_000;

fn sighting() -> dataplane::probe::Sighting {
    let packet = dataplane::trace::Packet {
        protocol: 6,
        source: place("10.0.1.11:40000"),
        destination: place("10.0.1.2:80"),
    };
    let path = path(packet);
    dataplane::probe::Sighting {
        time: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
        program: "from_task",
        interface: Some("nd1".to_owned()),
        kind: dataplane::probe::Kind::Probe,
        packet,
        outcome: path.outcome,
        left: path.packet,
    }
}

fn drops() -> Vec<Drop> {
    let sample = Sample {
        time: SystemTime::now(),
        interface: "nd1".to_owned(),
        net: 4097,
        protocol: 6,
        source: Some(place("[fd00:1::11]:4711")),
        destination: Some(place("10.0.1.2:0")),
        length: 74,
    };
    let drop = |number, reason, count, last| Drop {
        number,
        reason,
        description: "Something.",
        count,
        last,
    };
    let out = Sample {
        net: dataplane::NetId::GATEWAY.0,
        source: None,
        ..sample.clone()
    };
    vec![
        drop(18, "no-port", 7, Some(sample)),
        drop(19, "no-flow", 0, None),
        drop(5, "multicast", 0, Some(out)),
    ]
}

fn loads(topology: &model::Topology) -> BTreeMap<u32, BackendLoad> {
    let load = BackendLoad {
        active: 2,
        inactive: 1,
        total: 5,
    };
    BTreeMap::from([(backend(topology, "web-1", model::BackendKind::Vip), load)])
}

fn attached() -> Attached {
    let interface = Interface {
        host: "nd1".to_owned(),
        mac: "02:00:00:00:00:01".to_owned(),
    };
    Attached {
        programs: BTreeMap::from([("from_uplink".to_owned(), vec!["eth0".to_owned()])]),
        endpoints: BTreeMap::from([("web-1".to_owned(), interface)]),
        flow_capacity: 65_536,
    }
}

pub(super) fn ip(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}

fn place(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
