//! Measurements of the goals (design.md §9): each against its peers, in the same run.
//!
//! A figure is a cost: CPU time of everything that an operation makes the machine do, client and
//! server included. Ways that are compared are used in turn, round after round, so that whatever
//! else the machine does meets all of them.

mod change;
mod cpu;
mod crr;
mod fabric;
mod foreign;
mod ingress_crr;
mod overlay_crr;
mod packet;
mod reference;
mod report;
mod restart;
mod rounds;
mod vip_crr;

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

pub use self::crr::respond;
pub use self::report::{Row, Spread, table};

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Measurement {
    /// Task to task on another node, against bridge and VXLAN of the kernel.
    OverlayCrr,
    /// Through a VIP, against straight to the same task.
    VipCrr,
    /// Through a published port, against a process on the node itself.
    IngressCrr,
    /// Run time of the programs for one packet.
    PacketNs,
    /// 10,000 services from empty.
    #[value(name = "program-10k")]
    Program10k,
    /// Failed requests while netd is killed and started again.
    Restart,
    /// One endpoint's change with 10,000 services loaded.
    #[value(name = "change-10k")]
    Change10k,
}

/// How much work is put into a figure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How often each way is used, at least 1.
    pub rounds: usize,
    /// For how long each time.
    pub window: Duration,
}

/// Measures; tells its progress on standard error.
///
/// # Errors
/// When the lab cannot be made, or a way does not work.
pub fn run(measurement: Measurement, effort: &Effort) -> Result<Vec<Row>> {
    match measurement {
        Measurement::OverlayCrr => overlay_crr::run(effort),
        Measurement::VipCrr => vip_crr::run(effort),
        Measurement::IngressCrr => ingress_crr::run(effort),
        Measurement::PacketNs => packet::run(effort),
        Measurement::Restart => restart::run(effort),
        Measurement::Program10k => change::program(effort),
        Measurement::Change10k => change::change(effort),
    }
}

/// Tells whoever waits how far it is.
fn progress(text: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{text}\n").as_bytes());
}
