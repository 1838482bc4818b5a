//! Whatever other nodes send through the tunnel.

use abi::{Address, DropReason, Endpoint, EndpointKind, Header, HeaderError, Verdict, endpoint};

use crate::{
    action::Parsed,
    carrier::{self, Origin},
    deliver,
    flows::Glance,
    maps::{NETWORKS, VTEP_IDS},
    mesh, rewrite,
    skb::Skb,
    vip,
};

/// Decides about one packet that came out of the tunnel.
#[inline(always)]
pub(crate) fn run(skb: Skb, header: &mut Header, parsed: Parsed) -> Result<Verdict, DropReason> {
    let mut origin = Origin::default();
    if !carrier::origin(skb, &mut origin) {
        return Err(DropReason::NoTunnelKey);
    }
    // The kernel takes VXLAN on every address of the node. Tasks are kept from sending it to the
    // addresses of nodes, which are the only ones that may stand here.
    if carrier::address(0) != Some(origin.local) {
        return Err(DropReason::WrongVtep);
    }
    receive(skb, &origin, header, parsed)
}

/// As [`run`], for a packet whose origin is known.
#[inline(always)]
pub(crate) fn receive(
    skb: Skb,
    origin: &Origin,
    header: &mut Header,
    parsed: Parsed,
) -> Result<Verdict, DropReason> {
    match parsed {
        Ok(()) => {}
        Err(HeaderError::Arp | HeaderError::NotIp) => return Err(DropReason::UnknownEtherType),
        Err(HeaderError::Malformed(reason)) => return Err(reason),
    }
    let settings = deliver::settings()?;
    if origin.net == settings.ingress_net {
        return mesh::arrive(skb, settings, origin, header);
    }
    in_network(skb, origin, header)
}

/// Of an overlay network that is not the mesh.
#[inline(never)]
fn in_network(skb: Skb, origin: &Origin, header: &mut Header) -> Result<Verdict, DropReason> {
    let sender = deliver::endpoint(origin.net, &header.source).ok_or_else(|| stranger(origin))?;
    authenticate(&sender, origin)?;
    let mut target = header.destination;
    if sender.flags & endpoint::BACKS != 0 {
        match vip::glance_back(skb, origin.net, header) {
            Glance::Settled(flow) => {
                rewrite::source_here(skb, header, &flow.peer, flow.peer_port)?;
            }
            Glance::Stranger => {}
            Glance::Unclear => {
                if let Some(translation) = vip::reply(skb, origin.net, header) {
                    vip::apply_reply(skb, header, translation)?;
                    target = translation.client;
                }
            }
        }
    }
    to_task(skb, origin, &target)
}

#[inline(always)]
fn to_task(skb: Skb, origin: &Origin, target: &Address) -> Result<Verdict, DropReason> {
    let task = deliver::endpoint(origin.net, target).ok_or(DropReason::NoEndpoint)?;
    if task.vtep != 0 || EndpointKind::from_u8(task.kind) != Some(EndpointKind::Task) {
        return Err(DropReason::NotLocal);
    }
    deliver::to_endpoint(skb, origin.net, &task)
}

/// The inner source must live on the node that the outer source names: one comparison proves both.
#[inline(always)]
fn authenticate(sender: &Endpoint, origin: &Origin) -> Result<(), DropReason> {
    if sender.vtep != 0 && carrier::address(sender.vtep) == Some(origin.remote) {
        return Ok(());
    }
    let reason = stranger(origin);
    Err(if reason == DropReason::UnknownVtep {
        reason
    } else {
        DropReason::SpoofedInner
    })
}

/// Why a packet with an unknown inner source is refused.
#[inline(always)]
fn stranger(origin: &Origin) -> DropReason {
    if VTEP_IDS.get_ptr(origin.remote).is_none() {
        DropReason::UnknownVtep
    } else if NETWORKS.get_ptr(origin.net).is_none() {
        DropReason::UnknownVni
    } else {
        DropReason::SpoofedInner
    }
}
