//! Endpoints: their table and long form, and filters by network, node and service.

use std::net::Ipv4Addr;

use api::Endpoint;

use crate::cell;
use crate::output::{Row, Shown, Width, align};

/// Which endpoints are listed.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Filter {
    /// Only endpoints in this network
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Only endpoints on this node
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Only endpoints behind this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only endpoints on the node that answers
    #[arg(long)]
    local: bool,
}

impl Filter {
    /// Whether `endpoint` is listed.
    pub(crate) fn takes(&self, endpoint: &Endpoint) -> bool {
        let is = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|w| w == name);
        is(&self.network, &endpoint.network)
            && is(&self.node, &endpoint.node)
            && self
                .service
                .as_ref()
                .is_none_or(|service| endpoint.services.contains(service))
            && (!self.local || endpoint.local)
    }
}

impl Shown for Endpoint {
    fn example() -> Self {
        Self {
            id: "0123456789ab".to_owned(),
            name: "web-1".to_owned(),
            network: "app".to_owned(),
            node: "n1".to_owned(),
            addresses: vec![Ipv4Addr::new(10, 0, 1, 11).into()],
            mac: "02:00:00:00:00:01".to_owned(),
            local: true,
            namespace: "/run/netns/web-1".to_owned(),
            interface: "eth0".to_owned(),
            host_interface: "nd0123456789abc".to_owned(),
            vtep: Ipv4Addr::new(192, 0, 2, 11).into(),
            ingress: vec![Ipv4Addr::new(10, 255, 0, 11).into()],
            gateway_addresses: vec![Ipv4Addr::new(172, 30, 0, 2).into()],
            services: vec!["web".to_owned()],
        }
    }
}

impl Row for Endpoint {
    const HEADERS: &'static [&'static str] = &[
        "ID",
        "NAME",
        "NETWORK",
        "NODE",
        "ADDRESSES",
        "INTERFACE",
        "SERVICES",
    ];

    fn cells(&self, width: Width) -> Vec<String> {
        vec![
            self.id.clone(),
            self.name.clone(),
            self.network.clone(),
            self.node.clone(),
            cell::list(&self.addresses),
            self.interface.clone(),
            cell::shorten(cell::list(&self.services), width),
        ]
    }

    fn reference(&self) -> String {
        self.id.clone()
    }
}

/// What people read of one endpoint.
pub(crate) fn describe(endpoint: &Endpoint) -> Vec<String> {
    align(&[
        format!("ID:\t{}", endpoint.id),
        format!("Name:\t{}", endpoint.name),
        format!("Network:\t{}", endpoint.network),
        format!("Node:\t{}", endpoint.node),
        format!("Local:\t{}", cell::flag(endpoint.local)),
        format!("Addresses:\t{}", cell::list(&endpoint.addresses)),
        format!("MAC:\t{}", cell::text(&endpoint.mac)),
        format!("Namespace:\t{}", endpoint.namespace),
        format!("Interface:\t{}", endpoint.interface),
        format!("Host interface:\t{}", cell::text(&endpoint.host_interface)),
        format!("VTEP:\t{}", endpoint.vtep),
        format!("Ingress:\t{}", cell::list(&endpoint.ingress)),
        format!("Gateway:\t{}", cell::list(&endpoint.gateway_addresses)),
        format!("Services:\t{}", cell::list(&endpoint.services)),
    ])
}
