//! netd is killed wherever it happens to be: what is left is finished by the next one, and traffic
//! does not notice.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use integration::lab::demo::{self, PROBE};
use integration::lab::topology::{Port, Service, Topology};
use integration::lab::{Lab, Spec};
use integration::probe::{self, Transport};
use integration::{can_make_labs, netns, wait};

/// How often netd is killed.
const KILLS: u64 = 24;
/// Longer than a start and an apply take.
const LONGEST: u64 = 600;

/// The demo, with much else that comes and goes.
fn busy(demo: &Topology) -> Topology {
    let mut busy = demo.clone();
    for number in 0..20 {
        busy.service.push(Service {
            publish: vec![Port::tcp(9000 + number, 8080)],
            ..Service::new(&format!("more-{number}"), demo::NETWORK, &[PROBE])
        });
    }
    busy
}

/// Everywhere, over the kills, and repeatable: a seed is told when something fails.
fn delay(seed: u64, kill: u64) -> Duration {
    let mixed =
        (seed ^ kill.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    Duration::from_millis((mixed >> 32) % LONGEST)
}

#[test]
fn killed_at_any_point_it_leaves_what_the_next_one_finishes() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut lab = demo::up(Spec::new(&Spec::unique_name("die"), 2))?;
    let calm = demo::topology(&lab);
    let busy = busy(&calm);
    let all = demo::requests(&lab, "n1")?;
    for kill in 0..KILLS {
        let topology = if kill % 2 == 0 { &busy } else { &calm };
        lab.write_topology(topology)?;
        if !lab.is_running("n1") {
            lab.spawn("n1")?;
            // It is known by its command line, which it has once it is a program of its own.
            wait::until(Duration::from_secs(5), "a process", || lab.is_running("n1"))?;
        }
        std::thread::sleep(delay(seed, kill));
        if !lab.is_running("n1") {
            bail!(
                "netd has ended by itself, seed {seed}:\n{}",
                std::fs::read_to_string(lab.log("n1"))?
            );
        }
        lab.kill("n1")?;
    }
    lab.write_topology(&busy)?;
    lab.start("n1")?;
    exactly_as_desired(&lab).with_context(|| format!("seed {seed}"))?;
    all.iter().try_for_each(|running| running.more(20))?;
    for running in all {
        let stopped = running.stop_without_errors();
        stopped.with_context(|| format!("seed {seed}"))?;
    }
    lab.down()
}

/// An audit finds nothing to do, and what is new works.
fn exactly_as_desired(lab: &Lab) -> Result<()> {
    let audit = || Ok::<_, anyhow::Error>(lab.ask("n1", "status")?["Audit"].clone());
    let before = audit()?;
    lab.reload("n1")?;
    wait::until(Duration::from_secs(20), "an audit", || {
        audit().is_ok_and(|audit| audit["Last"] != before["Last"])
    })?;
    let audit = audit()?;
    ensure!(audit["Repaired"] == 0, "{audit}");
    let log = std::fs::read_to_string(lab.log("n1"))?;
    let asked = log
        .rfind("auditing")
        .context("the log tells of the signal")?;
    ensure!(
        !log[asked..].contains("kernel changed"),
        "{}",
        &log[asked..]
    );
    for address in lab.underlay().node(1) {
        let target = SocketAddr::new(address, 9019);
        netns::inside(&lab.namespace("client"), || {
            probe::ask(Transport::Tcp, target)
        })?
        .answered()
        .context("a port that is new")?;
    }
    Ok(())
}
