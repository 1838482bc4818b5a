//! ICMP errors about packets of flows: an error goes where the flow's packets in its direction go,
//! and both it and the packet that it quotes are translated, so that the receiver recognises what it
//! once sent (RFC 5508 §4.2).
//!
//! An error neither opens a flow nor keeps one alive.

mod translate;

use abi::{
    DropReason, FlowKey, Header, Mesh, MeshDirection, NetId, Quote, Settings, Side, Verdict,
    delivery,
};

use crate::{
    answer, deliver,
    flows::{self, Translation},
    maps::{BACKENDS, QUOTE, QUOTED, slot},
    mesh::{self, Client},
    skb::{Deep, Skb},
};

pub(crate) use translate::{apply_reply, readdress};

/// A task's error about an answer of a VIP: on to the backend.
#[inline(never)]
pub(crate) fn to_vip(skb: Skb, net: NetId, header: &Header) -> Result<Verdict, DropReason> {
    let quote = quote(skb, header).ok_or(DropReason::UnknownProtocol)?;
    // There is no router between a task and its network: it speaks of what it got itself.
    if quote.destination != header.source {
        return Err(DropReason::SpoofedSource);
    }
    let translation = asked(net, quote)
        .and_then(|key| flows::peek(key))
        .ok_or(DropReason::NoFlow)?;
    translate::apply_forward(skb, header, quote, translation)?;
    deliver::to(skb, net, translation, MeshDirection::Forward)
}

/// What becomes of a task's error that may be about a packet of its clients; `None` when it is not.
#[inline(never)]
pub(crate) fn reply(skb: Skb, net: NetId, header: &Header) -> Option<&'static Translation> {
    if !header.is_error() {
        return None;
    }
    let quote = quote(skb, header)?;
    if quote.destination != header.source {
        return None;
    }
    let translation = flows::peek(answered(net, quote, Side::Reverse)?)?;
    Some(translation)
}

/// An error from outside, or from a task at its gateway: about an answer of a published port, or
/// the business of the node's own stack.
#[inline(never)]
pub(crate) fn enter(
    skb: Skb,
    settings: &Settings,
    header: &Header,
    client: Client<'_>,
) -> Result<Verdict, DropReason> {
    let Some(quote) = quote(skb, header) else {
        if header.is_echo_request() && matches!(client, Client::Uplink) {
            return answer::straight(skb, header);
        }
        return Ok(Verdict::PASS);
    };
    if matches!(client, Client::Task(_)) && quote.destination != header.source {
        return Ok(Verdict::PASS);
    }
    let net = settings.ingress_net;
    let Some(translation) = asked(net, quote).and_then(|key| flows::peek(key)) else {
        return Ok(Verdict::PASS);
    };
    if translation.delivery.kind != delivery::MESH {
        translate::apply_forward(skb, header, quote, translation)?;
    }
    deliver::to(skb, net, translation, MeshDirection::Forward)
}

/// An error through the mesh.
#[inline(never)]
pub(crate) fn arrive(
    skb: Skb,
    settings: &Settings,
    mesh: &Mesh,
    vtep: u32,
    header: &Header,
) -> Result<Verdict, DropReason> {
    let quote = quote(skb, header).ok_or(DropReason::UnknownProtocol)?;
    let net = settings.ingress_net;
    if mesh.direction == MeshDirection::Reply {
        // Untranslated here: the frontend's error about what the client sent.
        let key = answered(net, quote, Side::Forward).ok_or(DropReason::NotReady)?;
        let flow = flows::peek(key).ok_or(DropReason::NoFlow)?;
        let way = (flow.delivery, flow.via);
        return mesh::to_client(skb, way, vtep, &header.destination, &header.source);
    }
    let backend = BACKENDS
        .get_ptr(mesh.backend)
        .ok_or(DropReason::UnknownBackend)?;
    // SAFETY: as in `balance::choose`.
    let backend = unsafe { &*backend };
    if backend.vtep != 0 || backend.net != net {
        return Err(DropReason::NotLocal);
    }
    let port = if backend.port == 0 {
        quote.source_port
    } else {
        backend.port
    };
    let key = asked(net, quote).ok_or(DropReason::NotReady)?;
    key.server = backend.address;
    key.server_port = port;
    key.side = Side::Reverse as u8;
    let found = flows::peek(key).filter(|flow| {
        flow.peer == quote.source
            && flow.peer_port == quote.source_port
            && flow.client_port == quote.destination_port
    });
    let flow = match found {
        Some(flow) => {
            // What is there is how replies are translated; this goes the other way.
            flow.peer = backend.address;
            flow.peer_port = port;
            flow.client = quote.destination;
            flow.client_port = quote.destination_port;
            flow
        }
        // Only a flow whose client has another port there has the entry for this way as well.
        None => asked(net, quote)
            .and_then(|key| flows::peek(key))
            .filter(|flow| flow.backend == mesh.backend && flow.delivery.kind == delivery::TASK)
            .ok_or(DropReason::NoFlow)?,
    };
    translate::apply_forward(skb, header, quote, flow)?;
    let task = deliver::endpoint(net, &backend.address).ok_or(DropReason::UnknownBackend)?;
    if task.vtep != 0 {
        return Err(DropReason::NotLocal);
    }
    deliver::to_endpoint(skb, net, &task)
}

/// What an error quotes; `None` when the packet is no error, or quotes nothing that can be a flow's.
#[inline(never)]
fn quote(skb: Skb, header: &Header) -> Option<&'static Quote> {
    if !header.is_error() {
        return None;
    }
    let quote = slot(&QUOTE).ok()?;
    quote.read_into(&Deep(skb), header)?;
    Some(quote)
}

/// The key of the flow whose answer is quoted, by its frontend.
#[inline(always)]
fn asked(net: NetId, quote: &Quote) -> Option<&'static mut FlowKey> {
    let key = answered(net, quote, Side::Forward)?;
    key.client = quote.destination;
    key.server = quote.source;
    key.client_port = quote.destination_port;
    key.server_port = quote.source_port;
    Some(key)
}

/// The key of the flow whose client's packet is quoted: as the backend got it, or as the client sent
/// it.
#[inline(always)]
fn answered(net: NetId, quote: &Quote, side: Side) -> Option<&'static mut FlowKey> {
    let key = slot(&QUOTED).ok()?;
    key.net = net;
    key.client = quote.source;
    key.server = quote.destination;
    key.client_port = quote.source_port;
    key.server_port = quote.destination_port;
    key.protocol = quote.protocol;
    key.side = side as u8;
    key.reserved = 0;
    Some(key)
}
