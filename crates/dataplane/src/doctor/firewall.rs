//! What others on the node do to netd's packets and ports.

use super::{Finding, Subject};
use crate::kernel::nft::{self, Fate, Packet};
use crate::kernel::probe;

/// Whether rules of others drop the tunnel's packets, or what tasks send out.
pub(super) fn foreign(subject: &Subject) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (packet, what, advice) in packets(subject) {
        match nft::fate(&packet) {
            Ok(Fate::Passes) => {}
            Ok(Fate::Dropped(chain)) => findings.push(Finding::fail(
                "firewall",
                &chain,
                format!("the nftables chain drops {what}"),
                advice,
            )),
            Ok(Fate::Unclear(chain)) => findings.push(Finding::warn(
                "firewall",
                &chain,
                format!(
                    "the nftables chain drops {what} unless one of its rules, which netd cannot \
                     judge, lets them pass"
                ),
                advice,
            )),
            Err(error) => {
                let message = format!("the node's rules cannot be read: {error}");
                return vec![Finding::warn("firewall", "", message, "nft(8)")];
            }
        }
    }
    findings.extend(
        probe::old_iptables()
            .into_iter()
            .map(|problem| Finding::fail("firewall", "", problem.message, problem.needed)),
    );
    if findings.is_empty() {
        let message = "no rule drops the tunnel's packets or what tasks send out";
        findings.push(Finding::ok("firewall", "", message));
    }
    findings
}

/// What the node's rules are asked for, with words for it and what would help.
fn packets(subject: &Subject) -> Vec<(Packet, String, String)> {
    let mut packets = Vec::new();
    let Some(underlay) = &subject.underlay else {
        return packets;
    };
    let link = &underlay.interface;
    if let Some(port) = subject.claims.data_path {
        for (hook, what, incoming, outgoing) in [
            ("input", "what other nodes send", link.as_str(), ""),
            ("output", "what is sent to other nodes", "", link.as_str()),
        ] {
            let packet = Packet {
                hook,
                is_v4: underlay.address.is_ipv4(),
                incoming: incoming.to_owned(),
                outgoing: outgoing.to_owned(),
                udp_port: Some(port),
            };
            let what = format!("{what} by UDP port {port}");
            packets.push((packet, what, format!("accept UDP port {port} in it")));
        }
    }
    if !subject.gateways.is_empty() {
        for (is_v4, family) in [(true, "IPv4"), (false, "IPv6")] {
            let packet = Packet {
                hook: "forward",
                is_v4,
                incoming: format!("{}*", subject.gateways),
                outgoing: link.clone(),
                udp_port: None,
            };
            let what = format!("what tasks send to the outside by {family}");
            let advice = format!("accept interfaces {}* in it, both ways", subject.gateways);
            packets.push((packet, what, advice));
        }
    }
    packets
}

/// Whether a process has bound a port of netd's.
pub(super) fn ports(subject: &Subject) -> Vec<Finding> {
    let clashes = match subject.claims.clashes() {
        Ok(clashes) => clashes,
        Err(error) => {
            let message = format!("bound ports cannot be read: {error}");
            return vec![Finding::warn("ports", "", message, "/proc, mounted")];
        }
    };
    if clashes.is_empty() {
        let message = "no process has bound a published port or the data-path port";
        return vec![Finding::ok("ports", "", message)];
    }
    clashes
        .iter()
        .map(|clash| {
            let port = clash.bound.port.to_string();
            Finding::fail("ports", &port, clash.message(), clash.needed())
        })
        .collect()
}
