//! The beginning of a frame as it left a program.

use std::net::{IpAddr, SocketAddr};

use abi::vxlan::Inner;
use abi::{Bytes, Head, Header, Mesh, NetId, Settings, ethertype, protocol};

use crate::trace::Packet;

/// The beginning of a frame, and how long the whole of it is.
pub(super) struct Frame {
    bytes: Vec<u8>,
    length: usize,
}

const ETHERNET: usize = 14;

impl Frame {
    pub(super) fn of(noted: &abi::Sighting) -> Self {
        let bytes = noted.frame.iter().flat_map(|word| word.to_ne_bytes());
        Self::new(
            bytes.take(noted.captured as usize).collect(),
            noted.length as usize,
        )
    }

    /// The kernel writes the type into the Ethernet header when the packet leaves, not before.
    pub(super) fn new(mut bytes: Vec<u8>, length: usize) -> Self {
        if let Some(version) = bytes.get(ETHERNET).map(|first| first >> 4) {
            let kind = if version == 6 {
                ethertype::IPV6
            } else {
                ethertype::IPV4
            };
            bytes[12..ETHERNET].copy_from_slice(&kind.to_be_bytes());
        }
        Self { bytes, length }
    }

    /// Protocol and ends of the packet; `None` when there is none.
    pub(super) fn packet(&self) -> Option<Packet> {
        let header = Header::read(self).ok()?;
        Some(Packet {
            protocol: header.protocol,
            source: SocketAddr::new(header.source.into(), header.source_port),
            destination: SocketAddr::new(header.destination.into(), header.destination_port),
        })
    }

    /// The backend that travels with a frame of the mesh, else 0.
    pub(super) fn backend(&self, net: NetId, settings: &Settings) -> u32 {
        let addresses = self
            .bytes
            .first_chunk()
            .filter(|_| net == settings.ingress_net);
        addresses
            .and_then(Mesh::from_addresses)
            .map_or(0, |mesh| mesh.backend)
    }

    /// Where a frame in VXLAN goes to, in which network, and what is in it.
    pub(super) fn inside(&self, settings: &Settings) -> Option<(IpAddr, NetId, Self)> {
        let outer = Header::read(self).ok()?;
        if outer.protocol != protocol::UDP || outer.destination_port != settings.data_path_port {
            return None;
        }
        let rest = u32::try_from(self.length.checked_sub(ETHERNET)?).ok()?;
        let (inner, start) = if outer.destination.is_v4() {
            (Inner::from_v4(&self.load(ETHERNET)?, rest)?, 50)
        } else {
            (Inner::from_v6(&self.load(ETHERNET)?, rest)?, 70)
        };
        let bytes = self.bytes.get(start..)?.to_vec();
        let length = self.length.checked_sub(start)?;
        Some((
            outer.destination.into(),
            inner.net,
            Self::new(bytes, length),
        ))
    }
}

impl Bytes for Frame {
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes.get(offset..)?.first_chunk().copied()
    }

    fn length(&self) -> usize {
        self.length
    }

    fn head<const N: usize>(&self) -> Option<impl Head> {
        self.bytes.first_chunk::<N>()
    }
}
