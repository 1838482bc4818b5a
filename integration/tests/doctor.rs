//! `netctl doctor` finds what is wrong with a node, and a port that a process has taken is a problem
//! with that process's name.

use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::lab::demo::{self, HTTP_PORT};
use integration::lab::{Lab, Spec};
use integration::probe::{self, Transport};
use integration::{binaries, can_make_labs, command, netns, wait};
use serde_json::Value;

/// How long netd may take to see what has changed.
const SOON: Duration = Duration::from_secs(10);

fn doctor(lab: &Lab, node: &str, args: &[&str]) -> Result<Output> {
    let mut command = Command::new(binaries::find("netctl")?);
    command.arg("--socket").arg(lab.socket(node)).arg("doctor");
    command.args(args).output().context("run netctl")
}

fn findings(lab: &Lab, node: &str) -> Result<Vec<Value>> {
    let output = doctor(lab, node, &["--format", "json"])?;
    let text = String::from_utf8(output.stdout).context("it says text")?;
    let all: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).context("a line is an object"))
        .collect::<Result<_>>()?;
    let fails = all.iter().any(|it| it["Verdict"] == "fail");
    ensure!(
        output.status.code() == Some(i32::from(fails)),
        "the exit status says whether something fails: {:?}, {text}",
        output.status
    );
    Ok(all)
}

/// The one finding of a check that is not `ok`.
fn bad(lab: &Lab, node: &str, check: &str) -> Result<Value> {
    let all = findings(lab, node)?;
    let bad = all
        .iter()
        .find(|it| it["Name"] == check && it["Verdict"] != "ok");
    let bad = bad.with_context(|| format!("nothing wrong with {check}: {all:?}"))?;
    ensure!(bad["Advice"] != "", "it says what to do: {bad}");
    Ok(bad.clone())
}

fn run_inside(lab: &Lab, node: &str, program: &str, args: &[&str]) -> Result<()> {
    netns::inside(&lab.namespace(node), || command::run(program, args))??;
    Ok(())
}

#[test]
fn a_healthy_node_has_nothing_that_fails() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("well"), 2))?;
    let all = findings(&lab, "n1")?;
    let failing: Vec<_> = all.iter().filter(|it| it["Verdict"] == "fail").collect();
    ensure!(failing.is_empty(), "{failing:?}");
    for check in [
        "netd",
        "kernel",
        "bpf-file-system",
        "forwarding",
        "mtu",
        "offloads",
        "underlay",
        "firewall",
        "ports",
        "tables",
    ] {
        ensure!(
            all.iter().any(|it| it["Name"] == check),
            "{check} is looked at: {all:?}"
        );
    }
    let n2 = all
        .iter()
        .find(|it| it["Name"] == "underlay" && it["About"] == "n2");
    ensure!(n2.is_some(), "the other node by its name: {all:?}");
    let shown = doctor(&lab, "n1", &["--format", "{{.Name}}={{.Verdict}}"])?;
    let shown = String::from_utf8(shown.stdout)?;
    ensure!(shown.lines().any(|line| line == "mtu=ok"), "{shown}");
    let few = doctor(&lab, "n1", &["--problems", "--format", "json"])?;
    ensure!(few.stdout.len() < shown.len() * 10, "only what is wrong");
    lab.down()
}

#[test]
fn what_is_broken_on_the_host_is_found_and_named() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("ill"), 2))?;
    let drop = "table inet foreign { chain in { type filter hook input priority 0; \
                policy accept; udp dport 4789 counter drop; }; }";
    run_inside(&lab, "n1", "nft", &[drop])?;
    let found = bad(&lab, "n1", "firewall")?;
    ensure!(found["About"] == "inet foreign in", "{found}");
    run_inside(&lab, "n1", "nft", &["delete table inet foreign"])?;

    let policy = "table inet foreign { chain fw { type filter hook forward priority 0; \
                  policy drop; }; }";
    run_inside(&lab, "n1", "nft", &[policy])?;
    let found = bad(&lab, "n1", "firewall")?;
    ensure!(found["About"] == "inet foreign fw", "{found}");
    run_inside(&lab, "n1", "nft", &["delete table inet foreign"])?;

    // Smaller on the way than at both ends: what no address and no route says.
    let wire = lab.namespace("wire");
    command::ip_batch(Some(&wire), "link set n2 mtu 1400\n")?;
    let found = bad(&lab, "n1", "underlay")?;
    ensure!(found["About"] == "n2", "{found}");
    ensure!(
        found["Message"]
            .as_str()
            .is_some_and(|it| it.contains("1500")),
        "{found}"
    );
    command::ip_batch(Some(&wire), "link set n2 down\n")?;
    let found = bad(&lab, "n1", "underlay")?;
    ensure!(
        found["Message"]
            .as_str()
            .is_some_and(|it| it.contains("does not answer")),
        "{found}"
    );
    command::ip_batch(Some(&wire), "link set n2 mtu 1500 up\n")?;

    run_inside(
        &lab,
        "n1",
        "ethtool",
        &["-K", "eth0", "gro", "off", "tx", "off"],
    )?;
    let found = bad(&lab, "n1", "offloads")?;
    ensure!(found["About"] == "eth0", "{found}");
    lab.down()
}

#[test]
fn a_port_that_a_process_has_taken_is_a_problem_with_its_name() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut lab = demo::up(Spec::new(&Spec::unique_name("taken"), 1))?;
    // A socket older than the publication: netd reserves the port only once it knows of it.
    lab.stop("n1")?;
    let mut topology = demo::topology(&lab);
    for port in topology.service.iter_mut().flat_map(|it| &mut it.publish) {
        port.port += 1000;
    }
    let port = HTTP_PORT + 1000;
    let taken = netns::inside(&lab.namespace("n1"), || {
        TcpListener::bind(("0.0.0.0", port))
    })??;
    lab.write_topology(&topology)?;
    lab.start_anyhow("n1")?;
    let problem = wait::some(SOON, "the problem is told", || {
        let status = lab.ask("n1", "status").ok()?;
        let problems = status["Problems"].as_array()?;
        problems
            .iter()
            .find(|it| it["Code"] == "port-taken")
            .cloned()
    })?;
    let message = problem["Message"].as_str().unwrap_or_default();
    let pid = format!("(pid {})", std::process::id());
    ensure!(
        message.contains(&pid) && message.contains(&format!("{port}/tcp")),
        "the process and the port are named: {problem}"
    );
    ensure!(problem["Needed"] != "", "{problem}");
    let found = bad(&lab, "n1", "ports")?;
    ensure!(found["Message"] == problem["Message"], "{found}");

    let node = lab.underlay().node(0)[0];
    let ask = || probe::ask(Transport::Tcp, (node, port).into());
    netns::inside(&lab.namespace("client"), ask)?
        .answered()
        .context("the rest works")?;

    drop(taken);
    lab.reload("n1")?;
    wait::until(SOON, "the problem is gone", || {
        lab.ask("n1", "status")
            .is_ok_and(|status| status["State"] == "ready")
    })?;
    lab.down()
}
