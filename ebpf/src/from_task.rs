//! Whatever a task sends.

use abi::{
    DropReason, Endpoint, EndpointKey, EndpointKind, Family, Header, HeaderError, Iface,
    MeshDirection, NetId, Settings, Verdict, endpoint, icmp, iface, protocol,
};

use crate::{
    action::Parsed,
    answer::{self, Back},
    carrier, deliver, direct,
    flows::Glance,
    maps::{ENDPOINTS, IFACES},
    mesh,
    mesh::Client,
    node, rewrite, size,
    skb::Skb,
    vip,
};

/// Decides about one packet of a task.
#[inline(always)]
pub(crate) fn run(skb: Skb, header: &mut Header, parsed: Parsed) -> Result<Verdict, DropReason> {
    let iface = IFACES
        .get_ptr(skb.ifindex())
        .ok_or(DropReason::UnknownInterface)?;
    // SAFETY: the pointer came from the map during this run.
    let iface: &Iface = unsafe { &*iface };
    match parsed {
        Ok(()) => {}
        Err(HeaderError::Arp) => return answer::arp(skb, iface),
        Err(HeaderError::NotIp) => return Err(DropReason::UnknownEtherType),
        Err(HeaderError::Malformed(reason)) => return Err(reason),
    }
    if header.family == Family::V6
        && header.protocol == protocol::ICMPV6
        && (130..=143).contains(&header.flags)
    {
        if header.flags == icmp::V6_NEIGHBOUR_SOLICITATION {
            return answer::neighbour(skb, iface, header);
        }
        return Err(DropReason::NeighbourNoise);
    }
    if header.destination.is_group() {
        return Err(DropReason::Multicast);
    }
    // An absent address of the interface is all zero too.
    if header.source.is_unspecified() {
        return Err(DropReason::SpoofedSource);
    }
    if iface.flags & iface::GATEWAY != 0 {
        from_gateway(skb, iface, header)
    } else {
        from_network(skb, iface, header)
    }
}

/// By an attachment to a network.
#[inline(always)]
fn from_network(skb: Skb, iface: &Iface, header: &mut Header) -> Result<Verdict, DropReason> {
    if header.source != iface.v4 && header.source != iface.v6 {
        return Err(DropReason::SpoofedSource);
    }
    let net = iface.net;
    // Whoever was connected to a task that is gone would wait for ever.
    let Some(target) = deliver::endpoint(net, &header.destination) else {
        return answer::refuse(skb, header, DropReason::NoEndpoint, back_to(skb, iface));
    };
    match EndpointKind::from_u8(target.kind) {
        Some(EndpointKind::Vip) => match vip::glance(skb, net, header) {
            Glance::Settled(flow) => {
                rewrite::destination_here(skb, header, &flow.peer, flow.peer_port)?;
                deliver::by(skb, net, flow, MeshDirection::Forward)
            }
            Glance::Stranger | Glance::Unclear => vip::forward(skb, iface, &target, header),
        },
        Some(EndpointKind::Task) => match glance(net, skb, iface, &target, header) {
            Glance::Settled(flow) => {
                rewrite::source_here(skb, header, &flow.peer, flow.peer_port)?;
                deliver::to_endpoint(skb, net, &target)
            }
            Glance::Stranger => deliver::to_endpoint(skb, net, &target),
            Glance::Unclear => to_task(skb, iface, &target, header),
        },
        Some(EndpointKind::Gateway) => to_gateway(skb, iface, header),
        Some(EndpointKind::Node) | None => Err(DropReason::NoEndpoint),
    }
}

/// The way back to the task itself.
#[inline(always)]
fn back_to(skb: Skb, iface: &Iface) -> Back {
    Back::Task {
        ifindex: skb.ifindex(),
        mac: iface.mac,
    }
}

/// Whether a packet to another task is a reply of a flow.
#[inline(always)]
fn glance(net: NetId, skb: Skb, iface: &Iface, target: &Endpoint, header: &Header) -> Glance {
    let collides = target.flags & endpoint::BACKS != 0 && direct::may_collide(header);
    if collides || (target.vtep != 0 && !size::fits_plainly(skb)) {
        Glance::Unclear
    } else if iface.flags & iface::BACKS != 0 {
        vip::glance_back(skb, net, header)
    } else {
        Glance::Stranger
    }
}

#[inline(never)]
fn to_task(
    skb: Skb,
    iface: &Iface,
    target: &Endpoint,
    header: &mut Header,
) -> Result<Verdict, DropReason> {
    let net = iface.net;
    if target.flags & endpoint::BACKS != 0 && direct::may_collide(header) {
        match direct::pass(skb, iface, target, header) {
            Err(DropReason::NoFlow) => {}
            verdict => return verdict,
        }
    }
    if iface.flags & iface::BACKS != 0
        && let Some(translation) = vip::reply(skb, net, header)
    {
        vip::apply_reply(skb, header, translation)?;
    } else if target.vtep != 0 && !size::fits(skb, header)? {
        let source = vip::hairpin_client(net, header)?;
        return answer::too_big(skb, header, &source, back_to(skb, iface));
    }
    deliver::to_endpoint(skb, net, target)
}

/// To the network's gateway address: an echo request, or the reply of a task to itself.
#[inline(never)]
fn to_gateway(skb: Skb, iface: &Iface, header: &mut Header) -> Result<Verdict, DropReason> {
    if header.is_echo_request() {
        return answer::echo(skb, header, back_to(skb, iface));
    }
    if iface.flags & iface::BACKS != 0
        && let Some(translation) = vip::reply(skb, iface.net, header)
    {
        vip::apply_reply(skb, header, translation)?;
        let task =
            deliver::endpoint(iface.net, &translation.client).ok_or(DropReason::NoEndpoint)?;
        return deliver::to_endpoint(skb, iface.net, &task);
    }
    Err(DropReason::ToGateway)
}

/// By the gateway attachment: replies of published ports, or traffic to the outside.
#[inline(always)]
fn from_gateway(skb: Skb, iface: &Iface, header: &mut Header) -> Result<Verdict, DropReason> {
    let settings = deliver::settings()?;
    let ingress = match header.family {
        Family::V4 => &iface.ingress_v4,
        Family::V6 => &iface.ingress_v6,
    };
    let is_ingress = header.source == *ingress;
    if !is_ingress && header.source != iface.v4 && header.source != iface.v6 {
        return Err(DropReason::SpoofedSource);
    }
    // A server that answers datagrams from an unbound socket leaves the source to the routes, and
    // they say the gateway address.
    let is_unbound = header.protocol == protocol::UDP && !ingress.is_unspecified();
    if is_ingress || is_unbound {
        let verdict = mesh::reply(skb, settings, header, ingress, back_to(skb, iface))?;
        if verdict != Verdict::PASS {
            return Ok(verdict);
        }
    }
    if let Some(other) = deliver::endpoint(settings.ingress_net, &header.destination) {
        if node::is_node(&other) && !ingress.is_unspecified() {
            return node::reply(skb, &other, header, ingress);
        }
        // The node has a route to the others, for its own processes only.
        return Err(DropReason::CrossNetwork);
    }
    // Without a flow it would leave with a source that nobody outside knows.
    if is_ingress {
        return Err(DropReason::NoFlow);
    }
    to_outside(skb, settings, iface, header)
}

#[inline(always)]
fn to_outside(
    skb: Skb,
    settings: &Settings,
    iface: &Iface,
    header: &mut Header,
) -> Result<Verdict, DropReason> {
    if header.protocol == protocol::UDP
        && header.destination_port == settings.data_path_port
        && carrier::is_node(&header.destination)
    {
        return Err(DropReason::VxlanFromTask);
    }
    let key = EndpointKey {
        net: NetId::GATEWAY,
        address: header.destination,
    };
    if ENDPOINTS.get_ptr(key).is_some() {
        return Err(DropReason::CrossNetwork);
    }
    mesh::enter(skb, settings, header, Client::Task(iface))
}
