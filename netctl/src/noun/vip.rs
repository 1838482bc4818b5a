//! VIPs: their table, the long form with ports and backends, and filters by network and service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use api::{Backend, BackendState, Protocol, PublishedPort, Vip, VipPort};

use crate::cell;
use crate::output::{Row, Shown, Width, align};

/// Which VIPs are listed.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Filter {
    /// Only VIPs in this network
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Only the VIP of this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
}

impl Filter {
    /// Whether `vip` is listed.
    pub(crate) fn takes(&self, vip: &Vip) -> bool {
        let is = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|w| w == name);
        is(&self.network, &vip.network) && is(&self.service, &vip.service)
    }
}

impl Shown for Vip {
    fn example() -> Self {
        Self {
            id: "0badcafe".to_owned(),
            name: "web".to_owned(),
            service: "web".to_owned(),
            network: "app".to_owned(),
            addresses: vec![Ipv4Addr::new(10, 0, 1, 2).into()],
            ports: vec![VipPort {
                port: 80,
                target: 8080,
                protocol: Protocol::Tcp,
            }],
            algorithm: "rr".to_owned(),
            affinity: 600,
            backends: vec![Backend {
                id: "0badf00d".to_owned(),
                endpoint: "web-1".to_owned(),
                node: "n1".to_owned(),
                address: "10.0.1.11:8080".to_owned(),
                state: BackendState::Ready,
                weight: 1,
                share: 100.0,
                active: Some(1),
                inactive: Some(0),
                total: Some(2),
            }],
            published: Vec::new(),
            published_ports: vec![PublishedPort {
                id: "8080/tcp".to_owned(),
                algorithm: "mh".to_owned(),
                affinity: 0,
            }],
        }
    }
}

impl Row for Vip {
    const HEADERS: &'static [&'static str] = &[
        "ID",
        "SERVICE",
        "NETWORK",
        "ADDRESSES",
        "PORTS",
        "ALGORITHM",
        "BACKENDS",
        "ACTIVE",
    ];

    fn cells(&self, width: Width) -> Vec<String> {
        vec![
            self.id.clone(),
            self.service.clone(),
            self.network.clone(),
            cell::list(&self.addresses),
            cell::shorten(ports(&self.ports), width),
            self.algorithm.clone(),
            endpoints(&self.backends).to_string(),
            cell::optional(active(&self.backends)),
        ]
    }

    fn reference(&self) -> String {
        self.id.clone()
    }
}

/// What people read of one VIP.
pub(crate) fn describe(vip: &Vip) -> Vec<String> {
    let mut lines = align(&[
        format!("ID:\t{}", vip.id),
        format!("Service:\t{}", vip.service),
        format!("Network:\t{}", vip.network),
        format!("Addresses:\t{}", cell::list(&vip.addresses)),
        format!("Ports:\t{}", ports(&vip.ports)),
        format!("Algorithm:\t{}", vip.algorithm),
        format!("Affinity:\t{}", cell::seconds(vip.affinity)),
    ]);
    if vip.backends.is_empty() {
        lines.push("Backends:    none: clients are refused".to_owned());
        return lines;
    }
    lines.push("Backends:".to_owned());
    lines.extend(table(&vip.backends));
    if !vip.published.is_empty() {
        lines.push("Backends of published ports:".to_owned());
        lines.extend(align(&balancing(&vip.published_ports)));
        lines.extend(table(&vip.published));
    }
    lines
}

/// How published ports choose; ports that do alike share a line.
fn balancing(ports: &[PublishedPort]) -> Vec<String> {
    let mut alike: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for port in ports {
        let key = (&port.algorithm, port.affinity);
        alike.entry(key).or_default().push(&port.id);
    }
    let line = |((algorithm, affinity), ports): (_, Vec<&str>)| {
        let affinity = cell::seconds(affinity);
        let ports = ports.join(", ");
        format!("  Algorithm: {algorithm}\tAffinity: {affinity}\tPorts: {ports}")
    };
    alike.into_iter().map(line).collect()
}

fn table(backends: &[Backend]) -> Vec<String> {
    let mut table = vec![
        "  ID\tENDPOINT\tNODE\tADDRESS\tSTATE\tWEIGHT\tSHARE\tACTIVE\tINACTIVE\tTOTAL".to_owned(),
    ];
    table.extend(backends.iter().map(backend));
    align(&table)
}

fn backend(backend: &Backend) -> String {
    let cells = [
        format!("  {}", backend.id),
        backend.endpoint.clone(),
        backend.node.clone(),
        backend.address.clone(),
        backend.state.as_str().to_owned(),
        backend.weight.to_string(),
        cell::percent(backend.share),
        cell::optional(backend.active),
        cell::optional(backend.inactive),
        cell::optional(backend.total),
    ];
    cells.join("\t")
}

fn ports(ports: &[VipPort]) -> String {
    if ports.is_empty() {
        return "all".to_owned();
    }
    let ports: Vec<_> = ports
        .iter()
        .map(|port| format!("{}->{}/{}", port.port, port.target, port.protocol))
        .collect();
    ports.join(", ")
}

/// An endpoint is one backend for each of its addresses and target ports; people count it once.
fn endpoints(backends: &[Backend]) -> usize {
    let names: BTreeSet<_> = backends.iter().map(|backend| &backend.endpoint).collect();
    names.len()
}

fn active(backends: &[Backend]) -> Option<u64> {
    backends.iter().map(|backend| backend.active).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_ports_have_their_own_algorithm() {
        let mut vip = Vip::example();
        vip.published = vip.backends.clone();
        let mut other = vip.published_ports[0].clone();
        other.id = "53/udp".to_owned();
        vip.published_ports.push(other.clone());
        other.id = "443/tcp".to_owned();
        other.algorithm = "sh".to_owned();
        other.affinity = 60;
        vip.published_ports.push(other);
        let lines = describe(&vip);
        let at = lines
            .iter()
            .position(|line| line == "Backends of published ports:");
        let (above, below) = lines.split_at(at.unwrap());
        assert!(above.contains(&"Algorithm:   rr".to_owned()), "{above:?}");
        let words = |line: &String| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            below[1..3].iter().map(words).collect::<Vec<_>>(),
            [
                "Algorithm: mh Affinity: - Ports: 8080/tcp, 53/udp",
                "Algorithm: sh Affinity: 1m Ports: 443/tcp",
            ]
        );
    }
}
