//! The overlay networks and the ingress network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::ranges::{self, Range};
use super::report::{Key, Names, Report};
use crate::raw::{self, Field, Located};
use crate::{Family, NetworkName, PerFamily, ProblemKind, Vni};

/// What has been read.
#[derive(Debug, Default)]
pub(super) struct Networks {
    pub(super) names: Names,
    pub(super) all: BTreeMap<NetworkName, Draft>,
    /// Whether there is an ingress network, broken or not.
    pub(super) has_ingress: bool,
    pub(super) ingress: Option<Ingress>,
}

/// A network that is complete.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) vni: Vni,
    pub(super) subnets: PerFamily<Located<IpNetwork>>,
    pub(super) internal: bool,
    pub(super) mtu: Option<u16>,
    pub(super) socket_lb: bool,
}

/// The ingress network, complete.
#[derive(Debug)]
pub(super) struct Ingress {
    pub(super) vni: Vni,
    pub(super) subnets: PerFamily<Located<IpNetwork>>,
}

/// Largest MTU: 65,535 less the 50 bytes of VXLAN over IPv4.
const LARGEST_MTU: u16 = 65_485;

impl Networks {
    /// The subnets of the ingress network.
    pub(super) fn ingress_ranges(&self) -> impl Iterator<Item = Range> {
        let subnets = self
            .ingress
            .iter()
            .flat_map(|ingress| ingress.subnets.iter());
        subnets.map(|subnet| range("the ingress subnet", subnet))
    }

    /// The subnets of all other networks.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range> {
        let subnets = self.all.values().flat_map(|network| network.subnets.iter());
        subnets.map(|subnet| range("the subnet", subnet))
    }
}

const fn range(what: &'static str, subnet: &Located<IpNetwork>) -> Range {
    Range {
        what,
        subnet: subnet.value,
        line: Some(subnet.line),
    }
}

/// Reads the networks.
pub(super) fn read(raw: &raw::Topology, report: &mut Report) -> Networks {
    let mut networks = Networks {
        has_ingress: raw.ingress.is_some(),
        ..Networks::default()
    };
    let mut vnis = BTreeMap::new();
    networks.ingress = raw
        .ingress
        .as_ref()
        .and_then(|ingress| read_ingress(ingress, &mut vnis, report));
    for network in &raw.networks {
        let names = &mut networks.names;
        if let Some((name, draft)) = read_one(network, names, &mut vnis, report) {
            networks.all.insert(name, draft);
        }
    }
    networks
}

fn read_ingress(
    ingress: &Located<raw::Ingress>,
    vnis: &mut BTreeMap<Vni, usize>,
    report: &mut Report,
) -> Option<Ingress> {
    let vni = match &ingress.value.vni {
        Field::Absent => {
            vnis.insert(Vni::DEFAULT_INGRESS, ingress.line);
            Some(Vni::DEFAULT_INGRESS)
        }
        given @ (Field::Given(_) | Field::Malformed) => report
            .optional(given)
            .and_then(|number| vni(number, vnis, report)),
    };
    let subnets = read_subnets(
        &ingress.value.subnets,
        ("the ingress network", ingress.line),
        report,
    );
    Some(Ingress {
        vni: vni?,
        subnets: subnets?,
    })
}

fn read_one(
    network: &Located<raw::Network>,
    names: &mut Names,
    vnis: &mut BTreeMap<Vni, usize>,
    report: &mut Report,
) -> Option<(NetworkName, Draft)> {
    let key = |key| Key {
        noun: "network",
        key,
        line: network.line,
    };
    let raw = &network.value;
    let name: Option<NetworkName> = report.name(&raw.name, key("name"), names);
    if let (Some(name), Field::Given(text)) = (&name, &raw.name)
        && name.as_str() == NetworkName::INGRESS
    {
        let name = name.clone();
        report.add(text.line, ProblemKind::ReservedName { name });
    }
    let number = report.required(&raw.vni, key("vni"));
    let vni = number.and_then(|number| vni(number, vnis, report));
    let subnets = read_subnets(&raw.subnets, ("a network", network.line), report);
    let internal = report
        .optional(&raw.internal)
        .is_some_and(|internal| internal.value);
    let has_v6 = subnets.as_ref().is_some_and(|subnets| subnets.v6.is_some());
    let mtu = report
        .optional(&raw.mtu)
        .and_then(|number| mtu(number, has_v6, report));
    let socket_lb = report
        .optional(&raw.socket_lb)
        .is_none_or(|socket_lb| socket_lb.value);
    Some((
        name?,
        Draft {
            vni: vni?,
            subnets: subnets?,
            internal,
            mtu,
            socket_lb,
        },
    ))
}

fn vni(number: &Located<i64>, vnis: &mut BTreeMap<Vni, usize>, report: &mut Report) -> Option<Vni> {
    let vni = match Vni::try_from(number.value) {
        Ok(vni) => vni,
        Err(cause) => {
            report.add(
                number.line,
                ProblemKind::BadVni {
                    number: number.value,
                    cause,
                },
            );
            return None;
        }
    };
    if let Some(first) = vnis.get(&vni) {
        report.add(
            number.line,
            ProblemKind::DuplicateVni { vni, first: *first },
        );
    } else {
        vnis.insert(vni, number.line);
    }
    Some(vni)
}

fn read_subnets(
    field: &Field<Vec<Located<String>>>,
    (noun, line): (&'static str, usize),
    report: &mut Report,
) -> Option<PerFamily<Located<IpNetwork>>> {
    let texts = report.optional(field).map(|texts| texts.value.as_slice());
    let none = matches!(field, Field::Absent) || texts.is_some_and(<[_]>::is_empty);
    if none {
        report.add(line, ProblemKind::NoSubnet { noun });
    }
    let subnets = ranges::subnets(texts.unwrap_or_default(), "subnet", report);
    (!subnets.is_empty()).then_some(subnets)
}

fn mtu(number: &Located<i64>, has_v6: bool, report: &mut Report) -> Option<u16> {
    let least = if has_v6 { 1280 } else { 576 };
    let mtu = u16::try_from(number.value)
        .ok()
        .filter(|mtu| (least..=LARGEST_MTU).contains(mtu));
    if mtu.is_none() {
        report.add(
            number.line,
            ProblemKind::BadMtu {
                number: number.value,
                least,
            },
        );
    }
    mtu
}

/// A network's own address: the first usable one of a subnet.
pub(super) fn own_addresses(subnets: &PerFamily<Located<IpNetwork>>) -> PerFamily<IpAddr> {
    let mut gateways = PerFamily::default();
    for subnet in subnets.iter() {
        let address = super::space::address(subnet.value, 1);
        gateways.insert(Family::of(address), address);
    }
    gateways
}
