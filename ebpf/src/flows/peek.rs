//! Looking at a flow without touching it.

use abi::{FlowKey, Header, NetId, Seen, Side, delivery};

use super::{
    Opening, Translation,
    entry::{Entry, find, twin},
    forward_key, keep,
};
use crate::drops::now_ns;

/// What becomes of packets of the entry that `key` names; `None` when its flow is not alive. The flow
/// is as it was afterwards.
#[inline(never)]
pub(crate) fn peek(key: &FlowKey) -> Option<&'static mut Translation> {
    let entry = find(key)?;
    let is_translated = entry.flow().delivery.kind != delivery::MESH;
    if key.side == Side::Forward as u8 && is_translated {
        let owner = find(twin(key, entry.flow())?)?;
        let flow = owner.flow();
        let is_half = flow.peer != key.server
            || flow.peer_port != key.server_port
            || flow.client_port != key.client_port;
        if is_half || is_over(&owner, key.protocol) {
            return None;
        }
    } else if is_over(&entry, key.protocol) {
        return None;
    }
    entry.translation().ok()
}

/// Whether the client's packets are translated here, to this backend.
#[inline(never)]
pub(crate) fn leads_to(net: NetId, header: &Header, backend: u32) -> bool {
    let Ok(key) = keep(forward_key(net, header)) else {
        return false;
    };
    find(key).is_some_and(|entry| {
        let flow = entry.flow();
        flow.backend == backend && flow.delivery.kind == delivery::TASK
    })
}

/// Whether the packet belongs to a live flow to this backend.
#[inline(never)]
pub(crate) fn knows(net: NetId, header: &Header, opening: &Opening) -> bool {
    let key = FlowKey {
        server: opening.address,
        server_port: opening.port,
        side: Side::Reverse as u8,
        ..forward_key(net, header)
    };
    let Ok(key) = keep(key) else {
        return false;
    };
    find(key).is_some_and(|entry| entry.is_for(header) && entry.takes(header, now_ns()))
}

fn is_over(owner: &Entry, protocol: u8) -> bool {
    let flow = owner.flow();
    Seen(flow.seen).is_expired(protocol, flow.last_ns, now_ns())
}
