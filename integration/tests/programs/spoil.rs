//! Packets as an enemy, or a broken stack, would send them.

use etherparse::checksum::Sum16BitWords;

use crate::dice::Dice;

const SHORTEST: usize = 14;

/// Makes the checksum above IP of an ordinary TCP or UDP packet look as if a device were to complete
/// it: the pseudo header's sum alone.
pub(crate) fn unfinished(frame: &mut [u8]) {
    let (addresses, l4, length) = match frame.get(12..15) {
        Some([8, 0, 0x45]) => (
            26..34,
            34,
            usize::from(u16::from_be_bytes([frame[16], frame[17]])),
        ),
        Some([0x86, 0xdd, _]) => (
            22..54,
            54,
            usize::from(u16::from_be_bytes([frame[18], frame[19]])) + 40,
        ),
        _ => return,
    };
    let protocol = if l4 == 34 { frame[23] } else { frame[20] };
    let at = match protocol {
        6 => l4 + 16,
        17 => l4 + 6,
        _ => return,
    };
    if frame.len() < at + 2 || frame.len() < 14 + length || 14 + length < l4 {
        return;
    }
    let sum = Sum16BitWords::new()
        .add_slice(&frame[addresses])
        .add_2bytes([0, protocol])
        .add_2bytes(u16::try_from(14 + length - l4).unwrap().to_be_bytes());
    let field = !sum.ones_complement();
    frame[at..at + 2].copy_from_slice(&field.to_ne_bytes());
}

/// Does one thing to a frame that no sender should do.
pub(crate) fn frame(dice: &mut Dice, frame: &mut Vec<u8>) {
    match dice.below(8) {
        0 => {
            let length = SHORTEST + dice.below(frame.len() - SHORTEST + 1);
            frame.truncate(length);
        }
        1 => {
            let padding = 1 + dice.below(60);
            frame.extend((0..padding).map(|_| dice.byte()));
        }
        // Any octet, or several.
        2 => {
            for _ in 0..1 + dice.below(4) {
                let at = dice.below(frame.len());
                frame[at] = dice.byte();
            }
        }
        // Version and header length; total length; payload length.
        3 => set(dice, frame, &[14]),
        4 => set(dice, frame, &[16, 17, 18, 19]),
        // Fragment fields and protocol; the first octets above IP; the TCP header's length.
        5 => set(dice, frame, &[20, 21, 23]),
        6 => set(dice, frame, &[34, 35, 38, 46, 47, 54, 55, 56, 66, 67]),
        _ => {
            let length = SHORTEST + dice.below(200);
            let kinds = [[8, 0], [0x86, 0xdd], [8, 6], [0x81, 0]];
            *frame = (0..length).map(|_| dice.byte()).collect();
            frame[12..14].copy_from_slice(&dice.of(&kinds));
        }
    }
}

fn set(dice: &mut Dice, frame: &mut [u8], places: &[usize]) {
    let at = dice.of(places);
    let extremes = [0, 1, 0xff, 0x4f, 0x45, 0x40, 44, 60, 43, 58, 6];
    let value = if dice.chance(50) {
        dice.of(&extremes)
    } else {
        dice.byte()
    };
    if let Some(octet) = frame.get_mut(at) {
        *octet = value;
    }
}
