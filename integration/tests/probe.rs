//! What `netctl trace --send` tells of the packets that it sends.

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use integration::lab::demo::{self, HTTP_PORT, PROBE, UDP_PORT};
use integration::lab::{Family, Lab, Spec};
use integration::{binaries, can_make_labs, command, netns};
use serde_json::Value;

/// Has a packet sent, and asks the netds of these nodes.
fn netctl(lab: &Lab, nodes: &[&str], args: &[&str]) -> Result<Output> {
    let mut command = Command::new(binaries::find("netctl")?);
    command.args(["trace", "--send"]);
    for node in nodes {
        command.arg("--socket").arg(lab.socket(node));
    }
    command.args(args).output().context("run netctl")
}

fn send(lab: &Lab, nodes: &[&str], args: &[&str]) -> Result<Value> {
    let output = netctl(lab, nodes, &[args, &["--format", "json"]].concat())?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{args:?}: {error}");
    let trace: Value = serde_json::from_slice(&output.stdout).context("one object")?;
    ensure!(trace["Probe"].is_object(), "{trace}");
    Ok(trace)
}

/// What each program has made of the first packet, or of what came back: node, program, verdict and
/// sentence.
fn seen<'a>(trace: &'a Value, kind: &str) -> Vec<[&'a str; 4]> {
    let sightings = trace["Probe"]["Sightings"].as_array().into_iter().flatten();
    let text = |it: &'a Value, key: &str| it[key].as_str().unwrap_or_default();
    sightings
        .filter(|it| it["Kind"] == kind)
        .map(|it| ["Node", "Program", "Verdict", "Message"].map(|key| text(it, key)))
        .collect()
}

fn ways<'a>(seen: &[[&'a str; 4]]) -> Vec<[&'a str; 3]> {
    seen.iter().map(|[a, b, c, _]| [*a, *b, *c]).collect()
}

fn as_explained(trace: &Value) -> Result<()> {
    let probe = &trace["Probe"];
    let hops = trace["Hops"].as_array().map_or(0, Vec::len);
    ensure!(hops > 0, "nothing explained: {trace}");
    ensure!(
        probe["Differences"].as_array().is_some_and(Vec::is_empty),
        "it differs: {trace:#}"
    );
    ensure!(
        probe["Unwatched"].as_array().is_some_and(Vec::is_empty),
        "somebody was not asked: {trace:#}"
    );
    Ok(())
}

const OUT: [[&str; 3]; 2] = [
    ["n1", "from_task", "tunnel"],
    ["n2", "from_overlay", "deliver"],
];
const BACK: [[&str; 3]; 2] = [
    ["n2", "from_task", "tunnel"],
    ["n1", "from_overlay", "deliver"],
];

/// The demo with its backends on n2 alone, and the way how its VIPs are translated.
fn up(name: &str, setup: (Family, &str, bool)) -> Result<Lab> {
    let (vtep, carrier, socket_lb) = setup;
    let spec = Spec {
        vtep,
        ..Spec::new(&Spec::unique_name(name), 2).with_carriers(&[carrier, carrier])
    };
    let mut lab = Lab::up(spec)?;
    lab.add_task("web-1", "n2")?;
    lab.add_task(PROBE, "n1")?;
    let mut topology = demo::topology(&lab);
    topology.network[0].socket_lb = Some(socket_lb);
    lab.write_topology(&topology)?;
    lab.start_all()?;
    Ok(lab)
}

#[test]
fn a_probe_is_followed_to_the_backend_of_a_vip_and_back() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    for setup in [
        (Family::V4, "native", true),
        (Family::V4, "device", false),
        (Family::V6, "native", false),
        (Family::V6, "device", true),
    ] {
        let lab = up("sent", setup)?;
        let topology = demo::topology(&lab);
        for family in Family::BOTH {
            for (service, port, protocol) in [("web", 80, "tcp"), ("echo", 7, "udp")] {
                let vip = topology.vip(service, family).context("a VIP")?;
                let own = lab.document().tasks.iter().find(|it| it.name == PROBE);
                let own = family.of(&own.context("the probe's task")?.addresses);
                let source = own.context("its address")?.to_string();
                let target = SocketAddr::new(vip, port).to_string();
                let args = [source.as_str(), &target, "--protocol", protocol];
                let trace = send(&lab, &["n1", "n2"], &args)?;
                let context = || format!("{setup:?} {args:?}: {trace:#}");
                as_explained(&trace).with_context(context)?;
                ensure!(ways(&seen(&trace, "probe")) == OUT, "{}", context());
                let back = ways(&seen(&trace, "answer"));
                ensure!(back.starts_with(&BACK), "{}", context());
                let probe = &trace["Probe"];
                let is_led = probe["Led"] != "";
                ensure!(is_led == setup.2, "{}", context());
                let answer = if protocol == "tcp" {
                    "accepted"
                } else {
                    "datagram"
                };
                ensure!(probe["Sent"]["Answer"] == answer, "{}", context());
                let times = probe["Sightings"].as_array().context("sightings")?;
                let since = probe["Sent"]["TimeUS"].as_u64().context("a time")?;
                let first = times[0]["TimeUS"].as_u64().context("a time")?;
                ensure!(
                    first + 1 >= since && first < since + 1_000_000,
                    "{}",
                    context()
                );
            }
        }
        nothing_stays(&lab)?;
        lab.down()?;
    }
    Ok(())
}

/// No connection stands or waits on either side.
fn nothing_stays(lab: &Lab) -> Result<()> {
    for task in [PROBE, "web-1"] {
        let states = ["established", "syn-sent", "syn-recv"];
        for state in states {
            let args = ["-Htn", "state", state];
            let left = command::run_inside(&lab.namespace(task), "ss", &args)?;
            ensure!(left.trim().is_empty(), "{task}: {state}: {left}");
        }
    }
    Ok(())
}

#[test]
fn what_becomes_of_a_probe_in_vain_is_told_with_the_reason() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    for socket_lb in [false, true] {
        let lab = up("vain", (Family::V4, "auto", socket_lb))?;
        let all = ["n1", "n2"];
        // A port that the VIP does not have, by the hook or by the packet's program.
        let told = send(&lab, &all, &[PROBE, "web:81"])?;
        as_explained(&told)?;
        let program = if socket_lb { "socket" } else { "from_task" };
        let [[node, by, verdict, _]] = seen(&told, "probe")[..] else {
            anyhow::bail!("seen once: {told:#}");
        };
        ensure!([node, by, verdict] == ["n1", program, "refuse"], "{told:#}");
        let probe = &told["Probe"];
        ensure!(probe["Sightings"][0]["Reason"] == "no-port", "{told:#}");
        ensure!(probe["Sent"]["Answer"] == "refused", "{told:#}");
        // Delivered to a task that has no such port: its own kernel refuses.
        let closed = send(&lab, &all, &[PROBE, "web-1:9"])?;
        as_explained(&closed)?;
        ensure!(ways(&seen(&closed, "probe")) == OUT, "{closed:#}");
        ensure!(ways(&seen(&closed, "answer")) == BACK, "{closed:#}");
        ensure!(closed["Probe"]["Sent"]["Answer"] == "refused", "{closed:#}");
        let closed = send(&lab, &all, &[PROBE, "web-1:9", "--protocol", "udp"])?;
        ensure!(closed["Probe"]["Sent"]["Answer"] == "refused", "{closed:#}");
        ensure!(!seen(&closed, "error").is_empty(), "{closed:#}");
        // What is dropped without a word.
        for (target, reason) in [
            ("10.0.1.1:80", "to-gateway"),
            ("10.255.0.1:80", "cross-network"),
        ] {
            let dropped = send(&lab, &all, &[PROBE, target, "--timeout", "1"])?;
            as_explained(&dropped)?;
            let first = &dropped["Probe"]["Sightings"][0];
            ensure!(
                first["Verdict"] == "drop" && first["Reason"] == reason,
                "{target}: {dropped:#}"
            );
            ensure!(
                dropped["Probe"]["Sent"]["Answer"] == "silence",
                "{dropped:#}"
            );
        }
        lab.down()?;
    }
    Ok(())
}

#[test]
fn a_probe_that_never_leaves_its_sender_is_told_as_that() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = up("stays", (Family::V4, "auto", true))?;
    for target in ["web:80", "web-1:8080"] {
        let own = send(&lab, &["n1", "n2"], &["web-1", target])?;
        let probe = &own["Probe"];
        ensure!(probe["Sent"]["Answer"] == "accepted", "{own:#}");
        ensure!(probe["Sightings"] == serde_json::json!([]), "{own:#}");
        ensure!(probe["Stayed"] == true, "{own:#}");
        ensure!(probe["Differences"] == serde_json::json!([]), "{own:#}");
    }
    lab.down()
}

#[test]
fn a_node_probes_published_ports() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = up("port", (Family::V4, "auto", true))?;
    let underlay = lab.underlay();
    let all = ["n1", "n2"];
    for (target, protocol) in [(HTTP_PORT, "tcp"), (UDP_PORT, "udp")] {
        // Its own socket is led; nothing is explained before.
        let asked = format!("n1:{target}");
        let own = send(&lab, &all, &["n1", &asked, "--protocol", protocol])?;
        ensure!(own["Probe"]["Led"] != "", "{own:#}");
        ensure!(ways(&seen(&own, "probe")) == OUT, "{own:#}");
        // Another node's address: by the underlay.
        let asked = format!("n2:{target}");
        let other = send(&lab, &all, &["n1", &asked, "--protocol", protocol])?;
        as_explained(&other)?;
        let expected = [["n2", "from_uplink", "deliver"]];
        ensure!(ways(&seen(&other, "probe")) == expected, "{other:#}");
        let v6 = underlay.node(1).iter().copied().find(IpAddr::is_ipv6);
        let asked = SocketAddr::new(v6.context("IPv6")?, target).to_string();
        let other = send(&lab, &all, &["n1", &asked, "--protocol", protocol])?;
        ensure!(ways(&seen(&other, "probe")) == expected, "{other:#}");
        // A task, by the mesh: n1 does not have the backend.
        let mine = underlay.node(0).iter().copied().find(IpAddr::is_ipv4);
        let asked = SocketAddr::new(mine.context("IPv4")?, target).to_string();
        let mesh = send(&lab, &all, &[PROBE, &asked, "--protocol", protocol])?;
        as_explained(&mesh)?;
        ensure!(ways(&seen(&mesh, "probe")) == OUT, "{mesh:#}");
        let answered = mesh["Probe"]["Sent"]["Answer"].as_str();
        ensure!(
            matches!(answered, Some("accepted" | "datagram")),
            "{mesh:#}"
        );
    }
    lab.down()
}

#[test]
fn what_cannot_be_sent_or_followed_is_said() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = up("unsent", (Family::V4, "auto", true))?;
    let error = |nodes: &[&str], args: &[&str]| -> Result<String> {
        let output = netctl(&lab, nodes, args)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1), "{args:?}: {output:?}");
        Ok(text)
    };
    for (args, words) in [
        (["nobody", "web:80"], "source nobody not found"),
        ([PROBE, "mail:25"], "destination mail not found"),
        (
            ["203.0.113.9", "n1:80"],
            "no probe can be sent from 203.0.113.9",
        ),
    ] {
        let text = error(&["n1"], &args)?;
        ensure!(text.contains(words), "{text}");
    }
    let text = error(&["n2"], &[PROBE, "web:80"])?;
    ensure!(text.contains("begins on node n1"), "{text}");
    // The port is somebody else's.
    let taken = netns::inside(&lab.namespace(PROBE), || {
        std::net::UdpSocket::bind(("0.0.0.0", 45_000))
    })??;
    let port = ["--source-port", "45000", "--protocol", "udp"];
    let text = error(&["n1"], &[&[PROBE, "echo:7"], &port[..]].concat())?;
    ensure!(text.contains("port 45000 is not free"), "{text}");
    drop(taken);
    // After all of these nobody is watched: the next one is not refused.
    let half = send(&lab, &["n1"], &[PROBE, "web-1:8080"])?;
    ensure!(
        half["Probe"]["Unwatched"] == serde_json::json!(["n2"]),
        "{half:#}"
    );
    ensure!(half["Probe"]["Sent"]["Answer"] == "accepted", "{half:#}");
    let text = netctl(&lab, &["n1"], &[PROBE, "web-1:8080"])?.stdout;
    let text = String::from_utf8(text)?;
    ensure!(text.contains("what n2 did is not known"), "{text}");
    ensure!(text.contains("is closed again after"), "{text}");
    lab.down()
}
