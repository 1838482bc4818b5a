//! Networks: their table, and the long form with endpoints and services.

use std::net::Ipv4Addr;

use api::{Network, NetworkDetail};

use crate::cell;
use crate::output::{Row, Shown, Width, align};

impl Shown for Network {
    fn example() -> Self {
        Self {
            id: "4097".to_owned(),
            name: "app".to_owned(),
            vni: 4097,
            subnets: "10.0.1.0/24".parse().into_iter().collect(),
            gateways: vec![Ipv4Addr::new(10, 0, 1, 1).into()],
            internal: false,
            mtu: Some(1450),
            socket_lb: true,
            endpoints: 3,
            services: 1,
        }
    }
}

impl Row for Network {
    const HEADERS: &'static [&'static str] = &[
        "ID",
        "NAME",
        "SUBNETS",
        "INTERNAL",
        "MTU",
        "ENDPOINTS",
        "SERVICES",
    ];

    fn cells(&self, _width: Width) -> Vec<String> {
        vec![
            self.id.clone(),
            self.name.clone(),
            cell::list(&self.subnets),
            cell::flag(self.internal),
            cell::optional(self.mtu),
            self.endpoints.to_string(),
            self.services.to_string(),
        ]
    }

    fn reference(&self) -> String {
        self.id.clone()
    }
}

impl Shown for NetworkDetail {
    fn example() -> Self {
        Self {
            network: Network::example(),
            endpoint_list: vec!["web-1".to_owned()],
            service_list: vec!["web".to_owned()],
        }
    }
}

/// What people read of one network.
pub(crate) fn describe(detail: &NetworkDetail) -> Vec<String> {
    let network = &detail.network;
    align(&[
        format!("ID:\t{}", network.id),
        format!("Name:\t{}", network.name),
        format!("VNI:\t{}", network.vni),
        format!("Subnets:\t{}", cell::list(&network.subnets)),
        format!("Gateways:\t{}", cell::list(&network.gateways)),
        format!("Internal:\t{}", cell::flag(network.internal)),
        format!("MTU:\t{}", cell::optional(network.mtu)),
        format!("Socket LB:\t{}", cell::flag(network.socket_lb)),
        format!("Endpoints:\t{}", cell::list(&detail.endpoint_list)),
        format!("Services:\t{}", cell::list(&detail.service_list)),
    ])
}
