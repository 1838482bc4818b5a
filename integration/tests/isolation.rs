//! Networks that share nodes and even addresses never see each other, and nobody forges packets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::lab::topology::{Network, Port, Service, Topology};
use integration::lab::{Family, Lab, Spec};
use integration::probe::{self, Transport};
use integration::{can_make_labs, command, netns, wait};

/// How long a counter may take to show what happened.
const SOON: Duration = Duration::from_secs(5);
/// The numbers of the two networks.
const RED: u32 = 5001;
const BLUE: u32 = 5002;

/// Two networks with the same subnets on the same two nodes; the tasks have the same addresses,
/// and so have the services. Only red has a third task, `.13`.
fn lab(prefix: &str) -> Result<Lab> {
    let mut lab = Lab::up(Spec::new(&Spec::unique_name(prefix), 2))?;
    let tasks = [
        ("red-1", "n1", "red", 11),
        ("blue-1", "n1", "blue", 11),
        ("red-2", "n2", "red", 12),
        ("blue-2", "n2", "blue", 12),
        ("red-3", "n2", "red", 13),
    ];
    let mut topology = Topology::of(&lab);
    for (name, vni) in [("red", RED), ("blue", BLUE)] {
        topology.network.push(Network {
            name: name.to_owned(),
            vni,
            subnets: vec!["10.0.1.0/24".to_owned(), "fd00:1::/64".to_owned()],
            ..Network::default()
        });
    }
    for (task, node, network, host) in tasks {
        lab.add_task(task, node)?;
        topology.attach(&lab, task, network, host);
    }
    for (name, network, backend) in [("r", "red", "red-2"), ("b", "blue", "blue-2")] {
        topology.service.push(Service {
            vips: topology.addresses(network, 2),
            ports: vec![Port::tcp(80, 8080), Port::udp(80, 8080)],
            ..Service::new(name, network, &[backend])
        });
    }
    lab.write_topology(&topology)?;
    lab.start_all()?;
    Ok(lab)
}

/// A host of either network.
fn host(family: Family, host: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 0, 1, host).into(),
        Family::V6 => format!("fd00:1::{host}").parse().expect("an address"),
    }
}

/// Does something in a member and waits until a node has dropped something for this reason.
fn is_dropped(
    lab: &Lab,
    (node, reason): (&str, &str),
    member: &str,
    deed: impl FnOnce() -> Result<()> + Send,
) -> Result<()> {
    let before = lab.drops(node, reason)?;
    netns::inside(&lab.namespace(member), deed)??;
    wait::until(SOON, &format!("{node} counts a drop as {reason}"), || {
        lab.drops(node, reason).is_ok_and(|now| now > before)
    })
}

#[test]
fn networks_with_the_same_subnet_never_see_each_other() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = lab("same")?;
    for family in Family::BOTH {
        for transport in [Transport::Tcp, Transport::Udp] {
            for colour in ["red", "blue"] {
                let from = lab.namespace(&format!("{colour}-1"));
                let wanted = format!("{colour}-2");
                for (number, port) in [(12, 8080), (2, 80)] {
                    let target = SocketAddr::new(host(family, number), port);
                    let outcome = netns::inside(&from, || probe::ask(transport, target))?;
                    let (answer, own) = outcome.answered().context(target)?;
                    ensure!(
                        answer.task == wanted,
                        "{colour} to {target}: {}",
                        answer.task
                    );
                    ensure!(
                        answer.client == own,
                        "{colour} to {target}: {}",
                        answer.client
                    );
                }
            }
        }
        // Red has this host, blue has not.
        let target = SocketAddr::new(host(family, 13), 8080);
        let ask = |member: &str| {
            netns::inside(&lab.namespace(member), || {
                probe::ask(Transport::Udp, target)
            })
        };
        ask("red-1")?.answered()?;
        let crossed = ask("blue-1")?.answered();
        ensure!(crossed.is_err(), "blue got an answer from red: {crossed:?}");
        is_dropped(&lab, ("n1", "no-endpoint"), "blue-1", || {
            probe::send(None, target, b"who")
        })?;
    }
    lab.down()
}

#[test]
fn a_task_cannot_send_from_an_address_that_is_not_its_own() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = lab("spoof")?;
    // One that nobody has, and one that another task has.
    for (family, number) in [Family::V4, Family::V6]
        .into_iter()
        .flat_map(|f| [(f, 99), (f, 13)])
    {
        let source = host(family, number);
        let target = SocketAddr::new(host(family, 12), 8080);
        let length = if source.is_ipv4() { 32 } else { 128 };
        let nodad = if source.is_ipv4() { "" } else { " nodad" };
        let batch = format!("addr add {source}/{length} dev eth0{nodad}\n");
        command::ip_batch(Some(&lab.namespace("red-1")), &batch)?;
        is_dropped(&lab, ("n1", "spoofed-source"), "red-1", || {
            probe::send(Some(source), target, b"who")
        })?;
    }
    lab.down()
}

#[test]
fn vxlan_is_taken_from_nodes_only_and_for_what_they_have() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = lab("forge")?;
    let node = |index: u8| lab.underlay().node(index);
    let [n1, n2] = [node(0)[0], node(1)[0]].map(|address| SocketAddr::new(address, 4789));
    let addressed = |source, target| Inner { source, target };
    let (ten, eleven, twelve) = ([10, 0, 1, 10], [10, 0, 1, 11], [10, 0, 1, 12]);
    let honest = vxlan(RED, addressed(twelve, eleven));
    is_dropped(&lab, ("n1", "unknown-vtep"), "client", || {
        probe::send(None, n1, &honest)
    })?;
    let unknown = vxlan(999, addressed(twelve, eleven));
    is_dropped(&lab, ("n1", "unknown-vni"), "n2", || {
        probe::send(None, n1, &unknown)
    })?;
    for source in [eleven, ten] {
        let spoofed = vxlan(RED, addressed(source, eleven));
        is_dropped(&lab, ("n1", "spoofed-inner"), "n2", || {
            probe::send(None, n1, &spoofed)
        })?;
    }
    let astray = vxlan(RED, addressed(twelve, twelve));
    is_dropped(&lab, ("n1", "not-local"), "n2", || {
        probe::send(None, n1, &astray)
    })?;
    // A task reaches nodes through its gateway, but not their data path.
    for target in [n1, n2] {
        let forge = || probe::send(None, target, &honest);
        is_dropped(&lab, ("n1", "vxlan-from-task"), "red-1", forge)
            .with_context(|| format!("to {target}"))?;
    }
    lab.down()
}

#[test]
fn a_task_does_not_reach_another_through_their_gateways() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = lab("gate")?;
    let endpoint = lab.ask("n1", "endpoints/blue-1")?;
    let addresses = endpoint["GatewayAddresses"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    ensure!(
        addresses.len() == 2,
        "gateway addresses of both families: {endpoint}"
    );
    for address in addresses {
        let text = address.as_str().context("an address is a text")?;
        let address: IpAddr = text.split('/').next().unwrap_or("").parse()?;
        let target = SocketAddr::new(address, 8080);
        is_dropped(&lab, ("n1", "cross-network"), "red-1", || {
            probe::send(None, target, b"who")
        })?;
    }
    lab.down()
}

/// The addresses of a tunnelled packet.
#[derive(Clone, Copy)]
struct Inner {
    source: [u8; 4],
    target: [u8; 4],
}

/// A VXLAN payload: header, Ethernet, IPv4, UDP to the demo's server.
fn vxlan(vni: u32, inner: Inner) -> Vec<u8> {
    let mut bytes = vec![0x08, 0, 0, 0];
    bytes.extend((vni << 8).to_be_bytes());
    bytes.extend([0x0a, 0, 0, 0, 0, 1, 0x02, 0x6e, 0x64, 0, 0, 1, 0x08, 0x00]);
    let mut header = vec![0x45, 0, 0, 31, 0, 1, 0, 0, 64, 17, 0, 0];
    header.extend(inner.source);
    header.extend(inner.target);
    let sum: u32 = header
        .chunks(2)
        .map(|pair| u32::from(pair[0]) * 256 + u32::from(pair[1]))
        .sum();
    let folded = !((sum & 0xffff) + (sum >> 16)) & 0xffff;
    header[10..12].copy_from_slice(&folded.to_be_bytes()[2..]);
    bytes.extend(header);
    // Ports, length, no checksum, payload.
    bytes.extend([0x9c, 0x40, 0x1f, 0x90, 0, 11, 0, 0]);
    bytes.extend(b"who");
    bytes
}
