//! The way out: tasks reach what is outside through their gateway, and nobody comes in there.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::lab::demo;
use integration::lab::topology::{Port, Service, Topology};
use integration::lab::{Family, Lab, Spec};
use integration::load::{self, Mode, Plan};
use integration::probe::{self, Transport};
use integration::serve::PORT;
use integration::{can_make_labs, command, netns, wait};

/// Two tasks on one node: `free` on a network with a way out, `shut` on an internal one only.
/// `free` backs a service with a published port. The client serves on its own.
fn lab(prefix: &str) -> Result<Lab> {
    let mut lab = Lab::up(Spec::new(&Spec::unique_name(prefix), 2))?;
    lab.add_task("free", "n1")?;
    lab.add_task("shut", "n1")?;
    lab.serve_in("client", "outside", "elsewhere")?;
    let mut topology = Topology::of(&lab);
    topology.add_network("open", 1);
    topology.add_network("closed", 2);
    topology.network[1].internal = true;
    topology.attach(&lab, "free", "open", 11);
    topology.attach(&lab, "shut", "closed", 11);
    topology.service.push(Service {
        publish: vec![Port::tcp(8080, 8080)],
        ..Service::new("web", "open", &["free"])
    });
    lab.write_topology(&topology)?;
    lab.start_all()?;
    Ok(lab)
}

fn gateways(lab: &Lab, endpoint: &str) -> Result<Vec<IpAddr>> {
    let answer = lab.ask("n1", &format!("endpoints/{endpoint}"))?;
    let addresses = answer["GatewayAddresses"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let texts = addresses.iter().filter_map(|address| address.as_str());
    texts
        .map(|text| Ok(text.split('/').next().unwrap_or(text).parse()?))
        .collect()
}

#[test]
fn tasks_get_out_and_are_seen_as_their_node() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = lab("out")?;
    for family in Family::BOTH {
        let client = family.of(&lab.underlay().client()).context("an address")?;
        let node = family.of(&lab.underlay().node(0)).context("an address")?;
        let target = SocketAddr::new(client, PORT);
        let work = || -> Result<()> {
            for transport in [Transport::Tcp, Transport::Udp] {
                let (answer, _) = probe::ask(transport, target).answered()?;
                let seen = answer.client.ip();
                ensure!(seen == node, "seen as {seen}, not as {node}");
            }
            probe::download(target, 10_000_000)?;
            probe::upload(target, 10_000_000)?;
            // The first one tells the other side the way's MTU: a router does not divide IPv6.
            probe::datagram(target, 3000).or_else(|_| probe::datagram(target, 3000))
        };
        netns::inside(&lab.namespace("free"), work)?.with_context(|| target.to_string())?;
    }
    lab.down()
}

#[test]
fn an_internal_network_has_no_way_out() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = lab("shut")?;
    ensure!(
        gateways(&lab, "shut")?.is_empty(),
        "it has a gateway address"
    );
    for args in [
        ["route", "show", "default"].as_slice(),
        &["-6", "route", "show", "default"],
    ] {
        let namespace = lab.namespace("shut");
        let all: Vec<&str> = ["-n", &namespace].iter().chain(args).copied().collect();
        let routes = command::run("ip", &all)?;
        ensure!(routes.trim().is_empty(), "a way out: {routes}");
    }
    lab.down()
}

#[test]
fn nobody_comes_in_through_a_gateway() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = lab("stray")?;
    let addresses = gateways(&lab, "free")?;
    ensure!(addresses.len() == 2, "one of each family: {addresses:?}");
    for gateway in addresses {
        let node = lab
            .underlay()
            .node(0)
            .into_iter()
            .find(|node| node.is_ipv4() == gateway.is_ipv4());
        let node = node.context("an address of this family")?;
        // Somebody outside who knows where the node is.
        let batch = format!("route add {gateway} via {node}\n");
        command::ip_batch(Some(&lab.namespace("client")), &batch)?;
        let before = lab.drops("n1", "unsolicited")?;
        let target = SocketAddr::new(gateway, PORT);
        let send = || probe::send(None, target, b"who");
        netns::inside(&lab.namespace("client"), send)??;
        wait::until(Duration::from_secs(5), "the drop is counted", || {
            lab.drops("n1", "unsolicited").is_ok_and(|now| now > before)
        })?;
    }
    lab.down()
}

#[test]
fn a_server_that_leaves_its_source_to_the_routes_is_heard() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut lab = Lab::up(Spec::new(&Spec::unique_name("naive"), 2))?;
    lab.add_namespace("plain", "n1")?;
    lab.serve_naively_in("plain", "plain", "n1")?;
    let mut topology = Topology::of(&lab);
    topology.add_network("app", 1);
    topology.attach(&lab, "plain", "app", 11);
    topology.service.push(Service {
        publish: vec![Port::tcp(8080, 8080), Port::udp(8080, 8080)],
        ..Service::new("echo", "app", &["plain"])
    });
    lab.write_topology(&topology)?;
    lab.start_all()?;
    // At the backend's own node, and through the other.
    for target in [0, 1]
        .into_iter()
        .flat_map(|index| lab.underlay().node(index))
    {
        let target = SocketAddr::new(target, 8080);
        for transport in [Transport::Tcp, Transport::Udp] {
            let ask = || probe::ask(transport, target);
            let outcome = netns::inside(&lab.namespace("client"), ask)?;
            let (answer, own) = outcome
                .answered()
                .with_context(|| format!("{transport:?} {target}"))?;
            ensure!(
                answer.client == own,
                "{target}: seen as {}, not as {own}",
                answer.client
            );
        }
    }
    lab.down()
}

#[test]
fn the_overlay_follows_the_mtu_of_the_underlay() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut spec = Spec::new(&Spec::unique_name("big"), 2);
    spec.underlay_mtu = 9000;
    let mut lab = Lab::up(spec)?;
    lab.add_task("task", "n1")?;
    let mut topology = Topology::of(&lab);
    topology.add_network("app", 1);
    topology.attach(&lab, "task", "app", 11);
    lab.write_topology(&topology)?;
    lab.start_all()?;
    let status = lab.ask("n1", "status")?;
    ensure!(status["OverlayMtu"] == 8950, "{status}");
    let links = command::run(
        "ip",
        &["-n", &lab.namespace("task"), "-json", "link", "show"],
    )?;
    let links: Vec<serde_json::Value> = serde_json::from_str(&links)?;
    let mtus: Vec<u64> = links
        .iter()
        .filter(|link| link["ifname"] != "lo")
        .filter_map(|link| link["mtu"].as_u64())
        .collect();
    ensure!(mtus == [8950, 8950], "the task's MTUs are {mtus:?}");
    lab.down()
}

#[test]
fn the_tunnel_is_not_tracked() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("raw"), 3))?;
    let vip = demo::topology(&lab)
        .vip("web", Family::V4)
        .context("a VIP")?;
    let plan = Plan::new(Mode::Crr, SocketAddr::new(vip, 80));
    let running = netns::inside(&lab.namespace(demo::PROBE), || load::start(&plan))?;
    wait::until(Duration::from_secs(20), "200 connections", || {
        running.operations() >= 200
    })?;
    running.stop()?;
    for node in ["n1", "n2"] {
        let entries = netns::inside(&lab.namespace(node), || {
            std::fs::read_to_string("/proc/thread-self/net/stat/nf_conntrack")
        })??;
        // One line for each CPU, the first field the entries of all, in hexadecimal.
        let first = entries
            .lines()
            .nth(1)
            .and_then(|line| line.split_whitespace().next());
        let count = u64::from_str_radix(first.context("a line")?, 16)?;
        ensure!(count < 50, "{node} tracks {count} connections");
    }
    lab.down()
}
