//! A host that is not as netd needs it: what is wrong is named, with what would be needed.

use anyhow::{Result, ensure};
use integration::lab::demo;
use integration::lab::{Lab, PATIENCE, Spec};
use integration::{can_make_labs, command, wait};
use serde_json::Value;

/// What a node reports as wrong.
fn problems(lab: &Lab, node: &str) -> Result<Vec<Value>> {
    Ok(lab.ask(node, "status")?["Problems"]
        .as_array()
        .cloned()
        .unwrap_or_default())
}

#[test]
fn a_foreign_policy_that_drops_what_is_forwarded_is_named() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut lab = demo::prepare(Spec::new(&Spec::unique_name("policy"), 1))?;
    let firewall = "table inet guard {
        chain forward { type filter hook forward priority 0; policy drop; }
    }";
    let namespace = lab.namespace("n1");
    command::run_inside(&namespace, "nft", &[firewall])?;
    lab.start_anyhow("n1")?;
    let named = |problem: &Value| {
        let message = problem["Message"].as_str().unwrap_or("").to_lowercase();
        message.contains("guard") && message.contains("forward")
    };
    let found = problems(&lab, "n1")?;
    ensure!(found.iter().any(named), "it is not named: {found:?}");
    ensure!(
        found
            .iter()
            .all(|problem| !problem["Needed"].as_str().unwrap_or("").is_empty()),
        "nothing is said of what is needed: {found:?}"
    );
    let shown = command::run(
        &integration::binaries::find("netctl")?.display().to_string(),
        &[
            "--socket",
            &lab.socket("n1").display().to_string(),
            "status",
        ],
    )?;
    ensure!(shown.contains("guard"), "netctl does not show it: {shown}");
    command::run_inside(&namespace, "nft", &["delete table inet guard"])?;
    // It would notice by itself at its next audit.
    lab.reload("n1")?;
    wait::until(PATIENCE, "the problem goes with its cause", || {
        problems(&lab, "n1").is_ok_and(|found| !found.iter().any(named))
    })?;
    lab.down()
}

#[test]
fn an_underlay_that_changes_is_followed() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("follow"), 2))?;
    let namespace = lab.namespace("n1");
    command::ip_batch(Some(&namespace), "link set eth0 mtu 1400\n")?;
    wait::until(PATIENCE, "the overlay follows the underlay", || {
        lab.ask("n1", "status")
            .is_ok_and(|status| status["OverlayMtu"] == 1350)
    })?;
    lab.down()
}
