//! How ingress nodes and backends' nodes talk: plain VXLAN with the ingress VNI, the inner IP packet
//! untouched, and the choice in the inner Ethernet addresses that nobody needs there.
//!
//! ```text
//! offset  0    1        2           6    7          8              12
//!        +----+--------+-----------+----+----------+--------------+
//!        | 02 | version| backend   | 06 | direction| second choice|
//!        +----+--------+-----------+----+----------+--------------+
//!         destination address       source address
//! ```
//! Numbers are big-endian. Both addresses are locally administered unicast ones, so that any VXLAN
//! device parses the frame.

/// How the payload of an echo request begins by which one node asks another for a reply whose source is
/// not its own address but that of the node that asks: what replies straight to a client look like.
pub const STRAIGHT: [u8; 8] = *b"netd-dsr";

/// The metadata of one frame of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// The backend that the ingress node chose.
    pub backend: u32,
    /// On the way to a backend, the one that the table before the present one has, for a node that does
    /// not know the flow of the first; 0 for none. In a frame that was passed on so, and in replies to
    /// it, the number under which the node that passed it on knows the ingress node, else 0.
    pub second: u32,
    /// Which way the packet goes.
    pub direction: MeshDirection,
}

/// Which way a frame of the mesh goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeshDirection {
    /// From the ingress node to the backend's node, addressed to the frontend.
    Forward,
    /// The same, of a flow whose replies the backend's node sends to the client itself.
    ForwardDirect,
    /// As `Forward`, passed on by a node that does not know the flow: see [`Mesh::second`].
    PassedOn,
    /// From the backend's node to the ingress node, addressed to the client.
    Reply,
}

const DESTINATION: u8 = 0x02;
const SOURCE: u8 = 0x06;
const VERSION: u8 = 1;

impl Mesh {
    /// The first twelve bytes of the inner frame.
    #[inline(always)]
    #[must_use]
    pub const fn to_addresses(self) -> [u8; 12] {
        let [a, b, c, d] = self.backend.to_be_bytes();
        let [e, f, g, h] = self.second.to_be_bytes();
        let direction = match self.direction {
            MeshDirection::Forward => 0,
            MeshDirection::Reply => 1,
            MeshDirection::ForwardDirect => 2,
            MeshDirection::PassedOn => 3,
        };
        [
            DESTINATION,
            VERSION,
            a,
            b,
            c,
            d,
            SOURCE,
            direction,
            e,
            f,
            g,
            h,
        ]
    }

    /// What replies have to carry to get back to the ingress node.
    #[inline(always)]
    #[must_use]
    pub const fn relay(&self) -> u32 {
        match self.direction {
            MeshDirection::PassedOn => self.second,
            MeshDirection::Forward | MeshDirection::ForwardDirect | MeshDirection::Reply => 0,
        }
    }

    /// Reads the first twelve bytes of an inner frame; `None` when they were not written by this
    /// version of the mesh.
    #[inline(always)]
    #[must_use]
    pub const fn from_addresses(bytes: &[u8; 12]) -> Option<Self> {
        let [d0, d1, a, b, c, d, s0, s1, e, f, g, h] = *bytes;
        if d0 != DESTINATION || d1 != VERSION || s0 != SOURCE {
            return None;
        }
        let direction = match s1 {
            0 => MeshDirection::Forward,
            1 => MeshDirection::Reply,
            2 => MeshDirection::ForwardDirect,
            3 => MeshDirection::PassedOn,
            _ => return None,
        };
        Some(Self {
            backend: u32::from_be_bytes([a, b, c, d]),
            second: u32::from_be_bytes([e, f, g, h]),
            direction,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_survives_the_round_trip() {
        for direction in [
            MeshDirection::Forward,
            MeshDirection::Reply,
            MeshDirection::ForwardDirect,
            MeshDirection::PassedOn,
        ] {
            let mesh = Mesh {
                backend: 0xdead_beef,
                second: 7,
                direction,
            };
            let bytes = mesh.to_addresses();
            assert_eq!(Mesh::from_addresses(&bytes), Some(mesh));
            assert_eq!(
                (bytes[0] & 3, bytes[6] & 3),
                (2, 2),
                "unicast, locally administered"
            );
        }
    }

    #[test]
    fn foreign_addresses_are_refused() {
        assert_eq!(Mesh::from_addresses(&[0; 12]), None);
        let mut bytes = Mesh {
            backend: 1,
            second: 0,
            direction: MeshDirection::Reply,
        }
        .to_addresses();
        bytes[7] = 4;
        assert_eq!(Mesh::from_addresses(&bytes), None);
    }
}
