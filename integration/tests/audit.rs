//! Somebody else changes what netd has made: it is put right and said.

use std::time::Duration;

use anyhow::{Result, ensure};
use integration::lab::Spec;
use integration::lab::demo;
use integration::{can_make_labs, command, wait};

#[test]
fn what_somebody_else_changes_is_repaired_and_said() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut spec = Spec::new(&Spec::unique_name("audit"), 2);
    let often = vec!["--audit-interval=1".to_owned()];
    spec.node_args.insert("n1".to_owned(), often);
    let lab = demo::up(spec)?;
    let patient = Duration::from_secs(20);
    // n1 looks every second, n2 because it is told to.
    for (node, signal) in [("n1", false), ("n2", true)] {
        let namespace = lab.namespace(node);
        let setting = |value: &str| format!("net.ipv4.ip_forward{value}");
        command::run_inside(&namespace, "sysctl", &["-qw", &setting("=0")])?;
        if signal {
            lab.reload(node)?;
        }
        wait::until(patient, "the repair to be told", || {
            let Ok(status) = lab.ask(node, "status") else {
                return false;
            };
            let recent = status["Audit"]["Recent"].to_string();
            recent.contains("setting net/ipv4/ip_forward")
        })?;
        let value = command::run_inside(&namespace, "sysctl", &["-n", &setting("")])?;
        ensure!(value.trim() == "1", "it is {value}");
        let status = lab.ask(node, "status")?;
        ensure!(status["State"] == "ready", "{status}");
        let log = std::fs::read_to_string(lab.log(node))?;
        ensure!(log.contains("repaired"), "the log says nothing of it");
    }
    // An audit that finds nothing repairs nothing.
    let before = lab.ask("n1", "status")?["Audit"].clone();
    wait::until(patient, "another audit", || {
        let status = lab.ask("n1", "status");
        status.is_ok_and(|status| status["Audit"]["Last"] != before["Last"])
    })?;
    let after = lab.ask("n1", "status")?["Audit"].clone();
    ensure!(after["Repaired"] == before["Repaired"], "{after}");
    lab.down()
}
