//! Addresses of interfaces, and permanent neighbours.

use std::net::IpAddr;

use abi::Mac;
use ipnetwork::IpNetwork;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use super::{Netlink, NetlinkError, collect};

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkAddress {
    /// The interface's index.
    pub(crate) index: u32,
    /// With the prefix length of its subnet.
    pub(crate) address: IpNetwork,
    /// Whether it is of use beyond its link.
    pub(crate) global: bool,
}

/// A permanent neighbour of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkNeighbour {
    /// The interface's index.
    pub(crate) index: u32,
    pub(crate) address: IpAddr,
    pub(crate) mac: Mac,
}

impl Netlink {
    pub(crate) async fn addresses(&self) -> Result<Vec<LinkAddress>, NetlinkError> {
        let messages = collect("list addresses", self.handle.address().get().execute()).await?;
        Ok(messages.iter().filter_map(read_address).collect())
    }

    /// Adds an address that is usable at once: nobody else can have it.
    pub(crate) async fn add_address(
        &self,
        index: u32,
        address: IpNetwork,
    ) -> Result<(), NetlinkError> {
        let mut request = self
            .handle
            .address()
            .add(index, address.ip(), address.prefix())
            .replace();
        if address.is_ipv6() {
            let message = request.message_mut();
            message.header.flags |= AddressHeaderFlags::Nodad;
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        request
            .execute()
            .await
            .map_err(|e| NetlinkError::new("add address", address, e))
    }

    pub(crate) async fn remove_address(
        &self,
        index: u32,
        address: IpNetwork,
    ) -> Result<(), NetlinkError> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = address.prefix();
        message.header.family = family(address.ip());
        message
            .attributes
            .push(AddressAttribute::Local(address.ip()));
        message
            .attributes
            .push(AddressAttribute::Address(address.ip()));
        let request = self.handle.address().del(message);
        request
            .execute()
            .await
            .map_err(|e| NetlinkError::new("remove address", address, e))
    }

    /// The permanent neighbours of every interface.
    pub(crate) async fn neighbours(&self) -> Result<Vec<LinkNeighbour>, NetlinkError> {
        let messages = collect("list neighbours", self.handle.neighbours().get().execute()).await?;
        Ok(messages.iter().filter_map(read_neighbour).collect())
    }

    pub(crate) async fn put_neighbour(
        &self,
        index: u32,
        address: IpAddr,
        mac: Mac,
    ) -> Result<(), NetlinkError> {
        let request = self
            .handle
            .neighbours()
            .add(index, address)
            .link_layer_address(&mac)
            .state(NeighbourState::Permanent)
            .replace();
        request
            .execute()
            .await
            .map_err(|e| NetlinkError::new("add neighbour", address, e))
    }

    pub(crate) async fn remove_neighbour(
        &self,
        index: u32,
        address: IpAddr,
    ) -> Result<(), NetlinkError> {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = index;
        message.header.family = family(address);
        message
            .attributes
            .push(NeighbourAttribute::Destination(match address {
                IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
                IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
            }));
        let request = self.handle.neighbours().del(message);
        request
            .execute()
            .await
            .map_err(|e| NetlinkError::new("remove neighbour", address, e))
    }
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn read_address(message: &AddressMessage) -> Option<LinkAddress> {
    let mut local = None;
    let mut address = None;
    for attribute in &message.attributes {
        if let AddressAttribute::Local(ip) = attribute {
            local = Some(*ip);
        } else if let AddressAttribute::Address(ip) = attribute {
            address = Some(*ip);
        }
    }
    // On a point-to-point link IFA_ADDRESS is the other side; IPv6 often has no IFA_LOCAL.
    let ip = local.or(address)?;
    Some(LinkAddress {
        index: message.header.index,
        address: IpNetwork::new(ip, message.header.prefix_len).ok()?,
        global: message.header.scope == AddressScope::Universe,
    })
}

fn read_neighbour(message: &NeighbourMessage) -> Option<LinkNeighbour> {
    if message.header.state != NeighbourState::Permanent {
        return None;
    }
    let mut address = None;
    let mut mac = None;
    for attribute in &message.attributes {
        if let NeighbourAttribute::Destination(destination) = attribute {
            address = match destination {
                NeighbourAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
                NeighbourAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
                NeighbourAddress::Other(_) | _ => None,
            };
        } else if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
            mac = Mac::try_from(bytes.as_slice()).ok();
        }
    }
    Some(LinkNeighbour {
        index: message.header.ifindex,
        address: address?,
        mac: mac?,
    })
}
