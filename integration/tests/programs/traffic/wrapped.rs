//! What other nodes send, as it is on the wire: often not quite what a node would send.

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6Header, UdpHeader};
use integration::testrun::Packet;
use std::net::IpAddr;

use crate::dice::Dice;
use crate::world::{NODES, TUNNEL_PORT, World, pair};

const OUTER: std::ops::Range<usize> = 14..64;

/// Wraps the packet's frame, whose origin says from whom and in which network.
pub(super) fn wrap(dice: &mut Dice, world: &World, packet: &mut Packet) {
    let [net, sender] = packet.origin;
    packet.origin = [0; 2];
    let vteps = &world.contents.vteps;
    let own = vteps[&0].address;
    let family = usize::from(!own.is_v4());
    let stranger = pair(NODES, 200)[family];
    let source = vteps.get(&sender).map_or(stranger, |vtep| vtep.address);
    let target = if dice.chance(3) { stranger } else { own };
    let mut payload = vec![8, 0, 0, 0];
    payload.extend((net << 8).to_be_bytes());
    payload.append(&mut packet.frame);
    let udp = UdpHeader {
        source_port: dice.short(),
        destination_port: if dice.chance(2) { 53 } else { TUNNEL_PORT },
        length: u16::try_from(8 + payload.len()).unwrap(),
        checksum: if dice.chance(4) { dice.short() } else { 0 },
    };
    let ecn = if dice.chance(5) { 3 } else { dice.byte() % 3 };
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8];
    let addresses = (IpAddr::from(source), IpAddr::from(target));
    match addresses {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            let mut ip = Ipv4Header::new(
                udp.length,
                64,
                IpNumber::UDP,
                source.octets(),
                target.octets(),
            )
            .unwrap();
            ip.ecn = ecn.try_into().unwrap();
            ip.dont_fragment = dice.chance(90);
            ip.more_fragments = dice.chance(2);
            if dice.chance(2) {
                ip.fragment_offset = IpFragOffset::try_new(185).unwrap();
            }
            if dice.chance(2) {
                ip.options = [1; 4].into();
                ip.total_len += 4;
            }
            ip.header_checksum = ip.calc_header_checksum();
            frame.extend([8, 0]);
            frame.extend(ip.to_bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let ip = Ipv6Header {
                traffic_class: ecn,
                payload_length: udp.length,
                next_header: IpNumber::UDP,
                hop_limit: 64,
                source: source.octets(),
                destination: target.octets(),
                ..Ipv6Header::default()
            };
            frame.extend([0x86, 0xdd]);
            frame.extend(ip.to_bytes());
        }
        _ => {}
    }
    frame.extend(udp.to_bytes());
    frame.extend(payload);
    if dice.chance(4) {
        frame.extend([0; 3]);
    }
    if dice.chance(10) {
        let at = OUTER.start + dice.below(OUTER.len());
        frame[at] = dice.byte();
    }
    packet.frame = frame;
}
