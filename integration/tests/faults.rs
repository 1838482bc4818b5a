//! What survives a wire that loses, delays, reorders and duplicates, and one that is cut: connections
//! fare as TCP would, and nothing is ever translated wrongly.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::lab::demo::{self, HTTP_PORT, PROBE, UDP_PORT};
use integration::lab::fault::Fault;
use integration::lab::{Family, Lab, Spec};
use integration::probe::{self, Transport};
use integration::{can_make_labs, command, netns, wait};

/// Bytes of a download over a bad wire.
const LENGTH: u64 = 300_000;
/// How long a healed wire may take to be used again: as long as TCP may wait to send once more.
const SOON: Duration = Duration::from_secs(20);

/// Who dials what: straight over the overlay, a VIP, a published port of a node without backend.
fn roads(lab: &Lab) -> Result<Vec<(&'static str, &'static str, SocketAddr)>> {
    let topology = demo::topology(lab);
    let vip = topology.vip("web", Family::V4).context("a VIP")?;
    let web_2 = lab.document().task("web-2").context("a task")?.addresses[0];
    let last = lab.nodes().len() - 1;
    let ingress = lab.underlay().node(u8::try_from(last)?)[1];
    Ok(vec![
        ("overlay", PROBE, SocketAddr::new(web_2, 8080)),
        ("vip", PROBE, SocketAddr::new(vip, 80)),
        ("mesh", "client", SocketAddr::new(ingress, HTTP_PORT)),
    ])
}

/// Downloads over every road; every byte is checked.
fn everything_arrives(lab: &Lab) -> Result<()> {
    for (road, member, target) in roads(lab)? {
        netns::inside(&lab.namespace(member), || {
            probe::download(target, LENGTH)?;
            probe::upload(target, LENGTH)
        })?
        .with_context(|| format!("by {road}"))?;
    }
    Ok(())
}

/// Nobody ever got what was not for him: no drop says so on any node.
fn nothing_was_mistaken(lab: &Lab) -> Result<()> {
    for node in lab.nodes() {
        for reason in [
            "spoofed-inner",
            "bad-mesh",
            "unknown-backend",
            "bad-header",
            "truncated",
        ] {
            ensure!(lab.drops(&node, reason)? == 0, "{reason} on {node}");
        }
    }
    Ok(())
}

/// No flow of a connection that is over stays among those that are not.
fn no_flow_is_stuck(lab: &Lab) -> Result<()> {
    for node in lab.nodes() {
        wait::until(SOON, &format!("flows on {node} are over"), || {
            let Ok(flows) = lab.ask(&node, "flows") else {
                return false;
            };
            let flows = flows.as_array().cloned().unwrap_or_default();
            flows
                .iter()
                .all(|flow| flow["Protocol"] != "tcp" || flow["State"] != "established")
        })?;
    }
    Ok(())
}

#[test]
fn connections_survive_loss_delay_reordering_and_duplication() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("bad"), 3))?;
    let cases: [(&str, Fault); 4] = [
        (
            "loss",
            Fault {
                loss: 0.05,
                ..Fault::default()
            },
        ),
        (
            "reordering",
            Fault {
                reorder: 0.2,
                ..Fault::default()
            },
        ),
        (
            "duplication",
            Fault {
                duplicate: 0.2,
                ..Fault::default()
            },
        ),
        (
            "all of it",
            Fault {
                loss: 0.02,
                duplicate: 0.02,
                reorder: 0.1,
                delay_ms: 5,
            },
        ),
    ];
    for (name, fault) in cases {
        lab.fault(None, None, fault)?;
        everything_arrives(&lab).with_context(|| name.to_owned())?;
        let happened = || lab.fault_counts().unwrap_or_default();
        wait::until(SOON, "the faults are counted", || {
            let counts = happened();
            (fault.loss == 0.0 || counts.lost > 0)
                && (fault.duplicate == 0.0 || counts.duplicated > 0)
                && (fault.reorder == 0.0 || counts.held > 0)
        })
        .with_context(|| format!("{name}: {:?}", happened()))?;
    }
    lab.clear_faults()?;
    everything_arrives(&lab).context("on a whole wire")?;
    nothing_was_mistaken(&lab)?;
    no_flow_is_stuck(&lab)?;
    lab.down()
}

#[test]
fn delay_is_what_was_asked_for() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("slow"), 2))?;
    let fault = Fault {
        delay_ms: 50,
        ..Fault::default()
    };
    lab.fault(Some("n1"), Some("n2"), fault)?;
    let ping = |from: &str, to: IpAddr| {
        let args = ["-c", "3", "-i", "0.2", "-W", "2", &to.to_string()].map(ToOwned::to_owned);
        command::run_inside(&lab.namespace(from), "ping", &args)
    };
    let least = |said: &str| -> Result<f64> {
        let (_, rest) = said
            .split_once("rtt min/avg/max/mdev = ")
            .context("a summary")?;
        Ok(rest.split('/').next().context("a least")?.parse()?)
    };
    for family in 0..2 {
        let there = lab.underlay().node(1)[family];
        let slow = least(&ping("n1", there)?)?;
        ensure!(slow >= 50.0, "there and back in {slow} ms");
        let other = least(&ping("client", there)?)?;
        ensure!(other < 50.0, "others are not delayed: {other} ms");
    }
    lab.down()
}

#[test]
fn a_cut_wire_stalls_connections_until_it_is_whole() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("cut"), 3))?;
    everything_arrives(&lab)?;
    let web_2 = lab.document().task("web-2").context("a task")?.addresses[0];
    let direct = SocketAddr::new(web_2, 8080);
    let ask = || netns::inside(&lab.namespace(PROBE), || probe::ask(Transport::Tcp, direct));
    for cut in ["partition", "cable"] {
        if cut == "partition" {
            lab.partition(Some("n1"), Some("n2"))?;
        } else {
            lab.set_link("n2", false)?;
        }
        // Neither refused nor answered by somebody else.
        ensure!(
            ask()?.refused().is_err() && ask()?.answered().is_err(),
            "{cut}: silence"
        );
        // Whoever does not need the way is not concerned.
        let node = SocketAddr::new(lab.underlay().node(0)[0], UDP_PORT);
        let here = || probe::ask(Transport::Udp, node);
        let answers = (0..20).filter(|_| {
            netns::inside(&lab.namespace("client"), here)
                .is_ok_and(|outcome| outcome.answered().is_ok())
        });
        ensure!(answers.take(1).count() == 1, "{cut}: n1 serves on");
        lab.clear_faults()?;
        wait::until(SOON, "the way is used again", || {
            ask().is_ok_and(|outcome| outcome.answered().is_ok())
        })
        .with_context(|| cut.to_owned())?;
        everything_arrives(&lab).with_context(|| format!("after the {cut}"))?;
    }
    nothing_was_mistaken(&lab)?;
    no_flow_is_stuck(&lab)?;
    lab.down()
}

/// How often a sender in a namespace has waited in vain for an acknowledgement.
fn timeouts(lab: &Lab, member: &str) -> Result<u64> {
    let text = netns::inside(&lab.namespace(member), || {
        std::fs::read_to_string("/proc/thread-self/net/netstat")
    })??;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let mut words = || lines.next().unwrap_or_default().split_ascii_whitespace();
    let (names, values) = (words(), words());
    let found = names.zip(values).find(|(name, _)| *name == "TCPTimeouts");
    Ok(found.context("no count of timeouts")?.1.parse()?)
}

#[test]
fn a_transfer_outlives_a_short_cut() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("short"), 3))?;
    let fault = Fault {
        delay_ms: 20,
        ..Fault::default()
    };
    // Slow enough to be cut in the middle; and by the cables, for a change of the faults begins with a whole
    // wire, which would let everything through.
    lab.fault(None, None, fault)?;
    let roads = roads(&lab)?;
    let whole = 20 * LENGTH;
    let arrived = [const { AtomicU64::new(0) }; 3];
    let some_arrived = |from: u64| {
        let counts = arrived.iter().map(|count| count.load(Ordering::Relaxed));
        counts.filter(|count| *count > from).count()
    };
    std::thread::scope(|scope| -> Result<()> {
        let transfers: Vec<_> = roads
            .iter()
            .zip(&arrived)
            .map(|((_, member, target), arrived)| {
                let namespace = lab.namespace(member);
                scope.spawn(move || {
                    netns::inside(&namespace, || {
                        probe::download_watched(*target, whole, arrived)
                    })
                })
            })
            .collect();
        wait::until(SOON, "all transfers have begun", || some_arrived(0) == 3)?;
        let before = timeouts(&lab, "web-2")?;
        let ends = ["n1", "client"];
        ends.iter().try_for_each(|end| lab.set_link(end, false))?;
        wait::until(SOON, "a sender waits in vain", || {
            timeouts(&lab, "web-2").is_ok_and(|now| now > before)
        })?;
        ensure!(
            some_arrived(whole - 1) <= 1,
            "only a VIP's may need no wire"
        );
        ends.iter().try_for_each(|end| lab.set_link(end, true))?;
        for ((road, ..), transfer) in roads.iter().zip(transfers) {
            let ended = transfer.join().map_err(|_| anyhow::anyhow!("a panic"))?;
            ended?.with_context(|| format!("by {road}"))?;
        }
        Ok(())
    })?;
    nothing_was_mistaken(&lab)?;
    lab.down()
}

#[test]
fn a_lab_with_faults_goes_down_like_any_other() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("gone"), 1))?;
    let fault = Fault {
        loss: 0.5,
        reorder: 0.5,
        ..Fault::default()
    };
    lab.fault(None, None, fault)?;
    ensure!(
        lab.fault(Some("n9"), None, fault).is_err(),
        "nobody is called so"
    );
    let hold = netns::path(&lab.namespace("hold"));
    ensure!(hold.exists(), "frames wait somewhere");
    lab.down()?;
    ensure!(!hold.exists(), "that place is gone, too");
    Ok(())
}
