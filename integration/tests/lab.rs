//! The laboratory itself, without netd: whoever tests with it must be able to trust it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use integration::lab::{Lab, Spec};
use integration::load::{self, Mode, Plan};
use integration::probe::{self, Transport};
use integration::serve::PORT;
use integration::{can_make_labs, netns};

fn namespaces(lab: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with(&format!("{lab}-")))
        .collect()
}

#[test]
fn everybody_reaches_everybody_on_and_beyond_the_underlay() {
    if !can_make_labs() {
        return;
    }
    let lab = Lab::up(Spec::new(&Spec::unique_name("wire"), 2).with_outsiders()).unwrap();
    lab.serve_in("n1", "host", "n1").unwrap();
    let mut failures = Vec::new();
    for from in ["client", "n2", "jumbo", "inside"] {
        for target in lab
            .underlay()
            .node(0)
            .map(|address| SocketAddr::new(address, PORT))
        {
            let asked = netns::inside(&lab.namespace(from), || {
                let transports = [Transport::Tcp, Transport::Udp];
                let outcomes = transports.map(|transport| probe::ask(transport, target));
                let moved = probe::download(target, 10_000_000)
                    .and_then(|()| probe::upload(target, 10_000_000))
                    .and_then(|()| probe::datagram(target, 3000));
                (outcomes, moved)
            });
            let (outcomes, moved) = asked.unwrap();
            for outcome in outcomes {
                match outcome.answered() {
                    Ok((answer, own)) if answer.client == own => {}
                    other => failures.push(format!("{from} to {target}: {other:?}")),
                }
            }
            failures.extend(
                moved
                    .err()
                    .map(|error| format!("{from} to {target}: {error:#}")),
            );
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    lab.down().unwrap();
}

#[test]
fn a_closed_port_is_refused_at_once() {
    if !can_make_labs() {
        return;
    }
    let lab = Lab::up(Spec::new(&Spec::unique_name("closed"), 1)).unwrap();
    for target in lab
        .underlay()
        .node(0)
        .map(|address| SocketAddr::new(address, PORT))
    {
        for transport in [Transport::Tcp, Transport::Udp] {
            let outcome =
                netns::inside(&lab.namespace("client"), || probe::ask(transport, target)).unwrap();
            assert!(outcome.refused().unwrap() < Duration::from_secs(1));
        }
    }
}

#[test]
fn load_of_every_kind_succeeds_and_is_counted() {
    if !can_make_labs() {
        return;
    }
    let lab = Lab::up(Spec::new(&Spec::unique_name("load"), 1)).unwrap();
    lab.serve_in("n1", "host", "n1").unwrap();
    let target = SocketAddr::new(lab.underlay().node(0)[0], PORT);
    for mode in [Mode::Crr, Mode::Rr, Mode::Stream, Mode::Udp] {
        let mut plan = Plan::new(mode, target);
        plan.connections = 4;
        let running = netns::inside(&lab.namespace("client"), || load::start(&plan)).unwrap();
        integration::wait::until(Duration::from_secs(10), "100 operations", || {
            running.operations() >= 100
        })
        .unwrap();
        let report = running.stop().unwrap();
        assert_eq!(
            (report.errors, &report.error_kinds),
            (0, &Default::default()),
            "{mode:?}"
        );
        assert!(
            report.operations >= 100 && report.latency_us.p50 > 0.0,
            "{report:?}"
        );
        if mode != Mode::Stream {
            assert_eq!(
                report.tasks.get("host"),
                Some(&report.operations),
                "{report:?}"
            );
        }
    }
}

#[test]
fn two_labs_stand_side_by_side_and_leave_nothing() {
    if !can_make_labs() {
        return;
    }
    let (one, two) = (Spec::unique_name("one"), Spec::unique_name("two"));
    let labs = [&one, &two].map(|name| Lab::up(Spec::new(name, 2)).unwrap());
    for lab in &labs {
        lab.serve_in("n1", "host", lab.name()).unwrap();
    }
    for lab in &labs {
        let target = SocketAddr::new(lab.underlay().node(0)[0], PORT);
        let ask = || probe::ask(Transport::Tcp, target);
        let outcome = netns::inside(&lab.namespace("client"), ask).unwrap();
        assert_eq!(outcome.answered().unwrap().0.node, lab.name());
    }
    for lab in labs {
        lab.down().unwrap();
    }
    for name in [one, two] {
        assert_eq!(namespaces(&name), Vec::<String>::new());
        assert!(!Path::new("/run/netd-lab").join(name).exists());
    }
}

#[test]
fn a_name_is_used_once() {
    if !can_make_labs() {
        return;
    }
    let name = Spec::unique_name("twice");
    let lab = Lab::up(Spec::new(&name, 1)).unwrap();
    let error = Lab::up(Spec::new(&name, 1)).unwrap_err().to_string();
    assert!(error.contains("exists"), "{error}");
    // The one that there was has not suffered.
    assert!(!namespaces(&name).is_empty());
    lab.down().unwrap();
}

#[test]
fn a_panic_takes_the_lab_down() {
    if !can_make_labs() {
        return;
    }
    let name = Spec::unique_name("panic");
    let panicked = std::thread::spawn({
        let name = name.clone();
        move || {
            let lab = Lab::up(Spec::new(&name, 1)).unwrap();
            lab.serve_in("n1", "host", "n1").unwrap();
            panic!("on purpose");
        }
    });
    assert!(panicked.join().is_err());
    assert_eq!(namespaces(&name), Vec::<String>::new());
    assert!(Lab::open(&name).is_err());
}

#[test]
fn the_janitor_takes_down_what_a_dead_owner_left() {
    if !can_make_labs() {
        return;
    }
    let name = Spec::unique_name("orphan");
    Lab::up(Spec::new(&name, 1)).unwrap().keep().unwrap();
    assert!(!namespaces(&name).is_empty());
    // An owner that has died is an input that has ended.
    let status = Command::new(env!("CARGO_BIN_EXE_netd-lab"))
        .args(["janitor", "--name", &name])
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(namespaces(&name), Vec::<String>::new());
    assert!(Lab::open(&name).is_err());
}
