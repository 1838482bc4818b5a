//! Who asks, and how.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::lab::demo::{self, PROBE};
use integration::lab::topology::Topology;
use integration::lab::{Family, Lab, Spec};
use integration::serve::Answer;
use integration::{api, netns};

/// The demo, of which one task asks.
pub(crate) struct Bench {
    pub(crate) lab: Lab,
    pub(crate) topology: Topology,
}

impl Bench {
    pub(crate) fn up(name: &str) -> Result<Self> {
        let lab = demo::up(Spec::new(&Spec::unique_name(name), 3))?;
        let topology = demo::topology(&lab);
        Ok(Self { lab, topology })
    }

    pub(crate) fn vip(&self, service: &str, family: Family, port: u16) -> Result<SocketAddr> {
        let vip = self.topology.vip(service, family).context("a VIP")?;
        Ok(SocketAddr::new(vip, port))
    }

    /// Runs in the task that only asks.
    pub(crate) fn ask<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        netns::inside(&self.lab.namespace(PROBE), work)?
    }

    pub(crate) fn counts(&self, service: &str) -> Result<(u64, u64)> {
        let vip = api::get(&self.lab.socket("n1"), &format!("vips/{service}"))?;
        let backends = vip["Backends"].as_array().context("backends")?;
        let sum = |key: &str| {
            let counts = backends.iter().filter_map(|backend| backend[key].as_u64());
            counts.sum()
        };
        Ok((sum("Active"), sum("Total")))
    }

    pub(crate) fn no_flow_is_open(&self) -> Result<()> {
        let flows = self.lab.ask("n1", "flows")?;
        ensure!(
            flows.as_array().is_some_and(Vec::is_empty),
            "translated per packet: {flows}"
        );
        Ok(())
    }
}

/// An IPv4 address as sockets of both families write it.
pub(crate) fn mapped(address: SocketAddr) -> SocketAddr {
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

pub(crate) fn datagram_socket(target: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((any(target), 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(4)))?;
    Ok(socket)
}

/// Asks who is there, naming the target, and tells who is said to have answered.
pub(crate) fn ask_unconnected(
    socket: &UdpSocket,
    target: SocketAddr,
) -> Result<(Answer, SocketAddr)> {
    socket.send_to(b"who", target)?;
    let mut buffer = [0; 2048];
    let (count, from) = socket.recv_from(&mut buffer)?;
    Ok((parse(&buffer[..count])?, from))
}

pub(crate) fn ask_connected(socket: &UdpSocket) -> Result<Answer> {
    socket.send(b"who")?;
    let mut buffer = [0; 2048];
    let count = socket.recv(&mut buffer)?;
    parse(&buffer[..count])
}

fn parse(text: &[u8]) -> Result<Answer> {
    Ok(std::str::from_utf8(text)?.parse()?)
}
