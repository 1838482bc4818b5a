//! The peer: frontends in a map of nftables.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::Result;

use crate::command;

/// A table with a filled map, in the namespace of the calling thread.
#[derive(Debug)]
pub(super) struct Firewall {
    services: u32,
}

impl Firewall {
    pub(super) fn fill(services: u32) -> Result<Self> {
        let mut text = String::from(
            "table ip bench {\n map services { type ipv4_addr . inet_proto . inet_service \
             : ipv4_addr . inet_service; elements = {\n",
        );
        for service in 0..services {
            writeln!(text, "{},", element(service, 0))?;
        }
        text.push_str(
            "} }\n chain in { type nat hook prerouting priority -100;\n \
             dnat ip addr . port to ip daddr . ip protocol . th dport map @services;\n }\n}\n",
        );
        load(&text)?;
        Ok(Self { services })
    }

    /// Points frontends to other backends, one at a time; how long each took, in seconds.
    pub(super) fn change(&self, count: usize) -> Result<Vec<f64>> {
        let mut times = Vec::new();
        for number in 0..u32::try_from(count)? {
            let service = number.wrapping_mul(7919) % self.services;
            let text = format!(
                "delete element ip bench services {{ {} }}\n\
                 add element ip bench services {{ {} }}\n",
                element(service, 0),
                element(service, 1)
            );
            let start = Instant::now();
            load(&text)?;
            times.push(start.elapsed().as_secs_f64());
        }
        Ok(times)
    }
}

fn element(service: u32, backend: u32) -> String {
    let vip = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 0, 0)) + service);
    let task = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + service * 3 + 1 + backend);
    format!("{vip} . tcp . 80 : {task} . 8080")
}

fn load(text: &str) -> Result<()> {
    command::run_with_input("nft", &["-f", "-"], text).map(drop)
}
