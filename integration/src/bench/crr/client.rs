//! The client: one thread, non-blocking sockets, an epoll set.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::server::RESPONSE;

/// After this time without any event, nothing works any more.
const SILENCE: Duration = Duration::from_secs(4);

/// Many connections, each doing one operation after the other.
#[derive(Debug)]
pub(super) struct Client {
    epoll: OwnedFd,
    target: SocketAddr,
    slots: Vec<Option<Slot>>,
    operations: u64,
    failures: BTreeMap<String, u64>,
    stopping: bool,
}

/// One connection.
#[derive(Debug)]
struct Slot {
    socket: OwnedFd,
    asked: bool,
    received: usize,
}

/// How far an event has brought a connection.
enum Progress {
    Waits,
    Done,
    Failed(Errno),
    /// The server has left without the whole answer.
    CutShort,
}

impl Client {
    /// Begins with `connections` connections, from the namespace of the calling thread.
    pub(super) fn start(target: SocketAddr, connections: usize) -> Result<Self> {
        let mut client = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("make an epoll set")?,
            target,
            slots: (0..connections).map(|_| None).collect(),
            operations: 0,
            failures: BTreeMap::new(),
            stopping: false,
        };
        for index in 0..connections {
            client.connect(index)?;
        }
        Ok(client)
    }

    /// Operations that were done, since the start.
    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    /// Connections that were refused, reset, or closed before the whole answer, since the start, by
    /// what happened.
    pub(super) fn failures(&self) -> &BTreeMap<String, u64> {
        &self.failures
    }

    /// Goes on until `deadline`.
    pub(super) fn run_until(&mut self, deadline: Instant) -> Result<()> {
        let mut events = Vec::with_capacity(self.slots.len());
        let mut heard = Instant::now();
        while Instant::now() < deadline {
            self.turn(&mut events, &mut heard)?;
        }
        Ok(())
    }

    /// Lets every connection end properly: what is left half open would disturb the next path.
    pub(super) fn finish(mut self) -> Result<()> {
        self.stopping = true;
        let mut events = Vec::with_capacity(self.slots.len());
        let mut heard = Instant::now();
        while self.slots.iter().any(Option::is_some) {
            self.turn(&mut events, &mut heard)?;
        }
        Ok(())
    }

    fn turn(&mut self, events: &mut Vec<epoll::Event>, heard: &mut Instant) -> Result<()> {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        };
        epoll::wait(&self.epoll, spare_capacity(events), Some(&timeout)).context("wait")?;
        if !events.is_empty() {
            *heard = Instant::now();
        } else if heard.elapsed() > SILENCE {
            bail!("no answer for {SILENCE:?} on any connection");
        }
        for event in events.drain(..) {
            let index = usize::try_from(event.data.u64()).context("an index of ours")?;
            self.advance(index, event.flags)?;
        }
        Ok(())
    }

    fn advance(&mut self, index: usize, flags: EventFlags) -> Result<()> {
        let Some(slot) = self.slots[index].as_mut() else {
            return Ok(());
        };
        match slot.progress(flags) {
            Progress::Waits => return Ok(()),
            Progress::Done => self.operations += 1,
            Progress::Failed(error) => self.fail(&error.to_string()),
            Progress::CutShort => self.fail("closed before the whole answer"),
        }
        // Closing comes first, so that the number of connections never exceeds what was asked for.
        self.slots[index] = None;
        if self.stopping {
            return Ok(());
        }
        self.connect(index)
    }

    fn fail(&mut self, what: &str) {
        *self.failures.entry(what.to_owned()).or_default() += 1;
    }

    fn connect(&mut self, index: usize) -> Result<()> {
        let family = match self.target {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            net::socket_with(family, SocketType::STREAM, flags, None).context("make a socket")?;
        match net::connect(&socket, &self.target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error).context("connect"),
        }
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(
            &self.epoll,
            &socket,
            EventData::new_u64(index as u64),
            interest,
        )
        .context("watch a socket")?;
        self.slots[index] = Some(Slot {
            socket,
            asked: false,
            received: 0,
        });
        Ok(())
    }
}

impl Slot {
    fn progress(&mut self, flags: EventFlags) -> Progress {
        if flags.intersects(EventFlags::ERR) {
            let error = sockopt::socket_error(&self.socket);
            return Progress::Failed(error.and_then(|inner| inner).err().unwrap_or(Errno::IO));
        }
        if !self.asked {
            if !flags.contains(EventFlags::OUT) {
                return Progress::Waits;
            }
            self.asked = true;
            return match net::send(&self.socket, b"?", SendFlags::NOSIGNAL) {
                Ok(_) => Progress::Waits,
                Err(error) => Progress::Failed(error),
            };
        }
        if flags.contains(EventFlags::IN) && self.received < RESPONSE.len() {
            let mut room = [0; RESPONSE.len() + 1];
            match net::recv(&self.socket, &mut room, RecvFlags::empty()) {
                Ok((count, _)) => self.received += count,
                Err(Errno::AGAIN) => {}
                Err(error) => return Progress::Failed(error),
            }
        }
        match flags.contains(EventFlags::RDHUP) {
            false => Progress::Waits,
            true if self.received == RESPONSE.len() => Progress::Done,
            true => Progress::CutShort,
        }
    }
}
