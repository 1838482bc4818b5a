//! ICMP errors find those whom they concern, and say what these can understand: a closed port is
//! refused, a packet that is too large is told what would fit.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use integration::lab::topology::{Port, Service, Topology};
use integration::lab::{Family, Lab, Spec};
use integration::{can_make_labs, command, netns, probe, wait};

/// Where tasks serve, and where none does.
const OPEN: u16 = 8080;
const CLOSED: u16 = 7777;
const PATIENCE: Duration = Duration::from_secs(5);
/// What the overlay carries, in bytes: the underlay's 1,500 less 50 of the tunnel.
const OVERLAY_MTU: u32 = 1450;

/// Services of one task each, on the first node and on the second, dialled by way of the first:
/// name, published ports (open, closed), VIP.
const SERVICES: [(&str, &str, u16, u8); 2] = [("near", "n1", 8001, 2), ("far", "n2", 8011, 3)];

struct Bench {
    lab: Lab,
    topology: Topology,
}

fn bench(name: &str) -> Result<Bench> {
    let mut lab = Lab::up(Spec::new(&Spec::unique_name(name), 3))?;
    for (task, node, ..) in SERVICES {
        lab.add_task(task, node)?;
    }
    lab.add_task("mate", "n1")?;
    let mut topology = Topology::of(&lab);
    topology.add_network("app", 1);
    for (task, host) in ["near", "far", "mate"].into_iter().zip(11..) {
        topology.attach(&lab, task, "app", host);
    }
    for (name, _, port, host) in SERVICES {
        topology.service.push(Service {
            vips: topology.addresses("app", host),
            ports: vec![Port::udp(80, OPEN), Port::udp(81, CLOSED)],
            publish: vec![
                Port::udp(port, OPEN),
                Port::tcp(port, OPEN),
                Port::udp(port + 1, CLOSED),
            ],
            ..Service::new(&format!("{name}-service"), "app", &[name])
        });
    }
    lab.write_topology(&topology)?;
    lab.start_all()?;
    Ok(Bench { lab, topology })
}

impl Bench {
    /// Every frontend with a client of it: `port` is that of the VIP or an offset of the published.
    fn roads(&self, family: Family) -> Result<Vec<Road>> {
        let node = self.lab.document().node("n1").context("a node")?;
        let node = family.of(&node.addresses).context("an address")?;
        let mut roads = Vec::new();
        for (name, _, port, _) in SERVICES {
            let vip = self.topology.vip(&format!("{name}-service"), family);
            let vip = vip.context("a VIP")?;
            let inside = (SocketAddr::new(vip, 80), SocketAddr::new(vip, 81));
            let outside = (SocketAddr::new(node, port), SocketAddr::new(node, port + 1));
            for (client, (open, closed)) in [("mate", inside), ("client", outside)] {
                roads.push(Road {
                    client,
                    server: name,
                    open,
                    closed,
                });
            }
        }
        Ok(roads)
    }
}

struct Road {
    client: &'static str,
    server: &'static str,
    open: SocketAddr,
    closed: SocketAddr,
}

fn socket(target: SocketAddr) -> Result<UdpSocket> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => [0u8; 4].into(),
        SocketAddr::V6(_) => [0u16; 8].into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn refused(result: io::Result<usize>) -> Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        other => bail!("{other:?}, should be refused"),
    }
}

#[test]
fn a_backend_that_refuses_is_heard_by_the_client() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let bench = bench("refuse")?;
    for family in Family::BOTH {
        for road in bench.roads(family)? {
            let work = || -> Result<()> {
                let socket = socket(road.closed)?;
                socket.send(b"who")?;
                refused(socket.recv(&mut [0; 100]))
            };
            netns::inside(&bench.lab.namespace(road.client), work)?
                .with_context(|| format!("{} to {}", road.client, road.closed))?;
        }
    }
    bench.lab.down()
}

#[test]
fn a_client_that_has_gone_is_heard_by_the_backend() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let bench = bench("gone")?;
    for family in Family::BOTH {
        for road in bench.roads(family)? {
            client_goes(&bench, &road)
                .with_context(|| format!("{} to {}", road.client, road.closed))?;
        }
    }
    bench.lab.down()
}

/// The server is in this test: a socket that has heard of the client, and is connected to it.
fn client_goes(bench: &Bench, road: &Road) -> Result<()> {
    let inside = bench.lab.namespace(road.server);
    let network = match (road.client, road.closed) {
        ("mate", SocketAddr::V4(_)) => "10.0.1.",
        ("mate", SocketAddr::V6(_)) => "fd00:1:",
        (_, SocketAddr::V4(_)) => "10.255.",
        (_, SocketAddr::V6(_)) => "fd00:255:",
    };
    let text = command::run_inside(&inside, "ip", &["-o", "address"])?;
    let mut addresses = text.split([' ', '/']);
    let own = addresses.find(|word| word.starts_with(network));
    let own: IpAddr = own
        .with_context(|| format!("{network} in {text}"))?
        .parse()?;
    let server = netns::inside(&inside, || {
        let server = UdpSocket::bind((own, CLOSED))?;
        server.set_read_timeout(Some(PATIENCE))?;
        Ok::<_, io::Error>(server)
    })??;
    netns::inside(&bench.lab.namespace(road.client), || -> Result<()> {
        let client = socket(road.closed)?;
        client.send(b"hello")?;
        let (_, from) = server.recv_from(&mut [0; 100]).context("the request")?;
        server.connect(from)?;
        server.send(b"first")?;
        client.recv(&mut [0; 100]).context("the answer")?;
        Ok(())
    })??;
    server.send(b"second")?;
    refused(server.recv(&mut [0; 100]))
}

#[test]
fn a_datagram_that_does_not_fit_is_told_so_by_the_frontend() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let bench = bench("fits")?;
    for family in Family::BOTH {
        let roads = bench.roads(family)?;
        let road = roads
            .iter()
            .find(|road| (road.client, road.server) == ("client", "far"));
        let target = road.context("no road")?.open;
        let work = || -> Result<()> {
            let headers = if family == Family::V4 { 28 } else { 48 };
            let largest = vec![b' '; usize::try_from(OVERLAY_MTU)? - headers];
            let whole = vec![b' '; 1500 - headers];
            let socket = socket(target)?;
            socket.send(&whole)?;
            // The error is for the socket, and the route has learnt.
            wait::until(PATIENCE, "the way's MTU is known", || {
                route_mtu(target.ip()).is_ok_and(|mtu| mtu == Some(OVERLAY_MTU))
            })?;
            // In pieces that fit, it arrives.
            let _ = socket.take_error();
            for payload in [&largest, &whole] {
                socket.send(payload)?;
                socket.recv(&mut [0; 2000]).context("the answer")?;
            }
            Ok(())
        };
        netns::inside(&bench.lab.namespace("client"), work)?.with_context(|| target.to_string())?;
    }
    bench.lab.down()
}

/// The MTU that the current namespace has learnt for an address.
fn route_mtu(address: IpAddr) -> Result<Option<u32>> {
    let text = command::run("ip", &["route", "get", &address.to_string()])?;
    let mut words = text.split_whitespace();
    Ok(words
        .find(|word| *word == "mtu")
        .and_then(|_| words.next())
        .and_then(|mtu| mtu.parse().ok()))
}

#[test]
fn streams_through_the_mesh_keep_to_what_fits_whatever_the_task_announces() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let bench = bench("clamp")?;
    // A task that believes in 1,500 bytes, on the way in and on the way out.
    let inside = bench.lab.namespace("far");
    for line in command::run_inside(&inside, "ip", &["-o", "link"])?.lines() {
        let name = line.split(':').nth(1).unwrap_or_default().trim();
        let name = name.split('@').next().unwrap_or_default();
        if name != "lo" {
            command::run_inside(&inside, "ip", &["link", "set", name, "mtu", "1500"])?;
        }
    }
    for family in Family::BOTH {
        let roads = bench.roads(family)?;
        let road = roads
            .iter()
            .find(|road| (road.client, road.server) == ("client", "far"));
        let target = road.context("no road")?.open;
        let work = || -> Result<()> {
            probe::download(target, 5_000_000).context("download")?;
            probe::upload(target, 5_000_000).context("upload")
        };
        netns::inside(&bench.lab.namespace("client"), work)?.with_context(|| target.to_string())?;
        for node in bench.lab.nodes() {
            let dropped = bench.lab.drops(&node, "too-big")?;
            ensure!(dropped == 0, "{dropped} packets did not fit on {node}");
        }
    }
    bench.lab.down()
}
