//! netd gives way to one with other kernel programs, and that one to the first again: each time the new
//! programs take the places of the old ones, under traffic.

mod other;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use aya::programs::links::{FdLink, PinnedLink};
use integration::lab::demo;
use integration::lab::{Lab, Spec};
use integration::load::Running;
use integration::{can_make_labs, command};

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
    upgrade(Spec::new(&Spec::unique_name("upgradetc"), 3).with_classic_tc())
}

fn upgrade(spec: Spec) -> Result<()> {
    let other = Other::netd(&spec.name)?;
    let mut lab = demo::up(spec)?;
    let all = demo::requests(&lab, "n3")?;
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
    all.into_iter().try_for_each(Running::stop_without_errors)?;
    lab.down()
}

/// Starts this netd in the place of the one that runs, node by node.
fn roll(lab: &mut Lab, netd: Option<PathBuf>, all: &[Running]) -> Result<()> {
    lab.use_netd(netd);
    for node in lab.nodes() {
        lab.stop(&node)?;
        lab.start(&node)?;
        all.iter().try_for_each(|running| running.more(20))?;
    }
    Ok(())
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
