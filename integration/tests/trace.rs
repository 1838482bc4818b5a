//! What `netctl trace` says, against what becomes of real packets.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::lab::demo::{self, HTTP_PORT, PROBE, UDP_PORT};
use integration::lab::{Family, Lab, Spec};
use integration::probe::{self, Transport};
use integration::serve::Answer;
use integration::{binaries, can_make_labs, netns};
use serde_json::Value;

/// Asks the netds of these nodes, the first one first.
fn netctl(lab: &Lab, nodes: &[&str], args: &[&str]) -> Result<Output> {
    let mut command = Command::new(binaries::find("netctl")?);
    command.arg("trace");
    for node in nodes {
        command.arg("--socket").arg(lab.socket(node));
    }
    command.args(args).output().context("run netctl")
}

fn trace(lab: &Lab, nodes: &[&str], args: &[&str]) -> Result<Value> {
    let output = netctl(lab, nodes, &[args, &["--format", "json"]].concat())?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{args:?}: {error}");
    serde_json::from_slice(&output.stdout).context("one object")
}

fn last(trace: &Value) -> Result<&Value> {
    let hops = trace["Hops"].as_array().context("hops")?;
    hops.last().with_context(|| format!("no hop: {trace}"))
}

/// The task that a trace ends in, told by nodes that have looked.
fn end(trace: &Value) -> Result<String> {
    let hops = trace["Hops"].as_array().context("hops")?;
    ensure!(
        hops.iter().all(|hop| hop["Verified"] == true) && trace["Next"].is_null(),
        "all of it is read from tables: {trace}"
    );
    let hop = last(trace)?;
    ensure!(hop["Verdict"] == "deliver", "{trace}");
    let message = hop["Message"].as_str().unwrap_or_default();
    let task = message
        .strip_prefix("into ")
        .and_then(|it| it.split(' ').next());
    Ok(task.context("a task")?.to_owned())
}

/// Who answers a datagram from a port of the client's choice.
fn ask(lab: &Lab, port: u16, target: SocketAddr) -> Result<String> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => [0, 0, 0, 0].into(),
        SocketAddr::V6(_) => [0u16; 8].into(),
    };
    let said = netns::inside(&lab.namespace("client"), || -> Result<Answer> {
        let socket = UdpSocket::bind((any, port))?;
        socket.set_read_timeout(Some(Duration::from_secs(4)))?;
        socket.send_to(b"who", target)?;
        let mut buffer = [0; 2048];
        let count = socket.recv(&mut buffer).context("an answer")?;
        let text = std::str::from_utf8(&buffer[..count])?;
        text.parse().ok().context("it says who it is")
    })??;
    Ok(said.task)
}

#[test]
fn packets_go_where_the_trace_has_said() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("trace"), 3))?;
    let all = ["n1", "n2", "n3"];
    // By the connection's hash, from outside, at a node with a backend and at one without.
    for node in [0, 2] {
        let ends = lab.underlay().node(node).into_iter();
        for (own, client) in ends.zip(lab.underlay().client()) {
            // Others at each node: the same one twice would look the same to a backend.
            let first = 41_000 + 100 * u16::from(node);
            for port in first..first + 8 {
                let target = SocketAddr::new(own, UDP_PORT);
                let asked = [
                    &client.to_string(),
                    &target.to_string(),
                    "--protocol",
                    "udp",
                    "--source-port",
                    &port.to_string(),
                ];
                let nodes = [&all[usize::from(node)..], &all].concat();
                let told = end(&trace(&lab, &nodes, &asked)?)?;
                let answered = ask(&lab, port, target)?;
                ensure!(
                    told == answered,
                    "{asked:?}: {answered} answers, not {told}"
                );
            }
        }
    }
    // One after the other, from a task to a VIP.
    let topology = demo::topology(&lab);
    let vip = SocketAddr::new(topology.vip("web", Family::V4).context("a VIP")?, 80);
    for _ in 0..6 {
        let told = end(&trace(&lab, &all, &[PROBE, "web:80"])?)?;
        let again = end(&trace(&lab, &all, &[PROBE, "web:80"])?)?;
        ensure!(
            told == again,
            "looking changes nothing: {told}, then {again}"
        );
        let ask = || probe::ask(Transport::Tcp, vip);
        let (answer, _) = netns::inside(&lab.namespace(PROBE), ask)?.answered()?;
        ensure!(told == answer.task, "{} answers, not {told}", answer.task);
    }
    lab.down()
}

#[test]
fn what_another_node_does_is_a_guess_unless_it_is_asked() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("guess"), 3))?;
    let guess = trace(&lab, &["n1"], &[PROBE, "web-2:8080"])?;
    let hop = last(&guess)?;
    ensure!(
        hop["Node"] == "n2" && hop["Verified"] == false && guess["Next"]["Node"] == "n2",
        "{guess}"
    );
    let known = trace(&lab, &["n1", "n2"], &[PROBE, "web-2:8080"])?;
    ensure!(end(&known)? == "web-2", "{known}");
    // Whoever is asked first, it begins where the source is.
    let other = trace(&lab, &["n2", "n1"], &[PROBE, "web-2:8080"])?;
    ensure!(end(&other)? == "web-2", "{other}");
    let nobody = netctl(&lab, &["n2"], &[PROBE, "web-2:8080"])?;
    let text = String::from_utf8_lossy(&nobody.stderr).into_owned();
    ensure!(
        nobody.status.code() == Some(1) && text.contains("node n1"),
        "{text}"
    );
    let shown = netctl(&lab, &["n1"], &[PROBE, "web-2:8080"])?;
    let shown = String::from_utf8(shown.stdout)?;
    ensure!(shown.contains("not verified"), "{shown}");
    let field = ["--format", "{{(index .Hops 0).Verdict}}"];
    let shown = netctl(
        &lab,
        &["n1"],
        &[&[PROBE, "web-2:8080"], &field[..]].concat(),
    )?;
    ensure!(shown.stdout == b"tunnel\n", "{shown:?}");
    lab.down()
}

#[test]
fn what_goes_nowhere_is_told_with_its_reason() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("nowhere"), 1))?;
    let outside = lab.underlay().client()[0].to_string();
    let node = lab.underlay().node(0)[0];
    let published = format!("{node}:{HTTP_PORT}");
    let elsewhere = format!("{node}:9");
    for (source, target, verdict, reason) in [
        (PROBE, "web:81", "refuse", "no-port"),
        (PROBE, "10.0.1.99:80", "refuse", "no-endpoint"),
        (PROBE, "198.51.100.1:80", "stack", ""),
        (PROBE, &published, "deliver", ""),
        (&outside, &elsewhere, "stack", ""),
        (&outside, &published, "deliver", ""),
    ] {
        let told = trace(&lab, &["n1"], &[source, target])?;
        let hop = last(&told)?;
        ensure!(
            hop["Verdict"] == verdict && hop["Reason"] == reason,
            "{source} -> {target}: {told}"
        );
    }
    for (source, target, words) in [
        ("nobody", "web:80", "source nobody not found"),
        (PROBE, "mail:25", "destination mail not found"),
        (PROBE, "web", "a port are expected"),
    ] {
        let refused = netctl(&lab, &["n1"], &[source, target])?;
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(
            refused.status.code() == Some(1) && text.contains(words),
            "{text}"
        );
    }
    lab.down()
}
