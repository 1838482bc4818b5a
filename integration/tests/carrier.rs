//! How packets get to other nodes and to clients, and how changes of the ways there are followed.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::lab::demo::{self, HTTP_PORT, PROBE};
use integration::lab::{Family, Lab, Spec};
use integration::load::{self, Mode, Plan, Running};
use integration::{can_make_labs, command, netns, probe, wait};
use serde_json::Value;

/// How soon a change of the routes has to be known.
const SOON: Duration = Duration::from_secs(15);
const TRANSFER: u64 = 2_000_000;

fn up(name: &str, vtep: Family, carriers: &[&str]) -> Result<Lab> {
    let spec = Spec {
        vtep,
        ..Spec::new(&Spec::unique_name(name), 3).with_carriers(carriers)
    };
    demo::up(spec)
}

fn ip(lab: &Lab, member: &str, arguments: &str) -> Result<String> {
    let words: Vec<&str> = arguments.split_whitespace().collect();
    command::run_inside(&lab.namespace(member), "ip", &words)
}

/// What n1 says of the way to n2, or n2 of that to n1.
fn way(lab: &Lab, node: &str) -> Result<Value> {
    let status = lab.ask(node, "status")?;
    let vteps = status["Vteps"].as_array().context("no Vteps")?;
    Ok(vteps.first().context("no other node")?.clone())
}

fn until_way(lab: &Lab, node: &str, key: &str, value: &str) -> Result<()> {
    let what = format!("{node}: {key} is {value}");
    wait::until(SOON, &what, || {
        way(lab, node).is_ok_and(|way| way[key] == value)
    })
    .with_context(|| format!("{:?}", way(lab, node)))
}

/// Packets that the VXLAN device of a node has taken and given.
fn by_device(lab: &Lab, node: &str) -> Result<(u64, u64)> {
    let text = ip(lab, node, "-json -statistics link show type vxlan")?;
    let links: Value = serde_json::from_str(&text)?;
    let count = |way: &str| links[0]["stats64"][way]["packets"].as_u64();
    Ok((count("rx").context("rx")?, count("tx").context("tx")?))
}

/// The far backend of the demo, by its address in the network.
fn far(lab: &Lab, family: Family) -> Result<SocketAddr> {
    let document = lab.document();
    let task = document.tasks.iter().find(|task| task.name == "web-2");
    let address = family.of(&task.context("web-2")?.addresses);
    Ok(SocketAddr::new(address.context("an address")?, 8080))
}

/// Moves data from and to a task on the other node.
fn transfer(lab: &Lab) -> Result<()> {
    for family in Family::BOTH {
        let target = far(lab, family)?;
        let work = || {
            probe::download(target, TRANSFER)?;
            probe::upload(target, TRANSFER)?;
            probe::datagram(SocketAddr::new(target.ip(), 8080), 3000)
        };
        netns::inside(&lab.namespace(PROBE), work)?.with_context(|| target.to_string())?;
    }
    Ok(())
}

fn load(lab: &Lab) -> Result<Running> {
    let plan = Plan {
        connections: 2,
        ..Plan::new(Mode::Crr, far(lab, Family::V4)?)
    };
    let running = netns::inside(&lab.namespace(PROBE), || load::start(&plan))?;
    running.more(20)?;
    Ok(running)
}

#[test]
fn status_says_which_carrier_and_why() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = up("carrier", Family::V4, &["auto", "device"])?;
    let status = lab.ask("n1", "status")?;
    ensure!(status["Carrier"] == "native", "{status}");
    ensure!(status["CarrierReason"].is_null(), "{status}");
    let next_hop = way(&lab, "n1")?["NextHop"].clone();
    ensure!(
        next_hop == lab.underlay().node(1)[0].to_string(),
        "{next_hop}"
    );
    let status = lab.ask("n2", "status")?;
    ensure!(status["Carrier"] == "device", "{status}");
    ensure!(
        status["CarrierReason"] == "the topology asks for it",
        "{status}"
    );
    transfer(&lab)?;
    lab.down()
}

#[test]
fn nothing_between_native_nodes_meets_the_device() -> Result<()> {
    for (name, vtep) in [("bypass", Family::V4), ("bypasssix", Family::V6)] {
        if !can_make_labs() {
            return Ok(());
        }
        let lab = up(name, vtep, &["auto", "auto"])?;
        transfer(&lab)?;
        for node in lab.nodes() {
            let packets = by_device(&lab, &node)?;
            ensure!(packets == (0, 0), "{node}: {packets:?} by the device");
        }
        lab.down()?;
    }
    Ok(())
}

#[test]
fn forgotten_neighbour_is_found_again() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = up("neighbour", Family::V4, &["native", "native"])?;
    let running = load(&lab)?;
    for node in lab.nodes() {
        for _ in 0..5 {
            ip(&lab, &node, "neigh flush dev eth0")?;
            running.more(20)?;
        }
    }
    running.stop_without_errors()?;
    lab.down()
}

#[test]
fn changed_next_hop_is_followed_under_load() -> Result<()> {
    for (name, vtep) in [("nexthop", Family::V4), ("nexthopsix", Family::V6)] {
        if !can_make_labs() {
            return Ok(());
        }
        let lab = up(name, vtep, &["native", "native"])?;
        let place = usize::from(vtep == Family::V6);
        let other = lab.underlay().node(1)[place];
        let router = lab.underlay().router()[place];
        let running = load(&lab)?;
        for _ in 0..3 {
            ip(&lab, "n1", &format!("route add {other} via {router}"))?;
            until_way(&lab, "n1", "NextHop", &router.to_string())?;
            running.more(20)?;
            ip(&lab, "n1", &format!("route del {other}"))?;
            until_way(&lab, "n1", "NextHop", &other.to_string())?;
            running.more(20)?;
        }
        running.stop_without_errors()?;
        ensure!(way(&lab, "n1")?["Carrier"] == "native");
        transfer(&lab)?;
        lab.down()?;
    }
    Ok(())
}

/// That the node's next hop to the client is one that nobody has is seen by its asking for it.
fn follows_routes_to_the_client(lab: &Lab, node: &str, family: Family) -> Result<()> {
    let place = usize::from(family == Family::V6);
    let (client, hop) = (
        lab.underlay().client()[place],
        lab.underlay().host(250)[place],
    );
    let address = family.of(&lab.document().node(node).context("a node")?.addresses);
    let target = SocketAddr::new(address.context("an address")?, HTTP_PORT);
    let plan = Plan::new(Mode::Rr, target);
    let running = netns::inside(&lab.namespace("client"), || load::start(&plan))?;
    running.more(20)?;
    ip(lab, node, &format!("route add {client} via {hop}"))?;
    wait::until(SOON, &format!("{node} asks for {hop}"), || {
        ip(lab, node, &format!("neighbour show {hop}")).is_ok_and(|text| !text.trim().is_empty())
    })?;
    ip(lab, node, &format!("route del {client}"))?;
    running.more(20)?;
    running.stop_without_errors()
}

#[test]
fn changed_route_to_a_client_is_followed_by_established_flows() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = up("routes", Family::V4, &["native", "native"])?;
    // The backends are on the first two.
    for node in ["n1", "n3"] {
        for family in Family::BOTH {
            follows_routes_to_the_client(&lab, node, family)
                .with_context(|| format!("{node} {family:?}"))?;
        }
    }
    lab.down()
}

/// A second cable between the nodes, with addresses of its own.
fn second_cable(lab: &Lab, mtu: u32) -> Result<()> {
    let (one, two) = (lab.namespace("n1"), lab.namespace("n2"));
    let cable = format!(
        "link add eth1 mtu {mtu} netns {one} type veth peer name eth1 mtu {mtu} netns {two}"
    );
    command::run("ip", &cable.split_whitespace().collect::<Vec<_>>())?;
    for (node, address) in [("n1", "192.0.2.1/24"), ("n2", "192.0.2.2/24")] {
        ip(lab, node, &format!("address add {address} dev eth1"))?;
        ip(lab, node, "link set eth1 up")?;
    }
    Ok(())
}

#[test]
fn way_by_another_uplink_is_taken_if_it_is_wide_enough() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = up("uplinks", Family::V4, &["auto", "auto"])?;
    let other = lab.underlay().node(1)[0];
    second_cable(&lab, 1500)?;
    let running = load(&lab)?;
    ip(&lab, "n1", &format!("route add {other} via 192.0.2.2"))?;
    until_way(&lab, "n1", "Interface", "eth1")?;
    ensure!(way(&lab, "n1")?["Carrier"] == "native");
    running.more(20)?;
    transfer(&lab)?;
    ip(&lab, "n1", "link set eth1 mtu 1400")?;
    until_way(&lab, "n1", "Carrier", "device")?;
    let reason = way(&lab, "n1")?["CarrierReason"].to_string();
    ensure!(reason.contains("1400"), "{reason}");
    running.more(20)?;
    ip(&lab, "n1", &format!("route del {other}"))?;
    until_way(&lab, "n1", "Interface", "eth0")?;
    until_way(&lab, "n1", "Carrier", "native")?;
    running.more(20)?;
    running.stop_without_errors()?;
    ip(&lab, "n1", "link delete eth1")?;
    lab.down()
}

#[test]
fn address_that_moves_to_another_uplink_takes_its_traffic_along() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = up("moved", Family::V4, &["auto", "auto"])?;
    second_cable(&lab, 1500)?;
    let [own, other]: [IpAddr; 2] = [lab.underlay().node(0)[0], lab.underlay().node(1)[0]];
    ip(&lab, "n1", &format!("address del {own}/24 dev eth0"))?;
    ip(&lab, "n1", &format!("address add {own}/32 dev eth1"))?;
    ip(
        &lab,
        "n1",
        &format!("route add {other} via 192.0.2.2 src {own}"),
    )?;
    ip(&lab, "n2", &format!("route add {own} via 192.0.2.1"))?;
    until_way(&lab, "n1", "Interface", "eth1")?;
    until_way(&lab, "n2", "Interface", "eth1")?;
    wait::until(SOON, "traffic by the second cable", || {
        transfer(&lab).is_ok()
    })?;
    for node in ["n1", "n2"] {
        ensure!(way(&lab, node)?["Carrier"] == "native", "{node}");
    }
    let node = SocketAddr::new(lab.underlay().node(1)[0], HTTP_PORT);
    netns::inside(&lab.namespace("client"), || probe::download(node, TRANSFER))??;
    ip(&lab, "n1", "link delete eth1")?;
    lab.down()
}
