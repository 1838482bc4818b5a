//! A topology is edited while clients are busy: whoever is not concerned notices nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::lab::crowd::Crowd;
use integration::lab::demo::{self, HTTP_PORT, NETWORK, PROBE};
use integration::lab::topology::{Port, Service};
use integration::lab::{Family, Lab, Spec};
use integration::load::{self, Mode, Plan};
use integration::probe::{self, Transport};
use integration::{can_make_labs, netns, wait};

/// How often the topology is edited under load.
const EDITS: u8 = 10;

/// What clients do that must not notice.
const EVERYTHING: [Mode; 3] = [Mode::Crr, Mode::Rr, Mode::Udp];

fn node_address(lab: &Lab, node: &str, family: Family) -> Result<IpAddr> {
    let node = lab.document().node(node).context("no such node")?;
    family.of(&node.addresses).context("no address")
}

#[test]
fn edits_of_other_things_are_not_noticed() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut lab = demo::up(Spec::new(&Spec::unique_name("edit"), 3))?;
    let topology = demo::topology(&lab);
    let all = Crowd::gather(&lab, &topology, &EVERYTHING)?;
    for number in 0..EDITS {
        let mut edited = topology.clone();
        edited.add_network("more", 20 + number);
        let task = format!("more{number}");
        lab.add_task(&task, if number % 2 == 0 { "n1" } else { "n3" })?;
        edited.attach(&lab, &task, "more", 11);
        edited.service.push(Service {
            ports: vec![Port::tcp(80, 8080)],
            publish: vec![Port::tcp(9000 + u16::from(number), 8080)],
            ..Service::new("more", "more", &[&task])
        });
        lab.apply_topology(&edited)?;
        let port = 9000 + u16::from(number);
        let target = SocketAddr::new(node_address(&lab, "n2", Family::V6)?, port);
        let ask = || probe::ask(Transport::Tcp, target);
        let outcome = netns::inside(&lab.namespace("client"), ask)?;
        ensure!(outcome.answered()?.0.task == task, "another task answered");
        lab.apply_topology(&topology)?;
        lab.remove_task(&task)?;
    }
    all.leave_unharmed()?;
    lab.down()
}

#[test]
fn a_backend_that_comes_loses_nobody() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut lab = demo::up(Spec::new(&Spec::unique_name("grow"), 3))?;
    let base = demo::topology(&lab);
    let all = Crowd::gather(&lab, &base, &EVERYTHING)?;
    lab.add_task("late", "n3")?;
    let mut grown = base;
    grown.attach(&lab, "late", NETWORK, 40);
    for service in &mut grown.service {
        service
            .backends
            .extend(Service::new("", "", &["late"]).backends);
    }
    lab.apply_topology(&grown)?;
    // New connections meet the newcomer, when every node has had time to hear of it.
    let target = SocketAddr::new(grown.vip("web", Family::V6).context("a VIP")?, 80);
    let ask = || probe::ask(Transport::Tcp, target);
    wait::until(Duration::from_secs(10), "the newcomer answers", || {
        let outcome = netns::inside(&lab.namespace(PROBE), ask);
        outcome.is_ok_and(|it| it.answered().is_ok_and(|(it, _)| it.task == "late"))
    })?;
    all.leave_unharmed()?;
    lab.down()
}

#[test]
fn a_backend_that_goes_gets_no_new_connections() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut lab = demo::up(Spec::new(&Spec::unique_name("shrink"), 3))?;
    let base = demo::topology(&lab);
    let mut smaller = base.clone();
    for service in &mut smaller.service {
        service
            .backends
            .retain(|backend| backend.endpoint != "web-2");
    }
    for family in Family::BOTH {
        lab.apply_topology(&smaller)?;
        let targets = [
            (
                PROBE,
                SocketAddr::new(base.vip("web", family).context("a VIP")?, 80),
            ),
            (
                "client",
                SocketAddr::new(node_address(&lab, "n3", family)?, HTTP_PORT),
            ),
        ];
        for (member, target) in targets {
            let plan = Plan::new(Mode::Crr, target);
            let running = netns::inside(&lab.namespace(member), || load::start(&plan))?;
            wait::until(Duration::from_secs(10), "50 requests", || {
                running.operations() >= 50
            })?;
            let report = running.stop()?;
            ensure!(report.errors == 0, "{member}: {:?}", report.error_kinds);
            ensure!(
                report.tasks.keys().eq(["web-1"]),
                "{member}: {:?}",
                report.tasks
            );
        }
        lab.apply_topology(&base)?;
    }
    lab.down()
}
