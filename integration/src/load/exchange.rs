//! One worker: its socket, and one operation after the other on it.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::{Mode, Plan};
use crate::http::{self, Head};
use crate::pattern::Pattern;
use crate::serve::Answer;

/// What an operation brought.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Payload that was received, in bytes.
    pub(super) bytes: u64,
    /// Who answered, where it said so.
    pub(super) answer: Option<Answer>,
}

pub(super) struct Worker<'a> {
    plan: &'a Plan,
    pattern: Pattern,
    kept: Option<BufReader<Patient>>,
    datagrams: Option<UdpSocket>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            pattern: Pattern::new(),
            kept: None,
            datagrams: None,
        }
    }

    /// One operation; after an error the next begins with a new socket.
    pub(super) fn operate(&mut self) -> io::Result<Done> {
        match self.plan.mode {
            Mode::Crr => {
                let mut stream = BufReader::new(connect_tcp(self.plan)?);
                greet(&mut stream, "Connection: close\r\n")
            }
            Mode::Rr => self.on_kept(|stream, _, _| greet(stream, "")),
            Mode::Stream => self.on_kept(download),
            Mode::Udp => {
                let socket = match self.datagrams.take() {
                    Some(socket) => socket,
                    None => connect_udp(self.plan)?,
                };
                let done = ask(&socket, self.plan, &self.pattern)?;
                self.datagrams = Some(socket);
                Ok(done)
            }
        }
    }

    fn on_kept(
        &mut self,
        work: impl FnOnce(&mut BufReader<Patient>, &Plan, &Pattern) -> io::Result<Done>,
    ) -> io::Result<Done> {
        let mut stream = match self.kept.take() {
            Some(stream) => stream,
            None => BufReader::with_capacity(64 * 1024, connect_tcp(self.plan)?),
        };
        let done = work(&mut stream, self.plan, &self.pattern)?;
        self.kept = Some(stream);
        Ok(done)
    }
}

/// How long a read that is late is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// A connection that is read a second time before a read counts as late: when a machine that stood
/// still goes on, time limits are over before what has arrived is handed out.
struct Patient(TcpStream);

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let limit = self.0.read_timeout()?;
                self.0.set_read_timeout(Some(AGAIN))?;
                let again = self.0.read(buffer);
                self.0.set_read_timeout(limit)?;
                again
            }
            other => other,
        }
    }
}

impl Write for Patient {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn connect_tcp(plan: &Plan) -> io::Result<Patient> {
    let stream: TcpStream = connect(plan, Type::STREAM, Protocol::TCP)?.into();
    stream.set_nodelay(true)?;
    Ok(Patient(stream))
}

fn connect_udp(plan: &Plan) -> io::Result<UdpSocket> {
    connect(plan, Type::DGRAM, Protocol::UDP).map(Into::into)
}

/// A blocking socket whose every operation, `connect` included, ends after the plan's limit.
fn connect(plan: &Plan, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(plan.target), kind, Some(protocol))?;
    // Not less: a zero would mean for ever.
    let limit = plan.limit.max(Duration::from_millis(1));
    socket.set_write_timeout(Some(limit))?;
    socket.set_read_timeout(Some(limit))?;
    if let Some(source) = plan.source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    match socket.connect(&plan.target.into()) {
        // What a blocking connect says at the end of its write timeout.
        Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "connecting took too long",
        )),
        other => other.map(|()| socket),
    }
}

fn greet(stream: &mut BufReader<Patient>, more: &str) -> io::Result<Done> {
    http::write_get(stream.get_mut(), "/", more)?;
    let response = http::read_response(stream)?;
    if response.status != 200 {
        return Err(http::invalid("a 200"));
    }
    let bytes = response.body.len() as u64;
    Ok(Done {
        bytes,
        answer: Some(parse(&response.body)?),
    })
}

fn download(stream: &mut BufReader<Patient>, plan: &Plan, pattern: &Pattern) -> io::Result<Done> {
    http::write_get(stream.get_mut(), &format!("/bytes?n={}", plan.size), "")?;
    let head = Head::read(stream)?.ok_or_else(http::cut)?;
    let length = head.content_length()?;
    if head.status()? != 200 || length != plan.size as u64 {
        return Err(http::invalid("as many bytes as were asked for"));
    }
    let mut buffer = vec![0; 64 * 1024];
    let mut offset = 0;
    let mut body = stream.take(length);
    while offset < length {
        let count = body.read(&mut buffer)?;
        if count == 0 {
            return Err(http::cut());
        }
        if !pattern.matches(offset, &buffer[..count]) {
            return Err(http::invalid("the bytes that were sent"));
        }
        offset += count as u64;
    }
    Ok(Done {
        bytes: length,
        answer: None,
    })
}

fn ask(socket: &UdpSocket, plan: &Plan, pattern: &Pattern) -> io::Result<Done> {
    let request = if plan.size == 0 {
        "who".to_owned()
    } else {
        format!("size {}", plan.size)
    };
    socket.send(request.as_bytes())?;
    let mut buffer = [0; 65_536];
    let count = socket.recv(&mut buffer)?;
    let reply = &buffer[..count];
    let answer = if plan.size == 0 {
        Some(parse(reply)?)
    } else if count == plan.size && pattern.matches(0, reply) {
        None
    } else {
        return Err(http::invalid("the datagram that was asked for"));
    };
    Ok(Done {
        bytes: count as u64,
        answer,
    })
}

fn parse(body: &[u8]) -> io::Result<Answer> {
    std::str::from_utf8(body)
        .map_err(|_| http::invalid("text"))?
        .parse()
}
