//! Whatever arrives from outside. Most of it is the node's own business and left alone at once.

use abi::{DropReason, Header, Verdict, protocol};

use crate::{action::Parsed, maps::SETTINGS, mesh, skb::Skb};

/// Decides about one packet on an uplink.
#[inline(always)]
pub(crate) fn run(skb: Skb, header: &mut Header, parsed: Parsed) -> Result<Verdict, DropReason> {
    // What cannot be read cannot be for a published port: the node's stack knows best.
    if parsed.is_err() {
        return Ok(Verdict::PASS);
    }
    let Some(settings) = SETTINGS.get(0) else {
        return Ok(Verdict::PASS);
    };
    if settings.ingress_net.0 == 0
        || (header.protocol == protocol::UDP && header.destination_port == settings.data_path_port)
    {
        return Ok(Verdict::PASS);
    }
    mesh::from_outside(skb, settings, header)
}
