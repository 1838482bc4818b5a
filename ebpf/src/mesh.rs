//! The routing mesh: a published port on any node, a backend on any node, the client's address kept.
//!
//! The ingress node picks and, when the backend is elsewhere, sends the packet on untranslated; the
//! backend's node translates; replies go back the way they came.

mod arrive;
mod second;

use abi::{
    Address, Delivery, Direction, DropReason, EndpointKind, FlowKey, Fragment, Header, Iface, Mesh,
    MeshDirection, NetId, PublishedKey, Seen, Service, Settings, Side, Verdict, delivery, protocol,
    service_flag,
};

use crate::{
    answer::{self, Back},
    balance,
    carrier::{self, Origin},
    deliver, flows,
    flows::{Glance, Opening},
    fragments, icmp,
    maps::{ADDRESSES, PUBLISHED},
    node, rewrite, route, size,
    skb::Skb,
    vip,
};

/// Who dials a published port.
#[derive(Clone, Copy)]
pub(crate) enum Client<'a> {
    /// Somebody outside, by the interface that the packet is on.
    Uplink,
    /// A task on this node, by its gateway attachment.
    Task(&'a Iface),
}

/// A packet on an uplink. The short way and the long one stand beside each other: the stack of
/// one is not there when the other is gone.
#[inline(always)]
pub(crate) fn from_outside(
    skb: Skb,
    settings: &Settings,
    header: &mut Header,
) -> Result<Verdict, DropReason> {
    let verdict = glance(skb, settings, header)?;
    if verdict != Verdict::UNDECIDED {
        return Ok(verdict);
    }
    enter(skb, settings, header, Client::Uplink)
}

/// The short way of a packet from outside: of a flow that is known to live, or none of ours. Others
/// are left undecided.
#[inline(never)]
fn glance(skb: Skb, settings: &Settings, header: &Header) -> Result<Verdict, DropReason> {
    let net = settings.ingress_net;
    let has_ports = header.protocol == protocol::TCP || header.protocol == protocol::UDP;
    if !has_ports || flows::may_change(header) {
        return Ok(Verdict::UNDECIDED);
    }
    if header.fragment != Fragment::Later && published(settings, header).is_none() {
        return Ok(Verdict::PASS);
    }
    let key = flows::keep(flows::forward_key(net, header))?;
    let Glance::Settled(flow) = flows::glance_at_one(skb, key, Direction::Forward, header) else {
        return Ok(Verdict::UNDECIDED);
    };
    if flow.delivery.kind != delivery::MESH {
        rewrite::destination_here(skb, header, &flow.peer, flow.peer_port)?;
    }
    deliver::by(skb, net, flow, MeshDirection::Forward)
}

/// A packet to one of the node's own addresses, perhaps to a published port; passed on when not.
#[inline(never)]
pub(crate) fn enter(
    skb: Skb,
    settings: &Settings,
    header: &mut Header,
    client: Client<'_>,
) -> Result<Verdict, DropReason> {
    if header.protocol != protocol::TCP && header.protocol != protocol::UDP {
        return icmp::enter(skb, settings, header, client);
    }
    let net = settings.ingress_net;
    if fragments::recall(net, header).is_err() {
        return Ok(Verdict::PASS);
    }
    let Some(service) = published(settings, header) else {
        return Ok(Verdict::PASS);
    };
    let found = flows::forward(skb, net, header).filter(|flow| {
        // It came by another node until now, whose address has moved here: its answers would go there.
        flow.delivery.kind == delivery::MESH || flow.via == 0
    });
    let translation = match found {
        Some(translation) => translation,
        None => {
            if ADDRESSES.get_ptr(header.destination).is_none() {
                return Ok(Verdict::PASS);
            }
            // Its answers would go nowhere, or to this node itself.
            if header.source.is_martian()
                || (matches!(client, Client::Uplink) && ADDRESSES.get_ptr(header.source).is_some())
            {
                return Err(DropReason::Martian);
            }
            if let Err(reason) = open(skb, service, header, client) {
                return tell(skb, header, reason, client);
            }
            flows::translation()?
        }
    };
    fragments::remember(net, header);
    if translation.delivery.kind != delivery::MESH {
        vip::apply_forward(skb, header, translation)?;
    } else if size::fits(skb, header)? {
        size::clamp(skb, header)?;
    } else {
        return tell(skb, header, DropReason::TooBig, client);
    }
    deliver::to(skb, net, translation, MeshDirection::Forward)
}

/// A packet of the task that has `server` in the ingress network; passed on when it is no reply of a
/// flow.
#[inline(never)]
pub(crate) fn reply(
    skb: Skb,
    settings: &Settings,
    header: &mut Header,
    server: &Address,
    back: Back,
) -> Result<Verdict, DropReason> {
    let net = settings.ingress_net;
    let is_icmp = matches!(header.protocol, protocol::ICMP | protocol::ICMPV6);
    if !is_icmp && fragments::resolve(net, header).is_err() {
        return Ok(Verdict::PASS);
    }
    let key = flows::keep(FlowKey {
        server: *server,
        ..flows::reverse_key(net, header)
    })?;
    if let Glance::Settled(flow) = flows::glance_at_one(skb, key, Direction::Reply, header) {
        rewrite::source_here(skb, header, &flow.peer, flow.peer_port)?;
        return deliver::by(skb, net, flow, MeshDirection::Reply);
    }
    let found = if is_icmp {
        icmp::reply(skb, net, header)
    } else {
        flows::owned(skb, key, Direction::Reply, header)
    };
    let Some(translation) = found else {
        return Ok(Verdict::PASS);
    };
    if translation.delivery.kind == delivery::MESH {
        if !size::fits(skb, header)? {
            let source = vip::hairpin_client(net, header)?;
            return answer::too_big(skb, header, &source, back);
        }
        size::clamp(skb, header)?;
    } else if translation.delivery.kind == delivery::DIRECT {
        // What the client sends comes through the mesh all the same.
        size::clamp(skb, header)?;
    }
    vip::apply_reply(skb, header, translation)?;
    deliver::to(skb, net, translation, MeshDirection::Reply)
}

/// A frame of the mesh from another node.
#[inline(never)]
pub(crate) fn arrive(
    skb: Skb,
    settings: &Settings,
    origin: &Origin,
    header: &mut Header,
) -> Result<Verdict, DropReason> {
    let vtep = carrier::number(&origin.remote).ok_or(DropReason::UnknownVtep)?;
    let addresses = abi::Bytes::load(&skb, 0).ok_or(DropReason::Truncated)?;
    let Some(mut mesh) = Mesh::from_addresses(&addresses) else {
        return node::arrive(skb, settings.ingress_net, vtep, header);
    };
    let is_reply = mesh.direction == MeshDirection::Reply;
    if is_reply && mesh.second != 0 {
        let ingress = mesh.second;
        mesh.second = 0;
        return second::send(skb, settings, &mesh, ingress);
    }
    if header.protocol != protocol::TCP && header.protocol != protocol::UDP {
        return icmp::arrive(skb, settings, &mesh, vtep, header);
    }
    fragments::resolve(settings.ingress_net, header)?;
    if is_reply {
        return arrive_reply(skb, settings, vtep, header);
    }
    let verdict = arrive::forward(skb, settings, &mesh, vtep, header)?;
    if verdict != Verdict::UNDECIDED {
        return Ok(verdict);
    }
    // Nobody here knows the flow as one of the first choice.
    let node = second::turn(settings, &mut mesh, vtep);
    if node != 0 {
        return second::send(skb, settings, &mesh, node);
    }
    arrive::forward(skb, settings, &mesh, vtep, header)
}

/// At the ingress node: on to the client.
#[inline(never)]
fn arrive_reply(
    skb: Skb,
    settings: &Settings,
    vtep: u32,
    header: &Header,
) -> Result<Verdict, DropReason> {
    let key = flows::keep(FlowKey {
        side: Side::Forward as u8,
        ..flows::reverse_key(settings.ingress_net, header)
    })?;
    let (delivery, via) = match flows::glance_at_one(skb, key, Direction::Reply, header) {
        Glance::Settled(flow) => (flow.delivery, flow.via),
        Glance::Stranger | Glance::Unclear => {
            let flow = flows::owned(skb, key, Direction::Reply, header);
            let flow = flow.ok_or(DropReason::BadReply)?;
            (flow.delivery, flow.via)
        }
    };
    let way = (delivery, via);
    to_client(skb, way, vtep, &header.destination, &header.source)
}

/// To the client of a flow whose backend is on the node `vtep`, in the name of the frontend; `delivery`
/// and `via` are the flow's.
#[inline(always)]
pub(crate) fn to_client(
    skb: Skb,
    (delivery, via): (Delivery, u32),
    vtep: u32,
    client: &Address,
    frontend: &Address,
) -> Result<Verdict, DropReason> {
    if delivery.kind != delivery::MESH || delivery.target != vtep {
        return Err(DropReason::SpoofedInner);
    }
    if via != 0 {
        return Ok(route::leave(skb, via, client, frontend));
    }
    let task = deliver::endpoint(NetId::GATEWAY, client)
        .filter(|task| EndpointKind::from_u8(task.kind) == Some(EndpointKind::Task))
        .ok_or(DropReason::NoEndpoint)?;
    rewrite::to_task(skb, task.mac)?;
    Ok(Verdict::peer(task.ifindex))
}

/// The service that publishes the port, on this address before all others.
#[inline(always)]
pub(crate) fn published(settings: &Settings, header: &Header) -> Option<&'static Service> {
    if settings.addressed_ports != 0
        && let Some(service) = published_on(header, header.destination)
    {
        return Some(service);
    }
    let any = if header.destination.is_v4() {
        Address::ANY_V4
    } else {
        Address::UNSPECIFIED
    };
    published_on(header, any)
}

/// The service that publishes the port on one address, or on its family's any.
#[inline(always)]
pub(crate) fn published_on(header: &Header, address: Address) -> Option<&'static Service> {
    let key = PublishedKey {
        address,
        port: header.destination_port,
        protocol: header.protocol,
        reserved: 0,
    };
    let service = PUBLISHED.get_ptr(key)?;
    // SAFETY: as in `balance::service`.
    Some(unsafe { &*service })
}

#[inline(never)]
fn open(
    skb: Skb,
    service: &Service,
    header: &Header,
    client: Client<'_>,
) -> Result<(), DropReason> {
    balance::admit(service, header)?;
    let net = deliver::settings()?.ingress_net;
    let opening = Opening::room()?;
    opening.net = net;
    opening.reply = reply_delivery(skb, client);
    opening.via = 0;
    opening.seen = 0;
    balance::choose_other(service, header, opening)?;
    second::look(service, header, opening)?;
    opening.client = header.source;
    if opening.forward.kind == delivery::TUNNEL {
        opening.forward.kind = delivery::MESH;
        if matches!(client, Client::Uplink) {
            opening.via = skb.ifindex();
            // Nobody but this node reaches its tasks.
            if service.flags & service_flag::DSR != 0 {
                opening.seen = Seen::ONE_WAY;
            }
        }
        opening.client_port = header.source_port;
        flows::open_forward(skb, header, opening)?;
        return opening.settle();
    }
    if opening.forward.target == skb.ifindex() {
        opening.client = vip::hairpin_client(net, header)?;
    }
    flows::open_pair(skb, header, opening)?;
    opening.settle()
}

#[inline(always)]
fn reply_delivery(skb: Skb, client: Client<'_>) -> Delivery {
    let target = skb.ifindex();
    match client {
        Client::Uplink => Delivery {
            target,
            mac: [0; 6],
            kind: delivery::UPLINK,
        },
        Client::Task(iface) => Delivery {
            target,
            mac: iface.mac,
            kind: delivery::TASK,
        },
    }
}

/// Tells the client that its packet goes nowhere, in the name of the frontend.
#[inline(never)]
fn tell(
    skb: Skb,
    header: &Header,
    reason: DropReason,
    client: Client<'_>,
) -> Result<Verdict, DropReason> {
    let ifindex = skb.ifindex();
    let back = match client {
        Client::Uplink => Back::Uplink { ifindex },
        Client::Task(iface) => Back::Task {
            ifindex,
            mac: iface.mac,
        },
    };
    if reason == DropReason::TooBig {
        answer::too_big(skb, header, &header.destination, back)
    } else {
        answer::refuse(skb, header, reason, back)
    }
}
