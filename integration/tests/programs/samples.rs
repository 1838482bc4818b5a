//! The first packet that is dropped for a reason is shown to the operator.

use std::time::Duration;

use abi::{Address, DropReason};
use anyhow::{Context, Result, ensure};
use integration::testrun::{Kernel, Packet, Program};
use integration::{can_make_labs, wait};

use crate::connection;
use crate::sketch::Sketch;
use crate::trial::Namespace;
use crate::world::pair;

/// A sample, read by the layout that its type documents.
#[derive(Debug, PartialEq, Eq)]
struct Sample {
    reason: u32,
    ifindex: u32,
    net: u32,
    length: u32,
    source: Vec<u8>,
    destination: Vec<u8>,
    ports: [u16; 2],
    protocol: u32,
}

fn read(bytes: &[u8]) -> Sample {
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    let short = |at: usize| u16::from_ne_bytes(bytes[at..at + 2].try_into().unwrap());
    Sample {
        reason: word(8),
        ifindex: word(12),
        net: word(16),
        length: word(20),
        source: bytes[24..40].to_vec(),
        destination: bytes[40..56].to_vec(),
        ports: [short(56), short(58)],
        protocol: word(60),
    }
}

/// Sends a packet that must be dropped for `reason` until it is sampled, which happens at most every
/// tenth of a second.
fn drop_one(
    kernel: &mut Kernel,
    source: Address,
    destination: Address,
    reason: DropReason,
) -> Result<()> {
    let sketch = Sketch::udp((source, 4321), (destination, 99));
    let packet = Packet {
        frame: sketch.frame(),
        ifindex: connection::CLIENT_IFINDEX,
        ..Packet::default()
    };
    let sample = wait::some(Duration::from_secs(5), "a sample", || {
        kernel.run(Program::FromTask, &packet).ok()?;
        kernel.tables.take_samples().pop()
    })?;
    let wanted = Sample {
        reason: reason as u32,
        ifindex: packet.ifindex,
        net: connection::NETWORK_NUMBER,
        length: u32::try_from(packet.frame.len())?,
        source: source.octets().to_vec(),
        destination: destination.octets().to_vec(),
        ports: [sketch.sport, sketch.dport],
        protocol: 17,
    };
    let found = read(&sample);
    ensure!(found == wanted, "{found:?}, should be {wanted:?}");
    Ok(())
}

#[test]
fn a_dropped_packet_is_sampled_as_it_was() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    Namespace::new("samples")?.inside(|| {
        let mut kernel = Kernel::load()?;
        kernel.tables.fill(&connection::contents())?;
        for family in [0, 1] {
            let (own, nobody) = (connection::client(family), pair(77, 7)[family]);
            for (source, reason) in [
                (own, DropReason::NoEndpoint),
                (nobody, DropReason::SpoofedSource),
            ] {
                drop_one(&mut kernel, source, nobody, reason).context(reason.name())?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_flood_of_drops_is_sampled_sparsely() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    Namespace::new("flood")?.inside(|| {
        let mut kernel = Kernel::load()?;
        kernel.tables.fill(&connection::contents())?;
        let nobody = pair(77, 7)[0];
        let packet = Packet {
            frame: Sketch::udp((nobody, 1), (nobody, 2)).frame(),
            ifindex: connection::CLIENT_IFINDEX,
            ..Packet::default()
        };
        let begin = std::time::Instant::now();
        for _ in 0..5000 {
            kernel.run(Program::FromTask, &packet)?;
        }
        // One for each CPU and tenth of a second, and the first of each.
        let cpus = std::thread::available_parallelism()?.get();
        let most = cpus * (1 + usize::try_from(begin.elapsed().as_millis() / 100)?);
        let samples = kernel.tables.take_samples().len();
        ensure!(
            (1..=most).contains(&samples),
            "{samples} samples, at most {most}"
        );
        Ok(())
    })
}
