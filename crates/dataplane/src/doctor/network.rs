//! The underlay: sizes, what its interfaces do by themselves, who answers.

use std::net::IpAddr;

use super::{Finding, Subject};
use crate::kernel::echo::{self, Echo};
use crate::kernel::{ethtool, straight};
use crate::lower::direct::Proof;

/// The smallest MTU that IPv6 works with.
const LEAST_MTU: u32 = 1280;

/// Features of an uplink that tunnelled packets gain by, and what is slower without.
const FEATURES: [(&str, &str); 3] = [
    (
        "tx-udp_tnl-segmentation",
        "segments of tunnelled TCP are cut by the processor",
    ),
    (
        "rx-gro",
        "received segments are not put together before the programs see them",
    ),
    (
        "tx-scatter-gather",
        "packets are copied before they are sent",
    ),
];

/// Any of these means that checksums inside of the tunnel need not be computed by the processor.
const CHECKSUMS: [&str; 3] = [
    "tx-checksum-ip-generic",
    "tx-checksum-ipv4",
    "tx-checksum-ipv6",
];

/// Whether the tunnel leaves enough.
pub(super) fn mtu(subject: &Subject) -> Vec<Finding> {
    let (Some(underlay), Some(overlay)) = (&subject.underlay, subject.overlay_mtu) else {
        return vec![Finding::fail(
            "underlay",
            "",
            "no interface is known to carry the overlay",
            "see `netctl status` for what is missing",
        )];
    };
    let message = format!(
        "the underlay carries {} bytes, the overlay {overlay}",
        underlay.mtu
    );
    let mut findings = vec![if overlay < LEAST_MTU {
        let needed = LEAST_MTU + (underlay.mtu - overlay);
        let advice = format!("an MTU of {needed} bytes or more on the underlay");
        Finding::fail("mtu", &underlay.interface, message, advice)
    } else {
        Finding::ok("mtu", &underlay.interface, message)
    }];
    let others = subject
        .uplinks
        .iter()
        .filter(|(name, mtu)| **name != underlay.interface && **mtu < overlay);
    findings.extend(others.map(|(name, mtu)| {
        Finding::warn(
            "mtu",
            name,
            format!("clients by this uplink get {mtu} bytes, less than the overlay's {overlay}"),
            "the same MTU on every uplink, or `mtu` on the networks behind published ports",
        )
    }));
    findings
}

/// What the uplinks take off the processor.
pub(super) fn offloads(subject: &Subject) -> Vec<Finding> {
    subject
        .uplinks
        .keys()
        .map(|link| match ethtool::features(link) {
            Ok(features) => {
                let on = |name: &&str| features.get(*name).copied().unwrap_or(true);
                let mut off: Vec<(&str, &str)> =
                    FEATURES.into_iter().filter(|(name, _)| !on(name)).collect();
                let known = CHECKSUMS.iter().any(|name| features.contains_key(*name));
                let sums = |name: &&str| features.get(*name) == Some(&true);
                if known && !CHECKSUMS.iter().any(sums) {
                    off.push((CHECKSUMS[0], "checksums are computed by the processor"));
                }
                judge_offloads(link, &off)
            }
            Err(error) => Finding::warn(
                "offloads",
                link,
                format!("what the interface does by itself cannot be asked: {error}"),
                "look with `ethtool -k`",
            ),
        })
        .collect()
}

fn judge_offloads(link: &str, off: &[(&str, &str)]) -> Finding {
    if off.is_empty() {
        let message = "segmentation and checksums of tunnelled packets are left to the interface";
        return Finding::ok("offloads", link, message);
    }
    let messages: Vec<&str> = off.iter().map(|(_, message)| *message).collect();
    let names: Vec<String> = off.iter().map(|(name, _)| format!("{name} on")).collect();
    Finding::warn(
        "offloads",
        link,
        messages.join("; "),
        format!("ethtool -K {link} {}, if it can", names.join(" ")),
    )
}

/// Who answers on the underlay, and to packets of which size.
pub(super) fn reach(subject: &Subject) -> Vec<Finding> {
    let Some(underlay) = &subject.underlay else {
        return Vec::new();
    };
    let peers: Vec<IpAddr> = subject.peers.iter().copied().collect();
    match echo::ask(&peers, underlay.mtu) {
        Ok(answers) => answers
            .into_iter()
            .map(|(peer, echo)| judge_echo(peer, echo, underlay.mtu))
            .collect(),
        Err(error) => vec![Finding::warn(
            "underlay",
            "",
            format!("other nodes cannot be asked for an echo: {error}"),
            "CAP_NET_RAW for netd",
        )],
    }
}

/// Whether other nodes can answer this one's clients themselves, as `return = "dsr"` has them do.
pub(super) fn direct_return(subject: &Subject) -> Vec<Finding> {
    const CHECK: &str = "direct-return";
    let Some(underlay) = subject.underlay.as_ref().filter(|_| subject.publishes) else {
        return Vec::new();
    };
    let own = underlay.address;
    let proofs = match straight::ask(own, &subject.peers) {
        Ok(proofs) => proofs,
        Err(error) => {
            let message = format!("other nodes cannot be asked to send from {own}: {error}");
            return vec![Finding::warn(CHECK, "", message, "CAP_NET_RAW for netd")];
        }
    };
    let finding = |(node, proof): (IpAddr, Proof)| {
        let about = node.to_string();
        match proof {
            Proof::Arrives => {
                let message = format!("{node} can answer clients of this node itself");
                Some(Finding::ok(CHECK, &about, message))
            }
            Proof::Lost => {
                let message = format!("what {node} sends from {own} does not arrive: no dsr");
                Some(if subject.returns_direct {
                    let advice = "an underlay that lets nodes send from each other's addresses, or \
                                  `return = \"via\"`";
                    Finding::fail(CHECK, &about, message, advice)
                } else {
                    Finding::ok(CHECK, &about, message)
                })
            }
            // As the check of the underlay says.
            Proof::Silent => None,
        }
    };
    proofs.into_iter().filter_map(finding).collect()
}

fn judge_echo(peer: IpAddr, echo: Echo, mtu: u32) -> Finding {
    let about = peer.to_string();
    match (echo.small, echo.full) {
        (_, true) => {
            let message = format!("{peer} answers, also to packets of {mtu} bytes");
            Finding::ok("underlay", &about, message)
        }
        (true, false) => Finding::fail(
            "underlay",
            &about,
            format!("{peer} answers to small packets, but not to packets of {mtu} bytes"),
            "the same MTU on every node and everything between them, or a smaller one on this \
             node's underlay",
        ),
        (false, false) => Finding::fail(
            "underlay",
            &about,
            format!("{peer} does not answer an echo request within a second"),
            "see whether the node is up, and whether something between drops ICMP",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_path_that_is_too_narrow_is_no_small_thing() {
        let peer = "192.0.2.2".parse().unwrap();
        let judge = |small, full| judge_echo(peer, Echo { small, full }, 1500).verdict;
        assert_eq!(judge(true, true), Verdict::Ok);
        assert_eq!(judge(true, false), Verdict::Fail);
        assert_eq!(judge(false, false), Verdict::Fail);
    }

    #[test]
    fn what_is_off_is_named_with_the_command_that_puts_it_on() {
        let finding = judge_offloads("eth0", &FEATURES[..1]);
        assert_eq!(finding.verdict, Verdict::Warn);
        assert_eq!(
            finding.advice,
            "ethtool -K eth0 tx-udp_tnl-segmentation on, if it can"
        );
        assert_eq!(judge_offloads("eth0", &[]).verdict, Verdict::Ok);
    }
}
