//! What fits into the tunnel.

use abi::{Address, DropReason};
use integration::testrun::Packet;

use super::read::{Reading, TCP};
use super::{Oracle, Sent, Sum, answers};

impl Oracle {
    /// Whether everything that the packet consists of fits.
    pub(super) fn fits(&self, packet: &Packet, reading: &Reading) -> Result<bool, DropReason> {
        self.ready()?;
        let segment = usize::try_from(packet.gso_size).unwrap();
        let length = if segment == 0 || !reading.has_upper() {
            packet.frame.len() - 14
        } else if reading.protocol == TCP {
            let header = usize::from(packet.frame[reading.l4 + 12] / 16) * 4;
            reading.l4 - 14 + header + segment
        } else {
            reading.l4 - 14 + 8 + segment
        };
        Ok(length <= usize::from(self.contents.settings.overlay_mtu))
    }

    /// Tells the sender what would fit.
    pub(super) fn too_big(
        &self,
        packet: &Packet,
        reading: &Reading,
        source: Address,
    ) -> Result<Sent, DropReason> {
        let plain = reading.l4 == if reading.v6 { 54 } else { 34 };
        if !reading.has_ports() || !reading.has_upper() || !plain {
            return Err(DropReason::TooBig);
        }
        let mtu = self.contents.settings.overlay_mtu;
        Ok(answers::too_big(packet, reading, source, mtu))
    }

    /// As [`Self::too_big`], from a network's own address.
    pub(super) fn too_big_for(
        &self,
        packet: &Packet,
        reading: &Reading,
        net: abi::NetId,
    ) -> Result<Sent, DropReason> {
        let network = self.contents.networks.get(&net);
        let network = network.ok_or(DropReason::NotReady)?;
        let source = if reading.v6 {
            network.gateway_v6
        } else {
            network.gateway_v4
        };
        self.too_big(packet, reading, source)
    }

    /// Lowers the segment size that a SYN announces to what fits.
    pub(super) fn clamp(&self, mut sent: Sent, reading: &Reading) -> Sent {
        if reading.protocol != TCP || reading.kind & 2 == 0 || !reading.has_upper() {
            return sent;
        }
        let mtu = self.contents.settings.overlay_mtu;
        let most = mtu - if reading.v6 { 60 } else { 40 };
        let l4 = reading.l4;
        let end = l4 + usize::from(sent.frame[l4 + 12] / 16) * 4;
        let options = &sent.frame[l4 + 20..end];
        if let Some(at) = segment_size(options) {
            let field = &mut sent.frame[l4 + 20 + at..][..2];
            if u16::from_be_bytes([field[0], field[1]]) > most {
                field.copy_from_slice(&most.to_be_bytes());
                sent.upper = sent.upper.or(Some(Sum::Kept));
            }
        }
        sent
    }
}

/// Where in the options the value of the segment size stands.
fn segment_size(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match options.get(at..at + 2)? {
            [0, _] => return None,
            [1, _] => at += 1,
            [2, 4] if options.len() >= at + 4 => return Some(at + 2),
            [_, length] if *length < 2 => return None,
            [_, length] => at += usize::from(*length),
            _ => return None,
        }
    }
}
