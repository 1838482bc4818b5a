//! Whoever is refused hears of it, also where the kernel still counts the packet as a tunnel's: one that
//! came through the native carrier over virtual wires, or one of a tunnel of the sender's own.

use std::io::{BufReader, ErrorKind, Read};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::lab::topology::{Port, Service, Topology};
use integration::lab::{Family, Lab, Spec};
use integration::{can_make_labs, command, http, netns, probe, wait};
use socket2::SockRef;

/// Nobody who is told waits for longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Published on every node, with its backend on the second.
const PUBLISHED: u16 = 8001;
/// The VIP's, over UDP, and one that it does not have.
const OPEN: u16 = 80;
const CLOSED: u16 = 99;
/// What the overlay carries, in bytes, and the underlay.
const OVERLAY_MTU: usize = 1450;
const UNDERLAY_MTU: usize = 1500;
/// `MSG_MORE` of Linux: what is sent waits for what comes next.
const MORE: i32 = 0x8000;
/// What a connection still has to say when it closes, in bytes.
const LAST_WORDS: [usize; 3] = [0, 1, 1300];

struct Bench {
    lab: Lab,
    topology: Topology,
}

/// A service with one backend, on the second node; a client inside, on the first.
fn bench(name: &str, vtep: Family, carrier: &str) -> Result<Bench> {
    let spec = Spec {
        vtep,
        ..Spec::new(&Spec::unique_name(name), 3).with_carriers(&[carrier; 3])
    };
    let mut lab = Lab::up(spec)?;
    lab.add_task("far", "n2")?;
    lab.add_task("mate", "n1")?;
    let mut topology = Topology::of(&lab);
    topology.add_network("app", 1);
    topology.attach(&lab, "far", "app", 11);
    topology.attach(&lab, "mate", "app", 12);
    topology.service.push(Service {
        vips: topology.addresses("app", 2),
        ports: vec![Port::udp(OPEN, 8080)],
        publish: vec![Port::tcp(PUBLISHED, 8080), Port::udp(PUBLISHED, 8080)],
        ..Service::new("far-service", "app", &["far"])
    });
    lab.write_topology(&topology)?;
    lab.start_all()?;
    for node in lab.nodes() {
        let status = lab.ask(&node, "status")?;
        ensure!(status["Carrier"] == carrier, "{status}");
    }
    Ok(Bench { lab, topology })
}

impl Bench {
    fn node(&self, name: &str, family: Family) -> Result<IpAddr> {
        let node = self.lab.document().node(name).context("a node")?;
        family.of(&node.addresses).context("an address")
    }

    /// Lets a member's device leave no checksum to others, or any.
    fn complete(&self, member: &str, is_complete: bool) -> Result<()> {
        let switch = if is_complete { "off" } else { "on" };
        let namespace = self.lab.namespace(member);
        command::run_inside(&namespace, "ethtool", &["-K", "eth0", "tx", switch]).map(|_| ())
    }

    /// The second node loses whatever it knew of connections, and starts anew.
    fn forget(&mut self) -> Result<()> {
        self.lab.stop("n2")?;
        self.lab.clean("n2")?;
        self.lab.start("n2")
    }

    fn nothing_else_was_dropped(&self) -> Result<()> {
        for node in self.lab.nodes() {
            let dropped = self.lab.drops(&node, "rewrite")?;
            ensure!(dropped == 0, "{dropped} packets were dropped on {node}");
        }
        Ok(())
    }
}

/// A connection that has been used.
fn connect(target: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    http::write_get(reader.get_mut(), "/", "")?;
    http::read_response(&mut reader)?;
    Ok(stream)
}

/// Closes a connection, with its last octets in the same segment, and is reset.
fn is_reset(mut stream: TcpStream, last_words: usize) -> Result<()> {
    if last_words > 0 {
        SockRef::from(&stream).send_with_flags(&vec![b'x'; last_words], MORE)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let heard = stream.read(&mut [0; 64]).map_err(|error| error.kind());
    ensure!(heard == Err(ErrorKind::ConnectionReset), "{heard:?}");
    Ok(())
}

fn forgotten_connections_are_reset(name: &str, vtep: Family, carrier: &str) -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut bench = bench(name, vtep, carrier)?;
    let client = bench.lab.namespace("client");
    // Who completes the checksums: nobody, the client, or the node that resets.
    for completes in [None, Some("client"), Some("n2")] {
        if let Some(member) = completes {
            bench.complete(member, true)?;
        }
        let mut kept = Vec::new();
        for family in Family::BOTH {
            let target = SocketAddr::new(bench.node("n3", family)?, PUBLISHED);
            for last_words in LAST_WORDS {
                let stream = netns::inside(&client, || connect(target))?;
                kept.push((family, last_words, stream?));
            }
        }
        bench.forget()?;
        let count = u64::try_from(kept.len())?;
        for (family, last_words, stream) in kept {
            is_reset(stream, last_words).with_context(|| {
                format!("{family:?}, {last_words} octets, completed by {completes:?}")
            })?;
        }
        let told = bench.lab.drops("n2", "no-flow")?;
        ensure!(told == count, "{told} segments are counted, not {count}");
        bench.nothing_else_was_dropped()?;
        if let Some(member) = completes {
            bench.complete(member, false)?;
        }
    }
    bench.lab.down()
}

#[test]
fn a_connection_that_its_node_has_forgotten_is_reset_natively() -> Result<()> {
    forgotten_connections_are_reset("forgot", Family::V4, "native")
}

#[test]
fn a_connection_that_its_node_has_forgotten_is_reset_natively_over_ipv6() -> Result<()> {
    forgotten_connections_are_reset("forgotsix", Family::V6, "native")
}

#[test]
fn a_connection_that_its_node_has_forgotten_is_reset_by_the_device() -> Result<()> {
    forgotten_connections_are_reset("forgotdev", Family::V4, "device")
}

/// A VXLAN tunnel of a member's own, with an Ethernet address at its other end.
struct Tunnel<'a> {
    lab: &'a Lab,
    member: &'a str,
    name: String,
    /// Where its packets go.
    target: SocketAddr,
    /// An address behind it.
    inside: IpAddr,
}

impl<'a> Tunnel<'a> {
    fn new(lab: &'a Lab, member: &'a str, number: u8, target: SocketAddr) -> Result<Self> {
        let name = format!("own{number}");
        let (ip, port) = (target.ip(), target.port());
        let (own, inside) = (format!("192.0.2.{number}"), format!("198.51.100.{number}"));
        let lines = format!(
            "link add {name} type vxlan id {number} remote {ip} dstport {port} df set\n\
             link set {name} addrgenmode none\n\
             link set {name} mtu {UNDERLAY_MTU} up\n\
             address add {own} peer {inside} dev {name}\n\
             neighbour add {inside} lladdr 02:00:00:00:00:01 dev {name}\n"
        );
        command::ip_batch(Some(&lab.namespace(member)), &lines)?;
        let inside = inside.parse()?;
        Ok(Self {
            lab,
            member,
            name,
            target,
            inside,
        })
    }

    /// Sends packets of `length` octets, those of the tunnel included, until an error about one arrives.
    fn is_told(&self, length: usize, counter: &str) -> Result<()> {
        // IP, UDP, VXLAN and Ethernet outside, IPv4 and UDP inside.
        let outer = if self.target.is_ipv4() { 50 } else { 70 };
        let payload = vec![0; length - outer - 28];
        let namespace = self.lab.namespace(self.member);
        let before = errors(&namespace)?;
        let told = wait::until(PATIENCE, counter, || {
            let target = SocketAddr::new(self.inside, 9);
            let sent = netns::inside(&namespace, || probe::send(None, target, &payload));
            let now = errors(&namespace).unwrap_or_default();
            sent.is_ok() && number(&now, counter) > number(&before, counter)
        });
        let after = errors(&namespace)?;
        told.with_context(|| format!("{length} octets to {}:\n{after}", self.target))?;
        for wrong in ["IcmpInCsumErrors", "Icmp6InCsumErrors"] {
            ensure!(number(&after, wrong) == Some(0), "{after}");
        }
        Ok(())
    }
}

impl Drop for Tunnel<'_> {
    fn drop(&mut self) {
        let namespace = self.lab.namespace(self.member);
        let _ = command::run_inside(&namespace, "ip", &["link", "delete", &self.name]);
    }
}

/// What a namespace has counted of ICMP: a name and a number in each line.
fn errors(namespace: &str) -> Result<String> {
    command::run_inside(namespace, "nstat", &["-asz", "Icmp*"])
}

fn number(counters: &str, name: &str) -> Option<u64> {
    let mut lines = counters.lines().map(str::split_whitespace);
    let mut line = lines.find(|line| line.clone().next() == Some(name))?;
    line.nth(1)?.parse().ok()
}

#[test]
fn a_tunnel_of_ones_own_hears_that_its_packets_go_nowhere() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let bench = bench("owntunnel", Family::V4, "native")?;
    for (is_complete, first) in [(false, 1), (true, 11)] {
        bench.complete("client", is_complete)?;
        bench.complete("mate", is_complete)?;
        for (family, more) in Family::BOTH.into_iter().zip([0, 1]) {
            let vip = bench.topology.vip("far-service", family).context("a VIP")?;
            let node = bench.node("n1", family)?;
            let (nowhere, too_big) = match family {
                Family::V4 => ("IcmpInDestUnreachs", "IcmpInDestUnreachs"),
                Family::V6 => ("Icmp6InDestUnreachs", "Icmp6InPktTooBigs"),
            };
            let closed = SocketAddr::new(vip, CLOSED);
            let tunnel = Tunnel::new(&bench.lab, "mate", first + more, closed)?;
            for length in [100, 110, 130, 170, 200, 1000] {
                tunnel.is_told(length, nowhere)?;
            }
            let wide = SocketAddr::new(node, PUBLISHED);
            let tunnel = Tunnel::new(&bench.lab, "client", first + more + 2, wide)?;
            tunnel.is_told(OVERLAY_MTU + 1, too_big)?;
            tunnel.is_told(UNDERLAY_MTU, too_big)?;
        }
    }
    ensure!(bench.lab.drops("n1", "no-port")? > 0, "not counted");
    ensure!(bench.lab.drops("n1", "too-big")? > 0, "not counted");
    bench.nothing_else_was_dropped()?;
    bench.lab.down()
}
