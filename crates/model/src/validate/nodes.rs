//! The machines, and where their tasks' ways out come from.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use super::ranges::{self, Range};
use super::report::{Key, Names, Report};
use crate::raw::{self, Field, Located};
use crate::{Carrier, Family, NodeName, PerFamily, ProblemKind};

/// Where gateway addresses come from unless the topology says otherwise.
const DEFAULT_POOLS: [(IpAddr, u8); 2] = [
    (IpAddr::V4(Ipv4Addr::new(172, 30, 0, 0)), 16),
    (
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0x6e65, 0x7464, 0, 0, 0, 0, 0)),
        48,
    ),
];

const POOL: &str = "the gateway pool";
const BLOCK: &str = "the gateway block";

/// What has been read.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    pub(super) names: Names,
    pub(super) all: BTreeMap<NodeName, Draft>,
    pools: PerFamily<Range>,
}

/// A node that is complete.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) address: Located<IpAddr>,
    /// Its blocks; those without a line follow from its place in the file.
    pub(super) gateway: PerFamily<Range>,
    pub(super) carrier: Carrier,
}

impl Nodes {
    /// The nodes' addresses.
    pub(super) fn underlay_ranges(&self) -> impl Iterator<Item = Range> {
        self.all.values().map(|node| Range {
            what: "the node address",
            subnet: ranges::single(node.address.value),
            line: Some(node.address.line),
        })
    }

    /// The gateway pools, and the blocks that were given outside of them.
    pub(super) fn gateway_ranges(&self) -> impl Iterator<Item = Range> {
        let outside = |block: &Range| {
            !self
                .pools
                .iter()
                .any(|pool| ranges::overlap(pool.subnet, block.subnet))
        };
        self.pools
            .iter()
            .copied()
            .chain(self.blocks().filter(outside))
    }

    fn blocks(&self) -> impl Iterator<Item = Range> {
        self.all
            .values()
            .flat_map(|node| node.gateway.iter().copied())
    }
}

/// Reads the nodes and the gateway pools.
pub(super) fn read(raw: &raw::Topology, report: &mut Report) -> Nodes {
    let mut nodes = Nodes {
        pools: pools(raw, report),
        ..Nodes::default()
    };
    for (position, node) in raw.nodes.iter().enumerate() {
        if let Some((name, draft)) = read_one((position, node), &mut nodes, report) {
            nodes.all.insert(name, draft);
        }
    }
    check_addresses(&nodes, report);
    check_blocks(&nodes, report);
    nodes
}

fn pools(raw: &raw::Topology, report: &mut Report) -> PerFamily<Range> {
    let mut pools = PerFamily::default();
    let Some(gateway) = &raw.gateway else {
        for (address, prefix) in DEFAULT_POOLS {
            if let Ok(subnet) = IpNetwork::new(address, prefix) {
                pools.insert(
                    Family::of(address),
                    Range {
                        what: POOL,
                        subnet,
                        line: None,
                    },
                );
            }
        }
        return pools;
    };
    for pool in ranges::subnets(&gateway.value.pools, "gateway pool", report).iter() {
        let (subnet, family) = (pool.value, Family::of_subnet(pool.value));
        let longest = block_prefix(family);
        if subnet.prefix() > longest {
            report.add(pool.line, ProblemKind::TooSmall { subnet, longest });
        } else {
            pools.insert(
                family,
                Range {
                    what: POOL,
                    subnet,
                    line: Some(pool.line),
                },
            );
        }
    }
    pools
}

fn read_one(
    (position, node): (usize, &Located<raw::Node>),
    nodes: &mut Nodes,
    report: &mut Report,
) -> Option<(NodeName, Draft)> {
    let key = |key| Key {
        noun: "node",
        key,
        line: node.line,
    };
    let name = report.name(&node.value.name, key("name"), &mut nodes.names);
    let address = report.required(&node.value.address, key("address"));
    let address = address.and_then(|text| underlay_address(text, report));
    let mut gateway = PerFamily::default();
    for block in ranges::subnets(&node.value.gateway, "gateway block", report).iter() {
        let range = Range {
            what: BLOCK,
            subnet: block.value,
            line: Some(block.line),
        };
        gateway.insert(Family::of_subnet(block.value), range);
    }
    for pool in nodes.pools.iter().map(|pool| pool.subnet) {
        let family = Family::of_subnet(pool);
        if gateway.get(family).is_some() {
            continue;
        }
        match block(pool, position) {
            Some(subnet) => {
                gateway.insert(
                    family,
                    Range {
                        what: BLOCK,
                        subnet,
                        line: None,
                    },
                );
            }
            None => report.add(node.line, ProblemKind::PoolExhausted { pool }),
        }
    }
    Some((
        name?,
        Draft {
            address: address?,
            gateway,
            carrier: carrier(&node.value.carrier, report),
        },
    ))
}

fn carrier(field: &Field<String>, report: &mut Report) -> Carrier {
    let Some(text) = report.optional(field) else {
        return Carrier::default();
    };
    let unknown = |cause| ProblemKind::UnknownCarrier {
        text: text.value.clone(),
        cause,
    };
    text.value.parse().unwrap_or_else(|cause| {
        report.add(text.line, unknown(cause));
        Carrier::default()
    })
}

fn underlay_address(text: &Located<String>, report: &mut Report) -> Option<Located<IpAddr>> {
    let address = report.address(text)?;
    if super::is_reserved(address) {
        report.add(text.line, ProblemKind::UnusableAddress { address });
        return None;
    }
    Some(Located {
        line: text.line,
        value: address,
    })
}

/// Prefix length of the block of one node.
const fn block_prefix(family: Family) -> u8 {
    match family {
        Family::V4 => 24,
        Family::V6 => 64,
    }
}

/// The block of the node at `position`, counted from 0; `None` when the pool has fewer.
fn block(pool: IpNetwork, position: usize) -> Option<IpNetwork> {
    let position = u32::try_from(position).ok()?;
    let prefix = block_prefix(Family::of_subnet(pool));
    let blocks = 1_u128 << (prefix - pool.prefix()).min(64);
    if u128::from(position) >= blocks {
        return None;
    }
    match pool {
        IpNetwork::V4(pool) => {
            let address = u32::from(pool.network()) | (position << (32 - prefix));
            Ipv4Network::new(Ipv4Addr::from(address), prefix)
                .ok()
                .map(IpNetwork::V4)
        }
        IpNetwork::V6(pool) => {
            let address = u128::from(pool.network()) | (u128::from(position) << (128 - prefix));
            Ipv6Network::new(Ipv6Addr::from(address), prefix)
                .ok()
                .map(IpNetwork::V6)
        }
    }
}

fn check_addresses(nodes: &Nodes, report: &mut Report) {
    let mut by_line: Vec<_> = nodes.all.iter().collect();
    by_line.sort_by_key(|(_, node)| node.address.line);
    let mut seen: BTreeMap<IpAddr, (&NodeName, usize)> = BTreeMap::new();
    let first = by_line.first().map(|(_, node)| node.address.clone());
    for (name, node) in by_line {
        let Located {
            line,
            value: address,
        } = node.address;
        let family = Family::of(address);
        if let Some(first) = first
            .as_ref()
            .filter(|first| Family::of(first.value) != family)
        {
            let first = first.line;
            report.add(
                line,
                ProblemKind::MixedFamilies {
                    address,
                    family,
                    first,
                },
            );
        }
        if let Some((other, first)) = seen.get(&address) {
            let (node, first) = ((*other).clone(), *first);
            report.add(
                line,
                ProblemKind::DuplicateNodeAddress {
                    address,
                    node,
                    first,
                },
            );
        } else {
            seen.insert(address, (name, line));
        }
    }
}

/// Blocks of different nodes have to be apart. Those that follow from the file's order are.
fn check_blocks(nodes: &Nodes, report: &mut Report) {
    let mut blocks: Vec<Range> = nodes.blocks().collect();
    blocks.sort_by_key(|block| block.line);
    let given = blocks.partition_point(|block| block.line.is_none());
    for index in given..blocks.len() {
        for other in &blocks[..index] {
            ranges::clash(
                blocks[index],
                *other,
                "gateway addresses are unique in the cluster",
                report,
            );
        }
    }
}
