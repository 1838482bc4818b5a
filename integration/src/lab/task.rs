//! Tasks: a namespace with the demo's server in it. What connects it is netd's affair.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Lab;
use super::document::TaskEntry;
use crate::probe::{self, Outcome, Transport};
use crate::process::Process;
use crate::{binaries, netns, serve, wait};

/// How long a server may take to listen.
const LIMIT: Duration = Duration::from_secs(10);

impl Lab {
    /// Makes a task's namespace and starts the demo's server in it.
    ///
    /// # Errors
    /// When the namespace exists, or the server does not answer inside it.
    pub fn add_task(&mut self, name: &str, node: &str) -> Result<()> {
        self.add_namespace(name, node)?;
        self.serve_in(name, name, node)
    }

    /// Starts the demo's server, as `task` of `node`, in the namespace of any member.
    ///
    /// # Errors
    /// When it does not answer there.
    pub fn serve_in(&self, member: &str, task: &str, node: &str) -> Result<()> {
        self.serve(member, &["--task", task, "--node", node])
    }

    /// As [`Lab::serve_in`], a server that answers datagrams from whatever address the routes
    /// choose.
    ///
    /// # Errors
    /// As [`Lab::serve_in`].
    pub fn serve_naively_in(&self, member: &str, task: &str, node: &str) -> Result<()> {
        self.serve(member, &["--naive", "--task", task, "--node", node])
    }

    fn serve(&self, member: &str, args: &[&str]) -> Result<()> {
        let namespace = self.namespace(member);
        let words: Vec<String> = ["serve"]
            .iter()
            .chain(args)
            .map(|word| (*word).to_owned())
            .collect();
        let log = self.file(&format!("{member}.log"));
        Process::spawn_inside(
            &namespace,
            &binaries::find("netd-lab")?,
            &words,
            &log,
            "serve",
        )?;
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, serve::PORT));
        netns::inside(&namespace, || {
            wait::until(
                LIMIT,
                &format!("{member} serves (see {})", log.display()),
                || matches!(probe::ask(Transport::Tcp, target), Outcome::Answered { .. }),
            )
        })?
    }

    /// Makes a task's namespace and starts nothing in it.
    ///
    /// # Errors
    /// When the namespace exists.
    pub fn add_namespace(&mut self, name: &str, node: &str) -> Result<String> {
        let namespace = self.namespace(name);
        self.record.document.tasks.push(TaskEntry {
            name: name.to_owned(),
            service: None,
            node: node.to_owned(),
            namespace: namespace.clone(),
            addresses: Vec::new(),
        });
        let all = [namespace.clone()];
        self.record.announce(&all)?;
        netns::create(&all)?;
        Ok(namespace)
    }

    /// Ends a task's server and deletes its namespace.
    ///
    /// # Errors
    /// When the namespace cannot be deleted.
    pub fn remove_task(&mut self, name: &str) -> Result<()> {
        let namespace = self.namespace(name);
        netns::delete(&namespace)?;
        self.record.document.tasks.retain(|task| task.name != name);
        self.record.namespaces.retain(|each| *each != namespace);
        let log = self.file(&format!("{name}.log"));
        if log.exists() {
            fs::remove_file(&log).with_context(|| format!("remove {}", log.display()))?;
        }
        self.record.save()
    }
}
