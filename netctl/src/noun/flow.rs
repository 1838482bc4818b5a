//! Flows: their table, and filters by what stands in it. Filters are applied here: netd tells all
//! flows that it has.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use api::{Flow, FlowState, Transfer};

use crate::cell;
use crate::output::{Row, Shown, Width};

/// Which flows are listed.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Filter {
    /// Only flows in this network
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Only flows of this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only flows of this protocol: tcp or udp
    #[arg(long, value_name = "NAME")]
    protocol: Option<String>,
    /// Only flows in this state
    #[arg(long, value_parser = ["syn", "established", "closing", "closed", "one-way", "answered"])]
    state: Option<String>,
    /// Only flows of this client: ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT
    #[arg(long, value_name = "ADDRESS")]
    client: Option<Place>,
    /// Only flows to this frontend
    #[arg(long, value_name = "ADDRESS")]
    frontend: Option<Place>,
    /// Only flows to this backend
    #[arg(long, value_name = "ADDRESS")]
    backend: Option<Place>,
}

/// An address, with or without a port.
#[derive(Clone, Copy, Debug)]
struct Place {
    address: IpAddr,
    port: Option<u16>,
}

/// A text that is no [`Place`].
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("wants an address like 10.0.1.11, 10.0.1.11:80, fd00::1 or [fd00::1]:80")]
struct NoPlace;

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        if let Ok(address) = text.parse() {
            let port = None;
            return Ok(Self { address, port });
        }
        let with_port: SocketAddr = text.parse().map_err(|_| NoPlace)?;
        Ok(Self {
            address: with_port.ip(),
            port: Some(with_port.port()),
        })
    }
}

impl Place {
    fn is(self, place: SocketAddr) -> bool {
        self.address == place.ip() && self.port.is_none_or(|port| port == place.port())
    }
}

impl Filter {
    /// The service that is asked for.
    pub(crate) fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// Whether `flow` is listed.
    pub(crate) fn takes(&self, flow: &Flow) -> bool {
        let is = |wanted: &Option<String>, name: &str| {
            wanted
                .as_deref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(name))
        };
        let at = |wanted: Option<Place>, place: Option<SocketAddr>| {
            wanted.is_none_or(|wanted| place.is_some_and(|place| wanted.is(place)))
        };
        is(&self.network, &flow.network)
            && is(&self.service, &flow.service)
            && is(&self.protocol, &flow.protocol)
            && is(&self.state, flow.state.as_str())
            && at(self.client, Some(flow.client))
            && at(self.frontend, flow.frontend)
            && at(self.backend, flow.backend)
    }
}

impl Shown for Flow {
    fn example() -> Self {
        let place = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 80);
        Self {
            id: "0123456789abcdef".to_owned(),
            name: "web".to_owned(),
            network: "app".to_owned(),
            protocol: "tcp".to_owned(),
            client: place,
            frontend: Some(place),
            backend: Some(place),
            service: "web".to_owned(),
            state: FlowState::Established,
            direction: "local".to_owned(),
            idle_ms: 4,
            expires_ms: 7_440_000,
            packets: Transfer {
                forward: 1,
                reply: 1,
            },
            bytes: Transfer {
                forward: 60,
                reply: 60,
            },
        }
    }
}

impl Row for Flow {
    const HEADERS: &'static [&'static str] = &[
        "NETWORK",
        "PROTOCOL",
        "CLIENT",
        "FRONTEND",
        "BACKEND",
        "SERVICE",
        "STATE",
        "DIRECTION",
        "IDLE",
        "EXPIRES",
        "PACKETS",
        "BYTES",
    ];

    fn cells(&self, _width: Width) -> Vec<String> {
        vec![
            cell::text(&self.network),
            self.protocol.clone(),
            self.client.to_string(),
            cell::optional(self.frontend),
            cell::optional(self.backend),
            cell::text(&self.service),
            self.state.as_str().to_owned(),
            self.direction.clone(),
            cell::span(Duration::from_millis(self.idle_ms)),
            cell::span(Duration::from_millis(self.expires_ms)),
            format!("{}/{}", self.packets.forward, self.packets.reply),
            format!(
                "{}/{}",
                cell::bytes(self.bytes.forward),
                cell::bytes(self.bytes.reply)
            ),
        ]
    }

    fn reference(&self) -> String {
        self.client.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_with_and_without_port() {
        let flow = Flow::example();
        for (client, taken) in [
            ("127.0.0.1", true),
            ("127.0.0.1:80", true),
            ("127.0.0.1:81", false),
            ("127.0.0.2", false),
            ("::1", false),
            ("[::1]:80", false),
        ] {
            let filter = Filter {
                client: Some(client.parse().unwrap()),
                ..Filter::default()
            };
            assert_eq!(filter.takes(&flow), taken, "{client}");
        }
        assert!("web-1".parse::<Place>().is_err());
    }

    #[test]
    fn a_flow_without_backend_is_at_no_backend() {
        let mut flow = Flow::example();
        flow.backend = None;
        let filter = Filter {
            backend: Some("127.0.0.1".parse().unwrap()),
            ..Filter::default()
        };
        assert!(!filter.takes(&flow));
        assert!(Filter::default().takes(&flow));
    }
}
