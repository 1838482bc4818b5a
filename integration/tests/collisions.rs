//! Connections of one client that would look the same to one backend: both live, and only the
//! client's port is another for the later one.

use std::io::BufReader;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::lab::topology::{Port, Service, Topology};
use integration::lab::{Family, Lab, Spec};
use integration::serve::Answer;
use integration::{can_make_labs, http, netns};
use socket2::{Domain, Socket, Type};

const LIMIT: Duration = Duration::from_secs(5);
const CLIENT_PORT: u16 = 7001;
/// How often each connection is used, in turn with the others.
const ROUNDS: usize = 5;
const PUBLISHED: u16 = 8001;

struct Bench {
    lab: Lab,
    topology: Topology,
}

/// A backend on the second node, one on the first; frontends everywhere.
fn bench(name: &str) -> Result<Bench> {
    let mut lab = Lab::up(Spec::new(&Spec::unique_name(name), 3))?;
    lab.add_task("near", "n1")?;
    lab.add_task("far", "n2")?;
    lab.add_task("mate", "n1")?;
    let mut topology = Topology::of(&lab);
    topology.add_network("app", 1);
    // Each packet is translated, not the socket: it could not dial both at once.
    topology.network[0].socket_lb = Some(false);
    for (task, host) in ["near", "far", "mate"].into_iter().zip(11..) {
        topology.attach(&lab, task, "app", host);
    }
    for (task, host, port) in [("near", 2, PUBLISHED), ("far", 3, PUBLISHED + 1)] {
        topology.service.push(Service {
            vips: topology.addresses("app", host),
            ports: vec![Port::tcp(80, 8080), Port::udp(80, 8080)],
            publish: vec![Port::tcp(port, 8080), Port::udp(port, 8080)],
            ..Service::new(&format!("{task}-service"), "app", &[task])
        });
    }
    lab.write_topology(&topology)?;
    lab.start_all()?;
    Ok(Bench { lab, topology })
}

impl Bench {
    fn node(&self, name: &str, family: Family) -> Result<IpAddr> {
        let node = self.lab.document().node(name).context("a node")?;
        family.of(&node.addresses).context("an address")
    }
}

fn any(target: SocketAddr, port: u16) -> SocketAddr {
    match target {
        SocketAddr::V4(_) => ([0u8; 4], port).into(),
        SocketAddr::V6(_) => ([0u16; 8], port).into(),
    }
}

/// A socket on the port that the others have as well.
fn dial(target: SocketAddr, kind: Type) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(target), kind, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&any(target, CLIENT_PORT).into())?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket
        .connect_timeout(&target.into(), LIMIT)
        .with_context(|| format!("connect to {target}"))?;
    Ok(socket)
}

/// Keeps a connection to each target, and has each answer in turn.
fn converse(targets: &[SocketAddr], task: &str) -> Result<()> {
    let mut streams = Vec::new();
    for target in targets {
        let stream: TcpStream = dial(*target, Type::STREAM)?.into();
        streams.push(BufReader::new(stream));
    }
    let mut ports = Vec::new();
    for round in 0..ROUNDS {
        for (stream, target) in streams.iter_mut().zip(targets) {
            let own = stream.get_ref().local_addr()?;
            let answer = || -> Result<Answer> {
                http::write_get(stream.get_mut(), "/", "")?;
                let body = http::read_response(stream)?.body;
                Ok(std::str::from_utf8(&body)?.parse()?)
            }();
            let answer = answer.with_context(|| format!("{target} in round {round}"))?;
            ensure!(answer.task == task, "{} answered", answer.task);
            ensure!(
                answer.client.ip() == own.ip(),
                "seen as {}, not {own}",
                answer.client
            );
            ports.push(answer.client.port());
        }
    }
    ports.sort_unstable();
    ports.dedup();
    ensure!(ports.len() == targets.len(), "seen from {ports:?}");
    ensure!(ports.contains(&CLIENT_PORT), "seen from {ports:?}");
    Ok(())
}

/// The same with datagrams.
fn exchange(targets: &[SocketAddr], task: &str) -> Result<()> {
    let sockets = targets.iter().map(|target| dial(*target, Type::DGRAM));
    let sockets: Vec<UdpSocket> = sockets
        .map(|socket| socket.map(UdpSocket::from))
        .collect::<Result<_>>()?;
    for round in 0..ROUNDS {
        for (socket, target) in sockets.iter().zip(targets) {
            socket.send(b"who")?;
            let mut buffer = [0; 2000];
            let count = socket
                .recv(&mut buffer)
                .with_context(|| format!("{target} in round {round}"))?;
            let answer: Answer = std::str::from_utf8(&buffer[..count])?.parse()?;
            ensure!(answer.task == task, "{} answered", answer.task);
        }
    }
    Ok(())
}

#[test]
fn a_client_by_two_nodes_reaches_one_backend_twice() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let bench = bench("ingresses")?;
    for family in Family::BOTH {
        // By two other nodes, by its own and another, and by all of them.
        for (port, task, nodes) in [
            (PUBLISHED + 1, "far", &["n1", "n3"][..]),
            (PUBLISHED, "near", &["n1", "n3"]),
            (PUBLISHED + 1, "far", &["n3", "n2", "n1"]),
        ] {
            let targets = nodes.iter().map(|node| {
                let address = bench.node(node, family)?;
                Ok(SocketAddr::new(address, port))
            });
            let targets: Vec<SocketAddr> = targets.collect::<Result<_>>()?;
            netns::inside(&bench.lab.namespace("client"), || {
                converse(&targets, task)?;
                exchange(&targets, task)
            })?
            .with_context(|| format!("{task} by {nodes:?}, {family:?}"))?;
        }
    }
    bench.lab.down()
}

#[test]
fn a_direct_connection_lives_beside_a_balanced_one() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let bench = bench("direct")?;
    for family in Family::BOTH {
        for (service, task, host) in [("near-service", "near", 11), ("far-service", "far", 12)] {
            let vip = bench.topology.vip(service, family).context("a VIP")?;
            let own = family.of(&bench.topology.addresses("app", host));
            let own = own.context("an address")?;
            let targets = [SocketAddr::new(vip, 80), SocketAddr::new(own, 8080)];
            netns::inside(&bench.lab.namespace("mate"), || converse(&targets, task))?
                .with_context(|| format!("{task}, {family:?}"))?;
        }
    }
    bench.lab.down()
}
