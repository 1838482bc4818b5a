//! The task's server: says who answered and whom it saw, over HTTP and UDP, IPv4 and IPv6.

mod tcp;
mod udp;

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use crate::http;
use crate::pattern::Pattern;

/// The port of the demo's tasks, TCP and UDP.
pub const PORT: u16 = 8080;

/// Who serves, and where.
#[derive(Clone, Debug)]
pub struct Server {
    /// The task's name, as it answers.
    pub task: String,
    /// The node's name, as it answers.
    pub node: String,
    /// The port, TCP and UDP, on every address of both families.
    pub port: u16,
    /// Datagrams are answered from whatever address the routes choose, as many servers do that
    /// listen on every address, and not from the one that was asked.
    pub naive: bool,
}

/// What the server says: who answered, and whom it saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The task that answered.
    pub task: String,
    /// The node that it is on.
    pub node: String,
    /// The address and port that the request came from, as the task sees it.
    pub client: SocketAddr,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, port) = (self.client.ip(), self.client.port());
        write!(
            f,
            "{} on {} sees {address} port {port}",
            self.task, self.node
        )
    }
}

impl FromStr for Answer {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [task, "on", node, "sees", address, "port", port] = words[..] else {
            return Err(http::invalid("an answer of the demo's server"));
        };
        let bad = || http::invalid("the address of a client");
        let address = address.parse().map_err(|_| bad())?;
        let port = port.parse().map_err(|_| bad())?;
        let client = SocketAddr::new(address, port);
        Ok(Self {
            task: task.to_owned(),
            node: node.to_owned(),
            client,
        })
    }
}

impl Server {
    fn answer(&self, client: SocketAddr) -> Answer {
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        Answer {
            task: self.task.clone(),
            node: self.node.clone(),
            client,
        }
    }
}

/// Serves until the process ends.
///
/// # Errors
/// When a port cannot be bound.
pub fn run(server: Server) -> Result<()> {
    let tcp = bind(Type::STREAM, Protocol::TCP, server.port).context("bind the TCP port")?;
    let udp = bind(Type::DGRAM, Protocol::UDP, server.port).context("bind the UDP port")?;
    let (server, pattern) = (Arc::new(server), Arc::new(Pattern::new()));
    let echo = udp::Echo {
        server: server.clone(),
        pattern: pattern.clone(),
    };
    let site = tcp::Site { server, pattern };
    std::thread::spawn(move || tcp::serve(&Arc::new(tcp.into()), &Arc::new(site)));
    udp::serve(&udp.into(), &echo)
}

fn bind(kind: Type, protocol: Protocol, port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, kind, Some(protocol))?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    if kind == Type::STREAM {
        socket.listen(4096)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reads_back_as_it_was_written() {
        for client in ["10.0.1.1:40000", "[fd00:1::7]:1"] {
            let client = client.parse().unwrap();
            let answer = Answer {
                task: "web-1".into(),
                node: "n1".into(),
                client,
            };
            assert_eq!(answer.to_string().parse::<Answer>().unwrap(), answer);
        }
    }

    #[test]
    fn what_no_server_said_is_an_error() {
        for text in [
            "",
            "web-1",
            "web-1 on n1 sees nobody port 7",
            "a on b sees 1.2.3.4 port x",
        ] {
            assert!(text.parse::<Answer>().is_err(), "{text}");
        }
    }
}
