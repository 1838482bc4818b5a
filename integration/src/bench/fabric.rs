//! The lab that benchmarks run on: nodes with netd, nodes without, and servers in namespaces.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::report::Row;
use super::rounds::{self, Contest};
use super::traffic;
use super::{Effort, progress};
use crate::lab::topology::Topology;
use crate::lab::{Family, Lab, Spec};
use crate::process::{self, Process};
use crate::{binaries, netns, wait};

/// How long a server may take to listen.
const LIMIT: Duration = Duration::from_secs(10);

/// How long a node may take to be ready.
const READY: Duration = Duration::from_secs(90);

/// What the client's kernel may choose its ports from. Flows of closed connections stay for some
/// seconds: with all ports, those of one measurement would fill the table for the next.
const CLIENT_PORTS: &str = "20000 24095";

/// The nodes' carriers, in their order.
const CARRIERS: [&str; 4] = ["native", "native", "device", "device"];

/// How many labs were made.
static LABS: AtomicU32 = AtomicU32::new(0);

/// The problem of a node whose published ports ask for direct return in vain.
const DIRECT_RETURN: &str = "direct-return";

/// A lab of which the first nodes run netd.
#[derive(Debug)]
pub(super) struct Fabric {
    lab: Lab,
    with_netd: usize,
}

impl Fabric {
    /// Makes `nodes` nodes, of which the first `with_netd` will run netd.
    pub(super) fn new(nodes: u8, with_netd: usize) -> Result<Self> {
        // There can be several at a time.
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}x{number}", Spec::unique_name("bench"));
        let lab = Lab::up(Spec::new(&name, nodes))?;
        for member in lab.nodes().iter().map(String::as_str).chain(["wire"]) {
            netns::inside(&lab.namespace(member), plain_bridges)??;
        }
        Ok(Self { lab, with_netd })
    }

    pub(super) fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Makes tasks, given as name and node.
    pub(super) fn add_tasks(&mut self, tasks: &[(&str, &str)]) -> Result<()> {
        for (name, node) in tasks {
            self.lab.add_namespace(name, node)?;
        }
        Ok(())
    }

    /// The topology without tasks and services, for the nodes that run netd: each carrier has a pair of
    /// nodes.
    pub(super) fn topology(&self) -> Topology {
        let mut topology = Topology::of(&self.lab);
        topology.node.truncate(self.with_netd);
        for (node, carrier) in topology.node.iter_mut().zip(CARRIERS) {
            node.carrier = Some(carrier.to_owned());
        }
        topology
    }

    /// A node's underlay address.
    pub(super) fn address(&self, node: &str, family: Family) -> Option<IpAddr> {
        let node = self.lab.document().node(node)?;
        family.of(&node.addresses)
    }

    /// A way from a member to an address.
    pub(super) fn path(
        &self,
        name: &'static str,
        from: &str,
        (address, port): (Option<IpAddr>, u16),
    ) -> Result<traffic::Path> {
        let address = address.with_context(|| format!("{name}: an address of each family"))?;
        Ok(traffic::Path {
            name,
            namespace: self.lab.namespace(from),
            targets: vec![SocketAddr::new(address, port)],
        })
    }

    /// Starts netd where it is to run.
    pub(super) fn start(&mut self, topology: &Topology) -> Result<()> {
        self.lab.write_topology(topology)?;
        let nodes: Vec<String> = self.lab.nodes().into_iter().take(self.with_netd).collect();
        for node in &nodes {
            self.lab.spawn(node)?;
        }
        for node in &nodes {
            wait::until(READY, &format!("{node} to be ready"), || {
                let status = self.lab.ask(node, "status");
                status.is_ok_and(|status| is_in_force(&status))
            })?;
        }
        Ok(())
    }

    /// Waits until replies may return straight from other nodes; false when the underlay does not let
    /// them.
    pub(super) fn returns_directly(&self, node: &str) -> bool {
        let what = format!("direct return to be proven for {node}");
        let proven = wait::until(READY, &what, || {
            let status = self.lab.ask(node, "status");
            status.is_ok_and(|status| status["State"] == "ready")
        });
        if let Err(error) = &proven {
            progress(&format!("{error:#}: not measured"));
        }
        proven.is_ok()
    }

    /// Starts a server in a member's namespace and waits until it listens.
    pub(super) fn serve(&self, member: &str) -> Result<()> {
        let namespace = self.lab.namespace(member);
        quicken(&namespace)?;
        let program = binaries::find("netd-lab")?;
        let log = self.lab.file(&format!("{member}-respond.log"));
        let words = ["bench-respond".to_owned()];
        Process::spawn_inside(&namespace, &program, &words, &log, "bench-respond")?;
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, traffic::PORT));
        let what = format!("{member} answers (see {})", log.display());
        netns::inside(&namespace, || {
            wait::until(LIMIT, &what, || TcpStream::connect(target).is_ok())
        })?
    }

    /// Prepares a member's namespace for a client.
    pub(super) fn ask_from(&self, member: &str) -> Result<()> {
        quicken(&self.lab.namespace(member))
    }

    /// Every process of the lab, and this one.
    fn processes(&self) -> Result<BTreeSet<i32>> {
        let document = self.lab.document();
        let nodes = document.nodes.iter().map(|node| &node.namespace);
        let tasks = document.tasks.iter().map(|task| &task.namespace);
        let mut pids = BTreeSet::new();
        for namespace in nodes.chain(tasks) {
            pids.extend(process::inside(namespace)?.iter().map(|each| each.pid));
        }
        pids.insert(i32::try_from(std::process::id()).context("a process number is positive")?);
        Ok(pids)
    }

    /// What netd's programs have dropped or refused, by node and reason.
    fn drops(&self) -> Result<String> {
        let mut all = Vec::new();
        for node in self.lab.running_nodes() {
            let drops = self.lab.ask(&node, "drops")?;
            for drop in drops.as_array().into_iter().flatten() {
                if drop["Count"].as_u64().is_some_and(|count| count > 0) {
                    let reason = drop["Reason"].as_str().unwrap_or("?");
                    all.push(format!("{node} {reason} {}", drop["Count"]));
                }
            }
        }
        Ok(all.join(", "))
    }

    /// Compares paths of this lab, and takes it down, whatever comes of it.
    pub(super) fn compare(self, contest: Contest<'_>, effort: &Effort) -> Result<Vec<Row>> {
        compare_across(vec![self], contest, effort)
    }
}

/// Compares paths of several labs, and takes them down, whatever comes of it.
pub(super) fn compare_across(
    fabrics: Vec<Fabric>,
    contest: Contest<'_>,
    effort: &Effort,
) -> Result<Vec<Row>> {
    let mut own = BTreeSet::new();
    for fabric in &fabrics {
        own.extend(fabric.processes()?);
    }
    let rows = rounds::compare(contest, &own, effort);
    for fabric in fabrics {
        progress(&format!("dropped by netd: {}", fabric.drops()?));
        fabric.lab.down()?;
    }
    rows
}

/// Whether a node has done what the topology asks for, but for direct return: that waits for other
/// nodes.
fn is_in_force(status: &Value) -> bool {
    let problems = status["Problems"].as_array().into_iter().flatten();
    let mut others = problems.filter(|it| it["Code"] != DIRECT_RETURN);
    status["Underlay"].is_object() && others.next().is_none()
}

/// Keeps the firewall away from what bridges carry in the calling thread's namespace: neither the
/// wire nor the reference is to be dearer than it must.
fn plain_bridges() -> Result<()> {
    for name in ["iptables", "ip6tables", "arptables"] {
        let path = format!("/proc/sys/net/bridge/bridge-nf-call-{name}");
        if Path::new(&path).exists() {
            fs::write(&path, "0").with_context(|| format!("write {path}"))?;
        }
    }
    Ok(())
}

/// No connection waits in TIME_WAIT, so that the client never runs out of ports.
fn quicken(namespace: &str) -> Result<()> {
    netns::inside(namespace, || {
        for (name, value) in [
            ("tcp_max_tw_buckets", "0"),
            // What the kernel remembers of each server's address is no part of a path.
            ("tcp_no_metrics_save", "1"),
            ("ip_local_port_range", CLIENT_PORTS),
        ] {
            fs::write(format!("/proc/sys/net/ipv4/{name}"), value)
                .with_context(|| format!("set {name}"))?;
        }
        Ok(())
    })?
}
