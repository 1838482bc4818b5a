//! What comes and goes leaves nothing: devices, namespaces, maps, links, routes, rules, file
//! descriptors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::lab::demo;
use integration::lab::topology::{Port, Service, Topology};
use integration::lab::{Lab, Spec};
use integration::probe::{self, Transport};
use integration::{can_make_labs, command, netns, wait};

/// How long something that is not a leak may be open.
const PATIENCE: Duration = Duration::from_secs(10);

/// Create/delete cycles; `NETD_TEST_LONG` asks for the long run.
fn cycles() -> u32 {
    if std::env::var_os("NETD_TEST_LONG").is_some() {
        1_000
    } else {
        200
    }
}

#[test]
fn cycles_of_creating_and_deleting_leave_nothing() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut lab = demo::up(Spec::new(&Spec::unique_name("leak"), 2))?;
    let base = demo::topology(&lab);
    // What is made once and kept, such as a library's own descriptors, is made by now.
    for number in 0..3 {
        cycle(&mut lab, &base, number)?;
    }
    let before = settled(&lab)?;
    for number in 0..cycles() {
        cycle(&mut lab, &base, number).with_context(|| format!("cycle {number}"))?;
    }
    let after = settled(&lab)?;
    for (what, were) in &before {
        let are = &after[what];
        ensure!(were == are, "{what} were\n{were}\nand are\n{are}");
    }
    lab.down()
}

/// A network, a task with two attachments, a service with a VIP and published ports come and go.
fn cycle(lab: &mut Lab, base: &Topology, number: u32) -> Result<()> {
    let node = if number.is_multiple_of(2) { "n1" } else { "n2" };
    let task = format!("t{number}");
    lab.add_namespace(&task, node)?;
    let mut topology = base.clone();
    topology.add_network("more", 30);
    topology.attach(lab, &task, demo::NETWORK, 40);
    topology.attach(lab, &task, "more", 40);
    topology.service.push(Service {
        vips: topology.addresses("more", 2),
        ports: vec![Port::tcp(80, 8080), Port::udp(80, 8080)],
        publish: vec![Port::tcp(9000, 8080), Port::udp(9000, 8080)],
        ..Service::new("more", "more", &[&format!("{task}-more")])
    });
    lab.apply_topology(&topology)?;
    if number.is_multiple_of(50) {
        // It is really there: nobody listens, and the task's own stack says so.
        let target = SocketAddr::new(lab.underlay().node(0)[0], 9000);
        let ask = || probe::ask(Transport::Tcp, target);
        netns::inside(&lab.namespace("client"), ask)?.refused()?;
    }
    lab.apply_topology(base)?;
    lab.remove_task(&task)
}

/// What is there while nobody looks at the host: whoever does has pipes and files open. Two snapshots
/// that are alike say so.
fn settled(lab: &Lab) -> Result<BTreeMap<String, String>> {
    wait::some(PATIENCE, "the daemons to be at rest", || {
        let one = snapshot(lab).ok()?;
        std::thread::sleep(Duration::from_millis(200));
        snapshot(lab).ok().filter(|other| *other == one)
    })
}

/// Everything that could leak, as text by kind.
fn snapshot(lab: &Lab) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for node in lab.nodes() {
        let namespace = lab.namespace(&node);
        let ip = |args: &[&str]| {
            let all: Vec<&str> = ["-n", &namespace].iter().chain(args).copied().collect();
            command::run("ip", &all)
        };
        let mut devices = lab.foreign_devices(&node)?;
        devices.sort();
        all.insert(format!("devices of {node}"), devices.join("\n"));
        let routes = [
            ip(&["route", "show", "table", "all"])?,
            ip(&["-6", "route", "show"])?,
        ];
        all.insert(format!("routes of {node}"), routes.concat());
        let rules = [ip(&["rule"])?, ip(&["-6", "rule"])?];
        all.insert(format!("rules of {node}"), rules.concat());
        let nft = command::run_inside(&namespace, "nft", &["--stateless", "list", "ruleset"])?;
        all.insert(format!("nft rules of {node}"), nft);
        let pid = lab.daemon(&node)?.pid;
        let fds = descriptors(pid)?;
        all.insert(format!("descriptors of the netd of {node}"), fds);
        let pins = Path::new("/sys/fs/bpf").join(format!("netd-{namespace}"));
        let pins = command::run("find", &[&pins.display().to_string(), "-type", "f"])?;
        let mut pins: Vec<&str> = pins.lines().collect();
        pins.sort_unstable();
        all.insert(format!("pins of {node}"), pins.join("\n"));
    }
    let mut names: Vec<String> = std::fs::read_dir("/run/netns")
        .context("list the namespaces")?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(&format!("{}-", lab.name())))
        .collect();
    names.sort();
    all.insert("namespaces".to_owned(), names.join("\n"));
    Ok(all)
}

/// How many descriptors of each kind a process has.
fn descriptors(pid: i32) -> Result<String> {
    let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).context("list descriptors")? {
        let Ok(target) = std::fs::read_link(entry?.path()) else {
            continue;
        };
        let text = target.display().to_string();
        let kind = text
            .split_once(":[")
            .map_or(text.as_str(), |(kind, _)| kind)
            .to_owned();
        *kinds.entry(kind).or_default() += 1;
    }
    let lines: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    Ok(lines.join("\n"))
}
