extern crate std;

use super::*;
use core::net::IpAddr;
use proptest::prelude::*;
use std::vec::Vec;

/// The octets that are sent.
fn octets(ip: &[u32], tunnel: &[u32], ethernet: &Ethernet) -> Vec<u8> {
    let words = ip.iter().chain(tunnel);
    let octets = words.flat_map(|word| word.to_ne_bytes());
    octets.chain(*ethernet).collect()
}

fn over_v4(outer: &Outer<'_>, ethernet: Ethernet) -> [u8; ROOM_V4] {
    let mut head = HeadV4 {
        ethernet,
        ..HeadV4::default()
    };
    head.write(outer);
    octets(&head.ip, &head.tunnel, &head.ethernet)
        .try_into()
        .unwrap()
}

fn over_v6(outer: &Outer<'_>, ethernet: Ethernet) -> [u8; ROOM_V6] {
    let mut head = HeadV6 {
        ethernet,
        ..HeadV6::default()
    };
    head.write(outer);
    octets(&head.ip, &head.tunnel, &head.ethernet)
        .try_into()
        .unwrap()
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn ethernet(is_v6: bool) -> Ethernet {
    let [a, b] = if is_v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, a, b]
}

const LENGTH: u16 = 100;

fn frame_v4() -> [u8; ROOM_V4] {
    let (source, destination) = (address("192.0.2.1"), address("192.0.2.2"));
    let outer = Outer {
        source: &source,
        destination: &destination,
        port: 4789,
        net: NetId(0x0012_3456),
        hash: 0x1_2345,
        ecn: 1,
        length: LENGTH,
    };
    over_v4(&outer, ethernet(false))
}

fn frame_v6() -> [u8; ROOM_V6] {
    let (source, destination) = (address("2001:db8::1"), address("2001:db8::2"));
    let outer = Outer {
        source: &source,
        destination: &destination,
        port: 4789,
        net: NetId(0x0012_3456),
        hash: 0x1_2345,
        ecn: 2,
        length: LENGTH,
    };
    over_v6(&outer, ethernet(true))
}

#[test]
fn headers_are_those_of_the_standards() {
    let expected = [
        0x45, 0x01, 0x00, 0x88, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb6, 0x60, 192, 0, 2, 1, 192,
        0, 2, 2, 0xe3, 0x44, 0x12, 0xb5, 0x00, 0x74, 0x00, 0x00, 0x08, 0, 0, 0, 0x12, 0x34, 0x56,
        0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00,
    ];
    assert_eq!(frame_v4(), expected);
    let frame = frame_v6();
    assert_eq!(frame[..8], [0x60, 0x21, 0x23, 0x45, 0, 0x74, 17, 64]);
    assert_eq!(frame[40..56], expected[20..36]);
}

#[test]
fn congestion_that_was_met_inside_is_not_repeated_outside() {
    let (source, destination) = (address("192.0.2.1"), address("192.0.2.2"));
    for (inner, expected) in [(0, 0), (1, 1), (2, 2), (3, 2), (0xb8 | 3, 2)] {
        let outer = Outer {
            source: &source,
            destination: &destination,
            port: 4789,
            net: NetId(1),
            hash: 0,
            ecn: inner,
            length: LENGTH,
        };
        assert_eq!(over_v4(&outer, ethernet(false))[1], expected);
    }
}

/// Writes the checksum of the IPv4 header.
fn sum_up(frame: &mut [u8; ROOM_V4]) {
    frame[10..12].fill(0);
    let words = frame[..20].chunks(2);
    let mut sum: u32 = words
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[10..12].copy_from_slice(&(!u16::try_from(sum).unwrap()).to_be_bytes());
}

#[test]
fn every_oddity_is_left_to_the_device() {
    let length = u32::from(LENGTH);
    let good_v4 = |frame: &[u8; ROOM_V4]| Inner::from_v4(frame, length + 36).is_some();
    let good_v6 = |frame: &[u8; ROOM_V6]| Inner::from_v6(frame, length + 56).is_some();
    assert!(good_v4(&frame_v4()) && good_v6(&frame_v6()));
    // Version and options, congestion, length, identification without a new sum, fragments, sum,
    // UDP's length and checksum, flags, reserved bytes, what is inside.
    let v4 = [
        (0, 0x46),
        (0, 0x65),
        (1, 3),
        (3, 1),
        (5, 1),
        (6, 0x60),
        (7, 1),
        (10, 0),
        (25, 1),
        (26, 1),
        (28, 0x88),
        (31, 1),
        (35, 1),
        (49, 6),
    ];
    for (at, octet) in v4 {
        let mut frame = frame_v4();
        frame[at] = octet;
        // All but these have the sum that they need.
        if ![5, 10].contains(&at) {
            sum_up(&mut frame);
        }
        assert!(!good_v4(&frame), "octet {at}");
    }
    let v6 = [
        (0, 0x40),
        (1, 0x31),
        (5, 1),
        (45, 1),
        (47, 1),
        (48, 0),
        (55, 1),
        (68, 8),
    ];
    for (at, octet) in v6 {
        let mut frame = frame_v6();
        frame[at] = octet;
        assert!(!good_v6(&frame), "octet {at}");
    }
    assert_eq!(Inner::from_v4(&frame_v4(), length + 37), None, "padding");
    assert_eq!(Inner::from_v6(&frame_v6(), length + 57), None, "padding");
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        source in any::<u32>(), destination in any::<u32>(), source_v6 in any::<u128>(),
        net in 0u32..1 << 24, hash in any::<u32>(), ecn in any::<u8>(),
        length in 34..=u16::try_from(LONGEST).unwrap(), is_v6 in any::<bool>(),
    ) {
        let pair = (Address::from_v4_word(source), Address::from_v4_word(destination));
        let mut outer = Outer {
            source: &pair.0, destination: &pair.1, port: 4789, net: NetId(net), hash, ecn, length,
        };
        let inner = Inner { net: NetId(net), ethernet: ethernet(is_v6) };
        let frame = over_v4(&outer, inner.ethernet);
        prop_assert_eq!(Inner::from_v4(&frame, u32::from(length) + 36), Some(inner));
        prop_assert!(u16::from_be_bytes([frame[20], frame[21]]) >= 49_152);
        let pair = (Address::from_v6_octets(source_v6.to_be_bytes()), address("2001:db8::2"));
        outer.source = &pair.0;
        outer.destination = &pair.1;
        let frame = over_v6(&outer, inner.ethernet);
        prop_assert_eq!(&frame[8..24], &source_v6.to_be_bytes()[..]);
        prop_assert_eq!(Inner::from_v6(&frame, u32::from(length) + 56), Some(inner));
    }

    #[test]
    fn any_octets_are_read_or_not(bytes in proptest::collection::vec(any::<u8>(), ROOM_V6), length in 20u32..70_000) {
        let v4: [u8; ROOM_V4] = bytes[..ROOM_V4].try_into().unwrap();
        let v6: [u8; ROOM_V6] = bytes.try_into().unwrap();
        let _ = (Inner::from_v4(&v4, length), Inner::from_v6(&v6, length));
    }
}
