//! The nodes' daemons: started, watched, killed, from outside like any service manager would.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::{Lab, NodeEntry, PATIENCE};
use crate::process::Process;
use crate::{api, binaries, wait};

/// How long netd may take to end by itself.
pub(super) const GRACE: Duration = Duration::from_secs(5);

impl Lab {
    /// Starts every node's netd and waits until all are ready.
    ///
    /// # Errors
    /// When one does not start; the text holds the end of its log.
    pub fn start_all(&mut self) -> Result<()> {
        for node in self.nodes() {
            self.spawn(&node)?;
        }
        self.nodes()
            .iter()
            .try_for_each(|node| self.wait_ready(node))
    }

    /// Starts a node's netd and waits until it is ready.
    ///
    /// # Errors
    /// As [`Lab::start_all`].
    pub fn start(&mut self, node: &str) -> Result<()> {
        self.spawn(node)?;
        self.wait_ready(node)
    }

    /// Starts a node's netd and waits until it answers, ready or not.
    ///
    /// # Errors
    /// When it ends instead, or does not answer.
    pub fn start_anyhow(&mut self, node: &str) -> Result<()> {
        self.spawn(node)?;
        self.wait_status(node, |_| true)
    }

    /// Starts a node's netd and does not wait.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn spawn(&mut self, node: &str) -> Result<()> {
        if self.is_running(node) {
            bail!("the netd of {node} is running");
        }
        let entry = self.entry(node)?;
        let (namespace, socket) = (entry.namespace.clone(), entry.socket.clone());
        fs::create_dir_all(&entry.data_dir).context("make the state directory")?;
        let mut args = self.identity(node)?;
        let flag = |name: &str, value: String| [name.to_owned(), value];
        args.extend(flag(
            "--static",
            self.file("topology.toml").display().to_string(),
        ));
        args.extend(flag("--node", node.to_owned()));
        args.extend(flag("--socket", socket.display().to_string()));
        args.extend(self.spec.node_args.get(node).cloned().unwrap_or_default());
        let netd = match &self.netd {
            Some(other) => other.clone(),
            None => binaries::find("netd")?,
        };
        let process = Process::spawn_inside(&namespace, &netd, &args, &self.log(node), &namespace)?;
        self.note(node, Some(process))
    }

    /// Ends a node's netd with SIGKILL; the data plane stays.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, node: &str) -> Result<()> {
        self.daemon(node)?.kill();
        self.note(node, None)
    }

    /// Asks a node's netd to end; the data plane stays.
    ///
    /// # Errors
    /// When it does not run, or had to be killed.
    pub fn stop(&mut self, node: &str) -> Result<()> {
        let graceful = self.daemon(node)?.terminate(wait::patience(GRACE));
        self.note(node, None)?;
        if !graceful {
            bail!("the netd of {node} did not end within {GRACE:?} of SIGTERM");
        }
        Ok(())
    }

    /// Has a node's netd read its topology and look at its host at once (SIGHUP).
    ///
    /// # Errors
    /// When it does not run.
    pub fn reload(&self, node: &str) -> Result<()> {
        self.daemon(node)?.signal(rustix::process::Signal::HUP);
        Ok(())
    }

    /// The process of a node's netd.
    ///
    /// # Errors
    /// When there is no such node, or it does not run.
    pub fn daemon(&self, node: &str) -> Result<Process> {
        self.entry(node)?;
        let process = self
            .record
            .daemons
            .get(node)
            .filter(|process| process.is_alive());
        process
            .cloned()
            .with_context(|| format!("the netd of {node} does not run"))
    }

    /// Whether a node's netd runs.
    #[must_use]
    pub fn is_running(&self, node: &str) -> bool {
        self.daemon(node).is_ok()
    }

    /// The nodes whose netd runs.
    #[must_use]
    pub fn running_nodes(&self) -> Vec<String> {
        self.nodes()
            .into_iter()
            .filter(|node| self.is_running(node))
            .collect()
    }

    /// Asks a node's netd over its socket, for a path below `/netd/v1/`.
    ///
    /// # Errors
    /// When it does not answer with 200 and JSON.
    pub fn ask(&self, node: &str, path: &str) -> Result<Value> {
        api::get(&self.socket(node), path)
    }

    /// Flows and sockets that all nodes together carry to a task of a service, by its VIPs and its
    /// published ports, and that have not ended.
    ///
    /// # Errors
    /// When a node does not answer.
    pub fn active(&self, service: &str, task: &str) -> Result<u64> {
        self.running_nodes()
            .iter()
            .map(|node| self.active_on(node, service, task))
            .sum()
    }

    /// Those of one node.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn active_on(&self, node: &str, service: &str, task: &str) -> Result<u64> {
        let vip = self.ask(node, &format!("vips/{service}"))?;
        let lists = ["Backends", "Published"].map(|key| vip[key].as_array());
        let backends = lists.into_iter().flatten().flatten();
        backends
            .filter(|backend| backend["Endpoint"] == task)
            .map(|backend| backend["Active"].as_u64().context("a count"))
            .sum()
    }

    /// The socket of a node's netd.
    #[must_use]
    pub fn socket(&self, node: &str) -> PathBuf {
        self.file(&format!("{node}.sock"))
    }

    /// The log of a node's netd.
    #[must_use]
    pub fn log(&self, node: &str) -> PathBuf {
        self.file(&format!("{node}.log"))
    }

    /// How many topologies a node's netd has applied.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn generation(&self, node: &str) -> Result<u64> {
        let status = self.ask(node, "status")?;
        status["Topology"]["Generation"]
            .as_u64()
            .with_context(|| format!("a status without a generation: {status}"))
    }

    /// What a node's netd has against the topology file, as `LINE: MESSAGE`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn topology_errors(&self, node: &str) -> Result<Vec<String>> {
        let status = self.ask(node, "status")?;
        let errors = status["Topology"]["Errors"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let text = |error: &Value| {
            format!(
                "{}: {}",
                error["Line"],
                error["Message"].as_str().unwrap_or("?")
            )
        };
        Ok(errors.iter().map(text).collect())
    }

    /// What netd on any node drops for a reason, counted.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn drops(&self, node: &str, reason: &str) -> Result<u64> {
        let drops = self.ask(node, "drops")?;
        let drops = drops.as_array().cloned().unwrap_or_default();
        let matching = drops
            .iter()
            .filter(|drop| drop["Reason"].as_str() == Some(reason));
        Ok(matching.filter_map(|drop| drop["Count"].as_u64()).sum())
    }

    /// The arguments that say which netd on this machine is meant.
    pub(super) fn identity(&self, node: &str) -> Result<Vec<String>> {
        let entry = self.entry(node)?;
        let state = entry.data_dir.display().to_string();
        Ok(["--instance", &entry.namespace, "--state-dir", &state]
            .map(ToOwned::to_owned)
            .to_vec())
    }

    fn entry(&self, node: &str) -> Result<&NodeEntry> {
        let entry = self.record.document.node(node);
        entry.with_context(|| format!("there is no node {node} in the lab {}", self.name()))
    }

    fn wait_ready(&self, node: &str) -> Result<()> {
        self.wait_status(node, |status| status["State"] == "ready")
    }

    fn wait_status(&self, node: &str, is_it: impl Fn(&Value) -> bool) -> Result<()> {
        let mut last = None;
        let ended = wait::some(PATIENCE, &format!("{node} to be ready"), || {
            last = Some(match self.ask(node, "status") {
                Ok(status) if is_it(&status) => return Some(false),
                Ok(status) => anyhow!("its status is {status}"),
                Err(error) => error,
            });
            (!self.is_running(node)).then_some(true)
        });
        let problem = match ended {
            Ok(false) => return Ok(()),
            Ok(true) => anyhow!("netd has ended"),
            Err(error) => error,
        };
        let log = fs::read_to_string(self.log(node)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(20)..].join("\n");
        Err(last
            .unwrap_or(problem)
            .context(format!("{node} is not ready; its log ends:\n{end}")))
    }

    fn note(&mut self, node: &str, process: Option<Process>) -> Result<()> {
        let pid = process.as_ref().map(|process| process.pid);
        if let Some(entry) = self
            .record
            .document
            .nodes
            .iter_mut()
            .find(|each| each.name == node)
        {
            entry.pid = pid;
        }
        match process {
            Some(process) => self.record.daemons.insert(node.to_owned(), process),
            None => self.record.daemons.remove(node),
        };
        self.record.save()
    }
}
