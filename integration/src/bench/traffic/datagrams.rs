//! The client of datagrams: one connected socket that sends as long as the server keeps up.
//!
//! What arrives counts, as the server tells in its answers, one for every few datagrams. No more are
//! on their way than the queues hold, so that nothing is lost that cost something before.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::packets::{Answer, Datagram};

/// So many datagrams are sent between two looks at the clock; the last of them asks.
const BURST: u64 = 32;
/// So many may be on their way: less than a CPU's queue of packets (`netdev_max_backlog`) holds.
const WINDOW: u64 = 512;
/// When nothing has come back for so long, what was on its way is lost.
const LOST_AFTER: Duration = Duration::from_millis(400);
/// When nothing has come back for so long, nothing works.
const SILENCE: Duration = Duration::from_secs(4);

/// A stream of datagrams.
#[derive(Debug)]
pub(super) struct Datagrams {
    socket: OwnedFd,
    sent: u64,
    /// Up to here the server has answered, or they are given up.
    settled: u64,
    received: u64,
    failures: BTreeMap<String, u64>,
    heard: Instant,
}

impl Datagrams {
    /// Begins towards the first of `targets`, from the namespace of the calling thread.
    pub(super) fn start(targets: &[SocketAddr]) -> Result<Self> {
        let target = targets.first().context("a target")?;
        let family = match target {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let socket = net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
            .context("make a socket")?;
        net::connect(&socket, target).context("connect")?;
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(LOST_AFTER))
            .context("limit waiting")?;
        Ok(Self {
            socket,
            sent: 0,
            settled: 0,
            received: 0,
            failures: BTreeMap::new(),
            heard: Instant::now(),
        })
    }

    /// Datagrams that the server has received, ever.
    pub(super) fn operations(&self) -> u64 {
        self.received
    }

    /// Datagrams that were lost, since the start, by what happened.
    pub(super) fn failures(&self) -> &BTreeMap<String, u64> {
        &self.failures
    }

    /// Goes on until `deadline`.
    pub(super) fn run_until(&mut self, deadline: Instant) -> Result<()> {
        while Instant::now() < deadline {
            for place in 1..=BURST {
                self.send(place == BURST)?;
            }
            while self.hear(RecvFlags::DONTWAIT)? {}
            while self.sent - self.settled >= WINDOW {
                self.wait()?;
            }
        }
        Ok(())
    }

    fn send(&mut self, asks: bool) -> Result<()> {
        let datagram = Datagram {
            number: self.sent,
            asks,
        };
        match net::send(&self.socket, &datagram.to_bytes(), SendFlags::empty()) {
            Ok(_) => {}
            // What an earlier one met.
            Err(error @ (Errno::CONNREFUSED | Errno::HOSTUNREACH)) => {
                self.fail(&error.to_string(), 1);
            }
            Err(error) => return Err(error).context("send"),
        }
        self.sent += 1;
        Ok(())
    }

    /// Waits for an answer, or gives up what is on its way.
    fn wait(&mut self) -> Result<()> {
        if self.hear(RecvFlags::empty())? {
            return Ok(());
        }
        if self.heard.elapsed() > SILENCE {
            bail!("no answer for {SILENCE:?}");
        }
        self.fail("lost", self.sent - self.settled);
        self.settled = self.sent;
        Ok(())
    }

    /// Takes one answer, if there is one.
    fn hear(&mut self, flags: RecvFlags) -> Result<bool> {
        let mut room = [0; 64];
        let count = match net::recv(&self.socket, &mut room, flags) {
            Ok((count, _)) => count,
            Err(Errno::AGAIN) => return Ok(false),
            Err(error @ (Errno::CONNREFUSED | Errno::HOSTUNREACH)) => {
                self.fail(&error.to_string(), 1);
                return Ok(true);
            }
            Err(error) => return Err(error).context("receive"),
        };
        if let Some(answer) = Answer::from_bytes(&room[..count]) {
            self.settled = self.settled.max(answer.number + 1);
            self.received = self.received.max(answer.received);
            self.heard = Instant::now();
        }
        Ok(true)
    }

    fn fail(&mut self, what: &str, count: u64) {
        *self.failures.entry(what.to_owned()).or_default() += count;
    }
}
