use super::*;
use abi::{Mesh, MeshDirection, NetId};

const INGRESS: u32 = 4096;

fn settings() -> abi::Settings {
    abi::Settings {
        ingress_net: NetId(INGRESS),
        vxlan_ifindex: 9,
        data_path_port: 4789,
        ..abi::Settings::default()
    }
}

/// A SYN of 10.0.1.3:4000 to `last`:80, with this Ethernet header before it.
fn syn(ethernet: [u8; 12], last: u8) -> Vec<u8> {
    let mut frame = ethernet.to_vec();
    frame.extend([0x08, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0]);
    frame.extend([10, 0, 1, 3, 10, 0, 1, last]);
    frame.extend([
        0x0f, 0xa0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0,
    ]);
    frame
}

fn noted(decision: u32, target: u32, frame: &[u8]) -> abi::Sighting {
    let mut it = abi::Sighting {
        sight: Sight::Sent as u32,
        flags: u32::from(tcp::SYN),
        protocol: u32::from(protocol::TCP),
        decision,
        target,
        source: address("10.0.1.3"),
        source_port: 4000,
        destination: address("10.0.1.2"),
        destination_port: 80,
        length: u32::try_from(frame.len()).unwrap(),
        captured: u32::try_from(frame.len()).unwrap(),
        ..abi::Sighting::default()
    };
    for (word, bytes) in it.frame.iter_mut().zip(frame.chunks(8)) {
        let mut full = [0; 8];
        full[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(full);
    }
    it
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn seen(noted: &abi::Sighting) -> Sighting {
    read(noted, &settings(), SystemTime::now()).unwrap()
}

#[test]
fn what_was_translated_and_delivered_shows_both_ends() {
    let seen = seen(&noted(decision::PEER, 4, &syn([2; 12], 12)));
    assert_eq!(seen.outcome, Outcome::Task(4));
    assert_eq!(seen.packet.destination, "10.0.1.2:80".parse().unwrap());
    assert_eq!(seen.left.destination, "10.0.1.12:80".parse().unwrap());
    assert_eq!(seen.kind, Kind::Probe);
}

#[test]
fn the_tunnel_is_read_from_what_was_written_by_either_carrier() {
    let mesh = Mesh {
        backend: 7,
        second: 0,
        direction: MeshDirection::Forward,
    };
    let inner = syn(mesh.to_addresses(), 2);
    let mut by_device = noted(decision::DEVICE, 9, &inner);
    by_device.key_family = 4;
    by_device.key[0] = INGRESS;
    by_device.key[7] = 0xc000_0202;
    for native in [false, true] {
        let seen = if native {
            let frame = [vec![0; 14], outer(inner.len()), inner.clone()].concat();
            seen(&noted(decision::ARRANGED, 0, &frame))
        } else {
            seen(&by_device)
        };
        let expected = Outcome::Node {
            to: "192.0.2.2".parse().unwrap(),
            net: NetId(INGRESS),
            backend: 7,
            native,
        };
        assert_eq!(seen.outcome, expected);
        assert_eq!(
            seen.left, seen.packet,
            "the mesh translates at the other end"
        );
    }
}

/// What the native carrier writes before an inner frame of so many bytes.
fn outer(length: usize) -> Vec<u8> {
    let length = u16::try_from(length).unwrap();
    let octets = |number: u16| number.to_be_bytes();
    let (start, rest) = ([0x45, 0], [0, 0, 0x40, 0, 64, 17]);
    let ends = [192, 0, 2, 1, 192, 0, 2, 2];
    let ip = |sum: [u8; 2]| [&start[..], &octets(length + 36), &rest, &sum, &ends].concat();
    let blank = ip([0, 0]);
    let words = blank
        .chunks(2)
        .map(|two| u32::from(u16::from_be_bytes([two[0], two[1]])));
    let sum = !abi::checksum::fold(words.sum());
    let udp = [octets(50_000), octets(4789), octets(length + 16), [0, 0]].concat();
    let [_, a, b, c] = INGRESS.to_be_bytes();
    [ip(octets(sum)), udp, vec![8, 0, 0, 0, a, b, c, 0]].concat()
}

#[test]
fn a_refusal_is_told_as_what_was_refused() {
    // What leaves is the answer.
    let mut refused = noted(decision::REFUSED, 4, &syn([2; 12], 3));
    refused.reason = DropReason::NoPort as u32;
    let seen = seen(&refused);
    let expected = Outcome::Dropped {
        reason: DropReason::NoPort,
        told: true,
    };
    assert_eq!((seen.outcome, seen.left), (expected, seen.packet));
}

#[test]
fn what_follows_a_probe_is_not_taken_for_it() {
    let mut it = noted(decision::PEER, 4, &[]);
    for (sight, flags, expected) in [
        (Sight::Sent, tcp::SYN, Kind::Probe),
        (Sight::Sent, tcp::ACK, Kind::Later),
        (Sight::Answer, tcp::SYN | tcp::ACK, Kind::Answer),
        (Sight::Answer, tcp::RST, Kind::Answer),
        (Sight::Answer, tcp::FIN | tcp::ACK, Kind::Later),
        (Sight::Error, 3, Kind::Error),
    ] {
        it.sight = sight as u32;
        it.flags = u32::from(flags);
        assert_eq!(seen(&it).kind, expected);
    }
}
