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
use integration::{can_make_labs, netns};

/// The port of the service `echo`.
const ECHO: u16 = 7;
/// Nobody waits longer for what does not come.
const PATIENCE: Duration = Duration::from_secs(4);

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
