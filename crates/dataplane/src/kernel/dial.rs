//! Dialling as a process of a task or of the node would: by a socket in its namespace.
//!
//! A TCP connection is closed as soon as it stands, at first in good order and then by a reset; of one
//! that has not been answered nothing is left but what the other side does with a late answer, which gets
//! a reset from the kernel.

use std::io::{self, Read};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{set_socket_linger, socket_error};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use super::netns::{Netns, NetnsError};

/// What a datagram of a probe holds.
const PAYLOAD: &[u8] = b"netd probe\n";
/// How long the other side may take to close a connection, too.
const PARTING: Duration = Duration::from_millis(200);

/// What is dialled, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// The task's namespace; `None` for the node's own.
    pub namespace: Option<PathBuf>,
    /// TCP or UDP, as on the wire.
    pub protocol: u8,
    /// The address to send from; `None` for the one that the routes choose.
    pub source: Option<IpAddr>,
    /// The port to send from.
    pub port: u16,
    /// Where to.
    pub destination: SocketAddr,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

/// What was sent, and what came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When, by this node's clock.
    pub time: SystemTime,
    /// Until the answer came, or was waited for in vain.
    pub after: Duration,
    /// What came back.
    pub answer: Answer,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The connection was accepted.
    Accepted,
    /// A datagram of so many bytes.
    Datagram(usize),
    /// A reset, or word that nobody has the port.
    Refused,
    /// Another error, in the kernel's words.
    Failed(String),
    /// Nothing.
    Silence,
}

/// Nothing could be sent.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Another socket has the port.
    #[error("port {0} is not free in the sender's namespace")]
    PortTaken(u16),
    /// The task's namespace is not there.
    #[error("enter the sender's namespace")]
    Namespace(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The kernel refuses the socket.
    #[error("{action} a socket")]
    Socket {
        /// What was done with it.
        action: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl From<NetnsError> for DialError {
    fn from(error: NetnsError) -> Self {
        Self::Namespace(Box::new(error))
    }
}

/// Dials, and waits for the answer; blocks for as long.
///
/// # Errors
/// When nothing could be sent. That the other side refuses is an answer.
pub fn send(dial: &Dial) -> Result<Sent, DialError> {
    let work = || match dial.protocol {
        abi::protocol::UDP => datagram(dial),
        _ => connection(dial),
    };
    match &dial.namespace {
        Some(path) => Netns::open(path)?.run(work)?,
        None => work(),
    }
}

/// The sender's end.
fn own(dial: &Dial) -> SocketAddr {
    let any = || match dial.destination {
        SocketAddr::V4(_) => IpAddr::from([0; 4]),
        SocketAddr::V6(_) => IpAddr::from([0; 16]),
    };
    SocketAddr::new(dial.source.unwrap_or_else(any), dial.port)
}

fn unbound(dial: &Dial, source: io::Error) -> DialError {
    if source.kind() == io::ErrorKind::AddrInUse {
        DialError::PortTaken(dial.port)
    } else {
        failed("bind")(source)
    }
}

fn failed(action: &'static str) -> impl Fn(io::Error) -> DialError {
    move |source| DialError::Socket { action, source }
}

/// When something was sent.
struct Start {
    time: SystemTime,
    instant: Instant,
}

impl Start {
    fn now() -> Self {
        Self {
            time: SystemTime::now(),
            instant: Instant::now(),
        }
    }

    fn answered(&self, answer: Answer) -> Sent {
        Sent {
            time: self.time,
            after: self.instant.elapsed(),
            answer,
        }
    }
}

fn refusal(error: &io::Error) -> Answer {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        Answer::Refused
    } else {
        Answer::Failed(error.to_string())
    }
}

fn datagram(dial: &Dial) -> Result<Sent, DialError> {
    let socket = UdpSocket::bind(own(dial)).map_err(|error| unbound(dial, error))?;
    let limit = Some(dial.timeout.max(Duration::from_millis(1)));
    socket.set_read_timeout(limit).map_err(failed("set up"))?;
    let start = Start::now();
    let mut buffer = [0; 2048];
    let exchange = socket
        .connect(dial.destination)
        .and_then(|()| socket.send(PAYLOAD))
        .and_then(|_| socket.recv(&mut buffer));
    Ok(start.answered(match exchange {
        Ok(bytes) => Answer::Datagram(bytes),
        Err(error) if is_late(&error) => Answer::Silence,
        Err(error) => refusal(&error),
    }))
}

fn is_late(error: &io::Error) -> bool {
    [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind())
}

fn connection(dial: &Dial) -> Result<Sent, DialError> {
    let family = match dial.destination {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)
        .map_err(|errno| failed("open")(errno.into()))?;
    bind(&socket, &own(dial)).map_err(|errno| unbound(dial, errno.into()))?;
    // Whatever else happens, nothing stays behind.
    set_socket_linger(&socket, Some(Duration::ZERO))
        .map_err(|errno| failed("set up")(errno.into()))?;
    let start = Start::now();
    let begun = match connect(&socket, &dial.destination) {
        Err(rustix::io::Errno::INPROGRESS) => Ok(()),
        other => other,
    };
    if let Err(errno) = begun {
        return Ok(start.answered(refusal(&errno.into())));
    }
    let limit = Timespec::try_from(dial.timeout)
        .map_err(|_| failed("wait for")(io::Error::from(io::ErrorKind::InvalidInput)))?;
    let mut waiting = [PollFd::new(&socket, PollFlags::OUT)];
    let ready =
        poll(&mut waiting, Some(&limit)).map_err(|errno| failed("wait for")(errno.into()))?;
    if ready == 0 {
        return Ok(start.answered(Answer::Silence));
    }
    let state = socket_error(&socket).map_err(|errno| failed("ask")(errno.into()))?;
    let sent = start.answered(match state {
        Ok(()) => Answer::Accepted,
        Err(errno) => refusal(&errno.into()),
    });
    if sent.answer == Answer::Accepted {
        part(TcpStream::from(socket));
    }
    Ok(sent)
}

/// Ends a connection as a client does that has nothing to say, and by a reset if the other side does not
/// end it, too.
fn part(mut stream: TcpStream) {
    let until = Instant::now() + PARTING;
    let quiet = stream
        .set_nonblocking(false)
        .and_then(|()| stream.shutdown(Shutdown::Write));
    if quiet.is_err() {
        return;
    }
    let mut buffer = [0; 2048];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return;
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn dial(protocol: u8, destination: SocketAddr) -> Dial {
        Dial {
            namespace: None,
            protocol,
            source: Some(destination.ip()),
            port: 0,
            destination,
            timeout: Duration::from_secs(5),
        }
    }

    #[test]
    fn who_accepts_sees_a_connection_that_says_nothing_and_ends() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let target = listener.local_addr().unwrap();
            let accepting = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.read(&mut [0; 16]).unwrap()
            });
            let sent = send(&dial(abi::protocol::TCP, target)).unwrap();
            assert_eq!(sent.answer, Answer::Accepted);
            assert_eq!(accepting.join().unwrap(), 0, "the end, not an error");
        }
    }

    #[test]
    fn nobody_refuses_both_protocols() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        let closed = closed.unwrap();
        for protocol in [abi::protocol::TCP, abi::protocol::UDP] {
            let sent = send(&dial(protocol, closed)).unwrap();
            assert_eq!(sent.answer, Answer::Refused, "{protocol}");
        }
    }

    #[test]
    fn a_datagram_is_answered_or_not() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = server.local_addr().unwrap();
        let answering = std::thread::spawn(move || {
            let mut buffer = [0; 64];
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], PAYLOAD);
            server.send_to(b"yes", from).unwrap();
            server
        });
        let sent = send(&dial(abi::protocol::UDP, target)).unwrap();
        assert_eq!(sent.answer, Answer::Datagram(3));
        let _silent = answering.join().unwrap();
        let mut asked = dial(abi::protocol::UDP, target);
        asked.timeout = Duration::from_millis(20);
        assert_eq!(send(&asked).unwrap().answer, Answer::Silence);
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut asked = dial(abi::protocol::UDP, other.local_addr().unwrap());
        asked.port = asked.destination.port();
        let error = send(&asked).unwrap_err();
        assert!(matches!(error, DialError::PortTaken(_)), "{error}");
    }
}
