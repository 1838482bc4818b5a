//! netd gives way to one with other kernel programs, and that one to the first again: each time the new
//! programs take the places of the old ones, under traffic.

mod other;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::links::{FdLink, PinnedLink};
use integration::lab::demo::{self, HTTP_PORT, PROBE};
use integration::lab::{Family, Lab, Spec};
use integration::load::{self, Mode, Plan, Running};
use integration::{can_make_labs, command, netns, wait};

use other::Other;

/// Where netd pins.
const BPFFS: &str = "/sys/fs/bpf";

/// Node and place (a pin, or an interface and a program's name) to the tag of the program there: a
/// digest of its instructions.
type Attached = BTreeMap<(String, String), String>;

#[test]
fn other_programs_take_the_places_of_those_that_run_and_fail_no_request() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    upgrade(Spec::new(&Spec::unique_name("upgrade"), 3))
}

#[test]
fn other_programs_take_the_places_of_those_that_run_by_the_classic_tc() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut spec = Spec::new(&Spec::unique_name("upgradetc"), 3);
    for node in spec.node_names() {
        let argument = "--attach=tc".to_owned();
        spec.node_args.insert(node, vec![argument]);
    }
    upgrade(spec)
}

fn upgrade(spec: Spec) -> Result<()> {
    let other = Other::netd(&spec.name)?;
    let mut lab = demo::up(spec)?;
    let all = requests(&lab)?;
    let first = attached(&lab)?;
    for program in ["from_task", "from_overlay", "from_uplink", "to_task"] {
        let is_there = first.keys().any(|(_, place)| place.contains(program));
        ensure!(is_there, "{program} is not attached: {first:?}");
    }

    roll(&mut lab, Some(other.path()), &all)?;
    let second = attached(&lab)?;
    ensure!(
        first.keys().eq(second.keys()),
        "the programs are at other places: {first:?}, then {second:?}"
    );
    let kept: Vec<_> = first
        .iter()
        .filter(|(place, tag)| second.get(*place) == Some(tag))
        .collect();
    ensure!(kept.is_empty(), "still the old programs: {kept:?}");

    roll(&mut lab, None, &all)?;
    let third = attached(&lab)?;
    ensure!(first == third, "{first:?} became {third:?}");
    for running in all {
        let report = running.stop()?;
        ensure!(
            report.errors == 0,
            "{}: {:?}",
            report.target,
            report.error_kinds
        );
    }
    lab.down()
}

/// Starts this netd in the place of the one that runs, node by node.
fn roll(lab: &mut Lab, netd: Option<PathBuf>, all: &[Running]) -> Result<()> {
    lab.use_netd(netd);
    for node in lab.nodes() {
        lab.stop(&node)?;
        lab.start(&node)?;
        all.iter().try_for_each(|running| more(running, 20))?;
    }
    Ok(())
}

/// Requests by the published port of the node without tasks, and by the VIP, new connections and old.
fn requests(lab: &Lab) -> Result<Vec<Running>> {
    let topology = demo::topology(lab);
    let node = lab.document().node("n3").context("a node")?;
    let mut all = Vec::new();
    for family in Family::BOTH {
        let address = family.of(&node.addresses).context("an address")?;
        let vip = topology.vip("web", family).context("a VIP")?;
        for (member, target) in [
            ("client", SocketAddr::new(address, HTTP_PORT)),
            (PROBE, SocketAddr::new(vip, 80)),
        ] {
            for mode in [Mode::Crr, Mode::Rr] {
                let plan = Plan {
                    connections: 2,
                    ..Plan::new(mode, target)
                };
                let running = netns::inside(&lab.namespace(member), || load::start(&plan))?;
                more(&running, 20)?;
                all.push(running);
            }
        }
    }
    Ok(all)
}

fn more(running: &Running, count: u64) -> Result<()> {
    let before = running.operations();
    wait::until(Duration::from_secs(20), "requests", || {
        running.operations() >= before + count
    })
}

/// Every program that is attached for a node of the lab.
fn attached(lab: &Lab) -> Result<Attached> {
    let tags = tags();
    let mut all = Attached::new();
    for node in lab.nodes() {
        for (pin, program) in pinned(lab, &node)? {
            let tag = tags.get(&program).context("a program without a tag")?;
            all.insert((node.clone(), pin), tag.clone());
        }
        for (place, tag) in filters(lab, &node)? {
            all.insert((node.clone(), place), tag);
        }
    }
    Ok(all)
}

/// The tags of all programs on this machine, by their numbers.
fn tags() -> BTreeMap<u32, String> {
    // Those that go meanwhile are not ours.
    let all = aya::programs::loaded_programs().flatten();
    all.map(|info| (info.id(), format!("{:016x}", info.tag())))
        .collect()
}

/// The links that a node's netd has pinned, and the numbers of their programs.
fn pinned(lab: &Lab, node: &str) -> Result<Vec<(String, u32)>> {
    let root = PathBuf::from(BPFFS).join(format!("netd-{}", lab.namespace(node)));
    let mut links = Vec::new();
    for layout in fs::read_dir(&root).with_context(|| format!("list {}", root.display()))? {
        let layout = layout?.path();
        for directory in ["links", "sockets"] {
            // By the classic tc there are no links at interfaces.
            let Ok(pins) = fs::read_dir(layout.join(directory)) else {
                continue;
            };
            for pin in pins {
                let pin = pin?.path();
                let link = FdLink::from(PinnedLink::from_pin(&pin)?);
                let name = pin.file_name().unwrap_or_default();
                links.push((
                    name.to_string_lossy().into_owned(),
                    link.info()?.program_id(),
                ));
            }
        }
    }
    Ok(links)
}

/// The filters of the classic tc on a node, and the tags of their programs.
fn filters(lab: &Lab, node: &str) -> Result<Vec<(String, String)>> {
    let namespace = lab.namespace(node);
    let links = command::run_inside(&namespace, "ip", &["-o", "link"])?;
    let mut filters = Vec::new();
    for line in links.lines() {
        let name = line.split(": ").nth(1).context("an interface's name")?;
        let name = name.split('@').next().unwrap_or(name);
        for side in ["ingress", "egress"] {
            let arguments = ["filter", "show", "dev", name, side];
            let shown = command::run_inside(&namespace, "tc", &arguments)?;
            for filter in shown.lines().filter(|line| line.contains(" tag ")) {
                let words: Vec<&str> = filter.split_whitespace().collect();
                let after = |what: &str| {
                    let at = words.iter().position(|word| *word == what);
                    at.and_then(|at| words.get(at + 1)).copied()
                };
                let program = after("name").context("a program's name")?;
                let tag = after("tag").context("a program's tag")?;
                filters.push((format!("{program} at {name}"), tag.to_owned()));
            }
        }
    }
    Ok(filters)
}
