//! Topology files with mistakes: all of them are told at once, with file and line, and nothing
//! changes.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::lab::demo::{self, HTTP_PORT, PROBE};
use integration::lab::topology::Topology;
use integration::lab::{Family, Lab, PATIENCE, Spec};
use integration::load::{self, Mode, Plan};
use integration::{binaries, can_make_labs, netns, wait};

/// Mistakes: what is replaced in the demo's file, by what, and a word of the complaint. Each is
/// found on the line that holds the replacement.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("internal = false", "intern = false", "intern"),
    ("10.0.1.0/24", "10.0.1.0/33", "10.0.1.0/33"),
    ("10.0.1.0/24", "10.255.1.0/24", "overlap"),
    ("10.0.1.0/24", "10.0.1.0/31", "10.0.1"),
    ("vni = 4097", "vni = 16777216", "16777216"),
    ("vni = 4097", "vni = 4096", "4096"),
    ("name = \"n2\"", "name = \"n1\"", "n1"),
    ("name = \"web-2\"", "name = \"web-1\"", "web-1"),
    ("name = \"echo\"", "name = \"web\"", "web"),
    ("network = \"app\"", "network = \"ap\"", "ap"),
    ("endpoint = \"web-2\"", "endpoint = \"web-7\"", "web-7"),
    ("node = \"n2\"", "node = \"n7\"", "n7"),
    ("10.0.1.12", "10.0.1.11", "10.0.1.11"),
    ("10.0.1.12", "10.0.7.12", "10.0.7.12"),
    ("10.0.1.3", "10.0.1.2", "10.0.1.2"),
    ("port = 8081", "port = 0", "port"),
    ("protocol = \"udp\"", "protocol = \"icmp\"", "icmp"),
    ("address = \"", "address = \"x", "address"),
];

fn text(lab: &Lab) -> Result<String> {
    std::fs::read_to_string(lab.file("topology.toml")).context("read the topology")
}

/// Runs `netd check` and gives what it complains of.
fn check(lab: &Lab, text: &str) -> Result<(bool, String)> {
    let file = lab.file("bad.toml");
    std::fs::write(&file, text)?;
    let output = Command::new(binaries::find("netd")?)
        .arg("check")
        .arg("--static")
        .arg(&file)
        .output()
        .context("run netd check")?;
    let said = [output.stdout, output.stderr].concat();
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

/// Whether some line of `said` complains of `line` of the file and holds `word`.
fn complains(said: &str, line: usize, word: &str) -> bool {
    let place = format!("bad.toml:{line}:");
    said.lines()
        .any(|each| each.contains(&place) && each.contains(word))
}

#[test]
fn every_mistake_is_told_with_its_line() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("wrong"), 3))?;
    let good = text(&lab)?;
    let (fine, said) = check(&lab, &good)?;
    ensure!(fine, "the demo's own topology is refused: {said}");
    let mut failures = Vec::new();
    for (from, to, word) in MISTAKES {
        ensure!(good.contains(from), "{from} does not occur");
        // The last place: for a name that occurs twice, the second is the mistake.
        let at = good.rfind(from).context("it occurs")?;
        let bad = format!("{}{to}{}", &good[..at], &good[at + from.len()..]);
        let line = good[..at].lines().count().max(1);
        let line = if good[..at].ends_with('\n') {
            line + 1
        } else {
            line
        };
        let (fine, said) = check(&lab, &bad)?;
        if fine || !complains(&said, line, word) {
            failures.push(format!("{from} -> {to}, line {line}:\n{said}"));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    lab.down()
}

#[test]
fn all_mistakes_are_told_at_once() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("many"), 3))?;
    let bad = text(&lab)?
        .replace("endpoint = \"web-2\"", "endpoint = \"web-7\"")
        .replace("node = \"n2\"", "node = \"n7\"")
        .replace("10.0.1.12", "10.0.7.12");
    let (fine, said) = check(&lab, &bad)?;
    ensure!(!fine, "it is accepted");
    for word in ["web-7", "n7", "10.0.7.12"] {
        ensure!(said.contains(word), "nothing of {word} in: {said}");
    }
    lab.down()
}

#[test]
fn an_edit_with_mistakes_changes_nothing() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut lab = demo::up(Spec::new(&Spec::unique_name("keep"), 3))?;
    let node = lab.underlay().node(2)[1];
    let plan = Plan {
        connections: 2,
        ..Plan::new(Mode::Crr, SocketAddr::new(node, HTTP_PORT))
    };
    let running = netns::inside(&lab.namespace("client"), || load::start(&plan))?;
    let before: Vec<u64> = lab
        .nodes()
        .iter()
        .map(|node| lab.generation(node))
        .collect::<Result<_>>()?;
    let good = text(&lab)?;
    let bad = good
        .replace("endpoint = \"web-2\"", "endpoint = \"web-7\"")
        .replace("4097", "4096");
    lab.write_topology_text(&bad)?;
    for (node, before) in lab.nodes().iter().zip(before) {
        let errors = wait::some(PATIENCE, &format!("{node} complains"), || {
            lab.topology_errors(node)
                .ok()
                .filter(|errors| !errors.is_empty())
        })?;
        ensure!(errors.len() >= 2, "{node}: {errors:?}");
        ensure!(
            lab.generation(node)? == before,
            "{node} has applied something"
        );
        ensure!(
            lab.ask(node, "status")?["State"] == "degraded",
            "{node} says it is ready"
        );
    }
    let already = running.operations();
    wait::until(Duration::from_secs(10), "more requests", || {
        running.operations() >= already + 100
    })?;
    // Both backends still answer.
    let report = running.stop()?;
    ensure!(report.errors == 0, "{:?}", report.error_kinds);
    ensure!(
        report.tasks.keys().eq(["web-1", "web-2"]),
        "{:?}",
        report.tasks
    );
    // The complaint goes with its cause.
    let mut topology = demo::topology(&lab);
    topology.service[0].publish[0].port = 9000;
    lab.apply_topology(&topology)?;
    for node in lab.nodes() {
        ensure!(
            lab.ask(&node, "status")?["State"] == "ready",
            "{node} is not ready again"
        );
    }
    lab.down()
}

#[test]
fn a_start_with_mistakes_tells_them_and_leaves_the_data_plane_alone() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut lab = demo::up(Spec::new(&Spec::unique_name("begin"), 2))?;
    let vip = demo::topology(&lab)
        .vip("web", Family::V4)
        .context("a VIP")?;
    let good = text(&lab)?;
    lab.kill("n1")?;
    lab.write_topology_text(&good.replace("endpoint = \"web-1\"", "endpoint = \"web-7\""))?;
    lab.start_anyhow("n1")?;
    is_told(&lab, "web-7")?;
    let target = SocketAddr::new(vip, 80);
    let ask = || integration::probe::ask(integration::probe::Transport::Tcp, target);
    netns::inside(&lab.namespace(PROBE), ask)?.answered()?;
    lab.write_topology_text(&good)?;
    wait::until(PATIENCE, "it is ready once the mistake is gone", || {
        is_ready(&lab)
    })?;
    lab.down()
}

#[test]
fn a_namespace_that_does_not_exist_is_told_and_waited_for() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut lab = Lab::up(Spec::new(&Spec::unique_name("absent"), 1))?;
    lab.add_namespace("task", "n1")?;
    let mut topology = Topology::of(&lab);
    topology.add_network("app", 1);
    topology.attach(&lab, "task", "app", 11);
    let namespace = lab.namespace("late");
    topology.endpoint[0].namespace.clone_from(&namespace);
    lab.write_topology(&topology)?;
    lab.start_anyhow("n1")?;
    is_told(&lab, &namespace)?;
    lab.add_namespace("late", "n1")?;
    wait::until(PATIENCE, "it is ready once the namespace is there", || {
        is_ready(&lab)
    })?;
    lab.down()
}

/// Checks that `n1` says that it is degraded, and why.
fn is_told(lab: &Lab, word: &str) -> Result<()> {
    let status = lab.ask("n1", "status")?;
    ensure!(
        status["State"] == "degraded",
        "it says that it is well: {status}"
    );
    let errors = status["Topology"]["Errors"].to_string();
    ensure!(
        errors.contains(word) && errors.contains("topology.toml"),
        "{status}"
    );
    let line = |error: &serde_json::Value| error["Line"].as_u64().is_some();
    let lines = status["Topology"]["Errors"]
        .as_array()
        .is_some_and(|all| all.iter().all(line));
    ensure!(lines, "an error without a line: {status}");
    Ok(())
}

fn is_ready(lab: &Lab) -> bool {
    lab.ask("n1", "status")
        .is_ok_and(|status| status["State"] == "ready")
}
