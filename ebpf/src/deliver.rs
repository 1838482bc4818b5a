//! The last step: where a packet that is ready goes.

use abi::{
    Address, Delivery, DropReason, Endpoint, EndpointKey, EndpointKind, Flow, Mesh, MeshDirection,
    NetId, Seen, Settings, Verdict, delivery,
};

use crate::{
    carrier,
    flows::Translation,
    maps::{ENDPOINTS, SETTINGS},
    rewrite, route,
    skb::Skb,
};

/// This node's settings.
#[inline(always)]
pub(crate) fn settings() -> Result<&'static Settings, DropReason> {
    SETTINGS
        .get(0)
        .filter(|settings| settings.vxlan_ifindex != 0)
        .ok_or(DropReason::NotReady)
}

/// Looks an address up.
#[inline(always)]
pub(crate) fn endpoint(net: NetId, address: &Address) -> Option<Endpoint> {
    let endpoint = ENDPOINTS.get_ptr(EndpointKey {
        net,
        address: *address,
    })?;
    // SAFETY: the pointer came from the map during this run; the copy is one of whole words, and a
    // value that is replaced meanwhile is read as either.
    Some(unsafe { *endpoint })
}

/// To the endpoint that has the packet's destination address.
#[inline(always)]
pub(crate) fn to_endpoint(
    skb: Skb,
    net: NetId,
    endpoint: &Endpoint,
) -> Result<Verdict, DropReason> {
    if EndpointKind::from_u8(endpoint.kind) != Some(EndpointKind::Task) {
        return Err(DropReason::NoEndpoint);
    }
    if endpoint.vtep != 0 {
        return carrier::send(skb, settings()?, net, endpoint.vtep);
    }
    rewrite::to_task(skb, endpoint.mac)?;
    Ok(Verdict::peer(endpoint.ifindex))
}

/// To where a flow says.
#[inline(always)]
pub(crate) fn to(
    skb: Skb,
    net: NetId,
    flow: &Translation,
    direction: MeshDirection,
) -> Result<Verdict, DropReason> {
    let direction = marked(direction, flow.seen);
    let way = (flow.delivery, flow.backend, direction);
    carry(skb, net, way, &flow.client, &flow.peer)
}

/// To where the flow says whose entry for this direction it is.
#[inline(always)]
pub(crate) fn by(
    skb: Skb,
    net: NetId,
    flow: &Flow,
    direction: MeshDirection,
) -> Result<Verdict, DropReason> {
    let direction = marked(direction, flow.seen);
    let way = (flow.delivery, flow.backend, direction);
    carry(skb, net, way, &flow.client, &flow.peer)
}

/// What a frame of the mesh says of its way, given what its flow has seen.
#[inline(always)]
fn marked(direction: MeshDirection, seen: u32) -> MeshDirection {
    if seen & Seen::ONE_WAY != 0 {
        MeshDirection::ForwardDirect
    } else {
        direction
    }
}

#[inline(always)]
fn carry(
    skb: Skb,
    net: NetId,
    (delivery, backend, direction): (Delivery, u32, MeshDirection),
    client: &Address,
    frontend: &Address,
) -> Result<Verdict, DropReason> {
    let Delivery { target, mac, kind } = delivery;
    match kind {
        delivery::TASK => {
            rewrite::to_task(skb, mac)?;
            Ok(Verdict::peer(target))
        }
        delivery::TUNNEL => carrier::send(skb, settings()?, net, target),
        delivery::MESH => {
            let mesh = Mesh {
                backend,
                second: delivery.second(),
                direction,
            };
            skb.store(0, &mesh.to_addresses())?;
            carrier::send(skb, settings()?, net, target)
        }
        delivery::UPLINK | delivery::DIRECT => Ok(route::leave(skb, target, client, frontend)),
        _ => Err(DropReason::NoEndpoint),
    }
}
