//! The programs' own reading of headers, compiled for this machine: on frames of every length, also
//! those that the kernel runs no program on.

use abi::{Header, HeaderError};
use anyhow::{Result, ensure};

use crate::compare::hex;
use crate::dice::Dice;
use crate::oracle::Oracle;
use crate::oracle::read::{Piece, Reading, Unreadable};
use crate::traffic::{self, Lane};
use crate::trial;
use crate::world::World;

const FRAMES_PER_WORLD: usize = 1000;

/// What both say of a frame: addresses, protocol, flags or type, ports, offsets, identification.
type Summary = ([abi::Address; 2], [u8; 2], [u16; 3], [u32; 2], Piece);

fn by_program(frame: &[u8]) -> Result<Summary, Unreadable> {
    let header = Header::read(frame).map_err(|error| match error {
        HeaderError::Arp => Unreadable::Arp,
        HeaderError::NotIp => Unreadable::Foreign,
        HeaderError::Malformed(reason) => Unreadable::Broken(reason),
    })?;
    let piece = match header.fragment {
        abi::Fragment::Whole => Piece::Whole,
        abi::Fragment::First => Piece::First,
        abi::Fragment::Later => Piece::Later,
    };
    Ok((
        [header.source, header.destination],
        [header.protocol, header.flags],
        [header.source_port, header.destination_port, header.l4],
        [header.end, header.fragment_id],
        piece,
    ))
}

fn by_oracle(frame: &[u8]) -> Result<Summary, Unreadable> {
    let reading = Reading::of(frame)?;
    Ok((
        [reading.source, reading.destination],
        [reading.protocol, reading.kind],
        [
            reading.sport,
            reading.dport,
            u16::try_from(reading.l4).unwrap(),
        ],
        [u32::try_from(reading.end).unwrap(), reading.id],
        reading.piece,
    ))
}

#[test]
fn headers_are_read_alike() -> Result<()> {
    let (first, wanted) = trial::extent()?;
    for seed in (first..).take(wanted.div_ceil(FRAMES_PER_WORLD)) {
        let mut dice = Dice::new(seed);
        let world = World::new(&mut dice);
        let oracle = Oracle::new(world.contents.clone());
        for _ in 0..FRAMES_PER_WORLD {
            let lane = traffic::lane(&mut dice, Lane::Network);
            let mut frame = traffic::packet(&mut dice, &world, &oracle, lane).frame;
            if dice.chance(30) {
                frame.truncate(dice.below(frame.len() + 1));
            }
            let (program, oracle) = (by_program(&frame), by_oracle(&frame));
            ensure!(
                program == oracle,
                "NETD_TEST_SEED={seed}: {}\n{program:?}, should be\n{oracle:?}",
                hex(&frame)
            );
        }
    }
    Ok(())
}
