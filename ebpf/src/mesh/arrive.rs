//! A client's packet through the mesh, at the backend's node: translated there, and the node that it
//! came from remembered for the replies.

use abi::{
    Backend, Delivery, Direction, DropReason, FlowKey, Header, Mesh, MeshDirection, Settings, Side,
    Verdict, delivery, protocol, tcp,
};

use super::second;
use crate::{
    answer::{self, Back},
    balance, deliver, flows,
    flows::{Glance, Opening, Translation},
    maps::{ARRIVED, BACKENDS, slot},
    rewrite, route,
    skb::Skb,
    vip,
};

/// Takes the packet to the backend that its frame names.
#[inline(never)]
pub(super) fn forward(
    skb: Skb,
    settings: &Settings,
    mesh: &Mesh,
    vtep: u32,
    header: &Header,
) -> Result<Verdict, DropReason> {
    let net = settings.ingress_net;
    let Some(backend) = BACKENDS.get_ptr(mesh.backend) else {
        // Here it has not come yet, or is gone: the connection is another one's, if it is anybody's.
        // Nobody is told, since the client may enter by a node that has not heard of the change.
        return if second::may_know(mesh, header) {
            Ok(Verdict::UNDECIDED)
        } else {
            Err(DropReason::UnknownBackend)
        };
    };
    // SAFETY: as in `balance::choose`.
    let backend: &Backend = unsafe { &*backend };
    if backend.vtep != 0 || backend.net != net {
        return Err(DropReason::NotLocal);
    }
    if backend.address.is_v4() != header.destination.is_v4() {
        return Err(DropReason::BadMesh);
    }
    let port = if backend.port == 0 {
        header.destination_port
    } else {
        backend.port
    };
    let key = slot(&ARRIVED)?;
    // Field by field, for want of room on the stack.
    key.net = net;
    key.client = header.source;
    key.server = backend.address;
    key.client_port = header.source_port;
    key.server_port = port;
    key.protocol = header.protocol;
    key.side = Side::Reverse as u8;
    key.reserved = 0;
    let is_as_it_was = match flows::glance_at_one(skb, key, Direction::Forward, header) {
        Glance::Settled(flow) => {
            let is_direct = flow.delivery.kind == delivery::DIRECT;
            let is_same = is_direct == wants_direct(mesh) && flow.via == vtep;
            Some(is_same && flow.delivery.second() == mesh.relay())
        }
        Glance::Stranger | Glance::Unclear => {
            // Routes may have changed since the last such look.
            let owned = flows::owned(skb, key, Direction::Forward, header);
            owned.map(|flow| {
                flow.via == vtep
                    && !wants_direct(mesh)
                    && flow.delivery.kind == delivery::MESH
                    && flow.delivery.second() == mesh.relay()
            })
        }
    };
    if let Some(is_as_it_was) = is_as_it_was {
        if !is_as_it_was {
            come_from(skb, mesh, vtep, header, key);
        }
        rewrite::destination(skb, header, &backend.address, port)?;
    } else {
        let known = renumbered(skb, mesh, vtep, header, key);
        if known.is_none() && second::may_know(mesh, header) {
            return Ok(Verdict::UNDECIDED);
        }
        if known.is_none()
            && let Err(reason) = open(skb, mesh, vtep, header, backend)
        {
            let backend = mesh.backend;
            return answer::refuse(skb, header, reason, Back::Mesh { vtep, backend });
        }
        vip::apply_forward(skb, header, flows::translation()?)?;
    }
    let task = deliver::endpoint(net, &backend.address).ok_or(DropReason::UnknownBackend)?;
    if task.vtep != 0 {
        return Err(DropReason::NotLocal);
    }
    deliver::to_endpoint(skb, net, &task)
}

/// Passes a packet of a flow that the backend sees from another port of the client's; `key` names the
/// flow as if it had its own.
#[inline(never)]
fn renumbered(
    skb: Skb,
    mesh: &Mesh,
    vtep: u32,
    header: &Header,
    key: &mut FlowKey,
) -> Option<&'static Translation> {
    // The same client by the same frontend, led elsewhere: it entered here, by an address that has
    // moved since, or was given another backend.
    if !flows::leads_to(key.net, header, mesh.backend) {
        return None;
    }
    let flow = flows::forward(skb, key.net, header)?;
    key.client_port = flow.client_port;
    come_from(skb, mesh, vtep, header, key);
    Some(flow)
}

/// The flow's replies go back where this packet came from.
#[inline(never)]
fn come_from(skb: Skb, mesh: &Mesh, vtep: u32, header: &Header, key: &FlowKey) {
    if let Ok(opening) = Opening::room() {
        way_back(skb, mesh, vtep, header, &mut opening.reply);
        flows::come_from(key, vtep, &opening.reply);
    }
}

/// How replies leave: straight to the client where the ingress node wants it and this one can, else
/// through the ingress node, which takes them in any case.
#[inline(always)]
fn way_back(skb: Skb, mesh: &Mesh, vtep: u32, header: &Header, reply: &mut Delivery) {
    reply.target = vtep;
    reply.set_second(mesh.relay());
    reply.kind = delivery::MESH;
    if wants_direct(mesh) {
        let ifindex = route::back(skb, header);
        if ifindex != 0 {
            reply.target = ifindex;
            reply.mac = [0; 6];
            reply.kind = delivery::DIRECT;
        }
    }
}

#[inline(always)]
fn wants_direct(mesh: &Mesh) -> bool {
    mesh.direction == MeshDirection::ForwardDirect
}

#[inline(never)]
fn open(
    skb: Skb,
    mesh: &Mesh,
    vtep: u32,
    header: &Header,
    backend: &Backend,
) -> Result<(), DropReason> {
    // Its connection is over, or was never here: nothing comes after it.
    let is_last = header.protocol == protocol::TCP && header.flags & (tcp::FIN | tcp::RST) != 0;
    if is_last && header.has_transport() {
        return Err(DropReason::NoFlow);
    }
    let opening = Opening::room()?;
    opening.net = backend.net;
    opening.client = header.source;
    opening.backend = mesh.backend;
    opening.address = backend.address;
    opening.port = if backend.port == 0 {
        header.destination_port
    } else {
        backend.port
    };
    opening.service = 0;
    balance::reach(backend, &mut opening.forward)?;
    way_back(skb, mesh, vtep, header, &mut opening.reply);
    opening.via = vtep;
    opening.seen = 0;
    flows::open_arrival(skb, header, opening)?;
    opening.settle()
}
