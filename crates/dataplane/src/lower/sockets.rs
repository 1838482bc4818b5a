//! What the socket hooks know of namespaces.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use abi::{Netns, NetnsNetwork, netns_network};

use super::tables::by_family;
use super::{Facts, node};
use crate::desired::{Attachment, Desired};

/// Every namespace whose cookie is known.
pub(super) fn lower(desired: &Desired, facts: &Facts) -> BTreeMap<u64, Netns> {
    let mut by_namespace: BTreeMap<&Path, Vec<&Attachment>> = BTreeMap::new();
    for attachment in desired.attachments.values() {
        by_namespace
            .entry(&attachment.namespace)
            .or_default()
            .push(attachment);
    }
    let task = |(path, attachments): (&Path, Vec<&Attachment>)| {
        Some((*facts.cookies.get(path)?, task(desired, attachments)))
    };
    let mut namespaces: BTreeMap<u64, Netns> = by_namespace.into_iter().filter_map(task).collect();
    namespaces.extend(facts.cookie.zip(node::netns(desired)));
    namespaces
}

fn task(desired: &Desired, mut attachments: Vec<&Attachment>) -> Netns {
    // eth2 before eth10.
    attachments.sort_by_key(|it| (it.interface.len(), &it.interface));
    let mut namespace = Netns::default();
    for (slot, attachment) in namespace.networks.iter_mut().zip(attachments) {
        let by_socket = desired
            .networks
            .get(&attachment.net)
            .is_none_or(|network| network.socket_lb);
        let addresses: Vec<IpAddr> = attachment.addresses.iter().map(|it| it.ip()).collect();
        let (v4, v6) = by_family(&addresses);
        *slot = NetnsNetwork {
            net: attachment.net,
            flags: if by_socket {
                0
            } else {
                netns_network::PER_PACKET
            },
            v4,
            v6,
        };
    }
    namespace
}

#[cfg(test)]
mod tests {

    use abi::NetId;

    use super::*;

    fn attachment(net: u32, interface: &str) -> Attachment {
        Attachment {
            namespace: "/run/netns/a".into(),
            interface: interface.to_owned(),
            net: NetId(net),
            addresses: Vec::new(),
        }
    }

    #[test]
    fn networks_come_in_the_order_of_interfaces_up_to_a_bound() {
        let all: Vec<Attachment> = (0..12)
            .map(|number| attachment(100 + number, &format!("eth{number}")))
            .collect();
        let desired = Desired::empty(IpAddr::from([192, 0, 2, 1]));
        let namespace = task(&desired, all.iter().rev().collect());
        let nets: Vec<u32> = namespace.networks.iter().map(|it| it.net.0).collect();
        assert_eq!(nets, [100, 101, 102, 103, 104, 105, 106, 107]);
    }
}
