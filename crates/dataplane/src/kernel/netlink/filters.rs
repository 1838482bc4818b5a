//! Programs at interfaces by the classic tc: filters of kind `bpf` that act by themselves, on a `clsact`
//! qdisc. Requests are answered at once, so the socket is not asynchronous.

use std::fmt::Display;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption,
};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::NetlinkError;

const QDISC: &str = "clsact";

/// After whatever the kernel numbers by itself, which begins at 49,152 and goes down: like a tcx
/// program, a filter of ours comes behind those that are there.
const PRIORITY: u16 = 50_000;

/// `ETH_P_ALL` in network byte order: packets of every protocol.
const EVERY_PROTOCOL: u16 = 3_u16.to_be();

/// Which of an interface's two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Ingress,
    Egress,
}

/// A filter of ours, whether it exists or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) ifindex: u32,
    pub(crate) side: Side,
    /// Its number among those of one priority; not 0.
    pub(crate) handle: u32,
    /// The name that the program is shown by, at most 255 bytes. What has another one is not ours.
    pub(crate) name: String,
}

impl Filter {
    /// Attaches a program. Where the filter exists, its program is replaced: no packet passes
    /// without one.
    pub(crate) fn put(&self, program: BorrowedFd<'_>) -> Result<(), NetlinkError> {
        let qdisc = RouteNetlinkMessage::NewQueueDiscipline(self.qdisc());
        let made = request(qdisc, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
        if let Err(error) = made
            && error.raw_os_error() != Some(libc::EEXIST)
        {
            return Err(self.error("make a clsact qdisc for", error));
        }
        let number = u32::try_from(program.as_raw_fd()).map_err(io::Error::other);
        let number = number.map_err(|error| self.error("attach", error))?;
        let mut message = self.message();
        message.attributes.push(TcAttribute::Options(vec![
            TcOption::Bpf(TcFilterBpfOption::ProgFd(number)),
            TcOption::Bpf(TcFilterBpfOption::ProgName(self.name.clone())),
            TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
        ]));
        let message = RouteNetlinkMessage::NewTrafficFilter(message);
        let put = request(message, NLM_F_ACK | NLM_F_CREATE);
        put.map(drop).map_err(|error| self.error("attach", error))
    }

    /// Whether it exists.
    pub(crate) fn exists(&self) -> Result<bool, NetlinkError> {
        let get = RouteNetlinkMessage::GetTrafficFilter(self.message());
        match request(get, 0) {
            Ok(answers) => Ok(answers.iter().any(|answer| self.is(answer))),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(self.error("look for", error)),
        }
    }

    /// Removes it if it is there, and with the last filter the qdisc.
    pub(crate) fn remove(&self) -> Result<(), NetlinkError> {
        if !self.exists()? {
            return Ok(());
        }
        let delete = RouteNetlinkMessage::DelTrafficFilter(self.message());
        self.removed(request(delete, NLM_F_ACK))?;
        let is_used = |side| {
            let mut message = Self {
                side,
                ..self.clone()
            }
            .message();
            message.header.handle = TcHandle::default();
            message.header.info = 0;
            message.attributes.clear();
            let answers = request(RouteNetlinkMessage::GetTrafficFilter(message), NLM_F_DUMP);
            answers.map(|answers| !answers.is_empty())
        };
        let is_used = is_used(Side::Ingress).and_then(|used| Ok(used || is_used(Side::Egress)?));
        match is_used {
            Ok(false) => {
                let delete = RouteNetlinkMessage::DelQueueDiscipline(self.qdisc());
                self.removed(request(delete, NLM_F_ACK))
            }
            other => self.removed(other.map(|_| Vec::new())),
        }
    }

    fn removed(&self, result: io::Result<Vec<TcMessage>>) -> Result<(), NetlinkError> {
        match result {
            Err(error) if !is_missing(&error) => Err(self.error("remove", error)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn is(&self, answer: &TcMessage) -> bool {
        let mut options = answer.attributes.iter().flat_map(|attribute| {
            if let TcAttribute::Options(options) = attribute {
                options.as_slice()
            } else {
                &[]
            }
        });
        answer.header.handle == TcHandle::from(self.handle)
            && options.any(|option| {
                matches!(option, TcOption::Bpf(TcFilterBpfOption::ProgName(name)) if *name == self.name)
            })
    }

    fn message(&self) -> TcMessage {
        let mut message = message(self.ifindex);
        message.header.handle = TcHandle::from(self.handle);
        message.header.parent = match self.side {
            Side::Ingress => TcHandle::from(0xffff_fff2),
            Side::Egress => TcHandle::from(0xffff_fff3),
        };
        message.header.info = u32::from(PRIORITY) << 16 | u32::from(EVERY_PROTOCOL);
        let kind = TcAttribute::Kind(TcFilterBpf::KIND.to_owned());
        message.attributes.push(kind);
        message
    }

    fn qdisc(&self) -> TcMessage {
        let mut message = message(self.ifindex);
        message.header.handle = TcHandle::from(0xffff_0000);
        message.header.parent = TcHandle::from(0xffff_fff1);
        message.attributes.push(TcAttribute::Kind(QDISC.to_owned()));
        message
    }

    fn error(&self, action: &'static str, source: io::Error) -> NetlinkError {
        let object: &dyn Display = &format_args!("filter {} of link {}", self.name, self.ifindex);
        NetlinkError {
            action,
            object: object.to_string(),
            source,
        }
    }
}

fn message(ifindex: u32) -> TcMessage {
    TcMessage::with_index(i32::try_from(ifindex).unwrap_or_default())
}

/// Whether what was asked for, or what it would be at, is not there: no filter, no qdisc, no link.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENODEV | libc::EINVAL | libc::EOPNOTSUPP)
    )
}

/// Asks the kernel, of the namespace of this thread, and takes its answers.
fn request(message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<TcMessage>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut answers = Vec::new();
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(io::Error::other)?;
            let length = usize::try_from(answer.header.length).map_err(io::Error::other)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            if let NetlinkPayload::InnerMessage(message) = answer.payload {
                let RouteNetlinkMessage::NewTrafficFilter(filter) = message else {
                    continue;
                };
                answers.push(filter);
                if flags & NLM_F_DUMP != NLM_F_DUMP {
                    return Ok(answers);
                }
            } else if let NetlinkPayload::Error(error) = answer.payload {
                return match error.code {
                    Some(_) => Err(error.to_io()),
                    None => Ok(answers),
                };
            } else if let NetlinkPayload::Done(_) = answer.payload {
                return Ok(answers);
            }
        }
    }
}
