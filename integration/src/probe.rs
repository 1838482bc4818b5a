//! Single questions from inside a namespace, for tests and the demo: who answers, is it refused,
//! does everything arrive.

use std::io::{self, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use socket2::{Domain, Protocol, Socket, Type};

use crate::http::{self, Head};
use crate::pattern::Pattern;
use crate::serve::Answer;
use crate::wait;

/// How long anything may take before it counts as silence.
const LIMIT: Duration = Duration::from_secs(4);

/// The transport of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Transport {
    /// HTTP.
    Tcp,
    /// A datagram and its answer.
    Udp,
}

/// What became of a question.
#[derive(Debug)]
pub enum Outcome {
    /// Somebody answered.
    Answered {
        /// What it said.
        answer: Answer,
        /// The client's own address and port.
        own: SocketAddr,
    },
    /// Refused by a reset or by "port unreachable".
    Refused {
        /// After this time.
        after: Duration,
    },
    /// Anything else; silence is `timed out`.
    Failed {
        /// What the socket said.
        error: io::Error,
    },
}

impl Outcome {
    /// What was answered, and the client's own address and port.
    ///
    /// # Errors
    /// When nobody answered; the text says what happened instead.
    pub fn answered(self) -> Result<(Answer, SocketAddr)> {
        match self {
            Self::Answered { answer, own } => Ok((answer, own)),
            Self::Refused { after } => bail!("refused after {after:?}"),
            Self::Failed { error } => Err(error).context("no answer"),
        }
    }

    /// How long it took to be refused.
    ///
    /// # Errors
    /// When it was answered, or nothing came at all.
    pub fn refused(self) -> Result<Duration> {
        match self {
            Self::Refused { after } => Ok(after),
            Self::Answered { answer, .. } => bail!("answered: {answer}"),
            Self::Failed { error } => Err(error).context("neither answered nor refused"),
        }
    }
}

/// Asks who answers at an address.
#[must_use]
pub fn ask(transport: Transport, target: SocketAddr) -> Outcome {
    let begin = Instant::now();
    let result = match transport {
        Transport::Tcp => ask_tcp(target),
        Transport::Udp => ask_udp(target),
    };
    match result {
        Ok((answer, own)) => Outcome::Answered { answer, own },
        Err(error) if is_refusal(&error) => Outcome::Refused {
            after: begin.elapsed(),
        },
        Err(error) => Outcome::Failed { error },
    }
}

/// A connection on which questions are asked again and again.
#[derive(Debug)]
pub struct Kept(BufReader<TcpStream>);

impl Kept {
    /// Connects.
    ///
    /// # Errors
    /// When nobody takes the connection.
    pub fn connect(target: SocketAddr) -> io::Result<Self> {
        Ok(Self(BufReader::new(connect(target)?)))
    }

    /// Connects from an address and port of the client's choice.
    ///
    /// # Errors
    /// When another socket has them, or nobody takes the connection.
    pub fn connect_from(source: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        let domain = Domain::for_address(target);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&source.into())?;
        socket.connect_timeout(&target.into(), wait::patience(LIMIT))?;
        Ok(Self(BufReader::new(patient(socket.into())?)))
    }

    /// Asks who is there.
    ///
    /// # Errors
    /// When the connection has ended, or nobody answers.
    pub fn ask(&mut self) -> io::Result<Answer> {
        http::write_get(self.0.get_mut(), "/", "")?;
        parse(&http::read_response(&mut self.0)?.body)
    }

    /// Waits for what was not asked for; the kind of error that ends the waiting, if any.
    pub fn wait(&mut self) -> Option<io::ErrorKind> {
        self.0.read(&mut [0; 64]).err().map(|error| error.kind())
    }
}

/// Fetches `length` bytes by HTTP and checks every one of them.
///
/// # Errors
/// When the connection fails, or anything is missing or changed.
pub fn download(target: SocketAddr, length: u64) -> Result<()> {
    download_watched(target, length, &AtomicU64::new(0))
}

/// As [`download`]; `arrived` is how many bytes have come so far.
///
/// # Errors
/// As [`download`].
pub fn download_watched(target: SocketAddr, length: u64, arrived: &AtomicU64) -> Result<()> {
    let mut stream = BufReader::with_capacity(64 * 1024, connect(target)?);
    http::write_get(
        stream.get_mut(),
        &format!("/bytes?n={length}"),
        "Connection: close\r\n",
    )?;
    let head = Head::read(&mut stream)?.context("closed before the answer")?;
    if head.status()? != 200 || head.content_length()? != length {
        bail!("answered {:?}, not {length} bytes", head.first);
    }
    let pattern = Pattern::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut offset = 0;
    while offset < length {
        let count = stream
            .read(&mut buffer)
            .with_context(|| format!("at byte {offset}"))?;
        if count == 0 {
            bail!("closed after {offset} of {length} bytes");
        }
        if !pattern.matches(offset, &buffer[..count]) {
            bail!("other bytes than were sent, after byte {offset}");
        }
        offset += count as u64;
        arrived.store(offset, Ordering::Relaxed);
    }
    Ok(())
}

/// Sends `length` bytes by HTTP and has the server check every one of them.
///
/// # Errors
/// When the connection fails, or anything was missing or changed.
pub fn upload(target: SocketAddr, length: u64) -> Result<()> {
    let mut stream = BufReader::new(connect(target)?);
    let writer = stream.get_mut();
    let head = format!(
        "POST /sink HTTP/1.1\r\nHost: netd\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    writer.write_all(head.as_bytes())?;
    let pattern = Pattern::new();
    let mut offset = 0;
    while offset < length {
        let wanted = usize::try_from(length - offset)
            .unwrap_or(usize::MAX)
            .min(64 * 1024);
        let piece = pattern.at(offset, wanted);
        writer
            .write_all(piece)
            .with_context(|| format!("at byte {offset}"))?;
        offset += piece.len() as u64;
    }
    let response = http::read_response(&mut stream).context("read the answer")?;
    let said = String::from_utf8_lossy(&response.body);
    if said.trim_end() != format!("{length} bytes, intact") {
        bail!("the server got {said}");
    }
    Ok(())
}

/// Asks for a datagram of `length` bytes and checks every one of them.
///
/// # Errors
/// When none comes, or another one.
pub fn datagram(target: SocketAddr, length: usize) -> Result<()> {
    let socket = connect_udp(target)?;
    socket.send(format!("size {length}").as_bytes())?;
    let mut buffer = vec![0; 65_536];
    let count = socket.recv(&mut buffer).context("wait for the datagram")?;
    if count != length || !Pattern::new().matches(0, &buffer[..count]) {
        bail!("{count} bytes came, or others than the {length} that were sent");
    }
    Ok(())
}

/// Sends a datagram from any own address, and does not wait for anything.
///
/// # Errors
/// When the kernel refuses to send it.
pub fn send(source: Option<IpAddr>, target: SocketAddr, payload: &[u8]) -> Result<()> {
    let socket = match source {
        Some(source) => UdpSocket::bind((source, 0)).with_context(|| format!("bind {source}"))?,
        None => UdpSocket::bind(any(target))?,
    };
    socket
        .send_to(payload, target)
        .with_context(|| format!("send to {target}"))?;
    Ok(())
}

fn ask_tcp(target: SocketAddr) -> io::Result<(Answer, SocketAddr)> {
    let mut stream = BufReader::new(connect(target)?);
    let own = stream.get_ref().local_addr()?;
    http::write_get(stream.get_mut(), "/", "Connection: close\r\n")?;
    let response = http::read_response(&mut stream)?;
    Ok((parse(&response.body)?, own))
}

fn ask_udp(target: SocketAddr) -> io::Result<(Answer, SocketAddr)> {
    let socket = connect_udp(target)?;
    let own = socket.local_addr()?;
    socket.send(b"who")?;
    let mut buffer = [0; 2048];
    let count = socket.recv(&mut buffer)?;
    Ok((parse(&buffer[..count])?, own))
}

fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    patient(TcpStream::connect_timeout(&target, wait::patience(LIMIT))?)
}

fn patient(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(wait::patience(LIMIT)))?;
    stream.set_write_timeout(Some(wait::patience(LIMIT)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn connect_udp(target: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(any(target))?;
    // Connected, so that an "unreachable" is heard.
    socket.connect(target)?;
    socket.set_read_timeout(Some(wait::patience(LIMIT)))?;
    Ok(socket)
}

/// Any own address of the target's family.
fn any(target: SocketAddr) -> SocketAddr {
    match target {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    }
}

/// A reset in answer to a SYN, or "port unreachable": what a closed port of any host gives.
fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

fn parse(body: &[u8]) -> io::Result<Answer> {
    std::str::from_utf8(body)
        .map_err(|_| http::invalid("text"))?
        .parse()
}
