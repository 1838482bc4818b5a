//! Ports that are published at some places only: chosen nodes, chosen addresses, the nodes that run
//! a backend; and very many of them.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use integration::lab::topology::{Port, Service, Topology};
use integration::lab::{Family, Lab, Spec};
use integration::probe::{self, Transport};
use integration::{can_make_labs, command, netns};

/// Three nodes; `one` on the first, `two` on the second.
fn lab(name: &str) -> Result<(Lab, Topology)> {
    let mut lab = Lab::up(Spec::new(&Spec::unique_name(name), 3))?;
    lab.add_task("one", "n1")?;
    lab.add_task("two", "n2")?;
    let mut topology = Topology::of(&lab);
    topology.add_network("app", 1);
    topology.attach(&lab, "one", "app", 11);
    topology.attach(&lab, "two", "app", 12);
    Ok((lab, topology))
}

fn service(name: &str, tasks: &[&str], ports: Vec<Port>) -> Service {
    Service {
        publish: ports,
        ..Service::new(name, "app", tasks)
    }
}

fn address(lab: &Lab, node: &str, family: Family) -> Result<IpAddr> {
    let node = lab.document().node(node).context("a node")?;
    family.of(&node.addresses).context("an address")
}

/// Who answers a client at a port of a node, by both transports; `None` when it is refused.
fn answers(lab: &Lab, target: SocketAddr) -> Result<Option<String>> {
    let ask = |transport| match probe::ask(transport, target) {
        probe::Outcome::Answered { answer, .. } => Ok(Some(answer.task)),
        probe::Outcome::Refused { .. } => Ok(None),
        probe::Outcome::Failed { error } => bail!("{transport:?}: {error}"),
    };
    let both = netns::inside(&lab.namespace("client"), || {
        Ok::<_, anyhow::Error>([ask(Transport::Tcp)?, ask(Transport::Udp)?])
    })?
    .with_context(|| target.to_string())?;
    ensure!(both[0] == both[1], "{target}: {both:?}");
    Ok(both[0].clone())
}

fn expect(lab: &Lab, target: SocketAddr, wanted: Option<&str>) -> Result<()> {
    let found = answers(lab, target)?;
    ensure!(
        found.as_deref() == wanted,
        "{target}: {found:?}, should be {wanted:?}"
    );
    Ok(())
}

#[test]
fn in_host_mode_each_node_answers_with_its_own_backends() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let (mut lab, mut topology) = lab("host")?;
    let host = |port: Port| Port {
        mode: Some("host".to_owned()),
        ..port
    };
    // The second service has the same port on the other node.
    let both = vec![host(Port::tcp(8001, 8080)), host(Port::udp(8001, 8080))];
    let shared = vec![host(Port::tcp(8002, 8080)), host(Port::udp(8002, 8080))];
    topology.service = vec![
        service("both", &["one", "two"], both),
        service("first", &["one"], shared.clone()),
        service("second", &["two"], shared),
    ];
    lab.write_topology(&topology)?;
    lab.start_all()?;
    for family in Family::BOTH {
        for (node, task) in [("n1", Some("one")), ("n2", Some("two")), ("n3", None)] {
            for port in [8001, 8002] {
                let target = SocketAddr::new(address(&lab, node, family)?, port);
                expect(&lab, target, task)?;
            }
        }
    }
    let ports = lab.ask("n1", "ports")?.to_string();
    ensure!(ports.contains("\"host\""), "{ports}");
    // The same port twice on one node is refused, and changes nothing.
    topology.service[2].backends = Service::new("", "", &["one"]).backends;
    let refused = lab.apply_topology(&topology);
    let text = format!("{:#}", refused.err().context("was taken")?);
    ensure!(
        text.contains("already published by service `first`"),
        "{text}"
    );
    lab.down()
}

#[test]
fn chosen_nodes_and_addresses_alone_answer() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let (mut lab, mut topology) = lab("chosen")?;
    // One more address on the third node, of each family.
    let spare = lab.underlay().node(150).to_vec();
    for address in &spare {
        let length = if address.is_ipv4() { 24 } else { 64 };
        let text = format!("{address}/{length}");
        let node = lab.namespace("n3");
        let mut words = vec!["address", "add", &text, "dev", "eth0"];
        if address.is_ipv6() {
            words.push("nodad");
        }
        command::run_inside(&node, "ip", &words)?;
    }
    let on_nodes = |port: Port| Port {
        nodes: vec!["n2".to_owned(), "n3".to_owned()],
        ..port
    };
    let on_addresses = |port: Port| Port {
        addresses: spare.clone(),
        ..port
    };
    let everywhere = vec![Port::tcp(8002, 8080), Port::udp(8002, 8080)];
    topology.service = vec![
        service(
            "nodes",
            &["one"],
            vec![
                on_nodes(Port::tcp(8001, 8080)),
                on_nodes(Port::udp(8001, 8080)),
            ],
        ),
        service(
            "addresses",
            &["one"],
            everywhere.iter().cloned().map(on_addresses).collect(),
        ),
        service("everywhere", &["two"], everywhere),
    ];
    lab.write_topology(&topology)?;
    lab.start_all()?;
    for family in Family::BOTH {
        let spare = family.of(&spare).context("an address")?;
        for (node, task) in [("n1", None), ("n2", Some("one")), ("n3", Some("one"))] {
            let own = address(&lab, node, family)?;
            expect(&lab, SocketAddr::new(own, 8001), task)?;
            // An address that is named goes before all others.
            expect(&lab, SocketAddr::new(own, 8002), Some("two"))?;
        }
        expect(&lab, SocketAddr::new(spare, 8001), Some("one"))?;
        expect(&lab, SocketAddr::new(spare, 8002), Some("one"))?;
    }
    lab.down()
}

#[test]
fn ten_thousand_ports_are_published_by_the_default_algorithm() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let ports = 20_000..30_000;
    let mut lab = Lab::up(Spec::new(&Spec::unique_name("many"), 1))?;
    lab.add_task("one", "n1")?;
    let mut topology = Topology::of(&lab);
    topology.add_network("app", 1);
    topology.attach(&lab, "one", "app", 11);
    let published = ports.clone().map(|port| Port::tcp(port, 8080)).collect();
    topology.service = vec![service("many", &["one"], published)];
    lab.write_topology(&topology)?;
    lab.start_all()?;
    for family in Family::BOTH {
        let node = address(&lab, "n1", family)?;
        for port in ports.clone().step_by(1_999) {
            let target = SocketAddr::new(node, port);
            let ask = || probe::ask(Transport::Tcp, target);
            netns::inside(&lab.namespace("client"), ask)?.answered()?;
        }
    }
    lab.down()
}
