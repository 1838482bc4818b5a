//! UDP: every datagram is answered, from the address that it was sent to (unless naive).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt,
    sockopt,
};

use super::Server;
use crate::pattern::Pattern;

/// The largest datagram that IPv4 can carry, in bytes of payload.
const LARGEST: usize = 65_507;

pub(super) struct Echo {
    pub(super) server: Arc<Server>,
    pub(super) pattern: Arc<Pattern>,
}

/// Answers for ever.
pub(super) fn serve(socket: &UdpSocket, echo: &Echo) -> Result<()> {
    // A task has several addresses; its routes may choose another source than the one asked.
    let precise = !echo.server.naive;
    setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &precise).context("ask for packet info")?;
    let mut buffer = vec![0; LARGEST];
    loop {
        let Ok((length, client, asked)) = receive(socket, &mut buffer) else {
            continue;
        };
        let reply = echo.reply(&buffer[..length], client);
        // What cannot be sent is lost, as datagrams are.
        let _ = send(socket, &reply, client, asked);
    }
}

impl Echo {
    /// `size N` gets N bytes of the pattern, anything else the answer's text.
    fn reply(&self, request: &[u8], client: SockaddrIn6) -> Vec<u8> {
        let text = std::str::from_utf8(request).unwrap_or("");
        let size = text
            .strip_prefix("size ")
            .and_then(|n| n.trim().parse::<usize>().ok());
        match size {
            Some(size) => self.pattern.at(0, size.min(LARGEST)).to_vec(),
            None => {
                let client = SocketAddr::from((client.ip(), client.port()));
                format!("{}\n", self.server.answer(client)).into_bytes()
            }
        }
    }
}

type Received = (usize, SockaddrIn6, Option<libc::in6_pktinfo>);

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Received> {
    let mut slices = [IoSliceMut::new(buffer)];
    let mut space = nix::cmsg_space!(libc::in6_pktinfo);
    let message = recvmsg::<SockaddrIn6>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        MsgFlags::empty(),
    )?;
    let asked = message.cmsgs()?.find_map(|control| {
        if let ControlMessageOwned::Ipv6PacketInfo(info) = control {
            Some(info)
        } else {
            None
        }
    });
    let client = message
        .address
        .ok_or_else(|| crate::http::invalid("a source address"))?;
    Ok((message.bytes, client, asked))
}

fn send(
    socket: &UdpSocket,
    reply: &[u8],
    client: SockaddrIn6,
    asked: Option<libc::in6_pktinfo>,
) -> io::Result<()> {
    // Only the address is given: the routes choose the interface.
    let source = asked.map(|info| libc::in6_pktinfo {
        ipi6_ifindex: 0,
        ..info
    });
    let control: Vec<ControlMessage<'_>> =
        source.iter().map(ControlMessage::Ipv6PacketInfo).collect();
    let slices = [IoSlice::new(reply)];
    sendmsg(
        socket.as_raw_fd(),
        &slices,
        &control,
        MsgFlags::empty(),
        Some(&client),
    )?;
    Ok(())
}
