//! An attack of half-open connections: those that are established live on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use etherparse::PacketBuilder;
use integration::lab::demo::{self, HTTP_PORT};
use integration::lab::{Family, Lab, Spec};
use integration::probe::{self, Kept, Transport};
use integration::{can_make_labs, netns};
use socket2::{Domain, Protocol, Socket, Type};

/// Openings of each family: several times what `embryos` holds, and more than all flows.
const OPENINGS: u32 = 100_000;
/// Connections that are established before.
const ESTABLISHED: usize = 50;
/// Lets a process write IP headers by itself (`IPPROTO_RAW` of linux/in.h).
const RAW: i32 = 255;

/// Sends SYNs to `target`, each from an address that is nobody's.
fn flood(target: SocketAddr) -> Result<()> {
    let domain = Domain::for_address(target);
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(RAW)))?;
    // Raw IPv6 sockets take no port there.
    let destination = SocketAddr::new(target.ip(), 0).into();
    for number in 0..OPENINGS {
        let packet = opening(target, number)?;
        match socket.send_to(&packet, &destination) {
            Ok(_) => {}
            // The wire is full: what is not sent is not missed.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {}
            Err(error) => return Err(error).context("send"),
        }
    }
    Ok(())
}

fn opening(target: SocketAddr, number: u32) -> Result<Vec<u8>> {
    let [_, high, middle, low] = number.to_be_bytes();
    let builder = match target.ip() {
        IpAddr::V4(to) => {
            let from = Ipv4Addr::new(10, 99 + high, middle, low);
            PacketBuilder::ipv4(from.octets(), to.octets(), 64)
        }
        IpAddr::V6(to) => {
            let from = Ipv6Addr::new(
                0xfd99,
                0,
                0,
                0,
                0,
                0,
                number_of(high),
                number_of(middle) << 8 | number_of(low),
            );
            PacketBuilder::ipv6(from.octets(), to.octets(), 64)
        }
    };
    let builder = builder.tcp(40_000, target.port(), number, 64_240).syn();
    let mut packet = Vec::with_capacity(builder.size(0));
    builder.write(&mut packet, &[])?;
    Ok(packet)
}

fn number_of(byte: u8) -> u16 {
    u16::from(byte)
}

fn published(lab: &Lab, node: &str, family: Family) -> Result<SocketAddr> {
    let node = lab.document().node(node).context("a node")?;
    let address = family.of(&node.addresses).context("an address")?;
    Ok(SocketAddr::new(address, HTTP_PORT))
}

#[test]
fn established_connections_live_through_a_flood_of_openings() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("flood"), 3))?;
    for family in Family::BOTH {
        // Its backends are on n1 and n2: every opening goes through the mesh, and is counted there too.
        let target = published(&lab, "n3", family)?;
        let client = lab.namespace("client");
        let mut kept = netns::inside(&client, || -> Result<Vec<Kept>> {
            let mut kept = Vec::new();
            for _ in 0..ESTABLISHED {
                let mut connection = Kept::connect(target)?;
                connection.ask()?;
                kept.push(connection);
            }
            Ok(kept)
        })??;
        let is_over = AtomicBool::new(false);
        let (mut answers, mut new, mut refused) = (0_usize, 0_usize, 0_usize);
        std::thread::scope(|scope| -> Result<()> {
            let flooding = scope.spawn(|| {
                let result = netns::inside(&client, || flood(target));
                is_over.store(true, Ordering::Relaxed);
                result?
            });
            while !is_over.load(Ordering::Relaxed) {
                for connection in &mut kept {
                    connection.ask().context("on an established connection")?;
                    answers += 1;
                }
                match netns::inside(&client, || probe::ask(Transport::Tcp, target))?.answered() {
                    Ok(_) => new += 1,
                    Err(_) => refused += 1,
                }
            }
            flooding.join().map_err(|_| anyhow::anyhow!("a panic"))?
        })?;
        println!(
            "{family:?}: {OPENINGS} openings; {answers} answers on {ESTABLISHED} established \
             connections, {new} new ones, {refused} in vain"
        );
        ensure!(
            answers > ESTABLISHED,
            "{answers} answers: the flood was too short"
        );
        ensure!(new > 0, "nobody else gets in, of {refused}");
        for connection in &mut kept {
            connection.ask().context("after the flood")?;
        }
    }
    lab.down()
}
