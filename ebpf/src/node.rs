//! The node's own attachment to the ingress network: by it the node's processes talk to backends of
//! published ports, here and elsewhere. Nothing of that is translated on its way, so there is no flow.

use abi::{
    Address, DropReason, Endpoint, EndpointKind, Header, NetId, Verdict, iface, protocol, tcp,
};

use crate::{carrier, deliver, maps::IFACES, rewrite, skb::Skb};

/// What a task sends to a node that has asked it; `server` is the task's own address.
#[inline(never)]
pub(crate) fn reply(
    skb: Skb,
    node: &Endpoint,
    header: &Header,
    server: &Address,
) -> Result<Verdict, DropReason> {
    if header.protocol == protocol::TCP && tcp::is_initial(header.flags) {
        return Err(DropReason::CrossNetwork);
    }
    if header.source != *server {
        // A server that answers datagrams from an unbound socket leaves the source to the routes.
        if header.protocol != protocol::UDP {
            return Err(DropReason::CrossNetwork);
        }
        rewrite::source(skb, header, server, header.source_port)?;
    }
    let settings = deliver::settings()?;
    if node.vtep != 0 {
        return carrier::send(skb, settings, settings.ingress_net, node.vtep);
    }
    to_stack(skb, node)
}

/// A packet of the ingress network from another node that is no frame of the mesh: from that node's
/// own process to a task, or the reply.
#[inline(never)]
pub(crate) fn arrive(
    skb: Skb,
    net: NetId,
    vtep: u32,
    header: &Header,
) -> Result<Verdict, DropReason> {
    let sender = deliver::endpoint(net, &header.source).ok_or(DropReason::BadMesh)?;
    let target = deliver::endpoint(net, &header.destination).ok_or(DropReason::BadMesh)?;
    if is_node(&sender) == is_node(&target) {
        return Err(DropReason::BadMesh);
    }
    if sender.vtep != vtep {
        return Err(DropReason::SpoofedInner);
    }
    if target.vtep != 0 {
        return Err(DropReason::NotLocal);
    }
    if is_node(&target) {
        return to_stack(skb, &target);
    }
    deliver::to_endpoint(skb, net, &target)
}

#[inline(always)]
pub(crate) fn is_node(endpoint: &Endpoint) -> bool {
    EndpointKind::from_u8(endpoint.kind) == Some(EndpointKind::Node)
}

/// To the far end of a veth, given the near one.
#[inline(always)]
pub(crate) fn inside(ifindex: u32) -> Verdict {
    let is_own = IFACES.get_ptr(ifindex).is_some_and(|iface| {
        // SAFETY: the pointer came from the map during this run.
        unsafe { (*iface).flags & iface::NODE != 0 }
    });
    if is_own {
        Verdict::device(ifindex)
    } else {
        Verdict::peer(ifindex)
    }
}

/// Both ends of the attachment are in the node's namespace, where the kernel takes no packet straight
/// to the other one: it leaves by the near end.
#[inline(always)]
fn to_stack(skb: Skb, node: &Endpoint) -> Result<Verdict, DropReason> {
    rewrite::to_task(skb, node.mac)?;
    Ok(Verdict::device(node.ifindex))
}
