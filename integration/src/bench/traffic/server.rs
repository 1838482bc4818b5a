//! The server: one thread, answers one byte by a short text, and says goodbye first unless it is to
//! go on; counts datagrams.
//!
//! The server closes its side, then the client the whole, then the server forgets: nobody is left
//! to answer with a reset, whether or not there is room for connections in TIME_WAIT.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendFlags, Shutdown, SocketFlags, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::packets::{Answer, Datagram, LENGTH};
use crate::bench::cpu;

/// The answer.
pub(super) const RESPONSE: &[u8; 64] =
    b"the same sixty-four bytes for everybody, whoever it is who asks\n";

/// Where it listens.
pub(in crate::bench) const PORT: u16 = 9000;
/// Where it listens too, for those who must not meet flows to [`PORT`].
pub(in crate::bench) const SECOND_PORT: u16 = 9001;

/// The question of somebody who asks once.
pub(super) const ONCE: &[u8; 1] = b"?";
/// The question of somebody who will ask more.
pub(super) const AGAIN: &[u8; 1] = b"+";

const BACKLOG: i32 = 1024;

/// Octets that wait for being counted.
const DATAGRAM_ROOM: usize = 8 << 20;
/// After counting datagrams, others may gather so long: being woken for each would cost more than
/// what is measured, and as much on every path.
const GATHER: Duration = Duration::from_micros(250);

/// Sockets by their number.
#[derive(Debug)]
struct Server {
    epoll: OwnedFd,
    listeners: Vec<Option<Socket>>,
    connections: Vec<Option<OwnedFd>>,
    datagrams: Vec<Option<Socket>>,
    /// Datagrams that were received.
    received: u64,
}

/// Answers on both ports, IPv4 and IPv6, until the process ends.
///
/// # Errors
/// When it cannot listen, or the kernel runs out of something.
pub fn respond() -> Result<()> {
    cpu::pin(cpu::SERVER)?;
    let mut server = Server {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("make an epoll set")?,
        listeners: Vec::new(),
        connections: Vec::new(),
        datagrams: Vec::new(),
        received: 0,
    };
    for port in [PORT, SECOND_PORT] {
        server.listen((Ipv4Addr::UNSPECIFIED, port).into())?;
        server.listen((Ipv6Addr::UNSPECIFIED, port).into())?;
        server.count_datagrams((Ipv4Addr::UNSPECIFIED, port).into())?;
        server.count_datagrams((Ipv6Addr::UNSPECIFIED, port).into())?;
    }
    let mut events = Vec::with_capacity(64);
    loop {
        epoll::wait(&server.epoll, spare_capacity(&mut events), None).context("wait")?;
        for event in events.drain(..) {
            let number = usize::try_from(event.data.u64()).context("a socket's number")?;
            server.handle(number, event.flags)?;
        }
    }
}

impl Server {
    fn listen(&mut self, address: SocketAddr) -> Result<()> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket
            .bind(&address.into())
            .with_context(|| format!("bind {address}"))?;
        socket.listen(BACKLOG)?;
        let number = number(socket.as_raw_fd())?;
        epoll::add(
            &self.epoll,
            &socket,
            EventData::new_u64(number as u64),
            EventFlags::IN,
        )
        .context("watch a listening socket")?;
        put(&mut self.listeners, number, socket);
        Ok(())
    }

    fn count_datagrams(&mut self, address: SocketAddr) -> Result<()> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        sockopt::set_socket_recv_buffer_size_force(&socket, DATAGRAM_ROOM)
            .context("make room for datagrams")?;
        socket
            .bind(&address.into())
            .with_context(|| format!("bind {address}"))?;
        let number = number(socket.as_raw_fd())?;
        epoll::add(
            &self.epoll,
            &socket,
            EventData::new_u64(number as u64),
            EventFlags::IN,
        )
        .context("watch a socket for datagrams")?;
        put(&mut self.datagrams, number, socket);
        Ok(())
    }

    fn handle(&mut self, number: usize, flags: EventFlags) -> Result<()> {
        if let Some(Some(listener)) = self.listeners.get(number) {
            while let Some(socket) = accept(listener)? {
                let number = self::number(socket.as_raw_fd())?;
                epoll::add(
                    &self.epoll,
                    &socket,
                    EventData::new_u64(number as u64),
                    EventFlags::IN | EventFlags::RDHUP | EventFlags::ET,
                )
                .context("watch a connection")?;
                put(&mut self.connections, number, socket);
            }
            return Ok(());
        }
        if let Some(Some(socket)) = self.datagrams.get(number) {
            return count(socket, &mut self.received);
        }
        let Some(place) = self.connections.get_mut(number) else {
            return Ok(());
        };
        let left = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        let served = match place {
            Some(socket) if !left => answer(socket),
            _ => false,
        };
        if !served {
            *place = None;
        }
        Ok(())
    }
}

/// Answers a question and closes this side; false when there is nothing more to do.
fn answer(socket: &OwnedFd) -> bool {
    let mut room = [0; 16];
    match net::recv(socket, &mut room, RecvFlags::empty()) {
        Ok((count, _)) if count > 0 => {}
        Err(Errno::AGAIN) => return true,
        _ => return false,
    }
    net::send(socket, RESPONSE, SendFlags::NOSIGNAL).is_ok()
        && (room[0] == AGAIN[0] || net::shutdown(socket, Shutdown::Write).is_ok())
}

/// Counts what has come, and answers those that ask.
fn count(socket: &Socket, received: &mut u64) -> Result<()> {
    let mut room = [0; LENGTH];
    loop {
        let (length, sender) = match net::recvfrom(socket, &mut room, RecvFlags::empty()) {
            Ok((length, _, sender)) => (length, sender),
            Err(Errno::AGAIN) => break,
            Err(error) => return Err(error).context("receive"),
        };
        *received += 1;
        let asked = Datagram::from_bytes(&room[..length]).filter(|datagram| datagram.asks);
        if let (Some(asked), Some(sender)) = (asked, sender) {
            let answer = Answer {
                number: asked.number,
                received: *received,
            };
            // Who does not hear it asks again.
            let _ = net::sendto(socket, &answer.to_bytes(), SendFlags::empty(), &sender);
        }
    }
    std::thread::sleep(GATHER);
    Ok(())
}

fn accept(listener: &Socket) -> Result<Option<OwnedFd>> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    match net::accept_with(listener, flags) {
        Ok(socket) => Ok(Some(socket)),
        // Gone before it was taken.
        Err(Errno::AGAIN | Errno::CONNABORTED) => Ok(None),
        Err(error) => Err(error).context("accept"),
    }
}

fn number(raw: i32) -> Result<usize> {
    usize::try_from(raw).context("a descriptor is not negative")
}

fn put<T>(places: &mut Vec<Option<T>>, index: usize, value: T) {
    if places.len() <= index {
        places.resize_with(index + 1, || None);
    }
    places[index] = Some(value);
}
