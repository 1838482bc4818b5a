//! Endpoints: where tasks are on networks, in the whole cluster.
//!
//! They come from the topology. What only an endpoint's own node can know (Ethernet address, the
//! interface's other end) is empty where another node answers.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A task's attachment to a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Endpoint {
    /// Twelve hexadecimal digits, derived from the name.
    #[serde(rename = "ID")]
    pub id: String,
    /// The name, unique in the cluster.
    pub name: String,
    /// The network's name.
    pub network: String,
    /// The name of the node that it is on.
    pub node: String,
    /// Its addresses in the network, at most one for each family.
    pub addresses: Vec<IpAddr>,
    /// Ethernet address of the task's interface, `02:…`; empty where this node does not know it,
    /// which is for all endpoints of other nodes.
    pub mac: String,
    /// Whether it is on the node that answers.
    pub local: bool,
    /// Path of the task's network namespace, on its node.
    pub namespace: String,
    /// Name of the interface inside the namespace.
    pub interface: String,
    /// Name of the interface's other end, on the host; empty for endpoints of other nodes.
    pub host_interface: String,
    /// Underlay address of its node.
    pub vtep: IpAddr,
    /// The task's addresses in the ingress network; empty when it serves no published port.
    pub ingress: Vec<IpAddr>,
    /// The task's addresses for its way out of the cluster; empty on internal networks.
    pub gateway_addresses: Vec<IpAddr>,
    /// Names of the services that it backs.
    pub services: Vec<String>,
}
