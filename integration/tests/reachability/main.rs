//! Who reaches what: every kind of client, backends near and far, both transports, both families; VIPs
//! translated where they are dialled, and per packet.
//!
//! One lab for all cases. A case that fails is listed; the others go on.

mod bench;
mod cases;

use anyhow::{Result, ensure};
use integration::can_make_labs;
use integration::lab::Family;

use bench::{Bench, Setup, Translated};
use cases::Case;

const BY_DEVICE: [&str; 3] = ["device"; 3];
const NATIVELY: [&str; 3] = ["native"; 3];

#[test]
fn everybody_reaches_what_they_should_over_an_ipv4_underlay() -> Result<()> {
    try_everything(Setup {
        name: "reach",
        vtep: Family::V4,
        translated: Translated::BySocket,
        carriers: BY_DEVICE,
        returns: "via",
    })
}

#[test]
fn everybody_reaches_what_they_should_without_socket_hooks() -> Result<()> {
    try_everything(Setup {
        name: "reachpkt",
        vtep: Family::V4,
        translated: Translated::PerPacket,
        carriers: BY_DEVICE,
        returns: "via",
    })
}

#[test]
fn everybody_reaches_what_they_should_over_an_ipv6_underlay() -> Result<()> {
    try_everything(Setup {
        name: "reachsix",
        vtep: Family::V6,
        translated: Translated::BySocket,
        carriers: BY_DEVICE,
        returns: "via",
    })
}

#[test]
fn everybody_reaches_what_they_should_natively_over_an_ipv4_underlay() -> Result<()> {
    try_everything(Setup {
        name: "reachnat",
        vtep: Family::V4,
        translated: Translated::PerPacket,
        carriers: NATIVELY,
        returns: "via",
    })
}

#[test]
fn everybody_reaches_what_they_should_natively_over_an_ipv6_underlay() -> Result<()> {
    try_everything(Setup {
        name: "reachnatsix",
        vtep: Family::V6,
        translated: Translated::PerPacket,
        carriers: NATIVELY,
        returns: "via",
    })
}

#[test]
fn everybody_reaches_what_they_should_natively_by_socket() -> Result<()> {
    try_everything(Setup {
        name: "reachnatsock",
        vtep: Family::V4,
        translated: Translated::BySocket,
        carriers: NATIVELY,
        returns: "via",
    })
}

#[test]
fn everybody_reaches_what_they_should_from_native_to_device() -> Result<()> {
    try_everything(Setup {
        name: "reachmix",
        vtep: Family::V4,
        translated: Translated::PerPacket,
        carriers: ["native", "device", "native"],
        returns: "via",
    })
}

#[test]
fn everybody_reaches_what_they_should_from_device_to_native() -> Result<()> {
    try_everything(Setup {
        name: "reachmixsix",
        vtep: Family::V6,
        translated: Translated::BySocket,
        carriers: ["device", "native", "device"],
        returns: "via",
    })
}

#[test]
fn everybody_reaches_what_they_should_with_direct_return() -> Result<()> {
    try_everything(Setup {
        name: "reachdsr",
        vtep: Family::V4,
        translated: Translated::PerPacket,
        carriers: BY_DEVICE,
        returns: "dsr",
    })
}

#[test]
fn everybody_reaches_what_they_should_natively_with_direct_return() -> Result<()> {
    try_everything(Setup {
        name: "reachdsrnat",
        vtep: Family::V6,
        translated: Translated::BySocket,
        carriers: NATIVELY,
        returns: "dsr",
    })
}

#[test]
fn everybody_reaches_what_they_should_from_native_to_device_with_direct_return() -> Result<()> {
    try_everything(Setup {
        name: "reachdsrmix",
        vtep: Family::V4,
        translated: Translated::PerPacket,
        carriers: ["native", "device", "native"],
        returns: "dsr",
    })
}

fn try_everything(setup: Setup) -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let bench = Bench::up(setup)?;
    let cases: Vec<Case> = cases::cases().collect();
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            Some(format!(
                "{}: {:#}",
                case.title(),
                bench.try_case(case).err()?
            ))
        })
        .collect();
    let (failed, all) = (failures.len(), cases.len());
    ensure!(
        failures.is_empty(),
        "{failed} of {all} failed:\n{}",
        failures.join("\n")
    );
    bench.lab.down()
}
