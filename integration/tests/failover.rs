//! An address that moves from one node to another: connections by Maglev hashing go on, also those that
//! were picked before the backends changed.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::lab::topology::{Backend, Port, Service, Topology};
use integration::lab::{Lab, Spec};
use integration::probe::{self, Kept, Transport};
use integration::{can_make_labs, command, netns, wait};

/// Published with replies by the node that was dialled, and straight.
const PORTS: [(u16, &str); 2] = [(8001, "via"), (8002, "dsr")];
/// Connections to each address and port.
const CONNECTIONS: usize = 16;
/// How long a node may take to see that it has an address.
const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    lab: Lab,
    topology: Topology,
    /// The addresses that move.
    floating: [IpAddr; 2],
}

/// Two backends on two nodes; a third one is there, but not of the service yet.
fn bench() -> Result<Bench> {
    let mut lab = Lab::up(Spec::new(&Spec::unique_name("failover"), 4))?;
    let mut topology = Topology::of(&lab);
    topology.add_network("app", 1);
    for ((task, node), host) in [("one", "n1"), ("two", "n2"), ("new", "n3")]
        .into_iter()
        .zip(11..)
    {
        lab.add_task(task, node)?;
        topology.attach(&lab, task, "app", host);
    }
    for (port, way) in PORTS {
        let port = Port {
            returns: Some(way.to_owned()),
            ..Port::tcp(port, 8080)
        };
        topology.service.push(Service {
            publish: vec![port],
            ..Service::new(&format!("by-{way}"), "app", &["one", "two"])
        });
    }
    lab.write_topology(&topology)?;
    for node in lab.nodes() {
        lab.start_anyhow(&node)?;
    }
    let floating = lab.underlay().node(150);
    Ok(Bench {
        lab,
        topology,
        floating,
    })
}

impl Bench {
    /// Gives the addresses to a node, and takes them from the one that has had them: once the new one
    /// knows them, or its stack would reset what netd does not yet take.
    fn move_to(&self, node: &str, from: Option<&str>) -> Result<()> {
        for address in self.floating {
            self.address("add", node, address)?;
        }
        for target in self.targets() {
            let namespace = self.lab.namespace(node);
            let is_known = || {
                let asked = netns::inside(&namespace, || probe::ask(Transport::Tcp, target));
                asked.is_ok_and(|it| it.answered().is_ok())
            };
            wait::until(PATIENCE, "the address to be known", is_known)?;
        }
        for address in self.floating {
            if let Some(from) = from {
                self.address("del", from, address)?;
            }
        }
        // As whoever moves an address would tell.
        let client = self.lab.namespace("client");
        command::run_inside(&client, "ip", &["neighbour", "flush", "dev", "eth0"])?;
        for target in self.targets() {
            let last = || {
                netns::inside(&client, || probe::ask(Transport::Tcp, target).answered())
                    .unwrap_or_else(Err)
            };
            wait::until(PATIENCE, "the address to be answered", || last().is_ok())
                .with_context(|| format!("{target} at {node}: {:?}", last().err()))?;
        }
        Ok(())
    }

    fn address(&self, verb: &str, node: &str, address: IpAddr) -> Result<()> {
        let length = if address.is_ipv4() { 24 } else { 64 };
        let text = format!("{address}/{length}");
        let mut words = vec!["address", verb, &text, "dev", "eth0"];
        if address.is_ipv6() && verb == "add" {
            words.push("nodad");
        }
        command::run_inside(&self.lab.namespace(node), "ip", &words)?;
        Ok(())
    }

    fn targets(&self) -> Vec<SocketAddr> {
        let all = self.floating.into_iter();
        all.flat_map(|address| PORTS.map(|(port, _)| SocketAddr::new(address, port)))
            .collect()
    }

    /// Connections to every target, and who has them.
    fn connect(&self) -> Result<Vec<(SocketAddr, Kept, String)>> {
        netns::inside(&self.lab.namespace("client"), || {
            let mut all = Vec::new();
            for target in self.targets() {
                for _ in 0..CONNECTIONS {
                    let mut kept = Kept::connect(target)?;
                    let task = kept.ask()?.task;
                    all.push((target, kept, task));
                }
            }
            Ok(all)
        })?
    }
}

/// Asks by every connection: the same tasks as ever answer.
fn go_on(connections: &mut [(SocketAddr, Kept, String)]) -> Result<()> {
    for (number, (target, kept, task)) in connections.iter_mut().enumerate() {
        for _ in 0..3 {
            let answer = kept.ask();
            let answer = answer.with_context(|| format!("{target}, number {number} to {task}"))?;
            ensure!(answer.task == *task, "{} instead of {task}", answer.task);
        }
    }
    Ok(())
}

#[test]
fn connections_go_on_when_their_address_moves_and_backends_change() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut bench = bench()?;
    // The fourth node has no backend, the first and second have one each.
    bench.move_to("n4", None)?;
    let mut connections = bench.connect()?;
    for task in ["one", "two"] {
        let has = connections.iter().any(|(_, _, it)| it == task);
        ensure!(has, "nobody got {task}");
    }
    go_on(&mut connections).context("before anything happens")?;
    bench.move_to("n1", Some("n4"))?;
    go_on(&mut connections).context("at a node with a backend")?;
    bench.move_to("n4", Some("n1"))?;
    go_on(&mut connections).context("back at the node without")?;
    // What is picked for a third of them from now on is the new backend.
    for service in &mut bench.topology.service {
        service.backends.push(Backend {
            endpoint: "new".to_owned(),
            ..service.backends[0].clone()
        });
    }
    bench.lab.apply_topology(&bench.topology)?;
    bench.move_to("n2", Some("n4"))?;
    go_on(&mut connections).context("at a node that knows some, after a change")?;
    bench.move_to("n3", Some("n2"))?;
    go_on(&mut connections).context("at the new backend's node, after a change")?;
    bench.lab.down()
}
