//! Scenes in which clients outside are busy: what is changed meanwhile, and what they notice of it.
//! All of them dial n3.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use integration::lab::Family;
use integration::lab::demo::{self, HTTP_PORT};
use integration::load::{self, Mode, Plan, Report, Running};
use integration::{netns, wait};

use super::{Stage, curl};

/// The node that is dialled.
const DIALLED: &str = "n3";

/// How many connections a server has to keep when it is told to drain.
const HELD: usize = 3;

/// How many clients are tried for that: the hash of its port decides where each one leads.
const TRIED: usize = 60;

/// Between the requests of a client that keeps its connection.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) fn edit(stage: &mut Stage) -> Result<()> {
    stage
        .narrator
        .section("The file is edited while clients are busy")?;
    stage.narrator.say(
        "Four clients connect as fast as they can while a third server, `web-3`, joins on n3.\n\
         netd notices the change of the file and applies exactly the difference.",
    )?;
    let target = stage.dialled()?;
    let running = stage.load(target)?;
    stage.lab.add_task("web-3", "n3")?;
    stage.topology = demo::topology(&stage.lab);
    let topology = stage.topology.clone();
    stage.lab.apply_topology(&topology)?;
    let mut tasks = BTreeSet::new();
    let all = ["web-1", "web-2", "web-3"];
    let met = wait::until(Duration::from_secs(10), "all three answer", || {
        let answer = curl(&stage.lab, "client", target);
        tasks.extend(answer.map(|answer| answer.task));
        tasks.iter().eq(all)
    });
    stage.narrator.check("all three answer", || met)?;
    let report = running.stop()?;
    stage.unharmed("", &report)?;
    spread(stage, target)
}

/// Who answers: as the clients have it, and as the node that they dial has counted.
fn spread(stage: &mut Stage, target: SocketAddr) -> Result<()> {
    stage
        .narrator
        .say("Who answers now? What the same clients were told:")?;
    let running = stage.load(target)?;
    running.more(2_000)?;
    let report = running.stop()?;
    let part = |count: u64| 100.0 * count as f64 / report.operations as f64;
    let parts: Vec<String> = report
        .tasks
        .iter()
        .map(|(task, count)| format!("{task}  {count:>5}  {:.1}%", part(*count)))
        .collect();
    stage.narrator.output(&parts.join("\n"))?;
    stage
        .narrator
        .check("each of the three got at least a fifth", || {
            ensure!(
                report.tasks.len() == 3 && report.tasks.values().all(|count| part(*count) >= 20.0),
                "{:?}",
                report.tasks
            );
            Ok(())
        })?;
    stage.narrator.say(
        "The clients dial n3, and a node counts what goes through itself: this is n3's table. SHARE\n\
         is what the algorithm promises; TOTAL began when the backend came, last of all web-3.",
    )?;
    stage.netctl(DIALLED, &["vip", "inspect", "web"])?;
    Ok(())
}

pub(super) fn drain(stage: &mut Stage) -> Result<()> {
    stage.narrator.section("A server drains, and leaves")?;
    stage.narrator.say(
        "Beside the same load, clients keep connections. `web-1` is told to drain: `state =\n\
         \"draining\"` in the file. It gets nothing new, keeps what it has, and is taken out when\n\
         nothing is active any more.",
    )?;
    let target = stage.dialled()?;
    let kept = stage.keep_at("web-1", target)?;
    let before = stage.lab.active_on(DIALLED, "web", "web-1")?;
    stage
        .narrator
        .say(&format!("  n3 has {before} connections to web-1."))?;
    let running = stage.load(target)?;
    let mut topology = stage.topology.clone();
    topology.drain("web-1");
    stage.lab.apply_topology(&topology)?;
    stage.netctl(DIALLED, &["vip", "inspect", "web"])?;
    stage.end(kept)?;
    topology.retire("web-1");
    stage.lab.apply_topology(&topology)?;
    running.more(500)?;
    stage
        .narrator
        .say("  web-1 serves no more, and 500 more requests were answered.")?;
    let report = running.stop()?;
    stage.unharmed("", &report)?;
    let topology = stage.topology.clone();
    stage.lab.apply_topology(&topology)
}

/// Returns clients that have kept their connections all the while.
pub(super) fn restart(stage: &mut Stage) -> Result<Running> {
    stage.narrator.section("netd dies, and traffic goes on")?;
    stage.narrator.say(
        "The same load, first undisturbed. Then the netd of n3 is killed (kill -9) and started\n\
         again; starting takes one of this machine's CPUs for seconds, for the kernel verifies the\n\
         programs. Three more clients keep a connection through all of it.",
    )?;
    let target = stage.dialled()?;
    let kept = stage.keep(target, 3)?;
    let running = stage.load(target)?;
    running.more(3_000)?;
    stage.unharmed("undisturbed: ", &running.stop()?)?;
    let running = stage.load(target)?;
    stage.lab.kill(DIALLED)?;
    running.more(500)?;
    stage
        .narrator
        .say("  500 requests were answered while no netd ran on n3; it starts again.")?;
    stage.lab.start(DIALLED)?;
    stage.unharmed("killed and started: ", &running.stop()?)?;
    Ok(kept)
}

impl Stage {
    /// The port that is dialled.
    fn dialled(&self) -> Result<SocketAddr> {
        let address = self.node_address(DIALLED, Family::V4)?;
        Ok(SocketAddr::new(address, HTTP_PORT))
    }

    /// Starts load from the client outside and waits until it flows.
    fn load(&self, target: SocketAddr) -> Result<Running> {
        let plan = Plan {
            connections: 4,
            ..Plan::new(Mode::Crr, target)
        };
        self.start(&plan, 100)
    }

    /// Starts clients that keep a connection each.
    fn keep(&self, target: SocketAddr, connections: usize) -> Result<Running> {
        let plan = Plan {
            connections,
            pause: PAUSE,
            ..Plan::new(Mode::Rr, target)
        };
        self.start(&plan, 2 * connections as u64)
    }

    /// Starts clients that keep a connection to a task, [`HELD`] of them: those whose connections
    /// lead elsewhere end at once.
    fn keep_at(&self, task: &str, target: SocketAddr) -> Result<Vec<Running>> {
        let mut clients = Vec::new();
        for _ in 0..TRIED {
            let before = self.lab.active_on(DIALLED, "web", task)?;
            let client = self.keep(target, 1)?;
            if self.lab.active_on(DIALLED, "web", task)? > before {
                clients.push(client);
            } else {
                client.stop()?;
            }
            if clients.len() == HELD {
                return Ok(clients);
            }
        }
        bail!("of {TRIED} connections {} lead to {task}", clients.len())
    }

    /// Has clients that keep a connection end one after the other, and shows how many `web-1` still
    /// has.
    fn end(&mut self, clients: Vec<Running>) -> Result<()> {
        let begin = Instant::now();
        let mut last = self.lab.active_on(DIALLED, "web", "web-1")?;
        let mut path = last.to_string();
        let (mut answers, mut kept, mut failed) = (0, 0, 0);
        for client in clients {
            client.more(10)?;
            let report = client.stop()?;
            answers += report.operations;
            kept += report.tasks.get("web-1").unwrap_or(&0);
            failed += report.errors;
            if let Some(fewer) = self.fewer(last) {
                last = fewer;
                path.push_str(&format!(", {last}"));
            }
        }
        let lab = &self.lab;
        let empty = wait::until(Duration::from_secs(20), "no connection to web-1", || {
            lab.active("web", "web-1").is_ok_and(|active| active == 0)
        });
        let took = begin.elapsed();
        self.narrator.say(&format!(
            "  Its clients ask ten times more, one after the other, and close. ACTIVE on n3: {path}"
        ))?;
        self.narrator.check(
            &format!("they got {answers} answers, all from web-1, and {failed} failures"),
            || {
                ensure!(kept == answers, "{kept} from web-1");
                ensure!(failed == 0, "requests on kept connections failed");
                Ok(())
            },
        )?;
        let text = format!("no connection to web-1 is left on any node, after {took:.1?}");
        self.narrator.check(&text, || empty)
    }

    /// How many connections web-1 has, once they are fewer than they were.
    fn fewer(&self, last: u64) -> Option<u64> {
        let fewer = wait::some(Duration::from_secs(5), "fewer connections", || {
            let now = self.lab.active_on(DIALLED, "web", "web-1").ok()?;
            (now < last).then_some(now)
        });
        fewer.ok()
    }

    /// Starts clients outside and waits until so many requests have succeeded.
    fn start(&self, plan: &Plan, first: u64) -> Result<Running> {
        let running = netns::inside(&self.lab.namespace("client"), || load::start(plan))?;
        running.more(first)?;
        Ok(running)
    }

    /// Checks that no request has failed.
    pub(super) fn unharmed(&mut self, when: &str, report: &Report) -> Result<()> {
        let text = format!(
            "{when}{} requests in {:.1} s, {} failed, longest time without a success {:.1} ms",
            report.operations, report.seconds, report.errors, report.longest_gap_ms
        );
        self.narrator.check(&text, || {
            ensure!(report.errors == 0, "{:?}", report.error_kinds);
            Ok(())
        })
    }
}
