//! Services by nftables, in kube-proxy's shape: a map from what is dialled to the service's chain,
//! from there to an endpoint's, which translates; what comes from outside is masqueraded.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::Rule;
use crate::bench::fabric::Fabric;
use crate::{command, netns};

/// What translates nothing yet: the chains that others jump to, and the hooks.
const FRAME: &str = "
 chain mark-for-masquerade { meta mark set meta mark or 0x4000; }
 chain masquerading {
  meta mark and 0x4000 == 0 return
  meta mark set meta mark xor 0x4000
  masquerade fully-random
 }
 chain services {
  ip daddr . meta l4proto . th dport vmap @service-ips
  fib daddr type local meta l4proto . th dport vmap @service-nodeports
 }
 chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
 chain nat-output { type nat hook output priority -100; jump services; }
 chain nat-postrouting { type nat hook postrouting priority srcnat; jump masquerading; }
";

/// Translates on a node what the rules say, TCP and UDP.
pub(in crate::bench) fn translate(fabric: &Fabric, node: &str, rules: &[Rule]) -> Result<()> {
    let text = table(rules)?;
    netns::inside(&fabric.lab().namespace(node), || {
        command::run_with_input("nft", &["-f", "-"], &text)
    })?
    .with_context(|| format!("translate on {node}"))
    .map(drop)
}

fn table(rules: &[Rule]) -> Result<String> {
    let (mut chains, mut ips, mut ports) = (String::new(), String::new(), String::new());
    for (number, rule) in rules.iter().enumerate() {
        let (pod, target) = (rule.backend.ip(), rule.backend);
        writeln!(
            chains,
            " chain endpoint-{number} {{\n  ip saddr {pod} jump mark-for-masquerade\n  \
             meta l4proto tcp dnat to {target}\n  meta l4proto udp dnat to {target}\n }}\n \
             chain service-{number} {{ numgen random mod 1 vmap {{ 0 : goto endpoint-{number} }}; }}\n \
             chain external-{number} {{\n  jump mark-for-masquerade\n  goto service-{number}\n }}"
        )?;
        for protocol in ["tcp", "udp"] {
            match rule.address {
                Some(address) => writeln!(
                    ips,
                    "{address} . {protocol} . {} : goto service-{number},",
                    rule.port
                )?,
                None => writeln!(
                    ports,
                    "{protocol} . {} : goto external-{number},",
                    rule.port
                )?,
            }
        }
    }
    let elements = |text: &str| match text {
        "" => String::new(),
        text => format!("elements = {{ {text} }}"),
    };
    let (ips, ports) = (elements(&ips), elements(&ports));
    let (masquerading, hooks) = FRAME.split_at(FRAME.find(" chain services").unwrap_or(0));
    Ok(format!(
        "table ip bench {{\n{masquerading}{chains}}}\n\
         table ip bench {{\n \
         map service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; {ips} }}\n \
         map service-nodeports {{ type inet_proto . inet_service : verdict; {ports} }}\n{hooks}}}\n"
    ))
}
