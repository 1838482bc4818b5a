//! Tasks that dial VIPs.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::lab::{Family, Spec, demo};
use integration::{api, can_make_labs, command, wait};

use crate::asker::{Bench, ask_connected, ask_unconnected, datagram_socket, mapped};

/// The port of the service `echo`.
const ECHO: u16 = 7;
/// A refusal takes no timer and no packet.
const AT_ONCE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(10);

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
