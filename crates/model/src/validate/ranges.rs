//! Ranges of addresses: how they are written, and which have to be apart.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use super::networks::Networks;
use super::nodes::Nodes;
use super::report::Report;
use crate::raw::Located;
use crate::{Family, PerFamily, ProblemKind};

/// A range that something owns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) what: &'static str,
    pub(super) subnet: IpNetwork,
    /// Where it is written; `None` for what holds without being written.
    pub(super) line: Option<usize>,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{} {} (line {line})", self.what, self.subnet),
            None => write!(f, "the default for {} {}", self.what, self.subnet),
        }
    }
}

/// Longest prefix of a subnet: room for its own address, the network's and one task's.
const fn longest_prefix(family: Family) -> u8 {
    family.bits() - 2
}

/// Addresses that no machine or task can have.
pub(super) fn reserved() -> [IpNetwork; 8] {
    const fn v4(a: u8, b: u8, prefix: u8) -> IpNetwork {
        match Ipv4Network::new_checked(Ipv4Addr::new(a, b, 0, 0), prefix) {
            Some(range) => IpNetwork::V4(range),
            None => panic!("the prefix is at most 32"),
        }
    }
    const fn v6(first: u16, sixth: u16, prefix: u8) -> IpNetwork {
        match Ipv6Network::new_checked(Ipv6Addr::new(first, 0, 0, 0, 0, sixth, 0, 0), prefix) {
            Some(range) => IpNetwork::V6(range),
            None => panic!("the prefix is at most 128"),
        }
    }
    const RANGES: [IpNetwork; 8] = [
        v4(0, 0, 8),
        v4(127, 0, 8),
        v4(169, 254, 16),
        v4(224, 0, 3),
        v6(0, 0, 96),
        v6(0, 0xffff, 96),
        v6(0xfe80, 0, 10),
        v6(0xff00, 0, 8),
    ];
    RANGES
}

/// Reads one subnet.
pub(super) fn subnet(text: &Located<String>, report: &mut Report) -> Option<IpNetwork> {
    let given = Some(&text.value).filter(|text| text.contains('/'));
    let Some(given) = given.and_then(|text| text.parse::<IpNetwork>().ok()) else {
        report.add(
            text.line,
            ProblemKind::BadSubnet {
                text: text.value.clone(),
            },
        );
        return None;
    };
    match fault(given) {
        Some(fault) => {
            report.add(text.line, fault);
            None
        }
        None => Some(given),
    }
}

fn fault(given: IpNetwork) -> Option<ProblemKind> {
    let longest = longest_prefix(Family::of_subnet(given));
    if given.prefix() > longest {
        return Some(ProblemKind::TooSmall {
            subnet: given,
            longest,
        });
    }
    if given.ip() != given.network() {
        let network = IpNetwork::new(given.network(), given.prefix()).ok()?;
        return Some(ProblemKind::HostBits { given, network });
    }
    let reserved = reserved()
        .into_iter()
        .find(|range| overlap(*range, given))?;
    Some(ProblemKind::Reserved {
        subnet: given,
        reserved,
    })
}

/// Reads subnets, of which there may be one for each family. `thing` is what the message calls one.
pub(super) fn subnets(
    texts: &[Located<String>],
    thing: &'static str,
    report: &mut Report,
) -> PerFamily<Located<IpNetwork>> {
    let mut subnets = PerFamily::default();
    for text in texts {
        let Some(value) = subnet(text, report) else {
            continue;
        };
        let family = Family::of_subnet(value);
        if subnets.get(family).is_some() {
            report.add(text.line, ProblemKind::SecondOfFamily { family, thing });
        } else {
            subnets.insert(
                family,
                Located {
                    line: text.line,
                    value,
                },
            );
        }
    }
    subnets
}

/// Whether two ranges have an address in common.
pub(super) fn overlap(a: IpNetwork, b: IpNetwork) -> bool {
    a.contains(b.network()) || b.contains(a.network())
}

/// Checks what has to be apart. Networks may overlap each other: every key is (network, address).
pub(super) fn check(nodes: &Nodes, networks: &Networks, report: &mut Report) {
    let underlay: Vec<Range> = nodes.underlay_ranges().collect();
    let gateway: Vec<Range> = nodes.gateway_ranges().collect();
    let ingress: Vec<Range> = networks.ingress_ranges().collect();
    let overlays: Vec<Range> = networks.ranges().collect();
    for range in gateway.iter().chain(&ingress).chain(&overlays) {
        apart(
            *range,
            &underlay,
            "packets to that node would be taken for a task's",
            report,
        );
    }
    for range in ingress.iter().chain(&overlays) {
        apart(
            *range,
            &gateway,
            "a task could not tell its way out from the network",
            report,
        );
    }
    for range in &overlays {
        let why = "a task behind a published port could not tell the two apart";
        apart(*range, &ingress, why, report);
    }
}

fn apart(range: Range, others: &[Range], why: &'static str, report: &mut Report) {
    for other in others {
        clash(range, *other, why, report);
    }
}

/// Reports two ranges that overlap, at the line of the first, or of the second if that one alone
/// is written anywhere.
pub(super) fn clash(range: Range, other: Range, why: &'static str, report: &mut Report) {
    if !overlap(range.subnet, other.subnet) {
        return;
    }
    let (range, other) = if range.line.is_some() {
        (range, other)
    } else {
        (other, range)
    };
    let kind = ProblemKind::Overlap {
        subnet: range.subnet,
        other: other.to_string(),
        why,
    };
    report.add(range.line.unwrap_or(1), kind);
}

/// The range that is one address.
pub(super) fn single(address: IpAddr) -> IpNetwork {
    IpNetwork::from(address)
}
