//! Every client, what it connects to, and what is to become of it.

use integration::lab::Family;
use integration::probe::Transport;

/// The services: name, host number of the VIP, published port, tasks behind it.
pub(crate) const SERVICES: [(&str, u8, u16, &[&str]); 4] = [
    ("near", 2, 8001, &["near-1"]),
    ("far", 3, 8002, &["far-1"]),
    ("pair", 4, 8003, &["near-1", "far-1"]),
    ("empty", 5, 8004, &[]),
];

/// The tasks: name, node, network.
pub(crate) const TASKS: [(&str, &str, &str); 4] = [
    ("near-1", "n1", "app"),
    ("far-1", "n2", "app"),
    ("mate", "n1", "app"),
    ("other", "n1", "two"),
];

/// What a client connects to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// The service's VIP, port 80.
    Vip(&'static str),
    /// A port of the service's VIP that it does not have.
    VipWithoutPort(&'static str),
    /// The service's published port on a node.
    Published(&'static str, &'static str),
    /// A port of a node that nobody published.
    Unpublished(&'static str),
    /// The task's own address and port.
    Task(&'static str),
}

/// What is to become of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    /// One of these answers and sees the client as it is, address and port.
    Seen(&'static [&'static str]),
    /// This one answers and sees the underlay address of a node: it masqueraded the client.
    SeenAsNode(&'static str, &'static str),
    /// This one, the client itself, answers and sees a network's own address.
    SeenAsNetwork(&'static str, &'static str),
    /// Each of both answers in turn: itself, seen as the network, and another, which sees it.
    SeenByBoth(&'static str, &'static str),
    /// A reset or "unreachable", at once.
    Refused,
}

pub(crate) use Expected::{Refused, Seen, SeenAsNetwork, SeenAsNode, SeenByBoth};
pub(crate) use Target::{Published, Task, Unpublished, Vip, VipWithoutPort};

/// From outside, to every node's address; `n1` has the near backend, `n3` has none at all.
const OUTSIDE: [(Target, Expected); 7] = [
    (Published("near", "n1"), Seen(&["near-1"])),
    (Published("far", "n1"), Seen(&["far-1"])),
    (Published("near", "n3"), Seen(&["near-1"])),
    (Published("far", "n2"), Seen(&["far-1"])),
    (Published("pair", "n3"), Seen(&["near-1", "far-1"])),
    (Published("empty", "n1"), Refused),
    (Unpublished("n1"), Refused),
];

/// From a task on `n1`, on the network of the services.
const SAME_NETWORK: [(Target, Expected); 9] = [
    (Task("near-1"), Seen(&["near-1"])),
    (Task("far-1"), Seen(&["far-1"])),
    (Vip("near"), Seen(&["near-1"])),
    (Vip("far"), Seen(&["far-1"])),
    (Vip("pair"), Seen(&["near-1", "far-1"])),
    (Vip("empty"), Refused),
    (VipWithoutPort("near"), Refused),
    (Published("near", "n1"), Seen(&["near-1"])),
    (Published("far", "n1"), Seen(&["far-1"])),
];

/// From a task on `n1`, on another network.
const OTHER_NETWORK: [(Target, Expected); 6] = [
    (Published("near", "n1"), Seen(&["near-1"])),
    (Published("far", "n1"), Seen(&["far-1"])),
    (Published("near", "n2"), SeenAsNode("near-1", "n1")),
    (Published("far", "n2"), SeenAsNode("far-1", "n1")),
    (Published("empty", "n1"), Refused),
    (Published("empty", "n2"), Refused),
];

/// From `near-1` itself.
const ITSELF: [(Target, Expected); 6] = [
    (Vip("near"), SeenAsNetwork("near-1", "app")),
    (Vip("far"), Seen(&["far-1"])),
    (Vip("pair"), SeenByBoth("near-1", "far-1")),
    (Published("near", "n1"), SeenAsNetwork("near-1", "ingress")),
    (Published("far", "n1"), Seen(&["far-1"])),
    (Published("near", "n2"), SeenAsNode("near-1", "n1")),
];

/// From a process of `n1` itself.
const NODE: [(Target, Expected); 5] = [
    (Published("near", "n1"), Seen(&["near-1"])),
    (Published("far", "n1"), Seen(&["far-1"])),
    (Published("pair", "n1"), Seen(&["near-1", "far-1"])),
    (Published("far", "n2"), Seen(&["far-1"])),
    (Published("empty", "n1"), Refused),
];

/// Every client with its cases.
const CLIENTS: [(&str, &[(Target, Expected)]); 7] = [
    ("n1", &NODE),
    ("client", &OUTSIDE),
    ("inside", &OUTSIDE),
    ("jumbo", &OUTSIDE),
    ("mate", &SAME_NETWORK),
    ("other", &OTHER_NETWORK),
    ("near-1", &ITSELF),
];

/// A client, what it connects to and how, and what is to become of it.
pub(crate) struct Case {
    pub(crate) client: &'static str,
    pub(crate) target: Target,
    pub(crate) expected: Expected,
    pub(crate) transport: Transport,
    pub(crate) family: Family,
}

impl Case {
    pub(crate) fn title(&self) -> String {
        let Self {
            client,
            target,
            expected,
            transport,
            family,
        } = self;
        format!("{client} to {target:?} by {transport:?} {family:?}, expected {expected:?}")
    }
}

/// All of them, by both transports and both families.
pub(crate) fn cases() -> impl Iterator<Item = Case> {
    CLIENTS.into_iter().flat_map(|(client, table)| {
        table.iter().flat_map(move |(target, expected)| {
            [Transport::Tcp, Transport::Udp]
                .into_iter()
                .flat_map(move |transport| {
                    Family::BOTH.map(|family| Case {
                        client,
                        target: *target,
                        expected: *expected,
                        transport,
                        family,
                    })
                })
        })
    })
}
