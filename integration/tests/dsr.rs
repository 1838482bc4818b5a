//! Replies that go straight from the backend's node to the client, and an underlay that forbids them.

use std::io::BufReader;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::lab::topology::{Port, Service, Topology};
use integration::lab::{Family, Lab, Spec};
use integration::probe::{self, Transport};
use integration::{can_make_labs, command, http, netns, wait};
use serde_json::Value;

const NEAR: u16 = 8001;
const FAR: u16 = 8002;
/// How long netd may take to ask its peers again.
const PATIENCE: Duration = Duration::from_secs(20);

/// Three nodes: `near` on the first, by which clients come, `far` on the second.
fn lab(name: &str) -> Result<Lab> {
    let mut spec = Spec::new(&Spec::unique_name(name), 3);
    for node in spec.node_names() {
        let often = vec!["--audit-interval=2".to_owned()];
        spec.node_args.insert(node, often);
    }
    let mut lab = Lab::up(spec)?;
    let mut topology = Topology::of(&lab);
    topology.add_network("app", 1);
    for ((task, node, port), host) in [("near", "n1", NEAR), ("far", "n2", FAR)]
        .into_iter()
        .zip(11..)
    {
        lab.add_task(task, node)?;
        topology.attach(&lab, task, "app", host);
        let dsr = |port: Port| Port {
            returns: Some("dsr".to_owned()),
            ..port
        };
        topology.service.push(Service {
            publish: vec![dsr(Port::tcp(port, 8080)), dsr(Port::udp(port, 8080))],
            ..Service::new(&format!("{task}-service"), "app", &[task])
        });
    }
    lab.write_topology(&topology)?;
    Ok(lab)
}

fn own(lab: &Lab, node: &str, family: Family) -> Result<IpAddr> {
    let node = lab.document().node(node).context("a node")?;
    family.of(&node.addresses).context("an address")
}

/// What a node says about replies that it was to leave to others.
fn refusal(lab: &Lab, node: &str) -> Result<Option<String>> {
    let status = lab.ask(node, "status")?;
    let problems = status["Problems"].as_array().context("problems")?;
    let code = |problem: &&Value| problem["Code"] == "direct-return";
    Ok(problems.iter().find(code).map(ToString::to_string))
}

/// Packets of the node's flows by one frontend: from and to the client.
fn packets(lab: &Lab, node: &str, frontend: SocketAddr) -> Result<(u64, u64)> {
    let flows = lab.ask(node, "flows")?;
    let flows = flows.as_array().context("flows")?;
    let of_frontend = flows
        .iter()
        .filter(|flow| flow["Frontend"] == frontend.to_string());
    let count = |flow: &Value, way: &str| flow["Packets"][way].as_u64().unwrap_or(0);
    Ok(of_frontend.fold((0, 0), |(there, back), flow| {
        (there + count(flow, "Forward"), back + count(flow, "Reply"))
    }))
}

/// Asks by both transports, over one connection several times, and moves some megabytes.
fn talk(lab: &Lab, target: SocketAddr, task: &str) -> Result<()> {
    netns::inside(&lab.namespace("client"), || {
        for transport in [Transport::Tcp, Transport::Udp] {
            let (answer, own) = probe::ask(transport, target).answered()?;
            ensure!(answer.task == task, "{} answered", answer.task);
            ensure!(answer.client == own, "seen as {}", answer.client);
        }
        let mut stream = BufReader::new(TcpStream::connect(target)?);
        for _ in 0..20 {
            http::write_get(stream.get_mut(), "/", "")?;
            let response = http::read_response(&mut stream)?;
            ensure!(!response.body.is_empty(), "an answer");
        }
        Ok(())
    })?
}

#[test]
fn replies_go_straight_where_the_underlay_lets_them() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut lab = lab("dsr")?;
    lab.start_all()?;
    for node in ["n1", "n3"] {
        wait::until(PATIENCE, "dsr to be proven", || {
            refusal(&lab, node).is_ok_and(|it| it.is_none())
        })?;
    }
    for family in Family::BOTH {
        for (entry, port, task, is_local) in [
            ("n1", NEAR, "near", true),
            ("n1", FAR, "far", false),
            ("n3", NEAR, "near", false),
            ("n3", FAR, "far", false),
        ] {
            let target = SocketAddr::new(own(&lab, entry, family)?, port);
            let case = || format!("{task} by {entry}, {family:?}");
            talk(&lab, target, task).with_context(case)?;
            let (there, back) = packets(&lab, entry, target).with_context(case)?;
            ensure!(there > 20, "{}: {there} packets came by", case());
            ensure!((back > 0) == is_local, "{}: {back} replies came by", case());
        }
    }
    // A task of the node that it dials is reached by that node only.
    let target = SocketAddr::new(own(&lab, "n1", Family::V4)?, FAR);
    let (answer, _) = netns::inside(&lab.namespace("near"), || {
        probe::ask(Transport::Tcp, target).answered()
    })??;
    ensure!(answer.task == "far", "{} answered", answer.task);
    lab.down()
}

#[test]
fn dsr_is_refused_where_the_underlay_drops_foreign_sources() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut lab = lab("spoof")?;
    // The switch lets the second node send from its own addresses only, like those of clouds.
    let [v4, v6] = [Family::V4, Family::V6].map(|family| own(&lab, "n2", family));
    let rules = format!(
        "table netdev guard {{ chain n2 {{ type filter hook ingress device n2 priority 0; \
         ip saddr != {} drop; ip6 saddr != {{ {}, fe80::/10 }} drop; }}; }}",
        v4?, v6?
    );
    let wire = lab.namespace("wire");
    command::run_inside(&wire, "nft", &[&rules])?;
    for node in lab.nodes() {
        lab.start_anyhow(&node)?;
    }
    let refused = wait::until(PATIENCE, "dsr to be refused", || {
        refusal(&lab, "n1").is_ok_and(|it| it.is_some_and(|it| it.contains("does not arrive")))
    });
    refused.with_context(|| format!("{:?}", refusal(&lab, "n1")))?;
    let text = refusal(&lab, "n1")?.context("refused")?;
    ensure!(text.contains(&FAR.to_string()), "{text}");
    ensure!(!text.contains(&NEAR.to_string()), "{text}");
    for family in Family::BOTH {
        let target = SocketAddr::new(own(&lab, "n1", family)?, FAR);
        talk(&lab, target, "far").context("by the node that was dialled")?;
        let (_, back) = packets(&lab, "n1", target)?;
        ensure!(back > 20, "{back} replies came by");
    }
    command::run_inside(&wire, "nft", &["delete table netdev guard"])?;
    wait::until(PATIENCE, "dsr to be proven", || {
        refusal(&lab, "n1").is_ok_and(|it| it.is_none())
    })?;
    let target = SocketAddr::new(own(&lab, "n1", Family::V4)?, FAR);
    let (_, before) = packets(&lab, "n1", target)?;
    talk(&lab, target, "far")?;
    ensure!(packets(&lab, "n1", target)?.1 == before, "replies came by");
    lab.down()
}
