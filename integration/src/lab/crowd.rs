//! Clients of every kind at once, under a lab whose topology changes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::demo::{HTTP_PORT, PROBE, UDP_PORT};
use super::topology::Topology;
use super::{Family, Lab};
use crate::load::{self, Mode, Plan, Report, Running};
use crate::{netns, wait};

/// How long some more operations may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Load under way, each with its name.
#[derive(Debug, Default)]
pub struct Crowd(Vec<(String, Running)>);

impl Crowd {
    /// Clients that do these things, from outside by the last node and from inside by the VIPs of the
    /// demo, over both families, two connections each. Returns when all are served.
    ///
    /// # Errors
    /// When one is not.
    pub fn gather(lab: &Lab, topology: &Topology, modes: &[Mode]) -> Result<Self> {
        let mut crowd = Self::default();
        for member in ["client", PROBE] {
            crowd.join(lab, topology, member, modes)?;
        }
        crowd.progress()?;
        Ok(crowd)
    }

    /// Adds clients in one place; `member` is `client` or the probe.
    ///
    /// # Errors
    /// When the topology has no such services.
    pub fn join(
        &mut self,
        lab: &Lab,
        topology: &Topology,
        member: &str,
        modes: &[Mode],
    ) -> Result<()> {
        for (family, mode) in Family::BOTH
            .into_iter()
            .flat_map(|f| modes.iter().map(move |m| (f, *m)))
        {
            let plan = Plan::beside(mode, target(lab, topology, member, (family, mode))?);
            let running = netns::inside(&lab.namespace(member), || load::start(&plan))?;
            let name = format!("{member} {mode:?} {}", plan.target);
            self.0.push((name, running));
        }
        Ok(())
    }

    /// Waits until each has done some more.
    ///
    /// # Errors
    /// When one has not in time.
    pub fn progress(&self) -> Result<()> {
        for (name, running) in &self.0 {
            let before = running.operations();
            wait::until(PATIENCE, &format!("{name} goes on"), || {
                running.operations() >= before + 20
            })?;
        }
        Ok(())
    }

    /// Ends all of it.
    ///
    /// # Errors
    /// When a worker panicked.
    pub fn leave(self) -> Result<Vec<(String, Report)>> {
        let each = self.0.into_iter();
        each.map(|(name, running)| Ok((name, running.stop()?)))
            .collect()
    }

    /// Ends all of it, some more operations later.
    ///
    /// # Errors
    /// When one operation of one client has failed.
    pub fn leave_unharmed(self) -> Result<Vec<(String, Report)>> {
        self.progress()?;
        let reports = self.leave()?;
        let failed = reports.iter().filter(|(_, report)| report.errors > 0);
        let failed: Vec<String> = failed
            .map(|(name, report)| {
                let (errors, operations) = (report.errors, report.operations);
                let kinds = &report.error_kinds;
                format!("{name}: {errors} errors beside {operations} successes {kinds:?}")
            })
            .collect();
        ensure!(failed.is_empty(), "{}", failed.join("\n"));
        Ok(reports)
    }
}

/// To one node only: the same client port to two nodes is a matter of its own.
fn target(
    lab: &Lab,
    topology: &Topology,
    member: &str,
    (family, mode): (Family, Mode),
) -> Result<SocketAddr> {
    let vip = |service: &str| topology.vip(service, family).context("a VIP");
    Ok(match (member == PROBE, mode) {
        (true, Mode::Udp) => SocketAddr::new(vip("echo")?, 7),
        (true, _) => SocketAddr::new(vip("web")?, 80),
        (false, Mode::Udp) => SocketAddr::new(last_node(lab, family)?, UDP_PORT),
        (false, _) => SocketAddr::new(last_node(lab, family)?, HTTP_PORT),
    })
}

fn last_node(lab: &Lab, family: Family) -> Result<IpAddr> {
    let node = lab.document().nodes.last().context("a node")?;
    family.of(&node.addresses).context("no address")
}
