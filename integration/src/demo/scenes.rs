//! What the demo shows, in the order in which it shows it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use integration::lab::demo::{self, HTTP_PORT, PROBE, UDP_PORT};
use integration::lab::{Family, Lab};
use integration::load::{self, Mode, Plan, Report};
use integration::serve::Answer;
use integration::{binaries, command, netns, wait};

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
    edit(stage)?;
    drain(stage)?;
    restart(stage)?;
    inspect(stage)
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
    stage
        .narrator
        .say("The same servers answer datagrams; through n3, which has none of them:")?;
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

fn edit(stage: &mut Stage) -> Result<()> {
    stage
        .narrator
        .section("The file is edited while clients are busy")?;
    stage.narrator.say(
        "Four clients connect as fast as they can while a third server, `web-3`, joins on n3.\n\
         netd notices the change of the file and applies exactly the difference.",
    )?;
    let target = SocketAddr::new(stage.node_address("n3", Family::V4)?, HTTP_PORT);
    let running = stage.load(target)?;
    stage.lab.add_task("web-3", "n3")?;
    stage.topology = demo::topology(&stage.lab);
    let topology = stage.topology.clone();
    stage.lab.apply_topology(&topology)?;
    stage.netctl("n2", &["vip", "inspect", "web"])?;
    let mut tasks = BTreeSet::new();
    let all = ["web-1", "web-2", "web-3"];
    let met = wait::until(Duration::from_secs(10), "all three answer", || {
        let answer = curl(&stage.lab, "client", target);
        tasks.extend(answer.map(|answer| answer.task));
        tasks.iter().eq(all)
    });
    stage.narrator.check("all three answer", || met)?;
    let report = running.stop()?;
    stage.unharmed(&report)
}

fn drain(stage: &mut Stage) -> Result<()> {
    stage.narrator.section("A server drains, and leaves")?;
    stage.narrator.say(
        "Under the same load `web-1` is told to drain: `state = \"draining\"` in the file. It gets\n\
         nothing new, keeps what it has, and is taken out when nothing is active any more.",
    )?;
    let target = SocketAddr::new(stage.node_address("n3", Family::V4)?, HTTP_PORT);
    let running = stage.load(target)?;
    let mut topology = stage.topology.clone();
    topology.drain("web-1");
    stage.lab.apply_topology(&topology)?;
    let lab = &stage.lab;
    let empty = wait::until(Duration::from_secs(20), "no connection to web-1", || {
        lab.active("web", "web-1").is_ok_and(|active| active == 0)
    });
    stage.netctl("n3", &["vip", "inspect", "web"])?;
    stage
        .narrator
        .check("no connection to web-1 is left, on any node", || empty)?;
    topology.retire("web-1");
    stage.lab.apply_topology(&topology)?;
    let before = running.operations();
    wait::until(Duration::from_secs(10), "500 requests without it", || {
        running.operations() >= before + 500
    })?;
    stage
        .narrator
        .say("  web-1 serves no more, and 500 more requests were answered.")?;
    let report = running.stop()?;
    stage.unharmed(&report)?;
    let topology = stage.topology.clone();
    stage.lab.apply_topology(&topology)
}

fn restart(stage: &mut Stage) -> Result<()> {
    stage.narrator.section("netd dies; nobody notices")?;
    stage
        .narrator
        .say("The same load; the netd of n3 is killed (kill -9), then started again.")?;
    let target = SocketAddr::new(stage.node_address("n3", Family::V4)?, HTTP_PORT);
    let running = stage.load(target)?;
    stage.lab.kill("n3")?;
    let before = running.operations();
    wait::until(Duration::from_secs(10), "500 requests without netd", || {
        running.operations() >= before + 500
    })?;
    stage
        .narrator
        .say("  500 requests were answered while no netd ran on n3; it starts again.")?;
    stage.lab.start("n3")?;
    let report = running.stop()?;
    stage.unharmed(&report)
}

fn inspect(stage: &mut Stage) -> Result<()> {
    stage.narrator.section("Looking inside")?;
    stage
        .narrator
        .say("Which flows there are, and what was dropped and why:")?;
    let flows = stage.run_netctl("n3", &["flow", "ls"])?;
    let shown: Vec<&str> = flows.lines().take(9).collect();
    stage.narrator.output(&shown.join("\n"))?;
    let more = flows.lines().count().saturating_sub(shown.len());
    stage.narrator.output(&format!("… and {more} more"))?;
    stage.netctl("n3", &["drop", "ls"])
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

    /// Starts load from the client outside and waits until it flows.
    fn load(&self, target: SocketAddr) -> Result<load::Running> {
        let plan = Plan {
            connections: 4,
            ..Plan::new(Mode::Crr, target)
        };
        let running = netns::inside(&self.lab.namespace("client"), || load::start(&plan))?;
        wait::until(Duration::from_secs(10), "the first 100 requests", || {
            running.operations() >= 100
        })?;
        Ok(running)
    }

    fn unharmed(&mut self, report: &Report) -> Result<()> {
        let text = format!(
            "{} requests, {} failed, longest time without a success {:.1} ms",
            report.operations, report.errors, report.longest_gap_ms
        );
        self.narrator.check(&text, || {
            ensure!(report.errors == 0, "{:?}", report.error_kinds);
            Ok(())
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
    fn netctl(&self, node: &str, args: &[&str]) -> Result<()> {
        let text = self.run_netctl(node, args)?;
        self.narrator.output(&text)
    }

    fn run_netctl(&self, node: &str, args: &[&str]) -> Result<String> {
        self.narrator
            .command(&format!("netctl {}   (on {node})", args.join(" ")))?;
        let socket = self.lab.socket(node).display().to_string();
        let all: Vec<&str> = ["--socket", &socket].iter().chain(args).copied().collect();
        command::run(&binaries::find("netctl")?.display().to_string(), &all)
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
