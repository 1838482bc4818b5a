//! What `netctl` shows is what is there: as table, as JSON, by template.

use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::lab::demo::{self, HTTP_PORT, PROBE};
use integration::lab::{Family, Lab, Spec};
use integration::probe::{self, Transport};
use integration::{binaries, can_make_labs, command, netns, wait};
use serde_json::Value;

/// How long a counter may take to show what happened.
const SOON: Duration = Duration::from_secs(5);

fn netctl(lab: &Lab, node: &str, args: &[&str]) -> Result<Output> {
    let mut command = Command::new(binaries::find("netctl")?);
    command.arg("--socket").arg(lab.socket(node)).args(args);
    command.output().context("run netctl")
}

fn said(lab: &Lab, node: &str, args: &[&str]) -> Result<String> {
    let output = netctl(lab, node, args)?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "netctl {args:?}: {error}");
    String::from_utf8(output.stdout).context("it says text")
}

/// `--format json` of a list: one object on each line.
fn objects(lab: &Lab, node: &str, args: &[&str]) -> Result<Vec<Value>> {
    let all = [args, &["--format", "json"]].concat();
    let text = said(lab, node, &all)?;
    text.lines()
        .map(|line| serde_json::from_str(line).context("a line is an object"))
        .collect()
}

/// One connection to a target that stays open.
fn open(lab: &Lab, member: &str, target: SocketAddr) -> Result<TcpStream> {
    netns::inside(&lab.namespace(member), || {
        TcpStream::connect_timeout(&target, SOON)
    })?
    .with_context(|| format!("connect to {target}"))
}

#[test]
fn every_noun_is_shown_in_every_format() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("show"), 3))?;
    let node = lab.document().node("n1").context("a node")?;
    let address = Family::V4.of(&node.addresses).context("an address")?;
    let _kept = open(&lab, "client", SocketAddr::new(address, HTTP_PORT))?;
    let cases: [(&[&str], &str, &[&str]); 5] = [
        (&["network", "ls"], "{{.Name}} {{.Mtu}}", &["app 1450"]),
        (
            &["endpoint", "ls"],
            "{{.Name}} {{.Node}}",
            &["web-1 n1", "web-2 n2", "probe n1"],
        ),
        (
            &["vip", "ls"],
            "{{.Service}} {{.Network}}",
            &["web app", "echo app"],
        ),
        (
            &["port", "ls"],
            "{{.Port}}/{{.Protocol}}",
            &["8080/tcp", "8081/udp"],
        ),
        (
            &["flow", "ls"],
            "{{.Service}} {{.State}}",
            &["web established"],
        ),
    ];
    for (args, template, wanted) in cases {
        let table = said(&lab, "n1", args)?;
        ensure!(
            table.lines().count() > wanted.len(),
            "{args:?} has a head and lines: {table}"
        );
        let count = table.lines().count() - 1;
        ensure!(
            objects(&lab, "n1", args)?.len() == count,
            "{args:?}: as many objects as lines"
        );
        let shown = said(&lab, "n1", &[args, &["--format", template]].concat())?;
        for line in wanted {
            ensure!(
                shown.lines().any(|each| each == *line),
                "{args:?}: no {line:?} in {shown}"
            );
        }
    }
    let status = said(&lab, "n2", &["status", "--format", "{{.Node}} {{.State}}"])?;
    ensure!(status.trim_end() == "n2 ready", "{status}");
    lab.down()
}

#[test]
fn connections_are_counted_at_their_backends() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("count"), 3))?;
    let topology = demo::topology(&lab);
    let vip = topology.vip("web", Family::V6).context("a VIP")?;
    let active = || -> Result<u64> {
        let text = said(&lab, "n1", &["vip", "inspect", "web", "--format", "json"])?;
        let vips: Value = serde_json::from_str(&text).context("one array")?;
        let backends = vips[0]["Backends"].as_array().context("backends")?;
        Ok(backends
            .iter()
            .filter_map(|backend| backend["Active"].as_u64())
            .sum())
    };
    ensure!(active()? == 0, "nobody is connected yet");
    let connections: Vec<TcpStream> = (0..6)
        .map(|_| open(&lab, PROBE, SocketAddr::new(vip, 80)))
        .collect::<Result<_>>()?;
    wait::until(SOON, "six connections are counted", || {
        active().is_ok_and(|now| now == 6)
    })?;
    drop(connections);
    wait::until(SOON, "none is counted", || {
        active().is_ok_and(|now| now == 0)
    })?;
    lab.down()
}

#[test]
fn a_flow_through_the_mesh_is_seen_on_both_nodes() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("flow"), 3))?;
    for node in lab.underlay().node(2) {
        let target = SocketAddr::new(node, HTTP_PORT);
        let kept = open(&lab, "client", target)?;
        let client = kept.local_addr()?.to_string();
        let at_ingress = objects(&lab, "n3", &["flow", "ls", "--client", &client])?;
        ensure!(at_ingress.len() == 1, "{client}: {at_ingress:?}");
        let flow = &at_ingress[0];
        ensure!(
            flow["Frontend"] == target.to_string() && flow["Service"] == "web",
            "{flow}"
        );
        let direction = flow["Direction"].as_str().unwrap_or("");
        let there = direction
            .strip_prefix("to:")
            .with_context(|| format!("remote: {flow}"))?;
        let at_backend = objects(&lab, there, &["flow", "ls", "--client", &client])?;
        ensure!(at_backend.len() == 1, "{client}: {at_backend:?}");
        let flow = &at_backend[0];
        ensure!(
            flow["State"] == "established" && flow["Direction"] == "from:n3",
            "{flow}"
        );
    }
    lab.down()
}

#[test]
fn a_drop_is_told_with_its_reason_and_a_sample() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("drop"), 1))?;
    let topology = demo::topology(&lab);
    let source = topology.addresses(demo::NETWORK, 99)[0];
    let target = SocketAddr::new(topology.addresses(demo::NETWORK, 11)[0], 8080);
    let batch = format!("addr add {source}/32 dev eth0\n");
    command::ip_batch(Some(&lab.namespace(PROBE)), &batch)?;
    netns::inside(&lab.namespace(PROBE), || {
        probe::send(Some(source), target, b"who")
    })??;
    let drop = wait::some(SOON, "the drop is told", || {
        let drops = objects(&lab, "n1", &["drop", "ls"]).ok()?;
        drops
            .into_iter()
            .find(|drop| drop["Reason"] == "spoofed-source" && !drop["LastSample"].is_null())
    })?;
    let sample = &drop["LastSample"];
    let shown = sample["Source"].as_str().unwrap_or("");
    ensure!(
        shown.contains(&source.to_string()),
        "the sample's source: {sample}"
    );
    ensure!(
        sample["Network"] == demo::NETWORK,
        "the sample's network: {sample}"
    );
    lab.down()
}

#[test]
fn what_is_not_there_is_an_error_with_its_exit_status() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("none"), 1))?;
    let unknown = netctl(&lab, "n1", &["vip", "inspect", "nosuch"])?;
    ensure!(unknown.status.code() == Some(1), "{unknown:?}");
    ensure!(
        String::from_utf8_lossy(&unknown.stderr).contains("nosuch"),
        "{unknown:?}"
    );
    let usage = netctl(&lab, "n1", &["vip", "frobnicate"])?;
    ensure!(usage.status.code() == Some(2), "{usage:?}");
    let template = netctl(&lab, "n1", &["vip", "ls", "--format", "{{.NoSuchField}}"])?;
    ensure!(!template.status.success(), "{template:?}");
    // Whoever serves is not asked in vain either when netd is away.
    let mut lab = lab;
    lab.kill("n1")?;
    let away = netctl(&lab, "n1", &["status"])?;
    ensure!(away.status.code() == Some(1), "{away:?}");
    let node = lab.underlay().node(0)[0];
    let ask = || probe::ask(Transport::Tcp, SocketAddr::new(node, HTTP_PORT));
    netns::inside(&lab.namespace("client"), ask)?.answered()?;
    lab.down()
}
