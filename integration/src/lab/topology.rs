//! netd's static topology file, as something to write: the tests' own copy of the format, so that
//! a change of the format does not go unnoticed.

use std::net::IpAddr;

use anyhow::{Context, Result};
use serde::Serialize;

use super::Lab;
use super::spec::Family;

/// The whole file.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Topology {
    /// UDP port of VXLAN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_path_port: Option<u16>,
    /// The ingress network; needed as soon as a service publishes a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
    /// The pool that the tasks' gateway addresses come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayPool>,
    /// The nodes.
    pub node: Vec<Node>,
    /// The networks.
    pub network: Vec<Network>,
    /// The tasks' attachments.
    pub endpoint: Vec<Endpoint>,
    /// The services.
    pub service: Vec<Service>,
}

/// `[ingress]`
#[derive(Clone, Debug, Serialize)]
pub struct Ingress {
    /// Its network number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vni: Option<u32>,
    /// One subnet of each family.
    pub subnets: Vec<String>,
}

/// `[gateway]`
#[derive(Clone, Debug, Serialize)]
pub struct GatewayPool {
    /// One pool of each family.
    pub pools: Vec<String>,
}

/// `[[node]]`
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its VTEP address.
    pub address: IpAddr,
    /// Its blocks of the gateway pool.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateway: Vec<String>,
    /// `auto`, `native` or `device`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carrier: Option<String>,
}

/// `[[network]]`
#[derive(Clone, Debug, Default, Serialize)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its number.
    pub vni: u32,
    /// One subnet of each family.
    pub subnets: Vec<String>,
    /// Whether its tasks have no way out.
    pub internal: bool,
    /// Upper bound of its MTU, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Whether VIPs are translated at connect(2); so where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_lb: Option<bool>,
}

/// `[[endpoint]]`
#[derive(Clone, Debug, Serialize)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// The node that it is on.
    pub node: String,
    /// The task's network namespace.
    pub namespace: String,
    /// The network.
    pub network: String,
    /// Its addresses; allocated where empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Its name inside the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// `[[service]]`
#[derive(Clone, Debug, Default, Serialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The network that its VIP is in.
    pub network: String,
    /// Its VIPs; allocated where empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vips: Vec<IpAddr>,
    /// By its IPVS name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// For how many seconds a client stays with its backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<u32>,
    /// The ports of the VIP; all where empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// The ports on every node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<Port>,
    /// The endpoints behind it.
    pub backends: Vec<Backend>,
}

/// A port of a VIP or of the nodes.
#[derive(Clone, Debug, Serialize)]
pub struct Port {
    /// Where clients connect to.
    pub port: u16,
    /// The backends' port.
    pub target: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// By its IPVS name; of published ports only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// `ingress` or `host`; of published ports only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The nodes that answer; of published ports only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// The addresses on which they answer; of published ports only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// `via` or `dsr`; of published ports only.
    #[serde(rename = "return", skip_serializing_if = "Option::is_none")]
    pub returns: Option<String>,
    /// For how many seconds a client stays with its backend; of published ports only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<u32>,
}

/// An endpoint behind a service.
#[derive(Clone, Debug, Serialize)]
pub struct Backend {
    /// The endpoint's name.
    pub endpoint: String,
    /// Its share of new connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// `ready` or `draining`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

impl Topology {
    /// A lab's nodes and an ingress network, nothing else yet.
    #[must_use]
    pub fn of(lab: &Lab) -> Self {
        let nodes = lab.document().nodes.iter();
        let nodes = nodes.filter_map(|node| {
            let address = lab.spec.vtep.of(&node.addresses)?;
            Some(Node {
                name: node.name.clone(),
                address,
                gateway: Vec::new(),
                carrier: lab.spec.carriers.get(&node.name).cloned(),
            })
        });
        let subnets = vec!["10.255.0.0/16".to_owned(), "fd00:255::/64".to_owned()];
        Self {
            ingress: Some(Ingress { vni: None, subnets }),
            node: nodes.collect(),
            ..Self::default()
        }
    }

    /// Adds a network `10.0.NUMBER.0/24` and `fd00:NUMBER::/64`.
    pub fn add_network(&mut self, name: &str, number: u8) {
        self.network.push(Network {
            name: name.to_owned(),
            vni: 4096 + u32::from(number),
            subnets: vec![format!("10.0.{number}.0/24"), format!("fd00:{number}::/64")],
            ..Network::default()
        });
    }

    /// Attaches a task of the lab to a network that [`Topology::add_network`] made, as host
    /// `host` (`.host` and `::host`).
    pub fn attach(&mut self, lab: &Lab, task: &str, network: &str, host: u8) {
        let Some(entry) = lab.document().task(task) else {
            return;
        };
        let addresses = self.addresses(network, host);
        // A task on several networks has an endpoint in each.
        let taken = self.endpoint.iter().any(|endpoint| endpoint.name == task);
        self.endpoint.push(Endpoint {
            name: if taken {
                format!("{task}-{network}")
            } else {
                task.to_owned()
            },
            node: entry.node.clone(),
            namespace: entry.namespace.clone(),
            network: network.to_owned(),
            addresses,
            interface: None,
        });
    }

    /// The addresses of a host in a network.
    #[must_use]
    pub fn addresses(&self, network: &str, host: u8) -> Vec<IpAddr> {
        let Some(network) = self.network.iter().find(|each| each.name == network) else {
            return Vec::new();
        };
        let parsed = network.subnets.iter().filter_map(|subnet| {
            let (base, _) = subnet.split_once('/')?;
            let text = match base.strip_suffix(".0") {
                Some(front) => format!("{front}.{host}"),
                None => format!("{base}{host}"),
            };
            text.parse().ok()
        });
        parsed.collect()
    }

    /// The file's text.
    ///
    /// # Errors
    /// When a value has no place in TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).context("write the topology as TOML")
    }

    /// Lets a task drain, in every service.
    pub fn drain(&mut self, task: &str) {
        for backend in self.backends().filter(|it| it.endpoint == task) {
            backend.state = Some("draining".to_owned());
        }
    }

    /// Takes a task out of every service; its attachments stay.
    pub fn retire(&mut self, task: &str) {
        for service in &mut self.service {
            service.backends.retain(|it| it.endpoint != task);
        }
    }

    /// Takes a task out of everything.
    pub fn remove(&mut self, task: &str) {
        self.retire(task);
        self.endpoint.retain(|endpoint| endpoint.name != task);
    }

    fn backends(&mut self) -> impl Iterator<Item = &mut Backend> {
        self.service
            .iter_mut()
            .flat_map(|service| &mut service.backends)
    }

    /// The VIP of a service in one family.
    #[must_use]
    pub fn vip(&self, service: &str, family: Family) -> Option<IpAddr> {
        let service = self.service.iter().find(|each| each.name == service)?;
        family.of(&service.vips)
    }
}

impl Port {
    /// A TCP port.
    #[must_use]
    pub fn tcp(port: u16, target: u16) -> Self {
        Self {
            port,
            target,
            protocol: "tcp".to_owned(),
            algorithm: None,
            mode: None,
            nodes: Vec::new(),
            addresses: Vec::new(),
            returns: None,
            affinity: None,
        }
    }

    /// A UDP port.
    #[must_use]
    pub fn udp(port: u16, target: u16) -> Self {
        Self {
            port,
            target,
            protocol: "udp".to_owned(),
            algorithm: None,
            mode: None,
            nodes: Vec::new(),
            addresses: Vec::new(),
            returns: None,
            affinity: None,
        }
    }
}

impl Service {
    /// A service without ports and VIPs.
    #[must_use]
    pub fn new(name: &str, network: &str, backends: &[&str]) -> Self {
        let backends = backends.iter().map(|endpoint| Backend {
            endpoint: (*endpoint).to_owned(),
            weight: None,
            state: None,
        });
        Self {
            name: name.to_owned(),
            network: network.to_owned(),
            backends: backends.collect(),
            ..Self::default()
        }
    }
}
