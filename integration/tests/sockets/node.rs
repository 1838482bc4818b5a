//! Processes of the node itself, and published ports.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use anyhow::{Context, Result, ensure};
use integration::lab::topology::{Port, Service};
use integration::lab::{Lab, demo};
use integration::probe::{self, Transport, ask};
use integration::{can_make_labs, command, netns};

use crate::asker::{Bench, ask_connected, ask_unconnected, datagram_socket, mapped};

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
