//! A probe: one real packet that is sent on request, and what the kernel programs make of it.
//!
//! Every node that may see it is asked to watch, the sender's to send, then each to hand over what
//! its programs have noted; putting that together and comparing it with a [`Trace`](crate::Trace)
//! is the client's. These are the only requests that do anything. A node watches one probe at a
//! time, and stops by itself.

use serde::{Deserialize, Serialize};

use crate::TraceVerdict;

/// What became of a real packet, as the kernel programs of each node that was asked have seen it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Probe {
    /// What was sent, and what came back.
    pub sent: ProbeSent,
    /// Where its socket was led before anything was sent: `10.0.1.12:8080`; empty when it was not.
    pub led: String,
    /// Whether it was answered without leaving its sender's namespace, where no program sees it: the
    /// sender has dialled itself, or its socket was led to it.
    pub stayed: bool,
    /// What the programs have noted, in order of time.
    pub sightings: Vec<Sighting>,
    /// Where that differs from the explanation, a sentence each.
    pub differences: Vec<String>,
    /// Nodes that the packet went to, whose programs were not asked.
    pub unwatched: Vec<String>,
}

/// A probe that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProbeSent {
    /// The node that has sent it.
    pub node: String,
    /// Protocol and ends as they were dialled: `tcp 10.0.1.3:40000 -> 10.0.1.2:80`. A node stands there by
    /// its name: its routes choose the address.
    pub packet: String,
    /// What was dialled: `10.0.1.2:80`.
    pub destination: String,
    /// When, microseconds since 1970 by that node's clock.
    #[serde(rename = "TimeUS")]
    pub time_us: u64,
    /// Microseconds until it was answered, or until the wait for an answer was over.
    #[serde(rename = "AfterUS")]
    pub after_us: u64,
    /// What came back.
    pub answer: ProbeAnswer,
    /// What came back, one sentence without full stop.
    pub message: String,
}

/// How long a probe's answer is waited for: beside a question's fields in the query of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeWait {
    /// Milliseconds, 1 to 30,000.
    pub milliseconds: u64,
}

/// What came back to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeAnswer {
    /// The connection was accepted; it is closed again.
    Accepted,
    /// A datagram.
    Datagram,
    /// A reset, or word that nobody has the port.
    Refused,
    /// Another error.
    Failed,
    /// Nothing.
    Silence,
}

/// That a node's programs note what they do with a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Watched {
    /// The node.
    pub node: String,
    /// The node that the source is on, and that has to send.
    pub source: String,
}

/// What a program has made of one packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Sighting {
    /// The node.
    pub node: String,
    /// When, microseconds since 1970 by the node's clock.
    #[serde(rename = "TimeUS")]
    pub time_us: u64,
    /// The program; `socket` for a socket hook.
    pub program: String,
    /// The interface on whose hook it ran; empty for a socket hook.
    pub interface: String,
    /// What the packet has to do with the probe.
    pub kind: SightingKind,
    /// The packet as it came in.
    pub packet: String,
    /// Where it was going as it came in: `10.0.1.2:80`.
    pub destination: String,
    /// What became of it.
    pub verdict: TraceVerdict,
    /// The drop reason, as `netctl drop ls` has it; empty when it was not dropped.
    pub reason: String,
    /// The node that it was sent on to; empty when it was not.
    pub to: String,
    /// What became of it, one sentence without full stop.
    pub message: String,
}

/// What a packet has to do with a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SightingKind {
    /// It is the probe, perhaps sent again.
    Probe,
    /// It is the answer.
    Answer,
    /// It is an ICMP error to the sender.
    Error,
    /// It is a later packet of the same connection.
    Later,
}

impl SightingKind {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Answer => "answer",
            Self::Error => "error",
            Self::Later => "later",
        }
    }
}
