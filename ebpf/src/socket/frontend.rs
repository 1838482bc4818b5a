//! Which service a process dials.

use abi::{Address, DropReason, EndpointKind, Header, NetId, Netns, Service, netns, netns_network};

use super::Dial;
use crate::{
    balance, deliver,
    maps::{ADDRESSES, SETTINGS},
    mesh,
};

/// What a process dials when it dials a service.
#[derive(Clone, Copy)]
pub(super) struct Frontend {
    pub(super) service: &'static Service,
    /// The VIP's network, or the ingress network.
    pub(super) net: NetId,
}

/// The service that `header` is for, with the source that its backend will see; `None` when it is
/// for none, or is left to the packets' programs.
///
/// # Errors
/// [`DropReason::NoPort`] for a VIP that does not have the port.
#[inline(always)]
pub(super) fn find(
    dial: Dial,
    namespace: &'static Netns,
    header: &mut Header,
) -> Result<Option<Frontend>, DropReason> {
    let mut index = 0;
    while index < Netns::NETWORKS {
        let network = &namespace.networks[index];
        index += 1;
        if network.net.0 == 0 {
            break;
        }
        header.source = if header.destination.is_v4() {
            network.v4
        } else {
            network.v6
        };
        let net = network.net;
        if namespace.flags & netns::NODE != 0 {
            let service = published(header).filter(|_| dial.can_send_from(&header.source));
            return Ok(service.map(|service| Frontend { service, net }));
        }
        let Some(endpoint) = deliver::endpoint(net, &header.destination) else {
            continue;
        };
        let is_vip = EndpointKind::from_u8(endpoint.kind) == Some(EndpointKind::Vip);
        if !is_vip || network.flags & netns_network::PER_PACKET != 0 {
            return Ok(None);
        }
        let service = balance::service(net, header).ok_or(DropReason::NoPort)?;
        return Ok(Some(Frontend { service, net }));
    }
    Ok(None)
}

/// The service that publishes a port of the node, given an address that means the node itself.
#[inline(always)]
pub(super) fn published(header: &Header) -> Option<&'static Service> {
    let any = if header.destination.is_v4() {
        Address::ANY_V4
    } else {
        Address::UNSPECIFIED
    };
    let is_addressed = SETTINGS
        .get(0)
        .is_some_and(|settings| settings.addressed_ports != 0);
    let service = is_addressed
        .then(|| mesh::published_on(header, header.destination))
        .flatten()
        .or_else(|| mesh::published_on(header, any))?;
    let is_own = is_loopback(&header.destination)
        || header.destination == any
        || ADDRESSES.get_ptr(header.destination).is_some();
    is_own.then_some(service)
}

#[inline(always)]
fn is_loopback(address: &Address) -> bool {
    if address.is_v4() {
        address.v4_word().to_ne_bytes()[0] == 127
    } else {
        *address == LOOPBACK_V6
    }
}

/// `::1`.
const LOOPBACK_V6: Address =
    Address::from_v6_octets([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
