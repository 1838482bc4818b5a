extern crate std;

use super::*;
use etherparse::{IpFragOffset, Ipv6FragmentHeader, PacketBuilder};
use proptest::prelude::*;
use std::vec::Vec;

const SOURCE: [u8; 4] = [10, 0, 0, 1];
const DESTINATION: [u8; 4] = [10, 0, 0, 2];

fn build<F: FnOnce(&mut Vec<u8>)>(write: F) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}

fn syn_v4() -> Vec<u8> {
    build(|bytes| {
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv4(SOURCE, DESTINATION, 64)
            .tcp(1000, 80, 1, 1024)
            .syn()
            .write(bytes, b"hello")
            .unwrap();
    })
}

#[test]
fn tcp_over_ipv4_is_read() {
    let frame = syn_v4();
    let header = Header::read(frame.as_slice()).unwrap();
    assert_eq!(header.family, Family::V4);
    assert_eq!(header.source, core::net::Ipv4Addr::from(SOURCE).into());
    assert_eq!(
        header.destination,
        core::net::Ipv4Addr::from(DESTINATION).into()
    );
    assert_eq!((header.source_port, header.destination_port), (1000, 80));
    assert!(tcp::is_initial(header.flags));
    assert_eq!((header.l4, header.end as usize), (34, frame.len()));
}

#[test]
fn udp_over_ipv6_with_a_fragment_header_is_read() {
    let mut frame = build(|bytes| {
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv6([1; 16], [2; 16], 64)
            .udp(53, 5353)
            .write(bytes, &[0; 32])
            .unwrap();
    });
    let fragment = Ipv6FragmentHeader::new(
        etherparse::IpNumber::UDP,
        IpFragOffset::ZERO,
        true,
        0xabcd_0123,
    );
    let transport = frame.split_off(54);
    frame.extend(fragment.to_bytes());
    frame.extend(transport);
    frame[20] = 44;
    frame[19] += 8;
    let header = Header::read(frame.as_slice()).unwrap();
    assert_eq!(
        (header.fragment, header.fragment_id),
        (Fragment::First, 0xabcd_0123)
    );
    assert_eq!(
        (header.protocol, header.source_port, header.l4),
        (protocol::UDP, 53, 62)
    );
}

#[test]
fn later_fragments_have_no_ports() {
    let mut frame = syn_v4();
    frame[20] = 0x20;
    frame[21] = 0x01;
    let header = Header::read(frame.as_slice()).unwrap();
    assert_eq!(header.fragment, Fragment::Later);
    assert_eq!((header.source_port, header.has_transport()), (0, false));
}

#[test]
fn absurd_lengths_are_refused() {
    for (offset, value, reason) in [
        (14, 0x44, DropReason::BadHeader),
        (14, 0x65, DropReason::BadHeader),
        (17, 10, DropReason::BadHeader),
        (16, 0xff, DropReason::Truncated),
        (46, 0x10, DropReason::BadHeader),
        (46, 0xf0, DropReason::BadHeader),
    ] {
        let mut frame = syn_v4();
        frame[offset] = value;
        assert_eq!(
            Header::read(frame.as_slice()),
            Err(HeaderError::Malformed(reason)),
            "{offset}"
        );
    }
}

#[test]
fn long_extension_chains_are_refused() {
    for (length, accepted) in [(6, true), (7, false)] {
        let mut frame = build(|bytes| {
            PacketBuilder::ethernet2([1; 6], [2; 6])
                .ipv6([1; 16], [2; 16], 64)
                .udp(1, 2)
                .write(bytes, &[])
                .unwrap();
        });
        let transport = frame.split_off(54);
        frame[20] = 60;
        for index in 0..length {
            let next = if index + 1 == length {
                protocol::UDP
            } else {
                60
            };
            frame.extend([next, 0, 1, 4, 0, 0, 0, 0]);
        }
        frame.extend(transport);
        frame[19] = u8::try_from(frame.len() - 54).unwrap();
        let read = Header::read(frame.as_slice());
        if accepted {
            assert_eq!(read.unwrap().destination_port, 2);
        } else {
            assert_eq!(
                read,
                Err(HeaderError::Malformed(DropReason::ExtensionHeaders))
            );
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_read_beyond_the_end(mut frame in proptest::collection::vec(any::<u8>(), 0..200), v6 in any::<bool>()) {
        if frame.len() > 14 {
            frame[12..14].copy_from_slice(if v6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
            frame[14] = if v6 { 0x60 } else { 0x45 };
        }
        if let Ok(header) = Header::read(frame.as_slice()) {
            prop_assert!(header.end as usize <= frame.len());
        }
    }

    #[test]
    fn a_packet_cut_anywhere_is_refused(cut in 0usize..59) {
        let frame = syn_v4();
        prop_assert!(Header::read(&frame[..cut.min(frame.len() - 1)]).is_err());
    }
}

fn ordinary() -> impl Strategy<Value = Vec<u8>> {
    let shape = (any::<bool>(), any::<bool>(), 0..40usize, 0..30usize);
    (shape, any::<[u8; 4]>(), 12..70usize, any::<u8>(), 0..4usize).prop_map(
        |((is_v6, is_tcp, payload, cut), ports, at, value, spoil)| {
            let mut frame = build(|bytes| {
                let ethernet = PacketBuilder::ethernet2([1; 6], [2; 6]);
                let ip = if is_v6 {
                    ethernet.ipv6([1; 16], [2; 16], 64)
                } else {
                    ethernet.ipv4(SOURCE, DESTINATION, 64)
                };
                let source = u16::from_be_bytes([ports[0], ports[1]]);
                let destination = u16::from_be_bytes([ports[2], ports[3]]);
                let payload = std::vec![7; payload];
                if is_tcp {
                    let tcp = ip.tcp(source, destination, 1, 1024).ack(2);
                    tcp.write(bytes, &payload).unwrap();
                } else {
                    ip.udp(source, destination).write(bytes, &payload).unwrap();
                }
            });
            // Most are left as they are; the others have a strange byte, or end too soon.
            if spoil == 0 {
                let at = at.min(frame.len() - 1);
                frame[at] = value;
            } else if spoil == 1 {
                frame.truncate(frame.len() - cut);
            }
            frame
        },
    )
}

proptest! {
    #[test]
    fn the_short_way_reads_what_the_long_one_reads(frame in ordinary()) {
        let mut header = Header::BLANK;
        header.flags = 0xff;
        header.fragment = Fragment::Later;
        if header.read_plain(frame.as_slice()) {
            prop_assert_eq!(Ok(header), Header::read(frame.as_slice()));
        }
    }
}

#[test]
fn ordinary_packets_take_the_short_way() {
    let mut header = Header::BLANK;
    assert!(header.read_plain(syn_v4().as_slice()));
    for is_tcp in [true, false] {
        let frame = build(|bytes| {
            let ip = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv6([1; 16], [2; 16], 64);
            if is_tcp {
                ip.tcp(1, 2, 3, 4).write(bytes, b"").unwrap();
            } else {
                ip.udp(1, 2).write(bytes, b"").unwrap();
            }
        });
        assert!(header.read_plain(frame.as_slice()));
        assert_eq!(Ok(header), Header::read(frame.as_slice()));
    }
}
