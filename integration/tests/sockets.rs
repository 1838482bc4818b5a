//! What processes see of the socket hooks: they dial a VIP, they hear of the VIP, and in between they
//! talk to a backend.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::lab::demo::{self, PROBE};
use integration::lab::topology::{Port, Service, Topology};
use integration::lab::{Family, Lab, Spec};
use integration::probe::{self, Transport, ask};
use integration::serve::Answer;
use integration::{api, can_make_labs, command, netns, wait};

/// The port of the service `echo`.
const ECHO: u16 = 7;
/// A refusal takes no timer and no packet.
const AT_ONCE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(10);

struct Bench {
    lab: Lab,
    topology: Topology,
}

impl Bench {
    fn up(name: &str) -> Result<Self> {
        let lab = demo::up(Spec::new(&Spec::unique_name(name), 3))?;
        let topology = demo::topology(&lab);
        Ok(Self { lab, topology })
    }

    fn vip(&self, service: &str, family: Family, port: u16) -> Result<SocketAddr> {
        let vip = self.topology.vip(service, family).context("a VIP")?;
        Ok(SocketAddr::new(vip, port))
    }

    /// Runs in the task that only asks.
    fn ask<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        netns::inside(&self.lab.namespace(PROBE), work)?
    }

    fn counts(&self, service: &str) -> Result<(u64, u64)> {
        let vip = api::get(&self.lab.socket("n1"), &format!("vips/{service}"))?;
        let backends = vip["Backends"].as_array().context("backends")?;
        let sum = |key: &str| {
            let counts = backends.iter().filter_map(|backend| backend[key].as_u64());
            counts.sum()
        };
        Ok((sum("Active"), sum("Total")))
    }

    fn no_flow_is_open(&self) -> Result<()> {
        let flows = self.lab.ask("n1", "flows")?;
        ensure!(
            flows.as_array().is_some_and(Vec::is_empty),
            "translated per packet: {flows}"
        );
        Ok(())
    }
}

/// An IPv4 address as sockets of both families write it.
fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

fn any(target: SocketAddr) -> IpAddr {
    match target.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn datagram_socket(target: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((any(target), 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(4)))?;
    Ok(socket)
}

/// Asks who is there, naming the target, and tells who is said to have answered.
fn ask_unconnected(socket: &UdpSocket, target: SocketAddr) -> Result<(Answer, SocketAddr)> {
    socket.send_to(b"who", target)?;
    let mut buffer = [0; 2048];
    let (count, from) = socket.recv_from(&mut buffer)?;
    Ok((parse(&buffer[..count])?, from))
}

fn ask_connected(socket: &UdpSocket) -> Result<Answer> {
    socket.send(b"who")?;
    let mut buffer = [0; 2048];
    let count = socket.recv(&mut buffer)?;
    parse(&buffer[..count])
}

fn parse(text: &[u8]) -> Result<Answer> {
    Ok(std::str::from_utf8(text)?.parse()?)
}

#[test]
fn a_connected_socket_names_the_vip_and_the_server_sees_its_client() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let bench = Bench::up("sockname")?;
    for family in Family::BOTH {
        let (web, echo) = (
            bench.vip("web", family, 80)?,
            bench.vip("echo", family, ECHO)?,
        );
        for (web, echo) in [(web, echo), (mapped(web), mapped(echo))] {
            bench.ask(|| {
                let stream = TcpStream::connect(web)?;
                ensure!(stream.peer_addr()? == web, "{}", stream.peer_addr()?);
                let socket = datagram_socket(echo)?;
                socket.connect(echo)?;
                let answer = ask_connected(&socket)?;
                ensure!(socket.peer_addr()? == echo, "{}", socket.peer_addr()?);
                let own = socket.local_addr()?;
                ensure!(
                    mapped(answer.client) == mapped(own),
                    "{} is seen as {}",
                    own,
                    answer.client
                );
                Ok(())
            })?;
        }
    }
    bench.no_flow_is_open()?;
    bench.lab.down()
}

#[test]
fn an_unconnected_socket_hears_from_whom_it_sent_to() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let bench = Bench::up("sockdgram")?;
    let targets = [
        bench.vip("echo", Family::V4, ECHO)?,
        bench.vip("echo", Family::V6, ECHO)?,
        mapped(bench.vip("echo", Family::V4, ECHO)?),
    ];
    bench.ask(|| {
        for target in targets {
            // Each socket stays with its backend; many sockets meet both.
            let mut met = BTreeSet::new();
            for _ in 0..8 {
                let socket = datagram_socket(target)?;
                let (first, from) = ask_unconnected(&socket, target)?;
                ensure!(from == target, "{from} has answered, not {target}");
                for _ in 0..4 {
                    let (answer, from) = ask_unconnected(&socket, target)?;
                    ensure!(from == target, "{from} has answered, not {target}");
                    ensure!(answer == first, "{answer}, after {first}");
                }
                met.insert(first.task);
            }
            ensure!(met.len() == 2, "{target}: only {met:?} answered");
        }
        // One socket for both families and all frontends.
        let socket = datagram_socket(targets[1])?;
        for target in [targets[1], targets[2], targets[1], targets[2]] {
            let (_, from) = ask_unconnected(&socket, target)?;
            ensure!(from == target, "{from} has answered, not {target}");
        }
        Ok(())
    })?;
    bench.no_flow_is_open()?;
    bench.lab.down()
}

#[test]
fn a_port_that_nobody_answers_is_refused_at_once() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut bench = Bench::up("sockrefuse")?;
    bench.topology.service[1].backends.clear();
    bench.lab.apply_topology(&bench.topology)?;
    let before = bench.lab.drops("n1", "no-backend")?;
    for family in Family::BOTH {
        let nothing = bench.vip("web", family, 81)?;
        let empty = bench.vip("echo", family, ECHO)?;
        bench.ask(|| {
            let refused = |what: std::io::Result<()>, begin: Instant| {
                let kind = what.err().map(|error| error.kind());
                ensure!(kind == Some(ErrorKind::ConnectionRefused), "{kind:?}");
                ensure!(begin.elapsed() < AT_ONCE, "after {:?}", begin.elapsed());
                Ok(())
            };
            refused(TcpStream::connect(nothing).map(drop), Instant::now())?;
            let socket = datagram_socket(empty)?;
            refused(socket.connect(empty), Instant::now())?;
            refused(socket.send_to(b"who", empty).map(drop), Instant::now())
        })?;
    }
    ensure!(bench.lab.drops("n1", "no-backend")? == before + 4);
    bench.lab.down()
}

#[test]
fn what_sockets_are_led_to_is_counted_exactly() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let bench = Bench::up("sockcount")?;
    let (web, echo) = (
        bench.vip("web", Family::V4, 80)?,
        bench.vip("echo", Family::V6, ECHO)?,
    );
    let is = |service, wanted| {
        wait::until(PATIENCE, &format!("{service} counts {wanted:?}"), || {
            bench.counts(service).is_ok_and(|counts| counts == wanted)
        })
    };
    let (streams, connected, unconnected) = bench.ask(|| {
        let streams: Vec<_> = (0..5)
            .map(|_| TcpStream::connect(web))
            .collect::<Result<_, _>>()?;
        let connected = datagram_socket(echo)?;
        // Again: it ends what was before.
        connected.connect(echo)?;
        connected.connect(echo)?;
        let unconnected = datagram_socket(echo)?;
        ask_unconnected(&unconnected, echo)?;
        ask_unconnected(&unconnected, echo)?;
        Ok((streams, connected, unconnected))
    })?;
    is("web", (5, 5))?;
    is("echo", (2, 3))?;
    drop(streams);
    is("web", (0, 5))?;
    drop(connected);
    is("echo", (1, 3))?;
    drop(unconnected);
    is("echo", (0, 3))?;
    bench.lab.down()
}

#[test]
fn sockets_outlive_netd() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut bench = Bench::up("sockkill")?;
    let (web, echo) = (
        bench.vip("web", Family::V6, 80)?,
        bench.vip("echo", Family::V4, ECHO)?,
    );
    let new = bench.ask(|| {
        let socket = datagram_socket(echo)?;
        ask_unconnected(&socket, echo)?;
        Ok((TcpStream::connect(web)?, socket))
    })?;
    bench.lab.kill("n1")?;
    // While nobody drives them, and after somebody does again.
    for _ in 0..2 {
        bench.ask(|| {
            ensure!(new.0.peer_addr()? == web, "{}", new.0.peer_addr()?);
            let (_, from) = ask_unconnected(&new.1, echo)?;
            ensure!(from == echo, "{from} has answered");
            ensure!(TcpStream::connect(web)?.peer_addr()? == web, "a new one");
            Ok(())
        })?;
        if !bench.lab.is_running("n1") {
            bench.lab.start("n1")?;
        }
    }
    bench.lab.down()
}

#[test]
fn a_socket_older_than_the_hooks_is_translated_per_packet() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut bench = Bench::up("sockold")?;
    let echo = bench.vip("echo", Family::V6, ECHO)?;
    // For its network there are no hooks when it is connected.
    bench.topology.network[0].socket_lb = Some(false);
    bench.lab.apply_topology(&bench.topology)?;
    let socket = bench.ask(|| {
        let socket = datagram_socket(echo)?;
        socket.connect(echo)?;
        ask_connected(&socket)?;
        Ok(socket)
    })?;
    let flows = bench.lab.ask("n1", "flows")?;
    ensure!(flows.as_array().is_some_and(|it| it.len() == 1), "{flows}");
    bench.topology.network[0].socket_lb = None;
    bench.lab.apply_topology(&bench.topology)?;
    bench.ask(|| {
        ask_connected(&socket)?;
        ensure!(socket.peer_addr()? == echo, "{}", socket.peer_addr()?);
        // What is led by its socket meets the same backends, beside it.
        let new = datagram_socket(echo)?;
        for _ in 0..2 {
            new.connect(echo)?;
            ask_connected(&new)?;
        }
        ask_connected(&socket)?;
        Ok(())
    })?;
    bench.lab.down()
}

#[test]
fn cleanup_leaves_no_program_at_the_cgroup() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let programs = || -> Result<BTreeSet<String>> {
        let tree = command::run("bpftool", &["cgroup", "tree"])?;
        let ids = tree.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let id = words.next().filter(|id| id.parse::<u32>().is_ok())?;
            Some(format!("{id} {}", words.next_back()?))
        });
        Ok(ids.collect())
    };
    let mut lab = demo::up(Spec::new(&Spec::unique_name("sockclean"), 1))?;
    let socket = lab.socket("n1");
    let status = api::get(&socket, "status")?;
    let attached = status["Programs"].as_array().context("programs")?;
    let connect = attached.iter().find(|it| it["Name"] == "connect4");
    let places = &connect.context("connect4 is listed")?["Attached"];
    ensure!(
        places.as_array().is_some_and(|it| it.len() == 1),
        "{places}"
    );
    let with = programs()?;
    lab.kill("n1")?;
    lab.clean("n1")?;
    let without = programs()?;
    // Other labs come and go: of ours eleven have gone.
    let gone: Vec<_> = with.difference(&without).collect();
    ensure!(gone.len() >= 11, "only {gone:?} have gone");
    lab.down()
}

/// The addresses by which a process of the first node means the node itself.
fn own_addresses(lab: &Lab) -> Result<Vec<IpAddr>> {
    let node = lab.document().node("n1").context("a node")?;
    let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped().into();
    let own = node.addresses.iter().copied();
    Ok(own.chain(loopback).chain([mapped]).collect())
}

#[test]
fn the_nodes_own_processes_reach_published_ports() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let bench = Bench::up("socknode")?;
    let inside =
        |work: &(dyn Fn() -> Result<()> + Sync)| netns::inside(&bench.lab.namespace("n1"), work)?;
    for own in own_addresses(&bench.lab)? {
        let (http, udp) = (
            SocketAddr::new(own, demo::HTTP_PORT),
            SocketAddr::new(own, demo::UDP_PORT),
        );
        inside(&|| {
            // Both backends: the one here and the one elsewhere.
            let mut met = BTreeSet::new();
            for _ in 0..40 {
                let (answer, own) = ask(Transport::Tcp, http).answered()?;
                ensure!(
                    mapped(answer.client) == mapped(own),
                    "{own} is seen as {}",
                    answer.client
                );
                met.insert(answer.task);
                if met.len() == 2 {
                    break;
                }
            }
            ensure!(met.len() == 2, "{http}: only {met:?} answered");
            ensure!(TcpStream::connect(http)?.peer_addr()? == http, "{http}");
            let socket = datagram_socket(udp)?;
            for _ in 0..4 {
                let (_, from) = ask_unconnected(&socket, udp)?;
                ensure!(from == udp, "{from} has answered, not {udp}");
            }
            let socket = datagram_socket(udp)?;
            socket.connect(udp)?;
            ask_connected(&socket)?;
            ensure!(socket.peer_addr()? == udp, "{udp}");
            probe::download(http, 3_000_000)?;
            probe::upload(http, 3_000_000)?;
            probe::datagram(udp, 3_000)
        })
        .with_context(|| format!("as {own}"))?;
        let target = match own {
            IpAddr::V4(own) => format!("http://{own}:{}/", demo::HTTP_PORT),
            IpAddr::V6(own) => format!("http://[{own}]:{}/", demo::HTTP_PORT),
        };
        let namespace = bench.lab.namespace("n1");
        let said = command::run_inside(&namespace, "curl", &["-s", "-m", "4", &target])?;
        ensure!(said.starts_with("web-"), "{target}: {said}");
    }
    // Who insists on a source from which nobody can be reached is refused, not left waiting.
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, demo::HTTP_PORT));
    inside(&|| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, demo::UDP_PORT)))?;
        let kind = ask_connected(&socket).err().map(|it| it.to_string());
        ensure!(
            kind.is_some_and(|it| it.contains("refused")),
            "bound, but led"
        );
        Ok(())
    })?;
    // A lab's hooks are for its own namespaces.
    let outside = netns::inside(&bench.lab.namespace("client"), || {
        ask(Transport::Tcp, loopback)
    })?;
    outside.refused()?;
    ensure!(bench.lab.drops("n1", "spoofed-source")? == 0);
    bench.lab.down()
}

#[test]
fn a_server_that_leaves_its_source_to_the_routes_answers_the_node() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut bench = Bench::up("socknaive")?;
    for (name, node) in [("near", "n1"), ("far", "n2")] {
        bench.lab.add_namespace(name, node)?;
        bench.lab.serve_naively_in(name, name, node)?;
    }
    bench.topology.attach(&bench.lab, "near", demo::NETWORK, 41);
    bench.topology.attach(&bench.lab, "far", demo::NETWORK, 42);
    for (port, task) in [(9001, "near"), (9002, "far")] {
        bench.topology.service.push(Service {
            publish: vec![Port::udp(port, 8080)],
            ..Service::new(task, demo::NETWORK, &[task])
        });
    }
    bench.lab.apply_topology(&bench.topology)?;
    for own in own_addresses(&bench.lab)? {
        for port in [9001, 9002] {
            let target = SocketAddr::new(own, port);
            let work = || {
                let socket = datagram_socket(target)?;
                let (_, from) = ask_unconnected(&socket, target)?;
                ensure!(from == target, "{from} has answered");
                Ok(())
            };
            netns::inside(&bench.lab.namespace("n1"), work)?.with_context(|| target.to_string())?;
        }
    }
    bench.lab.down()
}

#[test]
fn published_ports_cannot_be_bound_on_the_node() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let bench = Bench::up("sockbind")?;
    let before = bench.lab.drops("n1", "port-reserved")?;
    let any = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let all: Vec<IpAddr> = own_addresses(&bench.lab)?.into_iter().chain(any).collect();
    netns::inside(&bench.lab.namespace("n1"), || {
        for address in &all {
            let taken = |result: std::io::Result<()>| {
                let kind = result.err().map(|error| error.kind());
                ensure!(kind == Some(ErrorKind::AddrInUse), "{address}: {kind:?}");
                Ok(())
            };
            taken(TcpListener::bind((*address, demo::HTTP_PORT)).map(drop))?;
            taken(UdpSocket::bind((*address, demo::UDP_PORT)).map(drop))?;
            // The other protocol's port of that number is nobody's.
            TcpListener::bind((*address, demo::UDP_PORT))?;
            UdpSocket::bind((*address, demo::HTTP_PORT))?;
        }
        Ok::<_, anyhow::Error>(())
    })??;
    let after = bench.lab.drops("n1", "port-reserved")?;
    ensure!(after == before + 2 * all.len() as u64, "{before}, {after}");
    // Tasks bind what they like.
    bench.ask(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, demo::UDP_PORT))?))?;
    bench.lab.down()
}

#[test]
fn a_task_reaches_no_other_by_the_nodes_route() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let bench = Bench::up("sockcross")?;
    let before = bench.lab.drops("n1", "cross-network")?;
    // Another task's address in the ingress network, and the node's own.
    for target in ["10.255.0.2:8080", "10.255.128.0:22", "10.255.128.1:22"] {
        let target: SocketAddr = target.parse()?;
        let outcome = bench.ask(|| {
            let limit = Duration::from_millis(300);
            Ok(TcpStream::connect_timeout(&target, limit).is_ok())
        })?;
        ensure!(!outcome, "{target} is reached");
    }
    ensure!(bench.lab.drops("n1", "cross-network")? >= before + 3);
    bench.lab.down()
}
