//! The lab in which cases are tried.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use integration::lab::topology::{Port, Service, Topology};
use integration::lab::{Family, Lab, Spec};
use integration::probe::{self, Transport};
use integration::{netns, wait};

use crate::cases::{
    Case, Published, Refused, SERVICES, Seen, SeenAsNetwork, SeenAsNode, SeenByBoth, TASKS, Target,
    Task, Unpublished, Vip, VipWithoutPort,
};

/// What is moved in each direction, in bytes, where machines are as fast as usual.
const TRANSFER: u64 = 10_000_000;
/// What is moved at least: more than fits into the buffers on the way.
const LEAST_TRANSFER: u64 = 500_000;
/// More than any packet of the lab carries, in bytes.
const DATAGRAM: usize = 3_000;
const PATIENCE: Duration = Duration::from_secs(10);
/// A refusal takes no timer.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Where VIPs are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Translated {
    BySocket,
    PerPacket,
}

/// How a lab is made.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    /// Of the underlay.
    pub(crate) vtep: Family,
    pub(crate) translated: Translated,
    /// Of `n1`, `n2` and `n3`.
    pub(crate) carriers: [&'static str; 3],
    /// By which replies of published ports go.
    pub(crate) returns: &'static str,
}

/// A lab with every client and service.
pub(crate) struct Bench {
    pub(crate) lab: Lab,
    topology: Topology,
    translated: Translated,
}

impl Bench {
    /// Makes the lab, and waits until it works.
    pub(crate) fn up(setup: Setup) -> Result<Self> {
        let spec = Spec {
            vtep: setup.vtep,
            ..Spec::new(&Spec::unique_name(setup.name), 3)
                .with_outsiders()
                .with_carriers(&setup.carriers)
        };
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
        Ok(Self {
            lab,
            topology,
            translated: setup.translated,
        })
    }

    /// Tries one case.
    pub(crate) fn try_case(&self, case: &Case) -> Result<()> {
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

/// Whether a node leaves no replies to the node that the client has come by.
fn is_direct(lab: &Lab, node: &str) -> bool {
    lab.ask(node, "status").is_ok_and(|status| {
        let problems = status["Problems"].as_array();
        problems.is_none_or(|all| all.iter().all(|it| it["Code"] != "direct-return"))
    })
}

fn seen_as<T: PartialEq + std::fmt::Display>(seen: T, wanted: T) -> Result<()> {
    if seen != wanted {
        bail!("seen as {seen}, not as {wanted}");
    }
    Ok(())
}
