//! What can be wrong with a topology.

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::{
    BadAffinity, BadName, BadPort, BadVni, EndpointName, Family, NetworkName, NodeName, Port,
    Protocol, ServiceName, UnknownAlgorithm, UnknownCarrier, UnknownProtocol, UnknownState, Vni,
};

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1.
    pub line: usize,
    /// What is wrong.
    pub kind: ProblemKind,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl Problem {
    /// The order in which problems are told: by line, and by text on the same line.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        let text = || self.kind.to_string().cmp(&other.kind.to_string());
        self.line.cmp(&other.line).then_with(text)
    }
}

/// What is wrong. `noun` is what the table describes: `node`, `network`, `endpoint`, `service` …
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProblemKind {
    /// A key that has to be there is not.
    #[error("{noun} has no `{key}`")]
    Missing {
        noun: &'static str,
        key: &'static str,
    },
    /// A name with characters that names do not have.
    #[error("`{name}` is not a name: {cause}")]
    BadName { name: String, cause: BadName },
    /// Two of a kind with one name.
    #[error("{noun} `{name}` is already on line {first}")]
    DuplicateName {
        noun: &'static str,
        name: String,
        first: usize,
    },
    /// A network with the name by which listings know the ingress network.
    #[error("`{name}` is what the network of published ports is called: take another name")]
    ReservedName { name: NetworkName },
    /// A reference to something that is not in the file.
    #[error("there is no {noun} `{name}`")]
    Unknown { noun: &'static str, name: String },

    /// A number that is no VNI.
    #[error("{number}: {cause}")]
    BadVni { number: i64, cause: BadVni },
    /// Two networks with one VNI.
    #[error("VNI {vni} is already used on line {first}")]
    DuplicateVni { vni: Vni, first: usize },
    /// An MTU that a network cannot have.
    #[error("an MTU of {number} is outside of {least} to 65485 bytes")]
    BadMtu { number: i64, least: u16 },

    /// A string that is no subnet.
    #[error("`{text}` is not a subnet such as 10.0.1.0/24 or fd00:1::/64")]
    BadSubnet { text: String },
    /// A subnet with bits set that belong to its hosts.
    #[error("`{given}` is not a subnet: its first address is {network}")]
    HostBits {
        given: IpNetwork,
        network: IpNetwork,
    },
    /// A subnet without room for a gateway and a task.
    #[error("{subnet} is too small: a subnet has at most {longest} bits of prefix here")]
    TooSmall { subnet: IpNetwork, longest: u8 },
    /// A subnet of addresses that no task can have.
    #[error("{subnet} overlaps {reserved}, whose addresses are not for tasks")]
    Reserved {
        subnet: IpNetwork,
        reserved: IpNetwork,
    },
    /// No subnet where at least one is needed.
    #[error("{noun} needs a subnet")]
    NoSubnet { noun: &'static str },
    /// Two subnets, blocks, pools or addresses of one family where one is possible.
    #[error("a second {family} {thing}: one of each family is possible")]
    SecondOfFamily { family: Family, thing: &'static str },
    /// Two ranges that have to be apart.
    #[error("{subnet} overlaps {other}: {why}")]
    Overlap {
        subnet: IpNetwork,
        other: String,
        why: &'static str,
    },
    /// A pool with fewer blocks than nodes.
    #[error("pool {pool} has no block left for this node: give a larger pool, or `gateway` here")]
    PoolExhausted { pool: IpNetwork },

    /// A string that is no address.
    #[error("`{text}` is not an address such as 10.0.1.2 or fd00:1::2")]
    BadAddress { text: String },
    /// An underlay address that no machine can be reached by.
    #[error("{address} cannot be a node's address: it is not one machine's own")]
    UnusableAddress { address: IpAddr },
    /// Nodes with addresses of both families.
    #[error(
        "{address} is {family}, the address of the first node (line {first}) is not: all nodes use one family"
    )]
    MixedFamilies {
        address: IpAddr,
        family: Family,
        first: usize,
    },
    /// Two users of one underlay address.
    #[error("{address} is already the address of node `{node}` (line {first})")]
    DuplicateNodeAddress {
        address: IpAddr,
        node: NodeName,
        first: usize,
    },
    /// An address outside of its network's subnets.
    #[error("{address} is in no subnet of {network}")]
    OutsideSubnet { address: IpAddr, network: String },
    /// An address of a subnet that nobody may have.
    #[error("{address} is {role} of {subnet}")]
    ReservedAddress {
        address: IpAddr,
        role: &'static str,
        subnet: IpNetwork,
    },
    /// Two users of one address in one network.
    #[error("{address} is already used in {network} on line {first}")]
    DuplicateAddress {
        address: IpAddr,
        network: String,
        first: usize,
    },
    /// A subnet without a free address.
    #[error("{subnet} of {network} has no free address left for {user}")]
    SubnetExhausted {
        subnet: IpNetwork,
        network: String,
        user: String,
    },

    /// A string that is no namespace.
    #[error("`{text}` is not a namespace: an absolute path, or a name in /run/netns")]
    BadNamespace { text: String },
    /// A string that is no interface's name.
    #[error(
        "`{text}` is not an interface's name: 1 to 15 characters without space, `/` and `:`, and not `lo`"
    )]
    BadInterface { text: String },
    /// Two interfaces of one name in one namespace.
    #[error("the task's interface `{name}` is already on line {first}")]
    DuplicateInterface { name: String, first: usize },
    /// A task attached twice to one network.
    #[error("the task is already attached to network `{network}` on line {first}")]
    AttachedTwice { network: NetworkName, first: usize },
    /// A task attached to networks that overlap.
    #[error(
        "{subnet} of network `{network}` overlaps {other} of network `{attached}`, to which the task is attached on line {first}: it could not tell them apart"
    )]
    Ambiguous {
        subnet: IpNetwork,
        network: NetworkName,
        other: IpNetwork,
        attached: NetworkName,
        first: usize,
    },

    /// A number that is no port.
    #[error("{number}: {cause}")]
    BadPort { number: i64, cause: BadPort },
    /// A data path port outside of what Docker's `--data-path-port` takes.
    #[error("{number}: the data path port is a number from 1024 to 49151")]
    BadDataPathPort { number: i64 },
    /// A string that names no protocol.
    #[error("`{text}`: {cause}")]
    UnknownProtocol {
        text: String,
        cause: UnknownProtocol,
    },
    /// A string that names no algorithm.
    #[error("`{text}`: {cause}")]
    UnknownAlgorithm {
        text: String,
        cause: UnknownAlgorithm,
    },
    /// A string that names no carrier.
    #[error("`{text}`: {cause}")]
    UnknownCarrier { text: String, cause: UnknownCarrier },
    /// A number that is no time of affinity.
    #[error("{number}: {cause}")]
    BadAffinity { number: i64, cause: BadAffinity },
    /// A string that names no state of a backend.
    #[error("`{text}`: {cause}")]
    UnknownState { text: String, cause: UnknownState },
    /// `ports` without a port.
    #[error("`ports` is empty: leave it out to balance every port")]
    NoPorts,
    /// Two ports of one VIP with the same number and protocol.
    #[error("port {port}/{protocol} is already on line {first}")]
    DuplicatePort {
        port: Port,
        protocol: Protocol,
        first: usize,
    },
    /// A string that names no way to publish.
    #[error("`{text}` is not a way to publish a port: use ingress or host")]
    UnknownMode { text: String },
    /// A string that names no way of replies.
    #[error("`{text}` is not a way for replies: use via or dsr")]
    UnknownReturn { text: String },
    /// A list that would leave a published port nowhere.
    #[error("`{key}` is empty: leave it out for all of them")]
    NowherePublished { key: &'static str },
    /// An address on which no client can reach a node.
    #[error("{address} is no address that a client can dial")]
    UndialledAddress { address: IpAddr },
    /// Two services that publish the same port at the same place.
    #[error("port {port}/{protocol} is already published by service `{service}` on line {first}")]
    DuplicatePublished {
        port: Port,
        protocol: Protocol,
        service: ServiceName,
        first: usize,
    },
    /// A published port on which nodes receive VXLAN.
    #[error("port {port}/udp is the data path port: nodes receive each other's packets there")]
    DataPathPort { port: Port },
    /// Something of the mesh without an ingress network.
    #[error("{what} needs the `[ingress]` network")]
    NoIngress { what: &'static str },

    /// A backend on another network than its service.
    #[error(
        "endpoint `{endpoint}` is on network `{network}`, its service is on `{service_network}`"
    )]
    ForeignBackend {
        endpoint: EndpointName,
        network: NetworkName,
        service_network: NetworkName,
    },
    /// An endpoint named twice by one service.
    #[error("endpoint `{endpoint}` is already a backend of this service on line {first}")]
    DuplicateBackend {
        endpoint: EndpointName,
        first: usize,
    },
    /// A number that is no weight.
    #[error("{number}: a weight is a number from 0 to 65535")]
    BadWeight { number: i64 },
}
