//! What the demo shows, in the order in which it shows it.

mod busy;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use integration::lab::demo::{HTTP_PORT, PROBE, UDP_PORT};
use integration::lab::{Family, Lab};
use integration::load::Running;
use integration::serve::Answer;
use integration::{binaries, command};

use super::Stage;
use super::narrator::Narrator;

/// How long a refusal may take: it is an answer, not a timer.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What the reader is about to see.
pub(super) fn prologue(narrator: &mut Narrator) -> Result<()> {
    narrator.section("Three machines become one")?;
    narrator.say(
        "\
netd turns Linux machines into one: tasks on any of them share networks, services have one
address, and a published port answers on every machine. All of it happens in the kernel, in
eBPF programs; no proxy, no bridge, no iptables rule, and the client's address stays visible.

Here the machines are network namespaces on this one: three nodes, each with its own netd, a
client outside, and real HTTP servers as tasks. Node n3 has no server.

      client ──┬──────── underlay ────────┬─────────────────┐
               │                          │                 │
          ┌────┴────┐                ┌────┴────┐       ┌────┴────┐
          │   n1    │                │   n2    │       │   n3    │
          │  web-1  │─── overlay ────│  web-2  │       │    –    │
          │  probe  │                └─────────┘       └─────────┘
          └─────────┘",
    )
}

/// All scenes but the first and the last.
pub(super) fn play(stage: &mut Stage) -> Result<()> {
    cluster(stage)?;
    inside(stage)?;
    outside(stage)?;
    datagrams(stage)?;
    refusals(stage)?;
    busy::edit(stage)?;
    busy::drain(stage)?;
    let kept = busy::restart(stage)?;
    inspect(stage, kept)
}

fn cluster(stage: &mut Stage) -> Result<()> {
    stage.narrator.section("One file describes the cluster")?;
    stage.narrator.say(
        "Every node was started with the same file, and takes its part from it:\n\
         `netd --static topology.toml --node n1`. The service `web` in it:",
    )?;
    let text = stage.topology.to_toml()?;
    let service = text.split("[[service]]").nth(1).unwrap_or("");
    stage.narrator.output(&format!("[[service]]{service}"))?;
    stage.netctl("n1", &["status"])?;
    stage.netctl("n1", &["vip", "ls"])?;
    stage.netctl("n1", &["port", "ls"])?;
    let nodes = stage.lab.nodes();
    let Stage { lab, narrator, .. } = stage;
    narrator.check("all three nodes are ready", || {
        nodes.iter().try_for_each(|node| {
            let state = lab.ask(node, "status")?["State"].clone();
            ensure!(state == "ready", "{node} is {state}");
            Ok(())
        })
    })
}

fn inside(stage: &mut Stage) -> Result<()> {
    stage
        .narrator
        .section("From inside: one address for all tasks of a service")?;
    stage.narrator.say(
        "The task `probe` asks the service's virtual IP (VIP). The kernel picks a backend for\n\
         each connection; the server sees the address of `probe` itself.",
    )?;
    let own = stage.task_addresses(PROBE)?;
    for family in Family::BOTH {
        let vip = stage
            .topology
            .vip("web", family)
            .context("the service has a VIP")?;
        let target = SocketAddr::new(vip, 80);
        stage.ask_several(PROBE, target, family.of(&own))?;
    }
    Ok(())
}

fn outside(stage: &mut Stage) -> Result<()> {
    stage
        .narrator
        .section("From outside: a published port answers on every node")?;
    stage.narrator.say(
        "The client knows nothing of overlays. It asks port 8080 of a node, any node: also n3,\n\
         which has no server. The servers see the client's own address, not a node's.",
    )?;
    let client = stage.lab.document().client.addresses.clone();
    for node in stage.lab.nodes() {
        for family in Family::BOTH {
            let target = SocketAddr::new(stage.node_address(&node, family)?, HTTP_PORT);
            stage.narrator.say(&format!("  through {node}:"))?;
            stage.ask_several("client", target, family.of(&client))?;
        }
    }
    Ok(())
}

fn datagrams(stage: &mut Stage) -> Result<()> {
    stage.narrator.section("UDP as well")?;
    stage.narrator.say(
        "The same servers answer datagrams; through n3, which has none of them. `netd-lab ask`\n\
             sends one and prints the answer:",
    )?;
    let client = stage.lab.document().client.addresses.clone();
    for family in Family::BOTH {
        let target = SocketAddr::new(stage.node_address("n3", family)?, UDP_PORT);
        let lab = binaries::find("netd-lab")?.display().to_string();
        let text = stage.run("client", &lab, &["ask", "udp", &target.to_string()]);
        stage
            .narrator
            .check("answered, and the client is seen as it is", || {
                let said = text?;
                let answer: Answer = said.split(" (").next().unwrap_or("").parse()?;
                seen_as(&answer, family.of(&client))
            })?;
    }
    Ok(())
}

fn refusals(stage: &mut Stage) -> Result<()> {
    stage
        .narrator
        .section("What is not there is refused, at once")?;
    stage
        .narrator
        .say("No port 81 on the VIP, no port 8999 on a node: a reset, never a silence.")?;
    let vip = stage
        .topology
        .vip("web", Family::V4)
        .context("the service has a VIP")?;
    let node = stage.node_address("n2", Family::V6)?;
    let targets = [
        (PROBE, SocketAddr::new(vip, 81)),
        ("client", SocketAddr::new(node, 8999)),
    ];
    for (from, target) in targets {
        stage.refused(from, target)?;
    }
    Ok(())
}

fn inspect(stage: &mut Stage, kept: Running) -> Result<()> {
    stage.narrator.section("Looking inside")?;
    stage.narrator.say(
        "Which connections go on by n3: those that were opened before its netd was killed. And what\n\
         was dropped, and why:",
    )?;
    let flows = stage.netctl("n3", &["flow", "ls", "--state", "established"])?;
    stage.narrator.check("the three are still there", || {
        let count = flows.lines().count().saturating_sub(1);
        ensure!(count >= 3, "there are {count}");
        Ok(())
    })?;
    let report = kept.stop()?;
    stage.unharmed("on them: ", &report)?;
    stage.netctl("n3", &["drop", "ls"])?;
    Ok(())
}

impl Stage {
    /// Asks until every backend has answered, shows the answers, and checks what was seen.
    fn ask_several(&mut self, from: &str, to: SocketAddr, own: Option<IpAddr>) -> Result<()> {
        let url = format!("http://{to}/");
        self.narrator
            .command(&shown(&self.lab, from, "curl", &[&url]))?;
        let mut answers: Vec<Answer> = Vec::new();
        let mut tasks = BTreeSet::new();
        let mut problem = Ok(());
        // Maglev, the published ports' algorithm, hashes: a few in a row may meet the same task.
        while answers.len() < 40 && (tasks.len() < 2 || answers.len() < 4) {
            match curl(&self.lab, from, to) {
                Ok(answer) => {
                    if answers.len() < 4 || !tasks.contains(&answer.task) {
                        self.narrator.output(&answer.to_string())?;
                    }
                    tasks.insert(answer.task.clone());
                    answers.push(answer);
                }
                Err(error) => {
                    problem = Err(error);
                    break;
                }
            }
        }
        self.narrator.check(
            "both servers answered, and saw the asker's own address",
            || {
                problem?;
                both_answered(&tasks)?;
                answers.iter().try_for_each(|answer| seen_as(answer, own))
            },
        )
    }

    /// Checks that a connection is refused within a second.
    fn refused(&mut self, from: &str, target: SocketAddr) -> Result<()> {
        let url = format!("http://{target}/");
        self.narrator
            .command(&shown(&self.lab, from, "curl", &[&url]))?;
        let begin = Instant::now();
        let result = curl(&self.lab, from, target);
        let after = begin.elapsed();
        self.narrator
            .check(&format!("refused after {after:.0?}"), || match result {
                Ok(answer) => bail!("answered: {answer}"),
                Err(error) => {
                    let text = format!("{error:#}");
                    ensure!(text.contains("(7)"), "{text}");
                    ensure!(after < AT_ONCE, "only after {after:?}");
                    Ok(())
                }
            })
    }

    /// Runs a command inside a member, shown with what it says.
    fn run(&self, member: &str, program: &str, args: &[&str]) -> Result<String> {
        let name = program.rsplit('/').next().unwrap_or(program);
        self.narrator
            .command(&shown(&self.lab, member, name, args))?;
        let text = command::run_inside(&self.lab.namespace(member), program, args)?;
        self.narrator.output(&text)?;
        Ok(text)
    }

    /// Shows a `netctl` command and all that it says.
    fn netctl(&self, node: &str, args: &[&str]) -> Result<String> {
        self.narrator
            .command(&format!("netctl {}   (on {node})", args.join(" ")))?;
        let socket = self.lab.socket(node).display().to_string();
        let all: Vec<&str> = ["--socket", &socket].iter().chain(args).copied().collect();
        let text = command::run(&binaries::find("netctl")?.display().to_string(), &all)?;
        self.narrator.output(&text)?;
        Ok(text)
    }

    fn node_address(&self, node: &str, family: Family) -> Result<IpAddr> {
        let node = self.lab.document().node(node).context("no such node")?;
        family.of(&node.addresses).context("no address")
    }

    fn task_addresses(&self, task: &str) -> Result<Vec<IpAddr>> {
        let task = self.lab.document().task(task).context("no such task")?;
        Ok(task.addresses.clone())
    }
}

fn curl(lab: &Lab, from: &str, target: SocketAddr) -> Result<Answer> {
    let url = format!("http://{target}/");
    let args = ["--silent", "--show-error", "--max-time", "4", &url];
    Ok(command::run_inside(&lab.namespace(from), "curl", &args)?.parse()?)
}

fn shown(lab: &Lab, member: &str, program: &str, args: &[&str]) -> String {
    format!(
        "ip netns exec {} {program} {}",
        lab.namespace(member),
        args.join(" ")
    )
}

fn both_answered(tasks: &BTreeSet<String>) -> Result<()> {
    ensure!(tasks.iter().eq(["web-1", "web-2"]), "{tasks:?} answered");
    Ok(())
}

fn seen_as(answer: &Answer, own: Option<IpAddr>) -> Result<()> {
    let seen = answer.client.ip();
    ensure!(
        own == Some(seen),
        "the server saw {seen}, but the client is {own:?}"
    );
    Ok(())
}
