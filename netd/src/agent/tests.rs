//! The agent on a host where the data plane cannot be opened: everything but the kernel.

use std::fs;
use std::path::Path;
use std::time::Duration;

use clap::Parser as _;
use tempfile::TempDir;

use super::node::NodeAgent;
use super::*;
use crate::config::{Args, Command, Config};

const CLUSTER: &str = include_str!("../topology/tests/cluster.toml");

/// A node whose BPF file system cannot be, so that opening fails before anything is touched.
fn config(dir: &Path) -> Config {
    fs::write(dir.join("t.toml"), fitting()).unwrap();
    let place = |name: &str| dir.join(name).display().to_string();
    let words = [
        "netd".to_owned(),
        format!("--static={}", place("t.toml")),
        format!("--socket={}", place("netd.sock")),
        format!("--state-dir={}", place("state")),
        format!("--config={}", place("netd.toml")),
        "--node=n1".to_owned(),
        "--bpffs=/dev/null/bpf".to_owned(),
    ];
    fs::write(dir.join("netd.toml"), "log = 'off'").unwrap();
    match Args::parse_from(words).asked().unwrap() {
        Command::Run(given) => given.config().unwrap(),
        Command::Check(_) | Command::Cleanup(..) => panic!("no subcommand was given"),
    }
}

/// A topology whose namespace on n1 exists.
fn fitting() -> String {
    CLUSTER.replace("\"q-web-1\"", "\"/proc/self/ns/net\"")
}

fn edit(dir: &TempDir, text: &str) {
    fs::write(dir.path().join("t.toml"), text).unwrap();
}

fn messages(state: &State) -> Vec<String> {
    state
        .load
        .errors
        .iter()
        .map(|it| format!("{}: {}", it.line, it.message))
        .collect()
}

#[tokio::test]
async fn without_a_data_plane_the_topology_is_known_and_nothing_is_in_force() {
    let dir = TempDir::new().unwrap();
    let mut agent = NodeAgent::new(config(dir.path()));
    agent.reload().await;
    let state = agent.states().borrow().clone();
    assert!(!state.is_ready());
    assert_eq!((state.load.generation, messages(&state).len()), (0, 0));
    assert!(state.topology.is_some() && state.applied.is_none());
    assert!(!state.problems.is_empty());
}

#[tokio::test]
async fn a_bad_edit_is_told_by_line_and_forgotten_when_it_is_mended() {
    let dir = TempDir::new().unwrap();
    let mut agent = NodeAgent::new(config(dir.path()));
    edit(&dir, &fitting().replace("vni = 4097", "vni = 0"));
    agent.reload().await;
    let state = agent.states().borrow().clone();
    assert_eq!(
        messages(&state),
        ["18: 0: a VNI is a number from 1 to 16777215"]
    );
    assert!(state.topology.is_none());
    edit(&dir, &fitting());
    agent.reload().await;
    assert_eq!(messages(&agent.states().borrow()).len(), 0);
}

#[tokio::test]
async fn a_missing_namespace_is_looked_for_again_soon() {
    let dir = TempDir::new().unwrap();
    let mut agent = NodeAgent::new(config(dir.path()));
    let missing = dir.path().join("ns");
    let path = format!("\"{}\"", missing.display());
    edit(&dir, &CLUSTER.replace("\"q-web-1\"", &path));
    agent.reload().await;
    let told = messages(&agent.states().borrow());
    assert_eq!(
        told,
        [format!(
            "26: namespace {}: does not exist",
            missing.display()
        )]
    );
    let soon = tokio::time::Instant::now() + Duration::from_secs(1);
    assert!(agent.next() <= soon);
    std::os::unix::fs::symlink("/proc/self/ns/net", &missing).unwrap();
    agent.pass().await;
    assert_eq!(messages(&agent.states().borrow()).len(), 0);
}

#[tokio::test]
async fn the_daemon_answers_and_follows_the_file() {
    let dir = TempDir::new().unwrap();
    let config = config(dir.path());
    let client = ::api::Client::new(config.socket.clone());
    let ask = async {
        let status = answered(&client, |_| true).await;
        assert_eq!(status.state, ::api::NodeState::Degraded);
        assert!(!status.problems.is_empty());
        edit(&dir, "nonsense");
        let status = answered(&client, |status| !status.topology.errors.is_empty()).await;
        assert_eq!(status.topology.errors[0].line, Some(1));
        edit(&dir, &fitting());
        answered(&client, |status| status.topology.errors.is_empty()).await;
    };
    tokio::select! {
        ended = run(config) => panic!("the daemon has ended: {ended:?}"),
        () = ask => {}
    }
}

/// Asks until the status is as awaited.
async fn answered(
    client: &::api::Client,
    awaited: impl Fn(&::api::Status) -> bool,
) -> ::api::Status {
    let patience = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        match client.status().await {
            Ok(status) if awaited(&status) => return status,
            outcome => assert!(tokio::time::Instant::now() < patience, "{outcome:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
