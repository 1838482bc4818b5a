//! A node is asked to answer from the address of whoever asks: it does, for nodes only.

use abi::{Address, STRAIGHT};
use anyhow::{Result, ensure};
use integration::can_make_labs;
use integration::testrun::{Kernel, Packet, Program, action};

use crate::connection::contents;
use crate::trial::Namespace;
use crate::world::{NODES, OUTSIDE, UPLINK, pair};

/// An echo message with a right checksum.
fn echo(is_reply: bool, from: Address, to: Address, payload: [u8; 8]) -> Vec<u8> {
    let is_v4 = from.is_v4();
    let skipped = if is_v4 { 12 } else { 0 };
    let addresses: Vec<u8> = [from, to]
        .iter()
        .flat_map(|address| address.octets()[skipped..].to_vec())
        .collect();
    let kind = match (is_v4, is_reply) {
        (true, false) => 8,
        (true, true) => 0,
        (false, false) => 128,
        (false, true) => 129,
    };
    let mut message = vec![kind, 0, 0, 0, 0x12, 0x34, 0, 7];
    message.extend(payload);
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if is_v4 {
        let mut header = vec![0x45, 0, 0, 36, 0, 0, 0x40, 0, 64, 1, 0, 0];
        header.extend(addresses);
        let sum = sum(&header);
        header[10..12].copy_from_slice(&sum);
        frame.extend([0x08, 0]);
        frame.extend(header);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 16, 58, 64]);
        frame.extend(&addresses);
        message.splice(
            0..0,
            addresses.into_iter().chain([0, 0, 0, 16, 0, 0, 0, 58]),
        );
    }
    let start = message.len() - 16;
    let sum = sum(&message);
    message[start + 2..start + 4].copy_from_slice(&sum);
    frame.extend(&message[start..]);
    frame
}

fn sum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    u16::try_from(!((folded & 0xffff) + (folded >> 16)) & 0xffff)
        .unwrap()
        .to_be_bytes()
}

#[test]
fn a_node_that_is_asked_for_it_answers_from_the_asking_nodes_address() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    Namespace::new("straight")?.inside(|| {
        let mut kernel = Kernel::load()?;
        let mut contents = contents();
        let nodes = pair(NODES, 11);
        contents.vtep_ids.extend(nodes.map(|node| (node, 1)));
        kernel.tables.fill(&contents)?;
        for (family, node) in nodes.into_iter().enumerate() {
            let own = pair(NODES, 10)[family];
            let stranger = pair(OUTSIDE, 9)[family];
            let send = |from, to, payload| {
                let packet = Packet {
                    frame: echo(false, from, to, payload),
                    ifindex: UPLINK,
                    ..Packet::default()
                };
                kernel.run(Program::FromUplink, &packet)
            };
            let ran = send(node, own, STRAIGHT)?;
            ensure!(ran.action == action::REDIRECT, "action {}", ran.action);
            ensure!(
                ran.frame == echo(true, node, node, STRAIGHT),
                "{:x?}",
                ran.frame
            );
            for (from, to, payload) in [
                (node, own, *b"anything"),
                (stranger, own, STRAIGHT),
                (node, pair(NODES, 77)[family], STRAIGHT),
            ] {
                let ran = send(from, to, payload)?;
                ensure!(ran.action == action::PASS, "{from:?} {to:?} {}", ran.action);
            }
        }
        Ok(())
    })
}
