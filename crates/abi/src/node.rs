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
pub const LAYOUT: u32 = 9;

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
    /// ICMP errors that each CPU may send in a second, in bursts of [`Settings::ERROR_BURST`]; 0 for
    /// as many as there are.
    pub errors_per_second: u32,
}

const _: () = assert!(size_of::<Settings>() == 20);

impl Settings {
    /// ICMP errors that a CPU which has been silent may send at once.
    pub const ERROR_BURST: u32 = 50;
}

/// What a CPU may still send of ICMP errors.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorCredit {
    /// When credit was last given, nanoseconds of the coarse monotonic clock.
    pub since_ns: u64,
    /// Errors that may be sent.
    pub left: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<ErrorCredit>() == 16);

impl ErrorCredit {
    /// Takes one, when there is one at `now_ns`; `per_second` come back, 0 for no limit.
    #[inline(always)]
    pub const fn take(&mut self, per_second: u32, now_ns: u64) -> bool {
        if per_second == 0 {
            return true;
        }
        let passed = now_ns.saturating_sub(self.since_ns);
        let most = Settings::ERROR_BURST as u64;
        // No longer than it takes to have all of them: the product stays small.
        let passed = if passed > 1_000_000_000 * most {
            1_000_000_000 * most
        } else {
            passed
        };
        let gained = passed / 1_000 * per_second as u64 / 1_000_000;
        if gained > 0 {
            let all = self.left as u64 + gained;
            #[expect(clippy::cast_possible_truncation, reason = "at most the burst")]
            let left = if all > most { most } else { all } as u32;
            self.left = left;
            self.since_ns = now_ns;
        }
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn errors_are_limited_to_a_burst_and_a_rate() {
        let mut credit = ErrorCredit::default();
        let mut now = 3600 * SECOND;
        let burst = (0..1000).filter(|_| credit.take(100, now)).count();
        assert_eq!(burst, 50);
        let mut sent = 0;
        for _ in 0..1000 {
            now += SECOND / 250;
            sent += usize::from(credit.take(100, now));
        }
        assert!((320..=400).contains(&sent), "{sent} in four seconds");
        assert!((0..1000).all(|_| credit.take(0, now)), "no limit");
    }
}
