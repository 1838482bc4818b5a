//! Faults of the wire: loss, delay, reordering, duplication, links that are down, partitions.
//!
//! A process in the wire's namespace, the *keeper*, has everything of them in its hands: a program on
//! the switch's ports (`ebpf/fault`) and the frames that it holds back. When the keeper ends, the
//! wire is whole. Frames wait in a namespace of their own, `NAME-hold`, to which a pair of devices
//! leads for each port and time.

mod keeper;
mod rules;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

pub use self::keeper::keep;
pub use self::rules::{Counts, Fault};
use self::rules::{Rule, Rules};
use super::{Lab, directory};
use crate::process::Process;
use crate::{binaries, command, netns, wait};

/// How long the keeper may take to set everything up.
const PATIENCE: Duration = Duration::from_secs(10);
/// The word on the keeper's command line.
const KEEPER: &str = "fault-keeper";
/// Whoever has its segments cut by the wire loses many packets at once, which no real wire does.
const OFFLOADS: [&str; 3] = ["tso", "gso", "tx-udp_tnl-segmentation"];

/// What is written down, in `faults.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Written {
    rules: Rules,
    /// Members whose link is down.
    down: Vec<String>,
    keeper: Option<Process>,
}

impl Lab {
    /// Lets a fault happen to what one member sends to another; `None` is every member. What was said
    /// of the same pair before no longer holds.
    ///
    /// # Errors
    /// When there is no such member, or the keeper cannot be started.
    pub fn fault(&self, from: Option<&str>, to: Option<&str>, fault: Fault) -> Result<()> {
        for member in from.iter().chain(&to) {
            self.check_member(member)?;
        }
        let mut written = self.faults()?;
        written.rules.set(Rule {
            from: from.map(ToOwned::to_owned),
            to: to.map(ToOwned::to_owned),
            fault,
        });
        self.enforce(written)
    }

    /// Lets nothing pass between two members, or between one and all others, either way.
    ///
    /// # Errors
    /// As [`Lab::fault`].
    pub fn partition(&self, one: Option<&str>, other: Option<&str>) -> Result<()> {
        let lost = Fault {
            loss: 1.0,
            ..Fault::default()
        };
        self.fault(one, other, lost)?;
        self.fault(other, one, lost)
    }

    /// Pulls a member's cable, or plugs it in again.
    ///
    /// # Errors
    /// When there is no such member.
    pub fn set_link(&self, member: &str, up: bool) -> Result<()> {
        self.check_member(member)?;
        let state = if up { "up" } else { "down" };
        let wire = self.namespace("wire");
        command::ip_batch(Some(&wire), &format!("link set {member} {state}\n"))?;
        let mut written = self.faults()?;
        written.down.retain(|each| each != member);
        if !up {
            written.down.push(member.to_owned());
        }
        self.write_faults(&written)
    }

    /// Makes the wire whole again.
    ///
    /// # Errors
    /// When something cannot be undone.
    pub fn clear_faults(&self) -> Result<()> {
        for member in self.faults()?.down {
            self.set_link(&member, true)?;
        }
        let mut written = self.faults()?;
        written.rules = Rules::default();
        self.enforce(written)
    }

    /// What has happened since the last change of the faults.
    ///
    /// # Errors
    /// When it is not written down.
    pub fn fault_counts(&self) -> Result<Counts> {
        let path = counts_file(self.name());
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).context("understand the counts")
    }

    fn check_member(&self, member: &str) -> Result<()> {
        if self.members().iter().any(|each| each == member) {
            return Ok(());
        }
        bail!(
            "nobody on the wire is called {member}: there are {}",
            self.members().join(", ")
        )
    }

    /// Whoever has a cable.
    fn members(&self) -> Vec<String> {
        let mut members = self.nodes();
        members.push("client".to_owned());
        let outsiders = self.spec.outsiders.iter();
        members.extend(outsiders.map(|outsider| outsider.name.clone()));
        members
    }

    fn faults(&self) -> Result<Written> {
        let path = faults_file(self.name());
        if !path.exists() {
            return Ok(Written::default());
        }
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).context("understand the faults")
    }

    fn write_faults(&self, written: &Written) -> Result<()> {
        let path = faults_file(self.name());
        let text = serde_json::to_vec_pretty(written).context("write the faults down")?;
        // At once: the keeper may be reading it.
        let draft = path.with_extension("new");
        fs::write(&draft, text).with_context(|| format!("write {}", draft.display()))?;
        fs::rename(&draft, &path).with_context(|| format!("replace {}", path.display()))
    }

    /// Replaces the keeper by one with these rules, or by none.
    fn enforce(&self, mut written: Written) -> Result<()> {
        if let Some(old) = written.keeper.take() {
            old.kill();
        }
        let hold = self.namespace("hold");
        netns::delete(&hold)?;
        let counts = counts_file(self.name());
        if counts.exists() {
            fs::remove_file(&counts).with_context(|| format!("remove {}", counts.display()))?;
        }
        let whole = written.rules.is_empty();
        for member in self.members() {
            self.offload(&member, whole)?;
        }
        if whole {
            return self.write_faults(&written);
        }
        netns::create(std::slice::from_ref(&hold))?;
        // Read by the keeper.
        self.write_faults(&written)?;
        let args = [KEEPER, "--name", self.name()].map(ToOwned::to_owned);
        let program = binaries::find("netd-lab")?;
        let log = self.file("faults.log");
        let wire = self.namespace("wire");
        let keeper = Process::spawn_inside(&wire, &program, &args, &log, KEEPER)?;
        written.keeper = Some(keeper.clone());
        self.write_faults(&written)?;
        wait::until(PATIENCE, "the wire has its faults", || {
            counts.exists() || !keeper.is_alive()
        })?;
        if !keeper.is_alive() {
            let said = fs::read_to_string(&log).unwrap_or_default();
            bail!("the keeper of the faults has ended: {}", said.trim_end());
        }
        Ok(())
    }

    /// Whether a member leaves it to the wire to cut its segments.
    fn offload(&self, member: &str, on: bool) -> Result<()> {
        let state = if on { "on" } else { "off" };
        let mut args = vec!["-K", "eth0"];
        args.extend(OFFLOADS.iter().flat_map(|feature| [*feature, state]));
        let args: Vec<String> = args.into_iter().map(ToOwned::to_owned).collect();
        command::run_inside(&self.namespace(member), "ethtool", &args).map(|_| ())
    }
}

fn faults_file(lab: &str) -> PathBuf {
    directory(lab).join("faults.json")
}

fn counts_file(lab: &str) -> PathBuf {
    directory(lab).join("fault-counts.json")
}
