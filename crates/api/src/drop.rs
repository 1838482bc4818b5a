//! Dropped and refused packets, counted by their reason, with one of the last packets of each.
//!
//! The counts are the kernel programs' own, of all CPUs, since they were loaded. Reasons are known
//! by their names; numbers are of one version.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// How often packets were dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DropCount {
    /// The reason's number in the kernel, in decimal digits.
    #[serde(rename = "ID")]
    pub id: String,
    /// The reason's name.
    pub name: String,
    /// The reason's name, lowercase words joined by hyphens.
    pub reason: String,
    /// Packets dropped since the programs were loaded, on all CPUs.
    pub count: u64,
    /// What the reason means, one sentence.
    pub description: String,
    /// One of the last such packets; `null` when this netd has seen none.
    pub last_sample: Option<DropSample>,
}

/// A dropped packet. What could not be read of it is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DropSample {
    /// When it was dropped.
    pub time: Timestamp,
    /// The interface that it came in by.
    pub interface: String,
    /// The network's name; `gateway` for the tasks' way out of the cluster.
    pub network: String,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, or the protocol's number.
    pub protocol: String,
    /// Source address, with the port where there is one: `10.0.1.11:4711`, `[fd00:1::11]:4711`.
    pub source: String,
    /// Destination address, with the port where there is one.
    pub destination: String,
    /// Length of the frame in bytes.
    pub length: u32,
}
