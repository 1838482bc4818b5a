//! Questions about what changes with every packet, answered by the agent from the kernel.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use dataplane::probe::{Client, Sighting};
pub(crate) use dataplane::trace::Place as TracePlace;
use dataplane::trace::{Packet, Path};
use tokio::sync::{mpsc, oneshot};

/// Asks the agent. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    questions: mpsc::Sender<Question>,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    /// The agent is shutting down.
    #[error("netd is shutting down")]
    Stopping,
    /// The data plane is not there, or its tables could not be read.
    #[error("the data plane does not answer: {0}")]
    Dataplane(String),
}

/// What the agent is asked, and where the answer goes.
#[derive(Debug)]
pub(crate) enum Question {
    /// Every flow that has not expired.
    Flows(Answer<Vec<Flow>>),
    /// How many flows have not expired.
    FlowCount(Answer<usize>),
    /// Every reason for which a packet has been dropped.
    Drops(Answer<Vec<Drop>>),
    /// Connections of each backend, by its number.
    Loads(Answer<BTreeMap<u32, Load>>),
    /// What the data plane has made for tasks and attached to interfaces.
    Attached(Answer<Attached>),
    /// What `doctor` looks at.
    Subject(Answer<dataplane::Subject>),
    /// What would become of a packet.
    Trace(TracePlace, Packet, Answer<Path>),
    /// Have the packets of a client noted, for so long; `false` when somebody else's are.
    Watch(Client, Duration, Answer<bool>),
    /// What was noted since.
    Sightings(Answer<Vec<Sighting>>),
}

/// Where one answer goes.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, Unanswered>>;

impl Live {
    /// A handle, and the end at which the agent hears it. `backlog` is how many questions may wait.
    pub(crate) fn new(backlog: usize) -> (Self, mpsc::Receiver<Question>) {
        let (questions, heard) = mpsc::channel(backlog);
        (Self { questions }, heard)
    }

    /// Every flow that has not expired, in no particular order.
    pub(crate) async fn flows(&self) -> Result<Vec<Flow>, Unanswered> {
        self.ask(Question::Flows).await
    }

    /// How many flows have not expired.
    pub(crate) async fn flow_count(&self) -> Result<usize, Unanswered> {
        self.ask(Question::FlowCount).await
    }

    /// Every reason for which a packet has been dropped, with its count.
    pub(crate) async fn drops(&self) -> Result<Vec<Drop>, Unanswered> {
        self.ask(Question::Drops).await
    }

    /// Connections of each backend that this node has picked, by the backend's number.
    pub(crate) async fn loads(&self) -> Result<BTreeMap<u32, Load>, Unanswered> {
        self.ask(Question::Loads).await
    }

    /// What the data plane has made for tasks and attached to interfaces.
    pub(crate) async fn attached(&self) -> Result<Attached, Unanswered> {
        self.ask(Question::Attached).await
    }

    /// What `doctor` looks at.
    pub(crate) async fn subject(&self) -> Result<dataplane::Subject, Unanswered> {
        self.ask(Question::Subject).await
    }

    /// What would become of a packet on this node.
    pub(crate) async fn trace(
        &self,
        place: TracePlace,
        packet: Packet,
    ) -> Result<Path, Unanswered> {
        self.ask(|to| Question::Trace(place, packet, to)).await
    }

    /// Has the programs note the packets of a client for a while; `false` when they note another's.
    pub(crate) async fn watch(&self, client: Client, time: Duration) -> Result<bool, Unanswered> {
        self.ask(|to| Question::Watch(client, time, to)).await
    }

    /// What the programs have noted of a client, and no longer do.
    pub(crate) async fn sightings(&self) -> Result<Vec<Sighting>, Unanswered> {
        self.ask(Question::Sightings).await
    }

    async fn ask<T>(&self, question: impl FnOnce(Answer<T>) -> Question) -> Result<T, Unanswered> {
        let (answer, answered) = oneshot::channel();
        let sent = self.questions.send(question(answer)).await;
        sent.map_err(|_| Unanswered::Stopping)?;
        answered.await.map_err(|_| Unanswered::Stopping)?
    }
}

/// A flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    /// Number of the network in which client and backend meet: a VNI.
    pub(crate) net: u32,
    /// IP protocol number.
    pub(crate) protocol: u8,
    /// The client, as the server sees it.
    pub(crate) client: SocketAddr,
    /// What the client dialled; `None` for a flow that is not translated.
    pub(crate) frontend: Option<SocketAddr>,
    /// The number of the backend, 0 for a flow that is not translated.
    pub(crate) backend: u32,
    /// Where packets go; `None` where another node translates.
    pub(crate) server: Option<SocketAddr>,
    /// The number of the service, 0 for a flow that is not translated.
    pub(crate) service: u32,
    /// Where it is in its life.
    pub(crate) state: FlowState,
    /// Where it came from or goes to.
    pub(crate) direction: Direction,
    /// Since its last packet.
    pub(crate) idle: Duration,
    /// Until it is forgotten, if no packet comes.
    pub(crate) expires: Duration,
    /// From the client.
    pub(crate) forward: Transfer,
    /// To the client.
    pub(crate) reply: Transfer,
}

/// Where a flow is in its life. The first four are TCP's, the last two everything else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlowState {
    /// TCP that has not been answered.
    Syn,
    /// TCP that has.
    Established,
    /// One side has said that it is done.
    Closing,
    /// Both have, or one has reset the connection.
    Closed,
    /// Nothing has come back.
    OneWay,
    /// Both sides have spoken.
    Answered,
}

/// Where a flow came from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Both ends meet here.
    Local,
    /// Its backend is on the node with this underlay address.
    To(IpAddr),
    /// It entered at the node with this underlay address.
    From(IpAddr),
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// Packets.
    pub(crate) packets: u64,
    /// Bytes of whole frames.
    pub(crate) bytes: u64,
}

/// A reason for which packets are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drop {
    /// Its number.
    pub(crate) number: u32,
    /// Its name: `no-backend`.
    pub(crate) reason: &'static str,
    /// What it means.
    pub(crate) description: &'static str,
    /// How often, since the data plane was made.
    pub(crate) count: u64,
    /// The last packet of which a sample was taken since netd started.
    pub(crate) last: Option<Sample>,
}

/// A dropped packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// When.
    pub(crate) time: SystemTime,
    /// Name of the interface, or its number when that is gone.
    pub(crate) interface: String,
    /// Number of the network, 0 when the packet was in none.
    pub(crate) net: u32,
    /// IP protocol number, 0 when unknown.
    pub(crate) protocol: u8,
    /// Source, with port 0 when there is none; `None` when the packet was not understood that far.
    pub(crate) source: Option<SocketAddr>,
    /// Destination, likewise.
    pub(crate) destination: Option<SocketAddr>,
    /// Bytes of the whole frame.
    pub(crate) length: u32,
}

/// Connections of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Answered, and not ended.
    pub(crate) active: u64,
    /// Not answered yet.
    pub(crate) inactive: u64,
    /// Ever given to it.
    pub(crate) total: u64,
}

/// What the data plane has made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attached {
    /// The programs, by name, with the interfaces that they are attached to.
    pub(crate) programs: BTreeMap<String, Vec<String>>,
    /// Attachments of tasks on this node, by the endpoint's name.
    pub(crate) endpoints: BTreeMap<String, Interface>,
    /// Entries that the flow table has room for.
    pub(crate) flow_capacity: u64,
}

/// A task's attachment as it is in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Name of the node's end.
    pub(crate) host: String,
    /// Ethernet address of the task's end, as `02:00:00:00:00:01`.
    pub(crate) mac: String,
}
