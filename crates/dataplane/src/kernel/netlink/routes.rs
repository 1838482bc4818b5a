//! Routes and rules of our own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::StreamExt;
use ipnetwork::IpNetwork;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType, RouteVia,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{IpVersion, RouteMessageBuilder};

use super::addresses::family;
use super::{Netlink, NetlinkError, PROTOCOL, collect};
use crate::world::{Route, Rule};

/// Where the kernel would send a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    /// The interface's index.
    pub(crate) index: u32,
    /// The neighbour there.
    pub(crate) address: IpAddr,
    /// The route's own limit in bytes.
    pub(crate) mtu: Option<u32>,
}

impl Netlink {
    /// Asks where the kernel would send a packet; `None` when nowhere.
    pub(crate) async fn hop(
        &self,
        destination: IpAddr,
        source: IpAddr,
    ) -> Result<Option<Hop>, NetlinkError> {
        let query = match (destination, source) {
            (IpAddr::V4(to), IpAddr::V4(from)) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(to, 32)
                .source_prefix(from, 32)
                .build(),
            (IpAddr::V6(to), IpAddr::V6(from)) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(to, 128)
                .source_prefix(from, 128)
                .build(),
            _ => return Ok(None),
        };
        let mut answers = std::pin::pin!(self.handle.route().get(query).execute());
        match answers.next().await {
            Some(Ok(answer)) => Ok(read_hop(&answer, destination)),
            Some(Err(error)) => {
                let error = NetlinkError::new("find the route to", destination, error);
                if error.is_unreachable() {
                    Ok(None)
                } else {
                    Err(error)
                }
            }
            None => Ok(None),
        }
    }

    /// Our routes, each with its interface's index.
    pub(crate) async fn routes(&self) -> Result<Vec<(u32, Route)>, NetlinkError> {
        let mut routes = Vec::new();
        for query in [
            RouteMessageBuilder::<Ipv4Addr>::new().build(),
            RouteMessageBuilder::<Ipv6Addr>::new().build(),
        ] {
            let messages = collect("list routes", self.handle.route().get(query).execute()).await?;
            routes.extend(messages.iter().filter_map(read_route));
        }
        Ok(routes)
    }

    pub(crate) async fn add_route(&self, index: u32, route: &Route) -> Result<(), NetlinkError> {
        let request = self.handle.route().add(write_route(index, route));
        request
            .execute()
            .await
            .map_err(|e| NetlinkError::new("add route", route.destination, e))
    }

    pub(crate) async fn remove_route(&self, index: u32, route: &Route) -> Result<(), NetlinkError> {
        let request = self.handle.route().del(write_route(index, route));
        request
            .execute()
            .await
            .map_err(|e| NetlinkError::new("remove route", route.destination, e))
    }

    /// Our rules.
    pub(crate) async fn rules(&self) -> Result<Vec<Rule>, NetlinkError> {
        let mut rules = Vec::new();
        for version in [IpVersion::V4, IpVersion::V6] {
            let messages = collect("list rules", self.handle.rule().get(version).execute()).await?;
            rules.extend(messages.iter().filter_map(read_rule));
        }
        Ok(rules)
    }

    pub(crate) async fn add_rule(&self, rule: &Rule) -> Result<(), NetlinkError> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = write_rule(rule);
        request
            .execute()
            .await
            .map_err(|e| NetlinkError::new("add rule from", rule.from, e))
    }

    pub(crate) async fn remove_rule(&self, rule: &Rule) -> Result<(), NetlinkError> {
        let request = self.handle.rule().del(write_rule(rule));
        request
            .execute()
            .await
            .map_err(|e| NetlinkError::new("remove rule from", rule.from, e))
    }
}

fn read_hop(message: &RouteMessage, destination: IpAddr) -> Option<Hop> {
    if message.header.kind != RouteType::Unicast {
        return None;
    }
    let mut hop = Hop {
        index: 0,
        address: destination,
        mtu: None,
    };
    for attribute in &message.attributes {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "dozens of attributes, four of use"
        )]
        match attribute {
            RouteAttribute::Oif(oif) => hop.index = *oif,
            RouteAttribute::Gateway(address) => hop.address = read_ip(address)?,
            RouteAttribute::Via(RouteVia::Inet(v4)) => hop.address = IpAddr::V4(*v4),
            RouteAttribute::Via(RouteVia::Inet6(v6)) => hop.address = IpAddr::V6(*v6),
            RouteAttribute::Metrics(metrics) => {
                hop.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    (hop.index != 0).then_some(hop)
}

fn write_route(index: u32, route: &Route) -> RouteMessage {
    match route.destination {
        IpNetwork::V4(destination) => {
            let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(destination.network(), destination.prefix());
            if let Some(IpAddr::V4(gateway)) = route.gateway {
                builder = builder.gateway(gateway).onlink();
            } else {
                builder = builder.scope(RouteScope::Link);
            }
            if let Some(IpAddr::V4(source)) = route.source {
                builder = builder.pref_source(source);
            }
            finish(builder, index, route.table)
        }
        IpNetwork::V6(destination) => {
            let mut builder = RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(destination.network(), destination.prefix());
            if let Some(IpAddr::V6(gateway)) = route.gateway {
                builder = builder.gateway(gateway).onlink();
            }
            if let Some(IpAddr::V6(source)) = route.source {
                builder = builder.pref_source(source);
            }
            finish(builder, index, route.table)
        }
    }
}

fn finish<T>(builder: RouteMessageBuilder<T>, index: u32, table: u32) -> RouteMessage {
    builder
        .output_interface(index)
        .table_id(table)
        .protocol(RouteProtocol::Other(PROTOCOL))
        .build()
}

fn read_route(message: &RouteMessage) -> Option<(u32, Route)> {
    if message.header.protocol != RouteProtocol::Other(PROTOCOL) {
        return None;
    }
    let any = if message.header.address_family == AddressFamily::Inet {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    };
    let mut index = None;
    let mut table = u32::from(message.header.table);
    let (mut destination, mut gateway, mut source) = (any, None, None);
    for attribute in &message.attributes {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "dozens of attributes, five of use"
        )]
        match attribute {
            RouteAttribute::Oif(oif) => index = Some(*oif),
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(address) => destination = read_ip(address)?,
            RouteAttribute::Gateway(address) => gateway = read_ip(address),
            RouteAttribute::PrefSource(address) => source = read_ip(address),
            _ => {}
        }
    }
    let destination = IpNetwork::new(destination, message.header.destination_prefix_length).ok()?;
    Some((
        index?,
        Route {
            table,
            destination,
            gateway,
            source,
        },
    ))
}

fn read_ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        RouteAddress::Mpls(_) | RouteAddress::Other(_) | _ => None,
    }
}

fn write_rule(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family(rule.from);
    message.header.src_len = if rule.from.is_ipv4() { 32 } else { 128 };
    message.header.table = u8::try_from(rule.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Source(rule.from),
        RuleAttribute::Table(rule.table),
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)),
    ];
    message
}

fn read_rule(message: &RuleMessage) -> Option<Rule> {
    let mut ours = false;
    let mut from = None;
    let mut priority = 0;
    let mut table = u32::from(message.header.table);
    for attribute in &message.attributes {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "dozens of attributes, four of use"
        )]
        match attribute {
            RuleAttribute::Protocol(protocol) => ours = *protocol == RouteProtocol::Other(PROTOCOL),
            RuleAttribute::Source(address) => from = Some(*address),
            RuleAttribute::Priority(number) => priority = *number,
            RuleAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    ours.then_some(Rule {
        from: from?,
        table,
        priority,
    })
}
