//! Measurements of the goals in docs/benchmarks.md: each against its peers, in the same run.
//!
//! A figure is a cost: CPU time of everything that an operation makes the machine do, client and
//! server included. Ways that are compared are used in turn, round after round, so that whatever
//! else the machine does meets all of them.

mod change;
mod cpu;
mod fabric;
mod flat;
mod foreign;
mod ingress;
mod overlay;
mod packet;
mod reference;
mod report;
mod restart;
mod rounds;
mod routed;
mod traffic;
mod vip;

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

pub use self::report::{Row, Spread, table};
use self::traffic::Work;
pub use self::traffic::respond;

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Measurement {
    /// Task to task on another node, against bridge and VXLAN of the kernel: a connection each.
    OverlayCrr,
    /// The same with datagrams.
    OverlayUdp,
    /// Through a VIP, against straight to the same task, and against nftables and haproxy: a
    /// connection each.
    VipCrr,
    /// The same on kept connections.
    VipRr,
    /// The same with datagrams.
    VipUdp,
    /// Through a published port, against a process on the node itself, and against nftables and
    /// haproxy: a connection each.
    IngressCrr,
    /// The same on kept connections.
    IngressRr,
    /// Cost with 1,000 and 10,000 services or published ports, against 10.
    #[value(name = "flat-10k")]
    Flat10k,
    /// Cost with 100,000 services, against 10.
    #[value(name = "flat-100k")]
    Flat100k,
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
    /// How many rounds there are, at least 1.
    pub rounds: usize,
    /// How long each way is used in a round.
    pub window: Duration,
}

/// Measures; tells its progress on standard error.
///
/// # Errors
/// When the lab cannot be made, or a way does not work.
pub fn run(measurement: Measurement, effort: &Effort) -> Result<Vec<Row>> {
    match measurement {
        Measurement::OverlayCrr => overlay::run("overlay-crr", Work::Crr, effort),
        Measurement::OverlayUdp => overlay::run("overlay-udp", Work::Udp, effort),
        Measurement::VipCrr => vip::run("vip-crr", Work::Crr, effort),
        Measurement::VipRr => vip::run("vip-rr", Work::Rr, effort),
        Measurement::VipUdp => vip::run("vip-udp", Work::Udp, effort),
        Measurement::IngressCrr => ingress::run("ingress-crr", Work::Crr, effort),
        Measurement::IngressRr => ingress::run("ingress-rr", Work::Rr, effort),
        Measurement::Flat10k => flat::to_10k(effort),
        Measurement::Flat100k => flat::to_100k(effort),
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
