//! Who is picked: round robin exactly in turn, source hashing by client, Maglev the same on every
//! node; and every connection is counted until it has ended.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::lab::demo::{self, HTTP_PORT, PROBE};
use integration::lab::{Family, Lab, Spec};
use integration::load::{self, Mode, Plan};
use integration::probe::{self, Kept, Transport};
use integration::{api, can_make_labs, netns, wait};

/// Ports that nodes give to clients whose own is taken begin here.
const LOWEST_GIVEN: u16 = 20_000;
/// How many connections tell one algorithm from another.
const CONNECTIONS: usize = 40;

/// Asks `CONNECTIONS` times, one after the other, and counts the answers by task.
fn answers(lab: &Lab, member: &str, target: SocketAddr) -> Result<BTreeMap<String, usize>> {
    let mut answers = BTreeMap::new();
    for _ in 0..CONNECTIONS {
        let ask = || probe::ask(Transport::Tcp, target);
        let (answer, _) = netns::inside(&lab.namespace(member), ask)?.answered()?;
        *answers.entry(answer.task).or_default() += 1;
    }
    Ok(answers)
}

fn address(lab: &Lab, node: &str, family: Family) -> Result<IpAddr> {
    let node = lab.document().node(node).context("no such node")?;
    family.of(&node.addresses).context("no address")
}

#[test]
fn round_robin_takes_everybody_in_turn() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("rr"), 3))?;
    for family in Family::BOTH {
        let vip = demo::topology(&lab).vip("web", family).context("a VIP")?;
        let answers = answers(&lab, PROBE, SocketAddr::new(vip, 80))?;
        let wanted = ["web-1", "web-2"].map(|task| (task.to_owned(), CONNECTIONS / 2));
        ensure!(answers == BTreeMap::from(wanted), "{family:?}: {answers:?}");
    }
    lab.down()
}

#[test]
fn source_hashing_keeps_a_client_where_it_is() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut lab = demo::up(Spec::new(&Spec::unique_name("sh"), 3))?;
    let mut topology = demo::topology(&lab);
    topology.service[0].algorithm = Some("sh".to_owned());
    lab.apply_topology(&topology)?;
    for family in Family::BOTH {
        let vip = topology.vip("web", family).context("a VIP")?;
        let answers = answers(&lab, PROBE, SocketAddr::new(vip, 80))?;
        ensure!(answers.len() == 1, "{family:?}: {answers:?}");
    }
    lab.down()
}

#[test]
fn every_node_leads_one_connection_to_the_same_backend() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("mh"), 3))?;
    for family in Family::BOTH {
        let client = family
            .of(&lab.document().client.addresses)
            .context("an address")?;
        let mut met = BTreeMap::new();
        for port in 20_000..20_012 {
            let mut tasks = Vec::new();
            for node in lab.nodes() {
                let target = SocketAddr::new(address(&lab, &node, family)?, HTTP_PORT);
                let source = SocketAddr::new(client, port);
                let ask = || Kept::connect_from(source, target)?.ask();
                let answer = netns::inside(&lab.namespace("client"), ask)??;
                // The next node may take another port while the connection before is still closing.
                let is_first = tasks.is_empty();
                ensure!(
                    answer.client.ip() == client
                        && (answer.client.port() == port
                            || (!is_first && answer.client.port() >= LOWEST_GIVEN)),
                    "the server saw {}",
                    answer.client
                );
                tasks.push(answer.task);
            }
            tasks.dedup();
            ensure!(tasks.len() == 1, "port {port} was led to {tasks:?}");
            *met.entry(tasks.remove(0)).or_insert(0) += 1;
        }
        ensure!(met.len() == 2, "{family:?}: both are picked: {met:?}");
    }
    lab.down()
}

#[test]
fn connections_are_counted_until_they_end() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("count"), 3))?;
    let vip = demo::topology(&lab)
        .vip("web", Family::V4)
        .context("a VIP")?;
    let plan = Plan {
        connections: 6,
        ..Plan::new(Mode::Rr, SocketAddr::new(vip, 80))
    };
    let counts = || -> Result<(u64, u64)> {
        let vip = api::get(&lab.socket("n1"), "vips/web")?;
        let backends = vip["Backends"].as_array().context("backends")?;
        let sum = |key: &str| {
            backends
                .iter()
                .filter_map(|backend| backend[key].as_u64())
                .sum()
        };
        Ok((sum("Active"), sum("Total")))
    };
    let running = netns::inside(&lab.namespace(PROBE), || load::start(&plan))?;
    let patience = Duration::from_secs(10);
    wait::until(patience, "six connections are active", || {
        counts().is_ok_and(|counts| counts == (6, 6))
    })?;
    let report = running.stop()?;
    ensure!(report.errors == 0, "{:?}", report.error_kinds);
    wait::until(patience, "no connection is active", || {
        counts().is_ok_and(|counts| counts == (0, 6))
    })?;
    lab.down()
}
