//! What the programs note of a probe, and that they note nothing else.

use abi::{DropReason, Observer, Probe, Sight, Sighting, decision};
use anyhow::{Result, ensure};
use integration::can_make_labs;
use integration::testrun::{Kernel, Packet, Program};

use crate::connection;
use crate::sketch::Sketch;
use crate::trial::Namespace;
use crate::world::pair;

const PORT: u16 = 4321;
const FOR_EVER: u64 = u64::MAX;

fn probe(family: usize) -> Probe {
    let client = connection::client(family);
    Probe {
        until_ns: FOR_EVER,
        client,
        alias: client,
        port: PORT,
        protocol: 17,
        ..Probe::default()
    }
}

/// A client's datagram from a port.
fn packet(sketch: &Sketch) -> Packet {
    Packet {
        frame: sketch.frame(),
        ifindex: connection::CLIENT_IFINDEX,
        ..Packet::default()
    }
}

#[test]
fn a_watched_packet_is_noted_as_it_came_and_as_it_leaves() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    Namespace::new("watched")?.inside(|| {
        let mut kernel = Kernel::load()?;
        kernel.tables.fill(&connection::contents())?;
        for family in [0, 1] {
            kernel.tables.watch(&probe(family))?;
            let (own, nobody) = (connection::client(family), pair(77, 7)[family]);
            // To nobody: refused, and the answer goes back.
            let sketch = Sketch::udp((own, PORT), (nobody, 99));
            let ran = kernel.run(Program::FromTask, &packet(&sketch))?;
            let noted = kernel.tables.take_sightings()?;
            let [refused] = &noted[..] else {
                anyhow::bail!("{noted:?}")
            };
            ensure!(
                (refused.decision, refused.reason)
                    == (decision::REFUSED, DropReason::NoEndpoint as u32),
                "{refused:?}"
            );
            let it = refused;
            ensure!(
                (it.observer, it.sight, it.ifindex)
                    == (
                        Observer::FromTask as u32,
                        Sight::Sent as u32,
                        connection::CLIENT_IFINDEX
                    ),
                "{it:?}"
            );
            let (source, destination) = ((it.source, it.source_port), it.destination);
            ensure!(
                source == (own, PORT) && (destination, it.destination_port) == (nobody, 99),
                "{it:?}"
            );
            let length = ran.frame.len().min(Sighting::FRAME);
            ensure!(frame(it)[..length] == ran.frame[..length], "{it:?}");
            // With another's address: dropped.
            let forged = Sketch::udp((nobody, PORT), (own, PORT));
            kernel.run(Program::FromTask, &packet(&forged))?;
            let noted = kernel.tables.take_sightings()?;
            let [dropped] = &noted[..] else {
                anyhow::bail!("{noted:?}")
            };
            ensure!(
                (dropped.decision, dropped.reason, dropped.sight)
                    == (
                        decision::DROPPED,
                        DropReason::SpoofedSource as u32,
                        Sight::Answer as u32
                    ),
                "{dropped:?}"
            );
        }
        Ok(())
    })
}

#[test]
fn nothing_is_noted_of_others_nor_after_the_time() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    Namespace::new("unwatched")?.inside(|| {
        let mut kernel = Kernel::load()?;
        kernel.tables.fill(&connection::contents())?;
        let (own, nobody) = (connection::client(0), pair(77, 7)[0]);
        let watched = packet(&Sketch::udp((own, PORT), (nobody, 99)));
        let other = packet(&Sketch::udp((own, PORT + 1), (nobody, 99)));
        kernel.run(Program::FromTask, &watched)?;
        kernel.tables.watch(&probe(0))?;
        kernel.run(Program::FromTask, &other)?;
        ensure!(kernel.tables.take_sightings()?.is_empty(), "not watched");
        // Forgotten by whoever has asked for it.
        kernel.tables.watch(&Probe {
            until_ns: 1,
            ..probe(0)
        })?;
        kernel.run(Program::FromTask, &watched)?;
        ensure!(
            kernel.tables.take_sightings()?.is_empty(),
            "its time is over"
        );
        ensure!(
            kernel.tables.watched()?.until_ns == 0,
            "the first packet ends it"
        );
        Ok(())
    })
}

fn frame(noted: &Sighting) -> Vec<u8> {
    let bytes = noted.frame.iter().flat_map(|word| word.to_ne_bytes());
    bytes.take(noted.captured as usize).collect()
}
