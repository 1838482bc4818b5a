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

use super::server::{AGAIN, ONCE, RESPONSE};

/// After this time without any event, nothing works any more.
const SILENCE: Duration = Duration::from_secs(4);

/// Many connections, each doing one operation after the other.
#[derive(Debug)]
pub(super) struct Client {
    epoll: OwnedFd,
    targets: Vec<SocketAddr>,
    /// How many connections were begun.
    begun: usize,
    /// Whether a connection is used for operation after operation.
    keeps: bool,
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
    keeps: bool,
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
    /// Begins with `connections` connections, from the namespace of the calling thread, to the
    /// targets in turn.
    pub(super) fn start(targets: &[SocketAddr], connections: usize, keeps: bool) -> Result<Self> {
        let mut client = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("make an epoll set")?,
            targets: targets.to_vec(),
            begun: 0,
            keeps,
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
            Progress::Done => {
                self.operations += 1;
                if self.keeps && !self.stopping {
                    return match slot.ask() {
                        Ok(()) => Ok(()),
                        Err(error) => Err(error).context("ask again"),
                    };
                }
            }
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
        let target = self.targets[self.begun % self.targets.len()];
        self.begun += 1;
        let family = match target {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            net::socket_with(family, SocketType::STREAM, flags, None).context("make a socket")?;
        match net::connect(&socket, &target) {
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
            keeps: self.keeps,
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
            return match self.ask() {
                Ok(()) => Progress::Waits,
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
        let whole = self.received == RESPONSE.len();
        match flags.contains(EventFlags::RDHUP) {
            false if self.keeps && whole => Progress::Done,
            false => Progress::Waits,
            true if whole && !self.keeps => Progress::Done,
            true => Progress::CutShort,
        }
    }

    fn ask(&mut self) -> Result<(), Errno> {
        self.asked = true;
        self.received = 0;
        let question = if self.keeps { AGAIN } else { ONCE };
        net::send(&self.socket, question, SendFlags::NOSIGNAL).map(drop)
    }
}
