//! Networks, as a list has them and, with their endpoints and services, one by one.
//!
//! They come from the topology; only the MTU is found on the node, from what its underlay leaves.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    /// The VXLAN network identifier in decimal.
    #[serde(rename = "ID")]
    pub id: String,
    /// The name, unique in the cluster.
    pub name: String,
    /// The VXLAN network identifier, 1 to 2²⁴ − 1.
    pub vni: u32,
    /// At most one subnet for each family.
    pub subnets: Vec<IpNetwork>,
    /// The network's own address in each subnet, in the same order.
    pub gateways: Vec<IpAddr>,
    /// Whether its tasks have no way out of the cluster by it.
    pub internal: bool,
    /// MTU of its interfaces in bytes; `null` while it is not known.
    pub mtu: Option<u32>,
    /// Whether its VIPs are translated where a task dials them; else per packet only.
    pub socket_lb: bool,
    /// How many endpoints it has in the cluster.
    pub endpoints: u64,
    /// How many services have their VIP or their mesh in it.
    pub services: u64,
}

/// A network and who is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkDetail {
    /// What the list says of it.
    #[serde(flatten)]
    pub network: Network,
    /// Names of its endpoints.
    pub endpoint_list: Vec<String>,
    /// Names of its services.
    pub service_list: Vec<String>,
}
