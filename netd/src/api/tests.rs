//! Client and server over a real socket, with a topology of three nodes and made-up counts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::{Client, ClientError, FlowState, NodeState};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};

use super::Server;
use crate::agent::{
    self, Applied, Attached, BackendLoad, Direction, Drop, Handle, Interface, Live, Load, Obstacle,
    Question, Sample, State, Transfer, Unanswered,
};
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

#[tokio::test]
async fn status_tells_what_runs_and_what_is_wrong() {
    let node = Node::start(Kernel::Answers).await;
    let status = node.client.status().await.unwrap();
    assert_eq!(
        (status.node.as_str(), status.mode.as_str()),
        ("n1", "static")
    );
    assert_eq!(status.state, NodeState::Degraded);
    assert_eq!(status.problems[0].code, "forward-policy");
    assert_eq!(status.underlay.unwrap().interface, "eth0");
    assert_eq!(status.overlay_mtu, Some(1450));
    assert_eq!(status.programs[0].attached, ["eth0"]);
    assert_eq!(
        (status.topology.generation, status.topology.errors.len()),
        (3, 0)
    );
    let counts = status.counts;
    assert_eq!(
        (counts.networks, counts.endpoints, counts.local_endpoints),
        (3, 3, 2)
    );
    assert_eq!(
        (counts.services, counts.backends, counts.published_ports),
        (2, 3, 1)
    );
    assert_eq!(
        (counts.flows, counts.flow_capacity, counts.drops),
        (3, 65_536, 7)
    );
}

#[tokio::test]
async fn networks_are_listed_with_the_ingress_network() {
    let node = Node::start(Kernel::Answers).await;
    let networks = node.client.networks().await.unwrap();
    let names: Vec<_> = networks.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["app", "back", "ingress"]);
    let [app, back, ingress] = &networks[..] else {
        panic!("three networks")
    };
    assert_eq!(
        (app.id.as_str(), app.vni, app.mtu),
        ("4097", 4097, Some(1400))
    );
    assert_eq!((app.endpoints, app.services, app.internal), (2, 1, false));
    assert_eq!((back.internal, back.mtu), (true, Some(1450)));
    assert_eq!((ingress.endpoints, ingress.services), (2, 1));
    assert_eq!(ingress.gateways, [ip("10.255.0.1"), ip("fd00:255::1")]);
}

#[tokio::test]
async fn a_network_is_found_by_name_id_and_beginning() {
    let node = Node::start(Kernel::Answers).await;
    for wanted in ["back", "4098"] {
        let network = node.client.network(wanted).await.unwrap();
        assert_eq!(network.network.name, "back");
        assert_eq!(
            (network.endpoint_list, network.service_list),
            (vec!["db-1".into()], vec!["db".into()])
        );
    }
    let error = node.client.network("nope").await.unwrap_err();
    assert_eq!(error.to_string(), "network nope not found");
    assert!(matches!(error, ClientError::Refused { status: 404, .. }));
    let error = node.client.network("409").await.unwrap_err();
    assert!(
        matches!(error, ClientError::Refused { status: 400, .. }),
        "{error}"
    );
    let error = node.client.network("../status").await.unwrap_err();
    assert_eq!(error.to_string(), "network ../status not found");
}

#[tokio::test]
async fn endpoints_say_where_they_are() {
    let node = Node::start(Kernel::Answers).await;
    let endpoint = node.client.endpoint("web-1").await.unwrap();
    assert!(endpoint.local);
    assert_eq!(endpoint.addresses, [ip("10.0.1.11"), ip("fd00:1::11")]);
    assert_eq!(
        (endpoint.host_interface.as_str(), endpoint.mac.as_str()),
        ("nd1", "02:00:00:00:00:01")
    );
    assert_eq!(endpoint.namespace, "/run/netns/web-1");
    assert_eq!(
        (endpoint.ingress.len(), endpoint.gateway_addresses.len()),
        (2, 2)
    );
    assert_eq!(endpoint.services, ["web"]);

    let by_id = node.client.endpoint(&endpoint.id[..6]).await.unwrap();
    assert_eq!(by_id, endpoint);
    let elsewhere = node.client.endpoint("web-2").await.unwrap();
    assert_eq!((elsewhere.local, elsewhere.mac.as_str()), (false, ""));
    assert_eq!(
        (elsewhere.node.as_str(), elsewhere.vtep),
        ("n2", ip("192.0.2.12"))
    );
    let internal = node.client.endpoint("db-1").await.unwrap();
    assert!(internal.ingress.is_empty() && internal.gateway_addresses.is_empty());
    assert_eq!(node.client.endpoints().await.unwrap().len(), 3);
}

#[tokio::test]
async fn vips_have_each_backend_once_with_its_connections() {
    let node = Node::start(Kernel::Answers).await;
    let vip = node.client.vip("web").await.unwrap();
    assert_eq!(vip.addresses, [ip("10.0.1.2"), ip("fd00:1::2")]);
    assert_eq!((vip.ports[0].port, vip.ports[0].target), (80, 8080));
    let backends: Vec<_> = vip
        .backends
        .iter()
        .map(|it| {
            (
                it.endpoint.as_str(),
                it.node.as_str(),
                it.address.as_str(),
                it.weight,
            )
        })
        .collect();
    assert_eq!(
        backends,
        [
            ("web-1", "n1", "10.0.1.11:8080", 1),
            ("web-1", "n1", "[fd00:1::11]:8080", 1),
            ("web-2", "n2", "10.0.1.12:8080", 3),
            ("web-2", "n2", "[fd00:1::12]:8080", 3),
        ]
    );
    let first = &vip.backends[0];
    assert_eq!((first.active, first.total), (Some(2), Some(5)));
    assert_eq!(
        (vip.backends[1].active, vip.backends[1].total),
        (Some(0), Some(0))
    );
    assert_eq!(node.client.vip(&vip.id).await.unwrap(), vip);

    let whole = node.client.vip("db").await.unwrap();
    assert!(whole.ports.is_empty());
    assert_eq!(whole.backends[0].address, "10.0.2.2");
    let error = node.client.vip("mail").await.unwrap_err();
    assert_eq!(error.to_string(), "vip mail not found");
}

#[tokio::test]
async fn published_ports_count_what_is_open() {
    let node = Node::start(Kernel::Answers).await;
    let ports = node.client.ports().await.unwrap();
    assert_eq!(ports.len(), 1);
    assert_eq!(
        (
            ports[0].service.as_str(),
            ports[0].port,
            ports[0].algorithm.as_str()
        ),
        ("web", 8080, "mh")
    );
    assert_eq!(
        (ports[0].backends, ports[0].active),
        (2, Some(1)),
        "the closed one does not count"
    );
}

#[tokio::test]
async fn flows_have_names_for_numbers() {
    let node = Node::start(Kernel::Answers).await;
    let flows = node.client.flows().await.unwrap();
    let [mesh, closed, inside] = &flows[..] else {
        panic!("three flows: {flows:?}")
    };
    assert_eq!(
        (mesh.network.as_str(), mesh.service.as_str()),
        ("ingress", "web")
    );
    assert_eq!(mesh.direction, "to:n2");
    let ingress = node.client.endpoint("web-2").await.unwrap().ingress[0];
    assert_eq!(
        mesh.backend,
        Some(SocketAddr::new(ingress, 8080)),
        "not translated here"
    );
    assert_eq!(closed.state, FlowState::Closed);
    assert_eq!(
        (inside.network.as_str(), inside.protocol.as_str()),
        ("app", "udp")
    );
    assert_eq!(
        (inside.direction.as_str(), inside.state),
        ("from:192.0.2.99", FlowState::OneWay)
    );
    assert_eq!((inside.idle_ms, inside.expires_ms), (1_500, 28_500));
    assert_eq!((inside.packets.forward, inside.bytes.reply), (3, 40));
}

#[tokio::test]
async fn drops_have_their_last_sample() {
    let node = Node::start(Kernel::Answers).await;
    let drops = node.client.drops().await.unwrap();
    assert_eq!((drops[0].reason.as_str(), drops[0].count), ("no-port", 7));
    let sample = drops[0].last_sample.as_ref().unwrap();
    assert_eq!(
        (sample.network.as_str(), sample.protocol.as_str()),
        ("app", "tcp")
    );
    assert_eq!(sample.source, "[fd00:1::11]:4711");
    assert_eq!(sample.destination, "10.0.1.2", "port 0 is none");
    assert!(drops[1].last_sample.is_none());
}

#[tokio::test]
async fn without_data_plane_the_topology_is_still_told() {
    let node = Node::start(Kernel::Silent).await;
    let status = node.client.status().await.unwrap();
    assert_eq!(status.state, NodeState::Degraded);
    assert_eq!((status.counts.endpoints, status.counts.flows), (3, 0));
    let vip = node.client.vip("web").await.unwrap();
    assert_eq!(
        (vip.backends[0].active, vip.backends[0].total),
        (None, None)
    );
    assert_eq!(node.client.ports().await.unwrap()[0].active, None);
    assert_eq!(node.client.endpoint("web-1").await.unwrap().mac, "");
    let error = node.client.flows().await.unwrap_err();
    assert!(
        matches!(error, ClientError::Refused { status: 503, .. }),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        "the data plane does not answer: no bpf here"
    );
}

#[tokio::test]
async fn without_topology_nothing_is_said_not_to_exist() {
    let node = Node::start(Kernel::Answers).await;
    node.change(|state| state.topology = None);
    let error = node.client.network("app").await.unwrap_err();
    assert!(
        matches!(error, ClientError::Refused { status: 503, .. }),
        "{error}"
    );
    assert!(
        error.to_string().starts_with("no topology is in force: "),
        "{error}"
    );
    assert_eq!(node.client.status().await.unwrap().counts.networks, 0);
}

#[tokio::test]
async fn what_the_api_does_not_have_is_refused_as_json() {
    let node = Node::start(Kernel::Answers).await;
    let page = node.raw("GET /netd/v2/status HTTP/1.1").await;
    assert!(page.starts_with("HTTP/1.1 404"), "{page}");
    assert!(page.ends_with(r#"{"message":"page not found"}"#), "{page}");
    let method = node.raw("DELETE /netd/v1/networks HTTP/1.1").await;
    assert!(method.starts_with("HTTP/1.1 405"), "{method}");
    assert!(
        method.ends_with(r#"{"message":"method not allowed: only GET is"}"#),
        "{method}"
    );
}

#[tokio::test]
async fn the_socket_goes_when_the_server_is_stopped() {
    let mut node = Node::start(Kernel::Answers).await;
    node.client.status().await.unwrap();
    node.stop.take().unwrap().send(()).unwrap();
    (&mut node.serving).await.unwrap();
    assert!(matches!(
        node.client.status().await,
        Err(ClientError::SocketMissing { .. })
    ));
}

/// Whether the data plane works.
#[derive(Clone, Copy)]
enum Kernel {
    Answers,
    Silent,
}

/// A server with a fixed state.
struct Node {
    dir: TempDir,
    client: Client,
    state: watch::Sender<Arc<State>>,
    stop: Option<oneshot::Sender<()>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Node {
    async fn start(kernel: Kernel) -> Self {
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

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(|state| change(Arc::make_mut(state)));
    }

    async fn raw(&self, line: &str) -> String {
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
    let loaded = topology::load(&file).unwrap();
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
        }),
        problems: vec![Obstacle {
            code: "forward-policy".to_owned(),
            message: "the policy of FORWARD is drop".to_owned(),
            needed: "accept".to_owned(),
        }],
    }
}

async fn answer(
    mut questions: tokio::sync::mpsc::Receiver<Question>,
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
            Question::Drops(to) => drop(to.send(works.then(drops).ok_or_else(silent))),
            Question::Loads(to) => {
                drop(to.send(works.then(|| loads(&topology)).ok_or_else(silent)))
            }
            Question::Attached(to) => drop(to.send(works.then(attached).ok_or_else(silent))),
        }
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
        ..mesh.clone()
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
        ..mesh.clone()
    };
    vec![inside, closed, mesh]
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
    let drop = |reason, count, last| Drop {
        reason,
        description: "Something.",
        count,
        last,
    };
    vec![drop("no-port", 7, Some(sample)), drop("no-flow", 0, None)]
}

fn loads(topology: &model::Topology) -> BTreeMap<u32, BackendLoad> {
    let load = BackendLoad {
        opened: 5,
        closed: 3,
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

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}

fn place(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
