//! A connection straight to a task that also backs a VIP.
//!
//! It is nobody's business here, unless the same client talks to the same backend by the VIP, from
//! the same port: to the backend both would be one connection. The one that begins later gets another
//! port, and is a translated flow whose frontend is the backend itself.

use abi::{
    Delivery, DropReason, Endpoint, Header, Iface, MeshDirection, Seen, Verdict, delivery,
    protocol, tcp,
};

use crate::{
    answer::{self, Back},
    deliver,
    drops::now_ns,
    flows::{self, Opening},
    maps::DIRECT_UNTIL,
    size,
    skb::Skb,
    vip,
};

/// Whether the packet may begin a connection that looks like another, or belong to one that did.
#[inline(always)]
pub(crate) fn may_collide(header: &Header) -> bool {
    if header.protocol != protocol::TCP || !header.has_transport() {
        return false;
    }
    if tcp::is_initial(header.flags) {
        return true;
    }
    // No such connection has been seen on this node, or not for so long that it is over.
    DIRECT_UNTIL
        .get(0)
        .is_some_and(|until| *until != 0 && now_ns() < *until)
}

/// Sends the packet on when it belongs to a translated connection.
///
/// # Errors
/// [`DropReason::NoFlow`] when it does not, and goes on as it is; others when it is dropped.
#[inline(never)]
pub(crate) fn pass(
    skb: Skb,
    iface: &Iface,
    target: &Endpoint,
    header: &Header,
) -> Result<Verdict, DropReason> {
    let net = iface.net;
    let flow = match flows::forward(skb, net, header) {
        Some(flow) => flow,
        None => {
            if !tcp::is_initial(header.flags) {
                return Err(DropReason::NoFlow);
            }
            let key =
                flows::reverse_key_of(net, header, &header.destination, header.destination_port);
            if flows::yield_to(flows::keep(key)?, header).is_ok() {
                return Err(DropReason::NoFlow);
            }
            if let Err(reason) = open(skb, iface, target, header) {
                return answer::refuse(skb, header, reason, back(skb, iface));
            }
            flows::translation()?
        }
    };
    extend();
    if flow.delivery.kind == delivery::TUNNEL && !size::fits(skb, header)? {
        let source = vip::hairpin_client(net, header)?;
        return answer::too_big(skb, header, &source, back(skb, iface));
    }
    vip::apply_forward(skb, header, flow)?;
    deliver::to(skb, net, flow, MeshDirection::Forward)
}

fn open(skb: Skb, iface: &Iface, target: &Endpoint, header: &Header) -> Result<(), DropReason> {
    let opening = Opening::room()?;
    opening.net = iface.net;
    opening.client = header.source;
    opening.backend = 0;
    opening.address = header.destination;
    opening.port = header.destination_port;
    opening.service = 0;
    opening.forward = if target.vtep == 0 {
        Delivery {
            target: target.ifindex,
            mac: target.mac,
            kind: delivery::TASK,
        }
    } else {
        Delivery {
            target: target.vtep,
            mac: [0; 6],
            kind: delivery::TUNNEL,
        }
    };
    opening.reply = Delivery {
        kind: delivery::ENDPOINT,
        ..Delivery::default()
    };
    opening.via = 0;
    opening.seen = 0;
    flows::open_pair(skb, header, opening)?;
    opening.settle()
}

/// From now on, and for as long as such a connection may rest, packets are looked up.
#[inline(always)]
fn extend() {
    let longest = Seen(Seen::REPLIED).timeout_ns(protocol::TCP);
    if let Some(until) = DIRECT_UNTIL.get_ptr_mut(0) {
        // SAFETY: the pointer came from the map during this run; one aligned word.
        unsafe { *until = now_ns() + longest };
    }
}

#[inline(always)]
fn back(skb: Skb, iface: &Iface) -> Back {
    Back::Task {
        ifindex: skb.ifindex(),
        mac: iface.mac,
    }
}
