//! VIPs: their table, the long form with ports and backends, and filters by network and service.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use api::{Backend, BackendState, Protocol, Vip, VipPort};

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
    lines.extend(table("Backends:", &vip.backends));
    if !vip.published.is_empty() {
        lines.extend(table("Backends of published ports:", &vip.published));
    }
    lines
}

fn table(title: &str, backends: &[Backend]) -> Vec<String> {
    let mut table = vec![
        "  ID\tENDPOINT\tNODE\tADDRESS\tSTATE\tWEIGHT\tSHARE\tACTIVE\tINACTIVE\tTOTAL".to_owned(),
    ];
    table.extend(backends.iter().map(backend));
    let mut lines = vec![title.to_owned()];
    lines.extend(align(&table));
    lines
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
