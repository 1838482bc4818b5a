//! Published ports: their table, and filters by service and protocol.

use api::{Port, PortMode, Protocol};

use crate::cell;
use crate::output::{Row, Shown, Width};

/// Which published ports are listed.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Filter {
    /// Only ports of this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only ports of this protocol: tcp or udp
    #[arg(long, value_name = "NAME", ignore_case = true, value_parser = ["tcp", "udp"])]
    protocol: Option<String>,
}

impl Filter {
    /// Whether `port` is listed.
    pub(crate) fn takes(&self, port: &Port) -> bool {
        let protocol = port.protocol.as_str();
        self.service.as_ref().is_none_or(|s| *s == port.service)
            && self
                .protocol
                .as_ref()
                .is_none_or(|p| p.eq_ignore_ascii_case(protocol))
    }
}

impl Shown for Port {
    fn example() -> Self {
        Self {
            id: "8080/tcp".to_owned(),
            name: "web".to_owned(),
            service: "web".to_owned(),
            port: 8080,
            target: 8080,
            protocol: Protocol::Tcp,
            algorithm: "mh".to_owned(),
            affinity: 600,
            mode: PortMode::Ingress,
            nodes: Vec::new(),
            addresses: Vec::new(),
            r#return: "via".to_owned(),
            backends: 2,
            active: Some(1),
        }
    }
}

/// Whose backends answer, and where if not everywhere: `host n1,n2 192.0.2.1`.
fn place(port: &Port) -> String {
    let addresses: Vec<String> = port.addresses.iter().map(ToString::to_string).collect();
    let words = [
        port.mode.as_str().to_owned(),
        port.nodes.join(","),
        addresses.join(","),
    ];
    let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

impl Row for Port {
    const HEADERS: &'static [&'static str] = &[
        "PORT",
        "SERVICE",
        "TARGET",
        "ALGORITHM",
        "AFFINITY",
        "MODE",
        "RETURN",
        "BACKENDS",
        "ACTIVE",
    ];

    fn cells(&self, _width: Width) -> Vec<String> {
        vec![
            self.id.clone(),
            self.service.clone(),
            self.target.to_string(),
            self.algorithm.clone(),
            cell::seconds(self.affinity),
            place(self),
            self.r#return.clone(),
            self.backends.to_string(),
            cell::optional(self.active),
        ]
    }

    fn reference(&self) -> String {
        self.id.clone()
    }
}
