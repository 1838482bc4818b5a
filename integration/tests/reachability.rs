//! Who reaches what: every kind of client, backends near and far, both transports, both families; VIPs
//! translated where they are dialled, and per packet.
//!
//! One lab for all cases. A case that fails is listed; the others go on.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use integration::lab::topology::{Port, Service, Topology};
use integration::lab::{Family, Lab, Spec};
use integration::probe::{self, Transport};
use integration::{can_make_labs, netns, wait};

/// What is moved in each direction, in bytes, where machines are as fast as usual.
const TRANSFER: u64 = 10_000_000;
/// What is moved at least: more than fits into the buffers on the way.
const LEAST_TRANSFER: u64 = 500_000;
/// More than any packet of the lab carries, in bytes.
const DATAGRAM: usize = 3_000;
const PATIENCE: Duration = Duration::from_secs(10);
/// A refusal takes no timer.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The services: name, host number of the VIP, published port, tasks behind it.
const SERVICES: [(&str, u8, u16, &[&str]); 4] = [
    ("near", 2, 8001, &["near-1"]),
    ("far", 3, 8002, &["far-1"]),
    ("pair", 4, 8003, &["near-1", "far-1"]),
    ("empty", 5, 8004, &[]),
];

/// The tasks: name, node, network.
const TASKS: [(&str, &str, &str); 4] = [
    ("near-1", "n1", "app"),
    ("far-1", "n2", "app"),
    ("mate", "n1", "app"),
    ("other", "n1", "two"),
];

/// What a client connects to.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// The service's VIP, port 80.
    Vip(&'static str),
    /// A port of the service's VIP that it does not have.
    VipWithoutPort(&'static str),
    /// The service's published port on a node.
    Published(&'static str, &'static str),
    /// A port of a node that nobody published.
    Unpublished(&'static str),
    /// The task's own address and port.
    Task(&'static str),
}

/// What is to become of it.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// One of these answers and sees the client as it is, address and port.
    Seen(&'static [&'static str]),
    /// This one answers and sees the underlay address of a node: it masqueraded the client.
    SeenAsNode(&'static str, &'static str),
    /// This one, the client itself, answers and sees a network's own address.
    SeenAsNetwork(&'static str, &'static str),
    /// Each of both answers in turn: itself, seen as the network, and another, which sees it.
    SeenByBoth(&'static str, &'static str),
    /// A reset or "unreachable", at once.
    Refused,
}

use Expected::{Refused, Seen, SeenAsNetwork, SeenAsNode, SeenByBoth};
use Target::{Published, Task, Unpublished, Vip, VipWithoutPort};

/// From outside, to every node's address; `n1` has the near backend, `n3` has none at all.
const OUTSIDE: [(Target, Expected); 7] = [
    (Published("near", "n1"), Seen(&["near-1"])),
    (Published("far", "n1"), Seen(&["far-1"])),
    (Published("near", "n3"), Seen(&["near-1"])),
    (Published("far", "n2"), Seen(&["far-1"])),
    (Published("pair", "n3"), Seen(&["near-1", "far-1"])),
    (Published("empty", "n1"), Refused),
    (Unpublished("n1"), Refused),
];

/// From a task on `n1`, on the network of the services.
const SAME_NETWORK: [(Target, Expected); 9] = [
    (Task("near-1"), Seen(&["near-1"])),
    (Task("far-1"), Seen(&["far-1"])),
    (Vip("near"), Seen(&["near-1"])),
    (Vip("far"), Seen(&["far-1"])),
    (Vip("pair"), Seen(&["near-1", "far-1"])),
    (Vip("empty"), Refused),
    (VipWithoutPort("near"), Refused),
    (Published("near", "n1"), Seen(&["near-1"])),
    (Published("far", "n1"), Seen(&["far-1"])),
];

/// From a task on `n1`, on another network.
const OTHER_NETWORK: [(Target, Expected); 6] = [
    (Published("near", "n1"), Seen(&["near-1"])),
    (Published("far", "n1"), Seen(&["far-1"])),
    (Published("near", "n2"), SeenAsNode("near-1", "n1")),
    (Published("far", "n2"), SeenAsNode("far-1", "n1")),
    (Published("empty", "n1"), Refused),
    (Published("empty", "n2"), Refused),
];

/// From `near-1` itself.
const ITSELF: [(Target, Expected); 6] = [
    (Vip("near"), SeenAsNetwork("near-1", "app")),
    (Vip("far"), Seen(&["far-1"])),
    (Vip("pair"), SeenByBoth("near-1", "far-1")),
    (Published("near", "n1"), SeenAsNetwork("near-1", "ingress")),
    (Published("far", "n1"), Seen(&["far-1"])),
    (Published("near", "n2"), SeenAsNode("near-1", "n1")),
];

/// From a process of `n1` itself.
const NODE: [(Target, Expected); 5] = [
    (Published("near", "n1"), Seen(&["near-1"])),
    (Published("far", "n1"), Seen(&["far-1"])),
    (Published("pair", "n1"), Seen(&["near-1", "far-1"])),
    (Published("far", "n2"), Seen(&["far-1"])),
    (Published("empty", "n1"), Refused),
];

/// Every client with its cases.
const CLIENTS: [(&str, &[(Target, Expected)]); 7] = [
    ("n1", &NODE),
    ("client", &OUTSIDE),
    ("inside", &OUTSIDE),
    ("jumbo", &OUTSIDE),
    ("mate", &SAME_NETWORK),
    ("other", &OTHER_NETWORK),
    ("near-1", &ITSELF),
];

/// Where VIPs are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Translated {
    BySocket,
    PerPacket,
}

/// How a lab is made.
#[derive(Clone, Copy)]
struct Setup {
    name: &'static str,
    /// Of the underlay.
    vtep: Family,
    translated: Translated,
    /// Of `n1`, `n2` and `n3`.
    carriers: [&'static str; 3],
    /// By which replies of published ports go.
    returns: &'static str,
}

struct Bench {
    lab: Lab,
    topology: Topology,
    translated: Translated,
}

struct Case {
    client: &'static str,
    target: Target,
    expected: Expected,
    transport: Transport,
    family: Family,
}

const BY_DEVICE: [&str; 3] = ["device"; 3];
const NATIVELY: [&str; 3] = ["native"; 3];

#[test]
fn everybody_reaches_what_they_should_over_an_ipv4_underlay() -> Result<()> {
    try_everything(Setup {
        name: "reach",
        vtep: Family::V4,
        translated: Translated::BySocket,
        carriers: BY_DEVICE,
        returns: "via",
    })
}

#[test]
fn everybody_reaches_what_they_should_without_socket_hooks() -> Result<()> {
    try_everything(Setup {
        name: "reachpkt",
        vtep: Family::V4,
        translated: Translated::PerPacket,
        carriers: BY_DEVICE,
        returns: "via",
    })
}

#[test]
fn everybody_reaches_what_they_should_over_an_ipv6_underlay() -> Result<()> {
    try_everything(Setup {
        name: "reachsix",
        vtep: Family::V6,
        translated: Translated::BySocket,
        carriers: BY_DEVICE,
        returns: "via",
    })
}

#[test]
fn everybody_reaches_what_they_should_natively_over_an_ipv4_underlay() -> Result<()> {
    try_everything(Setup {
        name: "reachnat",
        vtep: Family::V4,
        translated: Translated::PerPacket,
        carriers: NATIVELY,
        returns: "via",
    })
}

#[test]
fn everybody_reaches_what_they_should_natively_over_an_ipv6_underlay() -> Result<()> {
    try_everything(Setup {
        name: "reachnatsix",
        vtep: Family::V6,
        translated: Translated::PerPacket,
        carriers: NATIVELY,
        returns: "via",
    })
}

#[test]
fn everybody_reaches_what_they_should_natively_by_socket() -> Result<()> {
    try_everything(Setup {
        name: "reachnatsock",
        vtep: Family::V4,
        translated: Translated::BySocket,
        carriers: NATIVELY,
        returns: "via",
    })
}

#[test]
fn everybody_reaches_what_they_should_from_native_to_device() -> Result<()> {
    try_everything(Setup {
        name: "reachmix",
        vtep: Family::V4,
        translated: Translated::PerPacket,
        carriers: ["native", "device", "native"],
        returns: "via",
    })
}

#[test]
fn everybody_reaches_what_they_should_from_device_to_native() -> Result<()> {
    try_everything(Setup {
        name: "reachmixsix",
        vtep: Family::V6,
        translated: Translated::BySocket,
        carriers: ["device", "native", "device"],
        returns: "via",
    })
}

#[test]
fn everybody_reaches_what_they_should_with_direct_return() -> Result<()> {
    try_everything(Setup {
        name: "reachdsr",
        vtep: Family::V4,
        translated: Translated::PerPacket,
        carriers: BY_DEVICE,
        returns: "dsr",
    })
}

#[test]
fn everybody_reaches_what_they_should_natively_with_direct_return() -> Result<()> {
    try_everything(Setup {
        name: "reachdsrnat",
        vtep: Family::V6,
        translated: Translated::BySocket,
        carriers: NATIVELY,
        returns: "dsr",
    })
}

#[test]
fn everybody_reaches_what_they_should_from_native_to_device_with_direct_return() -> Result<()> {
    try_everything(Setup {
        name: "reachdsrmix",
        vtep: Family::V4,
        translated: Translated::PerPacket,
        carriers: ["native", "device", "native"],
        returns: "dsr",
    })
}

fn try_everything(setup: Setup) -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let spec = Spec {
        vtep: setup.vtep,
        ..Spec::new(&Spec::unique_name(setup.name), 3)
            .with_outsiders()
            .with_carriers(&setup.carriers)
    };
    let bench = bench(spec, setup)?;
    let cases: Vec<Case> = cases().collect();
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            Some(format!(
                "{}: {:#}",
                case.title(),
                bench.try_case(case).err()?
            ))
        })
        .collect();
    let (failed, all) = (failures.len(), cases.len());
    ensure!(
        failures.is_empty(),
        "{failed} of {all} failed:\n{}",
        failures.join("\n")
    );
    bench.lab.down()
}

fn bench(spec: Spec, setup: Setup) -> Result<Bench> {
    let mut lab = Lab::up(spec)?;
    for (task, node, _) in TASKS {
        lab.add_task(task, node)?;
    }
    let mut topology = Topology::of(&lab);
    topology.add_network("app", 1);
    topology.add_network("two", 2);
    for network in &mut topology.network {
        network.socket_lb = (setup.translated == Translated::PerPacket).then_some(false);
    }
    for ((task, _, network), host) in TASKS.into_iter().zip(11..) {
        topology.attach(&lab, task, network, host);
    }
    let published = |port: Port| Port {
        returns: Some(setup.returns.to_owned()),
        ..port
    };
    for (name, host, port, backends) in SERVICES {
        topology.service.push(Service {
            vips: topology.addresses("app", host),
            ports: vec![Port::tcp(80, 8080), Port::udp(80, 8080)],
            publish: vec![
                published(Port::tcp(port, 8080)),
                published(Port::udp(port, 8080)),
            ],
            ..Service::new(name, "app", backends)
        });
    }
    lab.write_topology(&topology)?;
    lab.start_all()?;
    if setup.returns == "dsr" {
        wait::until(PATIENCE, "direct return to be proven", || {
            ["n1", "n2", "n3"].iter().all(|node| is_direct(&lab, node))
        })?;
    }
    Ok(Bench {
        lab,
        topology,
        translated: setup.translated,
    })
}

/// Whether a node leaves no replies to the node that the client has come by.
fn is_direct(lab: &Lab, node: &str) -> bool {
    lab.ask(node, "status").is_ok_and(|status| {
        let problems = status["Problems"].as_array();
        problems.is_none_or(|all| all.iter().all(|it| it["Code"] != "direct-return"))
    })
}

fn cases() -> impl Iterator<Item = Case> {
    CLIENTS.into_iter().flat_map(|(client, table)| {
        table.iter().flat_map(move |(target, expected)| {
            [Transport::Tcp, Transport::Udp]
                .into_iter()
                .flat_map(move |transport| {
                    Family::BOTH.map(|family| Case {
                        client,
                        target: *target,
                        expected: *expected,
                        transport,
                        family,
                    })
                })
        })
    })
}

impl Case {
    fn title(&self) -> String {
        let Self {
            client,
            target,
            expected,
            transport,
            family,
        } = self;
        format!("{client} to {target:?} by {transport:?} {family:?}, expected {expected:?}")
    }
}

impl Bench {
    fn try_case(&self, case: &Case) -> Result<()> {
        let target = self.address(case.target, case.family)?;
        let namespace = self.lab.namespace(case.client);
        netns::inside(&namespace, || self.judge(case, target))?.with_context(|| target.to_string())
    }

    /// Runs inside the client's namespace.
    fn judge(&self, case: &Case, target: SocketAddr) -> Result<()> {
        let ask = || probe::ask(case.transport, target);
        match case.expected {
            Refused => {
                let after = ask().refused()?;
                ensure!(
                    after < wait::patience(AT_ONCE),
                    "refused only after {after:?}"
                );
                return Ok(());
            }
            SeenByBoth(itself, other) => {
                let mut answered = [false; 2];
                // Two in turn; more than two, since other cases share the cursor.
                for _ in 0..8 {
                    let (answer, own) = ask().answered()?;
                    let network = self.network_address("app", case.family)?;
                    let is_itself = answer.task == itself;
                    let is_hairpin = is_itself && self.translated == Translated::PerPacket;
                    let wanted = if is_hairpin { network } else { own.ip() };
                    seen_as(answer.client.ip(), wanted)?;
                    ensure!(
                        is_itself || answer.task == other,
                        "{} answered",
                        answer.task
                    );
                    answered[usize::from(is_itself)] = true;
                }
                ensure!(answered == [true; 2], "only one of two ever answered");
            }
            Seen(tasks) => {
                let (answer, own) = ask().answered()?;
                ensure!(
                    tasks.contains(&answer.task.as_str()),
                    "{} answered",
                    answer.task
                );
                seen_as(answer.client, own)?;
            }
            SeenAsNode(task, node) => {
                let (answer, _) = ask().answered()?;
                ensure!(answer.task == task, "{} answered", answer.task);
                seen_as(answer.client.ip(), self.node_address(node, case.family)?)?;
            }
            SeenAsNetwork(task, network) => {
                let (answer, own) = ask().answered()?;
                ensure!(answer.task == task, "{} answered", answer.task);
                // Led by its socket, a task that is picked for itself never leaves its namespace.
                if matches!(case.target, Vip(_)) && self.translated == Translated::BySocket {
                    return seen_as(answer.client, own);
                }
                seen_as(
                    answer.client.ip(),
                    self.network_address(network, case.family)?,
                )?;
            }
        }
        match case.transport {
            Transport::Tcp => {
                let length = (TRANSFER / u64::from(wait::slowness())).max(LEAST_TRANSFER);
                probe::download(target, length).context("download")?;
                probe::upload(target, length).context("upload")
            }
            Transport::Udp => probe::datagram(target, DATAGRAM).context("datagram"),
        }
    }

    fn address(&self, target: Target, family: Family) -> Result<SocketAddr> {
        let vip = |service: &str| self.topology.vip(service, family).context("no VIP");
        let (address, port) = match target {
            Vip(service) => (vip(service)?, 80),
            VipWithoutPort(service) => (vip(service)?, 81),
            Published(service, node) => {
                let found = SERVICES.iter().find(|(name, ..)| *name == service);
                let (_, _, port, _) = found.context("no such service")?;
                (self.node_address(node, family)?, *port)
            }
            Unpublished(node) => (self.node_address(node, family)?, 8999),
            Task(name) => {
                let endpoints = &self.topology.endpoint;
                let endpoint = endpoints.iter().find(|endpoint| endpoint.name == name);
                (
                    family
                        .of(&endpoint.context("no such task")?.addresses)
                        .context("no address")?,
                    8080,
                )
            }
        };
        Ok(SocketAddr::new(address, port))
    }

    fn node_address(&self, node: &str, family: Family) -> Result<IpAddr> {
        let node = self.lab.document().node(node).context("no such node")?;
        family.of(&node.addresses).context("no address")
    }

    /// The first address of a network: its gateway's.
    fn network_address(&self, network: &str, family: Family) -> Result<IpAddr> {
        let text = match (network, family) {
            ("ingress", Family::V4) => "10.255.0.1",
            ("ingress", Family::V6) => "fd00:255::1",
            _ => {
                return family
                    .of(&self.topology.addresses(network, 1))
                    .context("no address");
            }
        };
        text.parse().context("an address")
    }
}

fn seen_as<T: PartialEq + std::fmt::Display>(seen: T, wanted: T) -> Result<()> {
    if seen != wanted {
        bail!("seen as {seen}, not as {wanted}");
    }
    Ok(())
}
