//! The attachments of tasks to networks, as far as they do not depend on addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;

use super::networks::Networks;
use super::nodes::Nodes;
use super::ranges;
use super::report::{Key, Names, Report};
use crate::raw::{self, Field, Located};
use crate::{EndpointName, Family, NetworkName, PerFamily, ProblemKind, TaskId};

/// Where bare names of namespaces are.
/// Where a namespace that is given by name is.
pub const NAMESPACES: &str = "/run/netns";

/// What has been read.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    pub(super) names: Names,
    /// Complete ones, in the order of the file.
    pub(super) all: Vec<Draft>,
    index: BTreeMap<EndpointName, usize>,
    /// The tasks, in the order of their first endpoint.
    pub(super) tasks: Vec<Task>,
}

/// An endpoint that is complete but for its addresses.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) line: usize,
    pub(super) name: EndpointName,
    pub(super) network: NetworkName,
    /// The addresses that were asked for.
    pub(super) addresses: PerFamily<Located<IpAddr>>,
    /// Index in [`Endpoints::tasks`].
    pub(super) task: usize,
    pub(super) interface: String,
}

/// A task: the endpoints in one namespace.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: TaskId,
    pub(super) line: usize,
    /// Indices in [`Endpoints::all`].
    pub(super) endpoints: Vec<usize>,
    /// The ingress addresses that were asked for.
    pub(super) ingress: PerFamily<Located<IpAddr>>,
    /// The interface that was asked for by each of `endpoints`.
    interfaces: Vec<Option<Located<String>>>,
    /// What the interface of the way out is called.
    pub(super) gateway_interface: String,
}

impl Endpoints {
    /// The endpoint of a name, if it is complete.
    pub(super) fn get(&self, name: &EndpointName) -> Option<&Draft> {
        self.index.get(name).map(|index| &self.all[*index])
    }
}

/// Reads the endpoints.
pub(super) fn read(
    raw: &[Located<raw::Endpoint>],
    nodes: &Nodes,
    networks: &Networks,
    report: &mut Report,
) -> Endpoints {
    let mut reader = Reader {
        nodes,
        networks,
        report,
        endpoints: Endpoints::default(),
        by_task: BTreeMap::new(),
    };
    for endpoint in raw {
        reader.read(endpoint);
    }
    let mut endpoints = reader.endpoints;
    name_interfaces(&mut endpoints, report);
    endpoints
}

struct Reader<'a> {
    nodes: &'a Nodes,
    networks: &'a Networks,
    report: &'a mut Report,
    endpoints: Endpoints,
    by_task: BTreeMap<TaskId, usize>,
}

impl Reader<'_> {
    fn read(&mut self, endpoint: &Located<raw::Endpoint>) {
        let line = endpoint.line;
        let key = |key| Key {
            noun: "endpoint",
            key,
            line,
        };
        let raw = &endpoint.value;
        let report = &mut *self.report;
        let name: Option<EndpointName> =
            report.name(&raw.name, key("name"), &mut self.endpoints.names);
        let node = report.reference(&raw.node, key("node"), ("node", &self.nodes.names));
        let networks = ("network", &self.networks.names);
        let network = report.reference(&raw.network, key("network"), networks);
        let namespace = report.required(&raw.namespace, key("namespace"));
        let namespace = namespace.and_then(|text| namespace_path(text, report));
        let interface = interface(&raw.interface, report);
        let addresses = self.addresses(&raw.addresses, network.as_ref());
        let ingress = self.ingress(&raw.ingress);
        let (Some(name), Some(node), Some(network), Some(namespace)) =
            (name, node, network, namespace)
        else {
            return;
        };
        let task = self.task(TaskId { node, namespace }, line);
        self.check_attachment(task, &network, line);
        self.add_ingress(task, ingress);
        let index = self.endpoints.all.len();
        self.endpoints.tasks[task].endpoints.push(index);
        self.endpoints.tasks[task].interfaces.push(interface);
        self.endpoints.index.insert(name.clone(), index);
        let interface = String::new();
        self.endpoints.all.push(Draft {
            line,
            name,
            network,
            addresses,
            task,
            interface,
        });
    }

    fn addresses(
        &mut self,
        texts: &[Located<String>],
        network: Option<&NetworkName>,
    ) -> PerFamily<Located<IpAddr>> {
        let known = network.and_then(|name| self.networks.all.get(name).map(|it| (name, it)));
        let subnets = known.map(|(name, network)| (format!("network `{name}`"), &network.subnets));
        addresses(texts, subnets, "address", self.report)
    }

    fn ingress(&mut self, texts: &[Located<String>]) -> PerFamily<Located<IpAddr>> {
        if let (Some(first), false) = (texts.first(), self.networks.has_ingress) {
            self.report.add(
                first.line,
                ProblemKind::NoIngress {
                    what: "an ingress address",
                },
            );
        }
        let ingress = self.networks.ingress.as_ref();
        let subnets = ingress.map(|it| (INGRESS.to_owned(), &it.subnets));
        addresses(texts, subnets, "ingress address", self.report)
    }

    fn task(&mut self, id: TaskId, line: usize) -> usize {
        let tasks = &mut self.endpoints.tasks;
        *self.by_task.entry(id).or_insert_with_key(|id| {
            tasks.push(Task {
                id: id.clone(),
                line,
                endpoints: Vec::new(),
                ingress: PerFamily::default(),
                interfaces: Vec::new(),
                gateway_interface: String::new(),
            });
            tasks.len() - 1
        })
    }

    /// A task that could reach one address by two of its networks would reach but one of them.
    fn check_attachment(&mut self, task: usize, network: &NetworkName, line: usize) {
        for index in &self.endpoints.tasks[task].endpoints {
            let other = &self.endpoints.all[*index];
            let first = other.line;
            if other.network == *network {
                let network = network.clone();
                self.report
                    .add(line, ProblemKind::AttachedTwice { network, first });
                continue;
            }
            let all = &self.networks.all;
            let (Some(ours), Some(theirs)) = (all.get(network), all.get(&other.network)) else {
                continue;
            };
            if let Some((subnet, other_subnet)) = common(&ours.subnets, &theirs.subnets) {
                let kind = ProblemKind::Ambiguous {
                    subnet,
                    network: network.clone(),
                    other: other_subnet,
                    attached: other.network.clone(),
                    first,
                };
                self.report.add(line, kind);
            }
        }
    }

    fn add_ingress(&mut self, task: usize, ingress: PerFamily<Located<IpAddr>>) {
        let had = &mut self.endpoints.tasks[task].ingress;
        for address in ingress.iter() {
            let family = Family::of(address.value);
            if had.get(family).is_some() {
                let thing = "ingress address of the task";
                self.report
                    .add(address.line, ProblemKind::SecondOfFamily { family, thing });
            } else {
                had.insert(family, address.clone());
            }
        }
    }
}

/// What messages call the ingress network.
pub(super) const INGRESS: &str = "the ingress network";

type Subnets = PerFamily<Located<IpNetwork>>;

fn common(ours: &Subnets, theirs: &Subnets) -> Option<(IpNetwork, IpNetwork)> {
    let pairs = Family::ALL
        .into_iter()
        .filter_map(|family| ours.get(family).zip(theirs.get(family)));
    pairs
        .map(|(a, b)| (a.value, b.value))
        .find(|(a, b)| ranges::overlap(*a, *b))
}

/// Reads addresses that were asked for: in a subnet, none of the network's own, one of each family.
pub(super) fn addresses(
    texts: &[Located<String>],
    network: Option<(String, &Subnets)>,
    thing: &'static str,
    report: &mut Report,
) -> PerFamily<Located<IpAddr>> {
    let mut addresses = PerFamily::default();
    for text in texts {
        let Some(address) = report.address(text) else {
            continue;
        };
        let Some((network, subnets)) = &network else {
            continue;
        };
        let line = text.line;
        let subnet = subnets.iter().find(|subnet| subnet.value.contains(address));
        let family = Family::of(address);
        if subnet.is_none() {
            let network = network.clone();
            report.add(line, ProblemKind::OutsideSubnet { address, network });
        } else if addresses.get(family).is_some() {
            report.add(line, ProblemKind::SecondOfFamily { family, thing });
        } else {
            addresses.insert(
                family,
                Located {
                    line,
                    value: address,
                },
            );
        }
    }
    addresses
}

fn namespace_path(text: &Located<String>, report: &mut Report) -> Option<PathBuf> {
    let path = Path::new(&text.value);
    let bare = !text.value.contains('/') && !matches!(text.value.as_str(), "" | "." | "..");
    let plain = text.value.starts_with('/')
        && !text.value.ends_with('/')
        && path.components().count() > 1
        && !text
            .value
            .split('/')
            .skip(1)
            .any(|part| matches!(part, "" | "." | ".."));
    match (bare, plain) {
        _ if text.value.contains('\0') => {}
        (true, _) => return Some(Path::new(NAMESPACES).join(path)),
        (_, true) => return Some(path.to_owned()),
        (false, false) => {}
    }
    report.add(
        text.line,
        ProblemKind::BadNamespace {
            text: text.value.clone(),
        },
    );
    None
}

/// The name that was asked for, if the kernel would take it (`dev_valid_name`, net/core/dev.c).
fn interface(field: &Field<String>, report: &mut Report) -> Option<Located<String>> {
    let text = report.optional(field)?;
    let name = text.value.as_str();
    let forbidden = |c: char| matches!(c, '/' | ':' | '%') || c.is_whitespace() || c.is_control();
    let valid = (1..=15).contains(&name.len())
        && !matches!(name, "." | ".." | "lo" | "all" | "default")
        && !name.contains(forbidden);
    if valid {
        return Some(text.clone());
    }
    report.add(
        text.line,
        ProblemKind::BadInterface {
            text: text.value.clone(),
        },
    );
    None
}

/// Names the interfaces of each task: those asked for, then eth0, eth1 … as they are free. The way
/// out comes last.
fn name_interfaces(endpoints: &mut Endpoints, report: &mut Report) {
    for task in &mut endpoints.tasks {
        let mut taken: BTreeMap<String, usize> = BTreeMap::new();
        for name in task.interfaces.iter().flatten() {
            if let Some(first) = taken.get(&name.value) {
                let (name, first, line) = (name.value.clone(), *first, name.line);
                report.add(line, ProblemKind::DuplicateInterface { name, first });
            } else {
                taken.insert(name.value.clone(), name.line);
            }
        }
        let mut next = 0;
        for (index, asked) in task.endpoints.iter().zip(&task.interfaces) {
            let draft = &mut endpoints.all[*index];
            draft.interface = match asked {
                Some(name) => name.value.clone(),
                None => free_name(&mut next, &taken),
            };
            taken.insert(draft.interface.clone(), draft.line);
        }
        let last = taken
            .keys()
            .filter_map(|name| name.strip_prefix("eth")?.parse::<u32>().ok());
        let mut next = last
            .filter(|number| *number < 10_000)
            .max()
            .map_or(0, |last| last + 1);
        task.gateway_interface = free_name(&mut next, &taken);
    }
}

fn free_name(next: &mut u32, taken: &BTreeMap<String, usize>) -> String {
    loop {
        let name = format!("eth{next}");
        *next += 1;
        if !taken.contains_key(&name) {
            return name;
        }
    }
}
