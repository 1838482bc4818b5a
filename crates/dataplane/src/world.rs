//! The vocabulary of the planner: the part of the kernel's state that belongs to one instance.
//!
//! The same types say what should be and what is; the planner compares them and the kernel modules
//! read and write them. Interfaces are named, never numbered, so that a plan can speak of ones that
//! do not exist yet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use abi::Mac;
use ipnetwork::IpNetwork;

use crate::tables::{LinkRef, Tables};

/// Name of an interface: 1 to 15 bytes, as the kernel demands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkName(String);

impl LinkName {
    /// Takes a name that the kernel would take (`dev_valid_name` in net/core/dev.c).
    pub(crate) fn new(name: &str) -> Option<Self> {
        let forbidden = |c: char| c == '/' || c == ':' || c.is_ascii_whitespace() || c == '\0';
        let valid = (1..=15).contains(&name.len())
            && name != "."
            && name != ".."
            && !name.contains(forbidden);
        valid.then(|| Self(name.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything of one instance on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct World {
    /// The VXLAN device.
    pub(crate) tunnel: Option<(LinkName, Tunnel)>,
    /// The veth pairs, by the name of the node's end.
    pub(crate) pairs: BTreeMap<LinkName, Pair>,
    /// What tasks' namespaces have besides their interfaces.
    pub(crate) namespaces: BTreeMap<PathBuf, Namespace>,
    /// Settings of the node, by their path below /proc/sys.
    pub(crate) sysctls: BTreeMap<String, String>,
    /// The nftables table, as the text of its rules.
    pub(crate) firewall: Option<Firewall>,
    /// Which program is attached where.
    pub(crate) hooks: BTreeSet<Hook>,
    /// Which socket hooks are attached.
    pub(crate) sockets: BTreeSet<SocketHook>,
    /// The contents of the maps.
    pub(crate) tables: Tables,
}

/// The collect-metadata VXLAN device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tunnel {
    /// UDP port.
    pub(crate) port: u16,
    /// Largest inner packet in bytes.
    pub(crate) mtu: u32,
    /// Whether it is up.
    pub(crate) up: bool,
    /// Whether each packet carries its tunnel's metadata and nothing is learnt from it. Always so,
    /// unless somebody else has made the device.
    pub(crate) external: bool,
}

impl Tunnel {
    /// Whether `self` can become `other` without being made again.
    pub(crate) fn is_same_device(self, other: Self) -> bool {
        (self.port, self.external) == (other.port, other.external)
    }
}

/// A veth pair between the node and a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// The task's namespace.
    pub(crate) namespace: PathBuf,
    /// Name of the task's end.
    pub(crate) interface: LinkName,
    /// The node's end.
    pub(crate) node: End,
    /// The task's end.
    pub(crate) task: End,
}

/// One end of a pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct End {
    /// Ethernet address.
    pub(crate) mac: Mac,
    /// In bytes.
    pub(crate) mtu: u32,
    /// Whether it is up.
    pub(crate) up: bool,
    /// Addresses, with the prefix length that makes the connected route.
    pub(crate) addresses: BTreeSet<IpNetwork>,
    /// Routes through it.
    pub(crate) routes: BTreeSet<Route>,
    /// Permanent neighbours.
    pub(crate) neighbours: BTreeMap<IpAddr, Mac>,
    /// Per-interface settings: "ipv4/rp_filter" stands for net/ipv4/conf/NAME/rp_filter.
    pub(crate) sysctls: BTreeMap<&'static str, String>,
}

/// A route through one interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    /// The routing table's number.
    pub(crate) table: u32,
    /// Where to.
    pub(crate) destination: IpNetwork,
    /// The next hop, taken as on-link; `None` for a directly connected destination.
    pub(crate) gateway: Option<IpAddr>,
    /// The source address of what the node itself sends.
    pub(crate) source: Option<IpAddr>,
}

/// A routing rule: packets from one address look into one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rule {
    /// The source address.
    pub(crate) from: IpAddr,
    /// The routing table's number.
    pub(crate) table: u32,
    /// Lower numbers are looked at first.
    pub(crate) priority: u32,
}

/// What a task's namespace has besides its interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Namespace {
    /// Routing rules.
    pub(crate) rules: BTreeSet<Rule>,
    /// Settings, by their path below /proc/sys.
    pub(crate) sysctls: BTreeMap<String, String>,
}

/// What the nftables table is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Firewall {
    /// Name of the table, of family inet.
    pub(crate) table: String,
    /// Prefix of the names of gateway attachments' interfaces.
    pub(crate) gateways: String,
    /// Sources that are masqueraded.
    pub(crate) sources: BTreeSet<IpNetwork>,
    /// First and last port that masquerading may use.
    pub(crate) ports: (u16, u16),
    /// The packet mark of what nobody asked for.
    pub(crate) mark: u32,
    /// The UDP port of the tunnel, whose packets are kept out of connection tracking: NAT rules make
    /// the kernel track all else.
    pub(crate) untracked: u16,
}

/// The kernel programs, by their hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Program {
    /// Ingress of the node's end of every pair.
    FromTask,
    /// Egress of the node's end of gateway attachments.
    ToTask,
    /// Ingress of the VXLAN device.
    FromOverlay,
    /// Ingress of every interface with own addresses.
    FromUplink,
}

impl Program {
    pub(crate) const ALL: [Self; 4] = [
        Self::FromTask,
        Self::ToTask,
        Self::FromOverlay,
        Self::FromUplink,
    ];

    /// The program's name in the object file, in pins and in listings.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::FromTask => "from_task",
            Self::ToTask => "to_task",
            Self::FromOverlay => "from_overlay",
            Self::FromUplink => "from_uplink",
        }
    }
}

/// What processes do with sockets, in the order in which the hooks are attached: whoever is led
/// elsewhere finds everything that hides it in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum SocketHook {
    Release,
    Receive4,
    Receive6,
    PeerName4,
    PeerName6,
    Send4,
    Send6,
    Connect4,
    Connect6,
    Bind4,
    Bind6,
}

impl SocketHook {
    pub(crate) const ALL: [Self; 11] = [
        Self::Release,
        Self::Receive4,
        Self::Receive6,
        Self::PeerName4,
        Self::PeerName6,
        Self::Send4,
        Self::Send6,
        Self::Connect4,
        Self::Connect6,
        Self::Bind4,
        Self::Bind6,
    ];

    /// The program's name in the object file, in pins and in listings.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Release => "sock_release",
            Self::Receive4 => "recvmsg4",
            Self::Receive6 => "recvmsg6",
            Self::PeerName4 => "getpeername4",
            Self::PeerName6 => "getpeername6",
            Self::Send4 => "sendmsg4",
            Self::Send6 => "sendmsg6",
            Self::Connect4 => "connect4",
            Self::Connect6 => "connect6",
            Self::Bind4 => "bind4",
            Self::Bind6 => "bind6",
        }
    }

    /// Its number in `enum bpf_attach_type` of linux/bpf.h.
    pub(crate) const fn attach_type(self) -> u32 {
        match self {
            Self::Bind4 => 8,
            Self::Bind6 => 9,
            Self::Connect4 => 10,
            Self::Connect6 => 11,
            Self::Send4 => 14,
            Self::Send6 => 15,
            Self::Receive4 => 19,
            Self::Receive6 => 20,
            Self::PeerName4 => 29,
            Self::PeerName6 => 30,
            Self::Release => 34,
        }
    }
}

/// A program on an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hook {
    pub(crate) link: LinkRef,
    pub(crate) program: Program,
}
