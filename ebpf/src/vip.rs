//! A VIP inside a network: translated on the client's node, both ways.

use abi::{
    Address, Delivery, Direction, DropReason, Endpoint, Family, Header, Iface, MeshDirection,
    NetId, Verdict, delivery, endpoint, protocol,
};

use crate::{
    answer::{self, Back},
    balance, deliver, flows,
    flows::{Glance, Opening, Translation},
    fragments, icmp,
    maps::NETWORKS,
    rewrite, size,
    skb::Skb,
};

/// A first look at a client's packet to a VIP.
#[inline(always)]
pub(crate) fn glance(skb: Skb, net: NetId, header: &Header) -> Glance {
    match flows::keep(flows::forward_key(net, header)) {
        Ok(key) => flows::glance(skb, key, Direction::Forward, header),
        Err(_) => Glance::Unclear,
    }
}

/// A first look at what may be a reply.
#[inline(always)]
pub(crate) fn glance_back(skb: Skb, net: NetId, header: &Header) -> Glance {
    match flows::keep(flows::reverse_key(net, header)) {
        Ok(key) => flows::glance(skb, key, Direction::Reply, header),
        Err(_) => Glance::Unclear,
    }
}

/// A task's packet to a VIP.
#[inline(never)]
pub(crate) fn forward(
    skb: Skb,
    iface: &Iface,
    vip: &Endpoint,
    header: &mut Header,
) -> Result<Verdict, DropReason> {
    let back = Back::Task {
        ifindex: skb.ifindex(),
        mac: iface.mac,
    };
    if header.is_echo_request() {
        if vip.flags & endpoint::ANSWERS == 0 {
            return answer::refuse(skb, header, DropReason::NoBackend, back);
        }
        return answer::echo(skb, header, back);
    }
    if header.protocol == protocol::ICMP || header.protocol == protocol::ICMPV6 {
        return icmp::to_vip(skb, iface.net, header);
    }
    fragments::resolve(iface.net, header)?;
    let translation = match flows::forward(skb, iface.net, header) {
        Some(translation) => translation,
        None => {
            if let Err(reason) = open(skb, iface, header) {
                return answer::refuse(skb, header, reason, back);
            }
            flows::translation()?
        }
    };
    if translation.delivery.kind == delivery::TUNNEL && !size::fits(skb, header)? {
        return answer::too_big(skb, header, &hairpin_client(iface.net, header)?, back);
    }
    apply_forward(skb, header, translation)?;
    deliver::to(skb, iface.net, translation, MeshDirection::Forward)
}

/// What becomes of a backend's packet if it is a reply of a translated flow; `None` when it is nobody's
/// reply.
#[inline(never)]
pub(crate) fn reply(skb: Skb, net: NetId, header: &mut Header) -> Option<&'static Translation> {
    if is_icmp(header) {
        return icmp::reply(skb, net, header);
    }
    fragments::resolve(net, header).ok()?;
    let key = flows::keep(flows::reverse_key(net, header)).ok()?;
    flows::owned(skb, key, Direction::Reply, header)
}

/// Rewrites a client's packet.
#[inline(always)]
pub(crate) fn apply_forward(
    skb: Skb,
    header: &Header,
    translation: &Translation,
) -> Result<(), DropReason> {
    rewrite::destination(skb, header, &translation.peer, translation.peer_port)?;
    if translation.client != header.source || translation.client_port != header.source_port {
        rewrite::source_by_helper(skb, header, &translation.client, translation.client_port)?;
    }
    Ok(())
}

/// Rewrites a backend's packet.
#[inline(always)]
pub(crate) fn apply_reply(
    skb: Skb,
    header: &Header,
    translation: &Translation,
) -> Result<(), DropReason> {
    if is_icmp(header) {
        return icmp::apply_reply(skb, header, translation);
    }
    rewrite::source(skb, header, &translation.peer, translation.peer_port)?;
    if translation.client != header.destination
        || translation.client_port != header.destination_port
    {
        rewrite::destination_by_helper(skb, header, &translation.client, translation.client_port)?;
    }
    Ok(())
}

#[inline(always)]
const fn is_icmp(header: &Header) -> bool {
    matches!(header.protocol, protocol::ICMP | protocol::ICMPV6)
}

/// The address under which a task meets itself: its network's gateway.
#[inline(always)]
pub(crate) fn hairpin_client(net: NetId, header: &Header) -> Result<Address, DropReason> {
    let network = NETWORKS.get_ptr(net).ok_or(DropReason::NotReady)?;
    // SAFETY: the pointer came from the map during this run.
    let network = unsafe { &*network };
    Ok(match header.family {
        Family::V4 => network.gateway_v4,
        Family::V6 => network.gateway_v6,
    })
}

#[inline(never)]
fn open(skb: Skb, iface: &Iface, header: &Header) -> Result<(), DropReason> {
    let service = balance::service(iface.net, header).ok_or(DropReason::NoPort)?;
    balance::admit(service, header)?;
    let opening = Opening::room()?;
    opening.net = iface.net;
    opening.reply = Delivery {
        kind: delivery::ENDPOINT,
        ..Delivery::default()
    };
    opening.via = 0;
    opening.seen = 0;
    balance::choose_other(service, header, opening)?;
    opening.client = header.source;
    if opening.forward.kind == delivery::TASK && opening.forward.target == skb.ifindex() {
        opening.client = hairpin_client(iface.net, header)?;
    }
    flows::open_pair(skb, header, opening)?;
    opening.settle()
}
