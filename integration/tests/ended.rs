//! Sockets that were led to a backend which goes: their processes hear of it, and dial anew.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::lab::demo::{self, PROBE};
use integration::lab::topology::Topology;
use integration::lab::{Family, Lab, Spec};
use integration::probe::Kept;
use integration::serve::Answer;
use integration::{can_make_labs, netns, wait};

/// The port of the service `echo`.
const ECHO: u16 = 7;
/// Nobody waits longer for what does not come.
const PATIENCE: Duration = Duration::from_secs(4);
/// An audit is made every other second.
const AUDIT: Duration = Duration::from_secs(20);

fn ask<T: Send>(lab: &Lab, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    netns::inside(&lab.namespace(PROBE), work)?
}

fn vip(topology: &Topology, service: &str, family: Family, port: u16) -> Result<SocketAddr> {
    let vip = topology.vip(service, family).context("a VIP")?;
    Ok(SocketAddr::new(vip, port))
}

/// A datagram socket that is connected, and the task at its other end.
fn datagrams(target: SocketAddr) -> Result<(UdpSocket, String)> {
    let any: IpAddr = match target.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(target)?;
    socket.send(b"who")?;
    let mut buffer = [0; 2048];
    let count = socket.recv(&mut buffer)?;
    let answer: Answer = std::str::from_utf8(&buffer[..count])?.parse()?;
    Ok((socket, answer.task))
}

/// Who answers a datagram to an address.
fn asked(socket: &UdpSocket, target: SocketAddr) -> Result<String> {
    socket.send_to(b"who", target)?;
    let mut buffer = [0; 2048];
    let (count, _) = socket.recv_from(&mut buffer)?;
    let answer: Answer = std::str::from_utf8(&buffer[..count])?.parse()?;
    Ok(answer.task)
}

fn next_audit(lab: &Lab) -> Result<()> {
    let last =
        |lab: &Lab| Ok::<_, anyhow::Error>(lab.ask("n1", "status")?["Audit"]["Last"].clone());
    let before = last(lab)?;
    lab.reload("n1")?;
    wait::until(AUDIT, "another audit", || {
        last(lab).is_ok_and(|last| last != before)
    })
}

fn without_backend(topology: &Topology, name: &str, task: &str) -> Topology {
    let mut topology = topology.clone();
    for service in topology.service.iter_mut().filter(|it| it.name == name) {
        service.backends.retain(|backend| backend.endpoint != task);
    }
    topology
}

fn without_task(topology: &Topology, task: &str) -> Topology {
    let mut topology = topology.clone();
    for service in &mut topology.service {
        service.backends.retain(|backend| backend.endpoint != task);
    }
    topology.endpoint.retain(|endpoint| endpoint.name != task);
    topology
}

#[test]
fn datagram_sockets_of_a_removed_backend_end_and_streams_go_on() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut lab = demo::up(Spec::new(&Spec::unique_name("endudp"), 3))?;
    let topology = demo::topology(&lab);
    for family in Family::BOTH {
        let echo = vip(&topology, "echo", family, ECHO)?;
        let web = vip(&topology, "web", family, 80)?;
        let (socket, task) = ask(&lab, || datagrams(echo))?;
        let mut kept = ask(&lab, || Ok(Kept::connect(web)?))?;
        let server = ask(&lab, || Ok(kept.ask()?.task))?;
        let fewer = without_backend(&without_backend(&topology, "echo", &task), "web", &server);
        lab.apply_topology(&fewer)?;
        ask(&lab, || {
            let error = socket.recv(&mut [0; 64]).err().map(|error| error.kind());
            ensure!(error == Some(ErrorKind::ConnectionAborted), "{error:?}");
            socket.connect(echo)?;
            let (_, other) = datagrams(echo)?;
            ensure!(other != task, "{task} still takes datagrams");
            let still = kept.ask()?.task;
            ensure!(still == server, "{still} instead of {server}");
            Ok(())
        })?;
        lab.apply_topology(&topology)?;
    }
    lab.down()
}

#[test]
fn streams_to_a_task_that_is_gone_end_at_once() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut lab = demo::up(Spec::new(&Spec::unique_name("endtcp"), 3))?;
    let topology = demo::topology(&lab);
    for family in Family::BOTH {
        let web = vip(&topology, "web", family, 80)?;
        let mut kept = ask(&lab, || Ok(Kept::connect(web)?))?;
        let server = ask(&lab, || Ok(kept.ask()?.task))?;
        lab.apply_topology(&without_task(&topology, &server))?;
        ask(&lab, || {
            let error = kept.wait();
            ensure!(error == Some(ErrorKind::ConnectionAborted), "{error:?}");
            let other = Kept::connect(web)?.ask()?.task;
            ensure!(other != server, "{server} still takes connections");
            Ok(())
        })?;
        lab.apply_topology(&topology)?;
    }
    lab.down()
}

#[test]
fn a_datagram_socket_that_was_ended_is_its_process_own_from_then_on() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut spec = Spec::new(&Spec::unique_name("endonce"), 3);
    let often = vec!["--audit-interval=2".to_owned()];
    spec.node_args.insert("n1".to_owned(), often);
    let mut lab = demo::up(spec)?;
    let topology = demo::topology(&lab);
    for family in Family::BOTH {
        let echo = vip(&topology, "echo", family, ECHO)?;
        let (socket, task) = ask(&lab, || datagrams(echo))?;
        let mut draining = topology.clone();
        draining.drain(&task);
        lab.apply_topology(&draining)?;
        let error = socket.recv(&mut [0; 64]).err().map(|error| error.kind());
        ensure!(error == Some(ErrorKind::ConnectionAborted), "{error:?}");
        // Who drains may still be asked by its own address, by the same socket.
        let entry = lab.document().task(&task).context("a task")?;
        let address = family.of(&entry.addresses).context("an address")?;
        let own = SocketAddr::new(address, 8080);
        for _ in 0..3 {
            let who = ask(&lab, || asked(&socket, own))?;
            ensure!(who == task, "{who} answered instead of {task}");
            next_audit(&lab)?;
        }
        let error = socket.take_error()?;
        ensure!(error.is_none(), "ended again: {error:?}");
        lab.apply_topology(&topology)?;
    }
    lab.down()
}
