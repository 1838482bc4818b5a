//! What one node's programs know about their node.

/// The number of a network in every key: its VNI on the wire for overlays, [`NetId::GATEWAY`] for
/// the addresses of gateway attachments.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetId(pub u32);

impl NetId {
    /// The number under which the gateway addresses of this node's tasks are kept; above every VNI,
    /// so that no packet from the wire can name it.
    pub const GATEWAY: Self = Self(1 << 24);
}

/// The version of every layout in this crate. Pinned maps of another version are not adopted.
pub const LAYOUT: u32 = 2;

/// The packet mark by which the node's firewall table tells `to_task` that nobody inside asked for
/// this packet.
pub const MARK_UNSOLICITED: u32 = 0x6e65_7464;

/// The one entry of `settings`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The network of the ingress mesh.
    pub ingress_net: NetId,
    /// The collect-metadata VXLAN device.
    pub vxlan_ifindex: u32,
    /// UDP port of the VXLAN underlay.
    pub data_path_port: u16,
    /// Largest IP packet that fits into the tunnel, in bytes.
    pub overlay_mtu: u16,
    /// Not zero when a port is published on chosen addresses only, which costs a second look-up.
    pub addressed_ports: u32,
}

const _: () = assert!(size_of::<Settings>() == 16);
