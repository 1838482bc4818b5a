//! What a lab consists of, for people and scripts: the document that `lab up` prints. Names stay.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::spec::Spec;
use super::topology::Topology;

/// The lab's JSON document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Document {
    /// The lab's name.
    pub name: String,
    /// The nodes.
    pub nodes: Vec<NodeEntry>,
    /// The client on the underlay.
    pub client: ClientEntry,
    /// The ports that every node answers on.
    pub published: Vec<PublishedEntry>,
    /// The services' virtual addresses.
    pub vips: Vec<VipEntry>,
    /// The tasks.
    pub tasks: Vec<TaskEntry>,
}

/// A node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeEntry {
    /// Its name.
    pub name: String,
    /// Its network namespace.
    pub namespace: String,
    /// Its underlay addresses, IPv4 and IPv6.
    pub addresses: Vec<IpAddr>,
    /// netd's local API.
    pub socket: PathBuf,
    /// netd's state directory.
    pub data_dir: PathBuf,
    /// netd's process; `None` while it does not run.
    pub pid: Option<i32>,
    /// What it is in the cluster: `static` in a lab with a fixed topology.
    pub role: String,
}

/// A client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientEntry {
    /// Its network namespace.
    pub namespace: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// A published port.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PublishedEntry {
    /// The service behind it.
    pub service: String,
    /// The port on every node.
    pub port: u16,
    /// `tcp` or `udp`.
    pub proto: String,
}

/// A service's virtual addresses.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VipEntry {
    /// The service.
    pub service: String,
    /// The network that they are in.
    pub network: String,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
}

/// A task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskEntry {
    /// Its name, which is also its endpoint's.
    pub name: String,
    /// The first service that it backs, if it backs any.
    pub service: Option<String>,
    /// The node that it is on.
    pub node: String,
    /// Its network namespace.
    pub namespace: String,
    /// Its addresses, as far as the topology states them.
    pub addresses: Vec<IpAddr>,
}

impl Document {
    /// The document of a lab without tasks and services.
    pub(super) fn new(spec: &Spec) -> Self {
        let underlay = spec.underlay();
        let directory = super::directory(&spec.name);
        let nodes = spec
            .node_names()
            .into_iter()
            .zip(0u8..)
            .map(|(name, index)| NodeEntry {
                namespace: spec.namespace(&name),
                addresses: underlay.node(index).to_vec(),
                socket: directory.join(format!("{name}.sock")),
                data_dir: directory.join(&name),
                pid: None,
                role: "static".to_owned(),
                name,
            });
        Self {
            name: spec.name.clone(),
            nodes: nodes.collect(),
            client: ClientEntry {
                namespace: spec.namespace("client"),
                addresses: underlay.client().to_vec(),
            },
            published: Vec::new(),
            vips: Vec::new(),
            tasks: Vec::new(),
        }
    }

    /// Takes services, and the tasks' addresses, from a topology.
    pub(super) fn describe(&mut self, topology: &Topology) {
        let services = &topology.service;
        let published = services.iter().flat_map(|service| {
            service.publish.iter().map(|port| PublishedEntry {
                service: service.name.clone(),
                port: port.port,
                proto: port.protocol.clone(),
            })
        });
        self.published = published.collect();
        let vips = services.iter().map(|service| VipEntry {
            service: service.name.clone(),
            network: service.network.clone(),
            addresses: service.vips.clone(),
        });
        self.vips = vips.collect();
        for task in &mut self.tasks {
            let mine = |endpoint: &&super::topology::Endpoint| endpoint.namespace == task.namespace;
            let endpoints: Vec<_> = topology.endpoint.iter().filter(mine).collect();
            task.addresses = endpoints
                .iter()
                .flat_map(|endpoint| endpoint.addresses.clone())
                .collect();
            task.service = services.iter().find_map(|service| {
                let backs = |backend: &super::topology::Backend| {
                    endpoints
                        .iter()
                        .any(|endpoint| endpoint.name == backend.endpoint)
                };
                service
                    .backends
                    .iter()
                    .any(backs)
                    .then(|| service.name.clone())
            });
        }
    }

    /// A node, by its name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodeEntry> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// A task, by its name.
    #[must_use]
    pub fn task(&self, name: &str) -> Option<&TaskEntry> {
        self.tasks.iter().find(|task| task.name == name)
    }
}
