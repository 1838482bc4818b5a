//! Interfaces.

use std::os::fd::{AsFd, AsRawFd};

use abi::Mac;
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType,
    LinkMessage,
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVxlan};

use super::{Netlink, NetlinkError, collect};
use crate::kernel::netns::Netns;
use crate::world::{LinkName, Tunnel};

/// An interface as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mac: Mac,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    pub(crate) kind: Kind,
    /// Of a veth, the other end's index in its own namespace.
    pub(crate) peer: Option<u32>,
}

/// The kinds of interface that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Loopback,
    Veth,
    /// An Ethernet device by itself: hardware, or what a hypervisor shows as such.
    Ethernet,
    /// Ethernet on top of other devices.
    Layered,
    /// With its UDP port, and whether it takes its metadata from each packet and learns nothing.
    Vxlan {
        port: u16,
        external: bool,
    },
    Other,
}

/// A veth pair to be made, both ends down.
#[derive(Debug)]
pub(crate) struct NewPair<'a> {
    pub(crate) node: &'a LinkName,
    pub(crate) node_mac: Mac,
    pub(crate) task: &'a LinkName,
    pub(crate) task_mac: Mac,
    pub(crate) namespace: &'a Netns,
    pub(crate) mtu: u32,
}

impl Netlink {
    pub(crate) async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let messages = collect("list links", self.handle.link().get().execute()).await?;
        Ok(messages.into_iter().filter_map(read).collect())
    }

    /// The number of one interface; `None` when there is none of this name.
    pub(crate) async fn link_number(&self, name: &LinkName) -> Result<Option<u32>, NetlinkError> {
        let request = self.handle.link().get().match_name(name.to_string());
        let answer = collect("find link", request.execute()).await;
        match answer {
            Ok(messages) => Ok(messages.first().map(|message| message.header.index)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a veth pair whose far end is born in the task's namespace.
    pub(crate) async fn create_pair(&self, pair: &NewPair<'_>) -> Result<(), NetlinkError> {
        let far = LinkMessageBuilder::<LinkUnspec>::new()
            .name(pair.task.as_str())
            .mtu(pair.mtu)
            .address(pair.task_mac.to_vec())
            .setns_by_fd(pair.namespace.as_fd().as_raw_fd())
            .build();
        let near = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(pair.node.as_str())
            .mtu(pair.mtu)
            .address(pair.node_mac.to_vec())
            .set_info_data(InfoData::Veth(InfoVeth::Peer(far)))
            .build();
        let request = self.handle.link().add(near);
        request
            .execute()
            .await
            .map_err(|e| NetlinkError::new("create veth", pair.node, e))
    }

    /// Makes the VXLAN device, down.
    pub(crate) async fn create_tunnel(
        &self,
        name: &LinkName,
        tunnel: Tunnel,
    ) -> Result<(), NetlinkError> {
        let message = LinkMessageBuilder::<LinkVxlan>::new(name.as_str())
            .collect_metadata(true)
            .learning(false)
            .port(tunnel.port)
            .udp_zero_csum6_rx(true)
            .mtu(tunnel.mtu)
            .build();
        let request = self.handle.link().add(message);
        request
            .execute()
            .await
            .map_err(|e| NetlinkError::new("create vxlan", name, e))
    }

    pub(crate) async fn delete_link(&self, index: u32) -> Result<(), NetlinkError> {
        let request = self.handle.link().del(index);
        request
            .execute()
            .await
            .map_err(|e| NetlinkError::new("delete link", index, e))
    }

    pub(crate) async fn set_up(&self, index: u32) -> Result<(), NetlinkError> {
        let message = LinkMessageBuilder::<LinkUnspec>::new()
            .index(index)
            .up()
            .build();
        self.change("bring up link", index, message).await
    }

    pub(crate) async fn set_mtu(&self, index: u32, mtu: u32) -> Result<(), NetlinkError> {
        let message = LinkMessageBuilder::<LinkUnspec>::new()
            .index(index)
            .mtu(mtu)
            .build();
        self.change("set the mtu of link", index, message).await
    }

    pub(crate) async fn set_mac(&self, index: u32, mac: Mac) -> Result<(), NetlinkError> {
        let message = LinkMessageBuilder::<LinkUnspec>::new()
            .index(index)
            .address(mac.to_vec())
            .build();
        self.change("set the address of link", index, message).await
    }

    async fn change(
        &self,
        action: &'static str,
        index: u32,
        message: LinkMessage,
    ) -> Result<(), NetlinkError> {
        let request = self.handle.link().change(message);
        request
            .execute()
            .await
            .map_err(|e| NetlinkError::new(action, index, e))
    }
}

fn read(message: LinkMessage) -> Option<Link> {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: Mac::default(),
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        kind: Kind::Other,
        peer: None,
    };
    if message.header.flags.contains(LinkFlags::Loopback) {
        link.kind = Kind::Loopback;
    } else if message.header.link_layer_type == LinkLayerType::Ether {
        link.kind = Kind::Ethernet;
    }
    for attribute in message.attributes {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "a hundred attributes, six of use"
        )]
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Link(peer) => link.peer = Some(peer),
            LinkAttribute::Address(bytes) => link.mac = bytes.try_into().unwrap_or_default(),
            LinkAttribute::LinkInfo(infos) => read_info(&mut link, &infos),
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

fn read_info(link: &mut Link, infos: &[LinkInfo]) {
    for info in infos {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "dozens of kinds, two of use"
        )]
        match info {
            LinkInfo::Kind(InfoKind::Veth) => link.kind = Kind::Veth,
            LinkInfo::Kind(_) if link.kind == Kind::Ethernet => link.kind = Kind::Layered,
            LinkInfo::Data(InfoData::Vxlan(settings)) => {
                let port = settings.iter().find_map(|s| match s {
                    InfoVxlan::Port(port) => Some(*port),
                    _ => None,
                });
                let external = settings.contains(&InfoVxlan::CollectMetadata(true))
                    && !settings.contains(&InfoVxlan::Learning(true));
                link.kind = Kind::Vxlan {
                    port: port.unwrap_or(0),
                    external,
                };
            }
            _ => {}
        }
    }
}
