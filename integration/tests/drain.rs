//! Backends come and go under load: whoever is not theirs notices nothing, and whoever is, at once.

use std::io::BufReader;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::lab::crowd::Crowd;
use integration::lab::demo::{self, HTTP_PORT, NETWORK, PROBE};
use integration::lab::topology::{Service, Topology};
use integration::lab::{Family, Lab, Spec};
use integration::load::{Mode, Report};
use integration::serve::Answer;
use integration::{can_make_labs, http, netns, wait};

/// How long connections that are over may seem to be there, and newcomers may wait.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long somebody who is told may wait: for TCP to repeat a segment, which takes 0.2 s.
const AT_ONCE: Duration = Duration::from_secs(3);
const LEAVER: &str = "web-2";
/// What a connected datagram socket hears that has been destroyed: ECONNABORTED or EDESTADDRREQ.
const TOLD: [&str; 2] = ["os error 103", "os error 89"];

/// A lab whose VIPs are translated per packet, or by sockets.
fn lab(prefix: &str, socket_lb: bool) -> Result<(Lab, Topology)> {
    let mut lab = demo::up(Spec::new(&Spec::unique_name(prefix), 3))?;
    let mut topology = demo::topology(&lab);
    if !socket_lb {
        topology.network[0].socket_lb = Some(false);
        lab.apply_topology(&topology)?;
    }
    Ok((lab, topology))
}

/// What any node carries to a task, by either service.
fn active(lab: &Lab, task: &str) -> Result<u64> {
    Ok(lab.active("web", task)? + lab.active("echo", task)?)
}

fn is_idle(lab: &Lab, task: &str) -> Result<()> {
    wait::until(PATIENCE, &format!("nothing is active at {task}"), || {
        active(lab, task).is_ok_and(|active| active == 0)
    })
}

/// Waits until new connections of every kind have been answered by the task.
fn is_met(lab: &Lab, topology: &Topology, task: &str) -> Result<()> {
    wait::until(PATIENCE, &format!("everybody meets {task}"), || {
        meets(lab, topology, task).is_ok_and(|met| met.iter().all(|met| *met))
    })
}

/// Of each kind of new connections, whether some of them are answered by the task.
fn meets(lab: &Lab, topology: &Topology, task: &str) -> Result<Vec<bool>> {
    let reports = Crowd::gather(lab, topology, &[Mode::Crr])?.leave_unharmed()?;
    let met = reports
        .iter()
        .map(|(_, report)| report.tasks.contains_key(task));
    Ok(met.collect())
}

fn drain_under_load(prefix: &str, socket_lb: bool, inside: &[Mode]) -> Result<()> {
    let (mut lab, mut topology) = lab(prefix, socket_lb)?;
    let mut churn = Crowd::default();
    churn.join(&lab, &topology, "client", &[Mode::Crr, Mode::Udp])?;
    churn.join(&lab, &topology, PROBE, inside)?;
    let kept = Crowd::gather(&lab, &topology, &[Mode::Rr])?;
    churn.progress()?;
    ensure!(active(&lab, LEAVER)? > 0, "nobody has met {LEAVER}");

    topology.drain(LEAVER);
    lab.apply_topology(&topology)?;
    let met = meets(&lab, &topology, LEAVER)?;
    ensure!(!met.contains(&true), "picked while it drains: {met:?}");
    churn.progress()?;
    // Those that were there are served until they go by themselves.
    let kept = kept.leave_unharmed()?;
    let served = |(_, report): &(String, Report)| report.tasks.contains_key(LEAVER);
    ensure!(kept.iter().any(served), "nobody was kept by {LEAVER}");
    is_idle(&lab, LEAVER)?;

    topology.remove(LEAVER);
    lab.apply_topology(&topology)?;
    churn.leave_unharmed()?;
    lab.down()
}

#[test]
fn a_backend_that_drains_loses_nobody_and_empties() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    drain_under_load("drain", false, &[Mode::Crr, Mode::Udp])
}

#[test]
fn a_backend_that_drains_loses_no_socket() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    drain_under_load("drainsock", true, &[Mode::Crr])
}

#[test]
fn connected_datagram_sockets_leave_a_backend_that_drains_and_miss_no_answer() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let (mut lab, mut topology) = lab("drainudp", true)?;
    let mut churn = Crowd::default();
    let mut led = 0;
    // Both families take turns by one count: at worst each has met the same backend twice.
    for _ in 0..8 {
        churn.join(&lab, &topology, PROBE, &[Mode::Udp])?;
        churn.progress()?;
        led = active(&lab, LEAVER)?;
        if led > 0 {
            break;
        }
    }
    ensure!(led > 0, "nobody has met {LEAVER}");

    topology.drain(LEAVER);
    lab.apply_topology(&topology)?;
    is_idle(&lab, LEAVER)?;
    churn.progress()?;
    topology.remove(LEAVER);
    lab.apply_topology(&topology)?;
    churn.progress()?;

    let reports = churn.leave()?;
    let met = |report: &Report| report.tasks.contains_key(LEAVER);
    ensure!(
        reports.iter().any(|(_, report)| met(report)),
        "nobody met {LEAVER}"
    );
    // Who is told dials anew at once; what nobody answered would have been waited for. Who waits for an
    // answer at that moment hears ECONNABORTED, who rests is not connected any more when it sends.
    let mut told = 0;
    for (name, report) in reports {
        for (error, count) in report.error_kinds {
            ensure!(
                TOLD.iter().any(|told| error.contains(told)),
                "{name}: {count} times {error}"
            );
            told += count;
        }
    }
    ensure!(
        told == led,
        "{told} sockets were told, {led} were led there"
    );
    lab.down()
}

/// A connection that is kept, and the task at its other end.
type Kept = (BufReader<TcpStream>, String);

fn request(stream: &mut BufReader<TcpStream>) -> Result<String> {
    http::write_get(stream.get_mut(), "/", "")?;
    let response = http::read_response(stream)?;
    let answer: Answer = std::str::from_utf8(&response.body)?.parse()?;
    Ok(answer.task)
}

/// Connections from outside and inside, over both families, some of them to the leaver.
fn keep(lab: &Lab, topology: &Topology) -> Result<Vec<Kept>> {
    let mut kept = Vec::new();
    for family in Family::BOTH {
        let vip = topology.vip("web", family).context("a VIP")?;
        let node = lab.document().node("n3").context("no such node")?;
        let node = family.of(&node.addresses).context("no address")?;
        let places = [
            ("client", SocketAddr::new(node, HTTP_PORT)),
            (PROBE, SocketAddr::new(vip, 80)),
        ];
        for (member, target) in places {
            let connect = || TcpStream::connect_timeout(&target, PATIENCE);
            let mut met = false;
            for number in 0..40 {
                let stream = netns::inside(&lab.namespace(member), connect)??;
                stream.set_read_timeout(Some(PATIENCE))?;
                let mut stream = BufReader::new(stream);
                let task = request(&mut stream)?;
                met |= task == LEAVER;
                kept.push((stream, task));
                if met && number >= 4 {
                    break;
                }
            }
            ensure!(met, "{member} has not met {LEAVER}");
        }
    }
    Ok(kept)
}

/// A server that vanishes takes its connections along; whoever is on one hears of it with the next
/// packet.
fn removal_under_load(prefix: &str, socket_lb: bool) -> Result<()> {
    let (mut lab, mut topology) = lab(prefix, socket_lb)?;
    let crowd = Crowd::gather(&lab, &topology, &[Mode::Crr])?;
    let kept = keep(&lab, &topology)?;
    topology.remove(LEAVER);
    lab.apply_topology(&topology)?;
    for (mut stream, task) in kept {
        let begin = Instant::now();
        let answer = request(&mut stream);
        let after = begin.elapsed();
        if task == LEAVER {
            ensure!(answer.is_err(), "answered by {answer:?}");
            ensure!(after < AT_ONCE, "told after {after:?} only");
        } else {
            ensure!(answer? == task, "another task answered");
        }
    }
    crowd.progress()?;
    drop(crowd.leave()?);
    ensure!(
        !meets(&lab, &topology, LEAVER)?.contains(&true),
        "still picked"
    );
    is_idle(&lab, LEAVER)?;
    lab.down()
}

#[test]
fn clients_of_a_backend_that_vanishes_are_told() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    removal_under_load("vanish", false)
}

#[test]
fn sockets_that_are_led_to_a_backend_that_vanishes_are_told() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    removal_under_load("vanishsock", true)
}

#[test]
fn scaling_up_and_down_loses_nobody() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let (mut lab, base) = lab("scale", false)?;
    let crowd = Crowd::gather(&lab, &base, &[Mode::Crr, Mode::Udp])?;
    for number in 0..2 {
        let (task, node) = (format!("more{number}"), format!("n{}", number + 2));
        lab.add_task(&task, &node)?;
        let mut topology = base.clone();
        topology.attach(&lab, &task, NETWORK, 40 + number);
        for service in &mut topology.service {
            let backends = Service::new("", "", &[&task]).backends;
            service.backends.extend(backends);
        }
        lab.apply_topology(&topology)?;
        is_met(&lab, &topology, &task)?;
        topology.drain(&task);
        lab.apply_topology(&topology)?;
        is_idle(&lab, &task)?;
        lab.apply_topology(&base)?;
        lab.remove_task(&task)?;
        crowd.progress()?;
    }
    crowd.leave_unharmed()?;
    lab.down()
}
