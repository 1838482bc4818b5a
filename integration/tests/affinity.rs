//! Clients that stay with their backend: at every node the same one where backends are picked by the client's
//! address, and also while another backend drains.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, ensure};
use integration::lab::topology::{Port, Service, Topology};
use integration::lab::{Family, Lab, Spec};
use integration::probe::Kept;
use integration::{can_make_labs, netns};

/// The backends, and their nodes: the first two nodes take clients in, and have one each.
const TASKS: [(&str, &str); 4] = [
    ("one", "n1"),
    ("two", "n2"),
    ("three", "n3"),
    ("four", "n3"),
];
const ENTRIES: [&str; 2] = ["n1", "n2"];
/// The one that drains: everything of its goes through the mesh.
const LEAVER: &str = "three";
/// Algorithms with their published ports. By the first two a client meets one backend at every node, by the
/// last one at each node.
const PORTS: [(&str, u16); 3] = [("mh", 9001), ("sh", 9002), ("rr", 9003)];

/// A client at a published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Client {
    address: IpAddr,
    port: u16,
}

impl Client {
    /// Whether every node leads the client to the same backend.
    fn is_known_everywhere(self) -> bool {
        self.port != PORTS[2].1
    }
}

/// Whom each client meets at each entry.
type Met = BTreeMap<Client, [String; 2]>;

struct Bench {
    lab: Lab,
    topology: Topology,
    /// The client's addresses.
    clients: Vec<[IpAddr; 2]>,
    /// The client's next port: none is used twice.
    next_port: AtomicU16,
}

fn bench() -> Result<Bench> {
    let mut lab = Lab::up(Spec::new(&Spec::unique_name("affinity"), 3))?;
    let clients = lab.add_addresses("client", 101..161)?;
    for (task, node) in TASKS {
        lab.add_task(task, node)?;
    }
    let mut topology = Topology::of(&lab);
    topology.add_network("app", 1);
    for ((task, _), host) in TASKS.into_iter().zip(11..) {
        topology.attach(&lab, task, "app", host);
    }
    for (algorithm, port) in PORTS {
        let published = Port {
            algorithm: Some(algorithm.to_owned()),
            affinity: Some(600),
            ..Port::tcp(port, 8080)
        };
        topology.service.push(Service {
            publish: vec![published],
            ..Service::new(algorithm, "app", &TASKS.map(|(task, _)| task))
        });
    }
    lab.write_topology(&topology)?;
    lab.start_all()?;
    Ok(Bench {
        lab,
        topology,
        clients,
        next_port: AtomicU16::new(10_000),
    })
}

impl Bench {
    /// The clients at these places among all addresses, at each port; those of one family together, so that
    /// each family takes all turns.
    fn clients(&self, places: Range<usize>) -> Vec<Client> {
        let pairs = &self.clients[places];
        let addresses = (0..2).flat_map(|family| pairs.iter().map(move |pair| pair[family]));
        addresses
            .flat_map(|address| PORTS.map(|(_, port)| Client { address, port }))
            .collect()
    }

    fn connect(&self, client: Client, node: &str) -> Result<Kept> {
        let family = if client.address.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        };
        let entry = self.lab.document().node(node).context("no such node")?;
        let target = family.of(&entry.addresses).context("no address")?;
        let source = SocketAddr::new(
            client.address,
            self.next_port.fetch_add(1, Ordering::Relaxed),
        );
        let kept = Kept::connect_from(source, SocketAddr::new(target, client.port));
        kept.with_context(|| format!("{client:?} at {node}"))
    }

    /// Has every client ask twice at each node: it meets one task there.
    fn meet(&self, clients: &[Client]) -> Result<Met> {
        netns::inside(&self.lab.namespace("client"), || {
            let meet = |client: Client, node: &str| -> Result<String> {
                let first = self.connect(client, node)?.ask()?.task;
                let second = self.connect(client, node)?.ask()?.task;
                ensure!(
                    first == second,
                    "{client:?} met {first} and {second} at {node}"
                );
                Ok(first)
            };
            let mut met = Met::new();
            for client in clients {
                let [one, two] = ENTRIES.map(|node| meet(*client, node));
                let tasks = [one?, two?];
                if client.is_known_everywhere() {
                    ensure!(tasks[0] == tasks[1], "{client:?} met {tasks:?}");
                }
                met.insert(*client, tasks);
            }
            Ok(met)
        })?
    }

    /// Some connections to the one that will drain.
    fn keep(&self, met: &Met) -> Result<Vec<Kept>> {
        let leavers = met.iter().filter(|(_, tasks)| tasks[0] == LEAVER);
        netns::inside(&self.lab.namespace("client"), || {
            let connect = |(client, _): (&Client, _)| self.connect(*client, ENTRIES[0]);
            leavers.map(connect).collect()
        })?
    }
}

/// Whoever was not with the one that drains is where it was, at each node.
fn others_stay(before: &Met, now: &Met) -> Result<()> {
    for (client, tasks) in now {
        for ((then, task), node) in before[client].iter().zip(tasks).zip(ENTRIES) {
            let is_right = if then == LEAVER {
                task != LEAVER
            } else {
                task == then
            };
            ensure!(
                is_right,
                "{client:?} at {node} was with {then}, and is with {task}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_client_meets_the_same_backend_at_every_node_also_while_one_drains() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut bench = bench()?;
    let (known, new) = (bench.clients(0..50), bench.clients(50..60));
    let before = bench.meet(&known)?;
    for (task, _) in TASKS {
        for (algorithm, port) in PORTS {
            let mut of_port = before.iter().filter(|(client, _)| client.port == port);
            let is_met = of_port.any(|(_, tasks)| tasks.iter().any(|it| it == task));
            ensure!(is_met, "nobody met {task} by {algorithm}");
        }
    }
    let kept = bench.keep(&before)?;

    let whole = bench.topology.clone();
    bench.topology.drain(LEAVER);
    bench.lab.apply_topology(&bench.topology)?;
    let during = bench.meet(&known)?;
    others_stay(&before, &during)?;
    let newcomers = bench.meet(&new)?;
    let meets_it = |tasks: &[String; 2]| tasks.iter().any(|task| task == LEAVER);
    ensure!(!newcomers.values().any(meets_it), "{newcomers:?}");
    for mut connection in kept {
        let task = connection
            .ask()
            .context("a connection that was there")?
            .task;
        ensure!(task == LEAVER, "{task} took over a connection");
    }

    // Back again, it gets new clients only.
    bench.lab.apply_topology(&whole)?;
    let after = bench.meet(&known)?;
    ensure!(after == during, "clients moved");
    bench.lab.down()
}
