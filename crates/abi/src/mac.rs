//! Ethernet addresses.

/// An Ethernet address, octets in wire order.
pub type Mac = [u8; 6];

/// The address every task sees as its next hop, on every network and every node, and the address
/// of the host's end of a gateway attachment.
///
/// It is locally administered, and differs from the VXLAN device's own address on purpose: the
/// kernel drops a received frame whose inner source is the receiving device's own (`vxlan_set_mac`
/// in drivers/net/vxlan/vxlan_core.c).
pub const ROUTER_MAC: Mac = [0x02, 0x6e, 0x64, 0x00, 0x00, 0x01];
