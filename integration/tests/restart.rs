//! netd dies and comes back; the data plane does not care.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use integration::lab::demo::{self, HTTP_PORT, PROBE};
use integration::lab::topology::{Port, Service};
use integration::lab::{Lab, Spec};
use integration::load::Running;
use integration::probe::{self, Transport};
use integration::{can_make_labs, command, netns};

#[test]
fn killed_and_started_again_it_fails_no_request() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    survives(Spec::new(&Spec::unique_name("kill"), 3))
}

#[test]
fn killed_and_started_again_it_fails_no_request_by_the_classic_tc() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    survives(Spec::new(&Spec::unique_name("killtc"), 3).with_classic_tc())
}

/// Every netd is killed, and later asked to end, under requests of all kinds.
fn survives(spec: Spec) -> Result<()> {
    let mut lab = demo::up(spec)?;
    let all = demo::requests(&lab, "n3")?;
    // Killed, and then asked to end: every node each time.
    for round in 0..2 {
        for node in lab.nodes() {
            if round == 0 {
                lab.kill(&node)?
            } else {
                lab.stop(&node)?
            }
        }
        all.iter().try_for_each(|running| running.more(100))?;
        lab.start_all()?;
    }
    all.iter().try_for_each(|running| running.more(50))?;
    all.into_iter().try_for_each(Running::stop_without_errors)?;
    lab.down()
}

#[test]
fn what_was_edited_meanwhile_is_applied_at_the_start() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut lab = demo::up(Spec::new(&Spec::unique_name("later"), 2))?;
    let mut topology = demo::topology(&lab);
    for node in lab.nodes() {
        lab.kill(&node)?;
    }
    topology.service[0].publish = vec![Port::tcp(9001, 8080)];
    topology.service.push(Service {
        publish: vec![Port::tcp(9002, 8080)],
        ..Service::new("new", demo::NETWORK, &[PROBE])
    });
    lab.write_topology(&topology)?;
    lab.start_all()?;
    for address in lab.underlay().node(1) {
        let ask = |port| {
            let target = SocketAddr::new(address, port);
            netns::inside(&lab.namespace("client"), || {
                probe::ask(Transport::Tcp, target)
            })
        };
        ask(HTTP_PORT)?.refused().context("the port that is gone")?;
        ask(9001)?.answered().context("the port that changed")?;
        let (answer, _) = ask(9002)?.answered().context("the port that is new")?;
        ensure!(answer.task == PROBE, "{} answered", answer.task);
    }
    lab.down()
}

#[test]
fn cleanup_removes_everything_even_after_a_kill() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut lab = demo::prepare(Spec::new(&Spec::unique_name("clean"), 2))?;
    let before: Vec<_> = lab
        .nodes()
        .iter()
        .map(|node| settings(&lab, node))
        .collect::<Result<_>>()?;
    lab.start_all()?;
    for (node, before) in lab.nodes().iter().zip(before) {
        lab.kill(node)?;
        ensure!(!lab.foreign_devices(node)?.is_empty(), "netd makes devices");
        lab.clean(node)?;
        let namespace = lab.namespace(node);
        let rules = command::run_inside(&namespace, "nft", &["list", "ruleset"])?;
        ensure!(rules.trim().is_empty(), "nftables rules are left: {rules}");
        let after = settings(&lab, node)?;
        let changed: Vec<_> = before
            .iter()
            .filter(|(path, value)| after.get(*path) != Some(*value))
            .collect();
        ensure!(
            changed.is_empty(),
            "settings of {node} were not restored; they were {changed:?}"
        );
        // A second time there is nothing to do, and that is no error.
        lab.clean(node)?;
    }
    lab.down()
}

/// Every setting of a node's network that there is before netd comes.
fn settings(lab: &Lab, node: &str) -> Result<BTreeMap<PathBuf, String>> {
    netns::inside(&lab.namespace(node), || {
        let mut all = BTreeMap::new();
        for root in ["/proc/sys/net/ipv4", "/proc/sys/net/ipv6"] {
            collect(Path::new(root), &mut all)?;
        }
        Ok(all)
    })?
}

fn collect(directory: &Path, all: &mut BTreeMap<PathBuf, String>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, all)?;
        } else if let Ok(value) = fs::read_to_string(&path) {
            all.insert(path, value);
        }
    }
    Ok(())
}
