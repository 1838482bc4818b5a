//! Client and server over a real socket, with a topology of three nodes and made-up counts.

mod node;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use api::{ClientError, FlowState, NodeState};

use node::{Kernel, Node, ip};

#[tokio::test]
async fn status_tells_what_runs_and_what_is_wrong() {
    let node = Node::start(Kernel::Answers);
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
    let node = Node::start(Kernel::Answers);
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
    let node = Node::start(Kernel::Answers);
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
    let node = Node::start(Kernel::Answers);
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
    let node = Node::start(Kernel::Answers);
    let vip = node.client.vip("web").await.unwrap();
    assert_eq!((vip.name.as_str(), vip.service.as_str()), ("web", "web"));
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
    assert_eq!(
        (first.active, first.inactive, first.total),
        (Some(2), Some(1), Some(5))
    );
    let shares: Vec<_> = vip.backends.iter().map(|it| it.share).collect();
    assert_eq!(shares, [50.0; 4], "round robin does not weigh");
    assert_eq!(vip.affinity, 0);
    let published = [("8080/tcp", "mh")];
    let told = vip.published_ports.iter();
    let told: Vec<_> = told
        .map(|it| (it.id.as_str(), it.algorithm.as_str()))
        .collect();
    assert_eq!(told, published, "not the VIP's algorithm");
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
    let node = Node::start(Kernel::Answers);
    let ports = node.client.ports().await.unwrap();
    assert_eq!(ports.len(), 1);
    assert_eq!(
        (ports[0].id.as_str(), ports[0].name.as_str()),
        ("8080/tcp", "web")
    );
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
    let node = Node::start(Kernel::Answers);
    let flows = node.client.flows().await.unwrap();
    let [mesh, closed, inside] = &flows[..] else {
        panic!("three flows: {flows:?}")
    };
    assert_eq!(
        (mesh.network.as_str(), mesh.service.as_str()),
        ("ingress", "web")
    );
    assert_eq!(
        (mesh.name.as_str(), mesh.direction.as_str()),
        ("web", "to:n2")
    );
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
async fn a_flow_keeps_its_id_while_it_lives() {
    let node = Node::start(Kernel::Answers);
    let ids = |flows: Vec<api::Flow>| flows.into_iter().map(|it| it.id).collect::<Vec<_>>();
    let before = ids(node.client.flows().await.unwrap());
    assert!(before.iter().all(|id| id.len() == 16), "{before:?}");
    let distinct: BTreeSet<_> = before.iter().collect();
    assert_eq!(distinct.len(), 3, "{before:?}");
    node.change(|state| state.topology = None);
    assert_eq!(ids(node.client.flows().await.unwrap()), before);
}

#[tokio::test]
async fn drops_have_their_last_sample() {
    let node = Node::start(Kernel::Answers);
    let drops = node.client.drops().await.unwrap();
    assert_eq!((drops[0].reason.as_str(), drops[0].count), ("no-port", 7));
    assert_eq!(
        (drops[0].id.as_str(), drops[0].name.as_str()),
        ("18", "no-port")
    );
    let sample = drops[0].last_sample.as_ref().unwrap();
    assert_eq!(
        (sample.network.as_str(), sample.protocol.as_str()),
        ("app", "tcp")
    );
    assert_eq!(sample.source, "[fd00:1::11]:4711");
    assert_eq!(sample.destination, "10.0.1.2", "port 0 is none");
    let sample = drops[2].last_sample.as_ref().unwrap();
    assert_eq!(
        (sample.network.as_str(), sample.source.as_str()),
        ("gateway", "")
    );
    assert!(drops[1].last_sample.is_none());
}

#[tokio::test]
async fn without_data_plane_the_topology_is_still_told() {
    let node = Node::start(Kernel::Silent);
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
    let node = Node::start(Kernel::Answers);
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
    let flows = node.client.flows().await.unwrap();
    assert_eq!(flows.len(), 3, "the kernel goes on");
    assert_eq!(
        (flows[0].network.as_str(), flows[0].service.as_str()),
        ("4096", "")
    );
    assert_eq!(
        (flows[0].direction.as_str(), flows[0].backend),
        ("to:192.0.2.12", None)
    );
    assert_eq!(node.client.drops().await.unwrap()[0].count, 7);
}

#[tokio::test]
async fn what_the_api_does_not_have_is_refused_as_json() {
    let node = Node::start(Kernel::Answers);
    let page = node.raw("GET /netd/v2/status HTTP/1.1").await;
    assert!(page.starts_with("HTTP/1.1 404"), "{page}");
    assert!(page.ends_with(r#"{"message":"page not found"}"#), "{page}");
    for (request, allowed) in [
        ("DELETE /netd/v1/networks HTTP/1.1", "GET"),
        ("POST /netd/v1/networks/app HTTP/1.1", "GET"),
        ("GET /netd/v1/probe/watch HTTP/1.1", "POST"),
        ("GET /netd/v1/probe/collect?now HTTP/1.1", "POST"),
    ] {
        let method = node.raw(request).await;
        assert!(method.starts_with("HTTP/1.1 405"), "{method}");
        let told = format!(r#"{{"message":"method not allowed: only {allowed} is"}}"#);
        assert!(method.ends_with(&told), "{method}");
    }
}

#[tokio::test]
async fn the_socket_goes_when_the_server_is_stopped() {
    let mut node = Node::start(Kernel::Answers);
    node.client.status().await.unwrap();
    node.stop.take().unwrap().send(()).unwrap();
    (&mut node.serving).await.unwrap();
    assert!(matches!(
        node.client.status().await,
        Err(ClientError::SocketMissing { .. })
    ));
}

#[tokio::test]
async fn doctor_tells_what_netd_knows_and_what_it_finds() {
    let node = Node::start(Kernel::Silent);
    let findings = node.client.doctor().await.unwrap();
    let known = &findings[0];
    assert_eq!(
        (known.id.as_str(), known.name.as_str(), known.verdict),
        ("1", "forward-policy", api::Verdict::Fail)
    );
    let missing = findings.iter().find(|it| it.name == "bpf-file-system");
    assert_eq!(missing.unwrap().verdict, api::Verdict::Fail);
    node.change(|state| state.problems.clear());
    let findings = node.client.doctor().await.unwrap();
    assert_eq!(
        (findings[0].name.as_str(), findings[0].verdict),
        ("netd", api::Verdict::Ok)
    );
}

#[tokio::test]
async fn doctor_says_why_a_node_is_not_reached_natively() {
    let node = Node::start(Kernel::Silent);
    node.change(|state| {
        let way = dataplane::Way {
            device: Some("tun0 is not Ethernet".to_owned()),
            interface: Some("tun0".to_owned()),
            next_hop: None,
        };
        let applied = state.applied.as_mut().unwrap();
        applied.ways.insert("192.0.2.12".parse().unwrap(), way);
    });
    let findings = node.client.doctor().await.unwrap();
    let carrier = findings.iter().find(|it| it.name == "carrier").unwrap();
    assert_eq!(
        (carrier.about.as_str(), carrier.verdict),
        ("n2", api::Verdict::Warn)
    );
    assert!(carrier.message.ends_with("tun0 is not Ethernet"));
}

fn ask(source: &str, destination: &str) -> api::TraceQuestion {
    api::TraceQuestion {
        source: source.to_owned(),
        destination: destination.to_owned(),
        ..api::TraceQuestion::default()
    }
}

#[tokio::test]
async fn a_trace_goes_on_at_the_next_node() {
    let node = Node::start(Kernel::Answers);
    let trace = node.client.trace(&ask("web-1", "web:80")).await.unwrap();
    assert_eq!(trace.id, "tcp 10.0.1.11:40000 -> 10.0.1.2:80");
    let [here, there] = &trace.hops[..] else {
        panic!("{trace:?}")
    };
    assert_eq!((here.node.as_str(), here.verified), ("n1", true));
    assert_eq!((there.node.as_str(), there.verified), ("n2", false));
    assert!(there.message.contains("web-2"), "{there:?}");
    let next = trace.next.unwrap();
    assert_eq!(next.question.from, "192.0.2.11");
    assert_eq!(next.question.destination, "10.0.1.12:8080");
    let there = node.client.trace(&next.question).await.unwrap();
    assert_eq!(
        there.hops[0].packet,
        "tcp 10.0.1.11:40000 -> 10.0.1.12:8080"
    );
}

#[tokio::test]
async fn a_trace_begins_where_its_source_is() {
    let node = Node::start(Kernel::Answers);
    let elsewhere = node.client.trace(&ask("web-2", "web:80")).await.unwrap();
    assert!(elsewhere.hops.is_empty());
    assert_eq!(elsewhere.next.unwrap().node, "n2");
    let outside = ask("198.18.1.100", "192.0.2.12:8080");
    let elsewhere = node.client.trace(&outside).await.unwrap();
    assert_eq!(elsewhere.next.unwrap().node, "n2");
    let here = node.client.trace(&ask("198.18.1.100", "web:8080")).await;
    assert_eq!(
        here.unwrap().id,
        "tcp 198.18.1.100:40000 -> 192.0.2.11:8080"
    );
    let by_gateway = node.client.trace(&ask("web-1", "n2:8080")).await.unwrap();
    assert!(by_gateway.id.starts_with("tcp 172.30.0."), "{by_gateway:?}");
}

#[tokio::test]
async fn what_cannot_be_traced_is_refused_with_the_reason() {
    let node = Node::start(Kernel::Answers);
    for (source, destination, reason) in [
        ("nobody", "web:80", "source nobody not found"),
        ("web-1", "mail:25", "destination mail not found"),
        (
            "web-1",
            "web",
            "destination web: a name or an address and a port",
        ),
        ("web-1", "fd00:1::2:80", "destination fd00:1::2:80: a name"),
        ("db-1", "198.18.1.1:80", "db-1 has no route to 198.18.1.1"),
        (
            "198.18.1.100",
            "[fd18::1]:80",
            "198.18.1.100 and fd18::1 are of two families",
        ),
    ] {
        let refusal = node.client.trace(&ask(source, destination)).await;
        let text = refusal.unwrap_err().to_string();
        assert!(text.starts_with(reason), "{text}");
    }
    let mut udp = ask("web-1", "web:80");
    udp.protocol = "sctp".to_owned();
    assert!(node.client.trace(&udp).await.is_err());
}

const WAIT: Duration = Duration::from_millis(10);

#[tokio::test]
async fn a_probe_is_watched_by_nodes_and_sent_where_its_source_is() {
    let node = Node::start(Kernel::Answers);
    let mut question = ask("web-2", "web:80");
    let watched = node.client.watch(&question, WAIT).await.unwrap();
    assert_eq!((&*watched.node, &*watched.source), ("n1", "n2"));
    let refusal = node.client.send(&question, WAIT).await.unwrap_err();
    assert_eq!(refusal.to_string(), "web-2 is on node n2, not on n1");
    let by_node = node.client.watch(&ask("n1", "n2:8080"), WAIT).await;
    assert_eq!(by_node.unwrap().source, "n1");
    question.source_port = node::BUSY;
    let busy = node.client.watch(&question, WAIT).await.unwrap_err();
    assert!(
        matches!(busy, ClientError::Refused { status: 409, .. }),
        "{busy}"
    );
    let outside = ask("198.18.1.100", "web:8080");
    let refusal = node.client.watch(&outside, WAIT).await.unwrap_err();
    let text = refusal.to_string();
    assert!(
        text.starts_with("no probe can be sent from 198.18.1.100"),
        "{text}"
    );
    let long = node.client.watch(&question, Duration::from_secs(31)).await;
    let text = long.unwrap_err().to_string();
    assert!(text.ends_with("at most 30 seconds"), "{text}");
    // Its namespace is not there.
    let refusal = node.client.send(&ask("web-1", "web:80"), WAIT).await;
    let text = refusal.unwrap_err().to_string();
    assert!(
        text.starts_with("send a probe: enter the sender's namespace: "),
        "{text}"
    );
}

#[tokio::test]
async fn what_programs_have_seen_is_told_in_the_words_of_a_trace() {
    let node = Node::start(Kernel::Answers);
    let trace = node.client.trace(&ask("web-1", "web:80")).await.unwrap();
    let [seen] = &node.client.collect().await.unwrap()[..] else {
        panic!("one")
    };
    assert_eq!((seen.time_us, &*seen.interface), (1_000_000, "nd1"));
    let hop = &trace.hops[0];
    assert_eq!(
        (
            &seen.node,
            &seen.program,
            &seen.packet,
            seen.verdict,
            &seen.message
        ),
        (
            &hop.node,
            &hop.program,
            &hop.packet,
            hop.verdict,
            &hop.message
        )
    );
    assert_eq!(seen.to, "n2");
}

#[tokio::test]
async fn a_nodes_own_process_is_traced_from_the_other_node_on() {
    let node = Node::start(Kernel::Answers);
    let there = node.client.trace(&ask("n1", "n2:8080")).await.unwrap();
    assert_eq!(there.next.unwrap().node, "n2");
    let here = node.client.trace(&ask("n2", "n1:8080")).await.unwrap();
    assert_eq!(here.id, "tcp 192.0.2.12:40000 -> 192.0.2.11:8080");
    let own = node.client.trace(&ask("n1", "web:8080")).await.unwrap_err();
    let text = own.to_string();
    assert!(text.contains("led to a backend by its socket"), "{text}");
}
