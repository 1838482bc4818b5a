//! Taking a lab down, from what is written down about it, in whatever state it is.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Lab;
use super::node::GRACE;
use super::record::directory;
use crate::{binaries, command, netns, wait};

/// Ends the daemons, has netd clean up after itself, deletes the namespaces with everything in
/// them, and forgets the lab. Goes on where something fails.
///
/// # Errors
/// When there is no such lab, something could not be removed, or netd left something.
pub fn down(name: &str) -> Result<()> {
    let lab = Lab::open(name)?;
    let mut problems = Vec::new();
    let mut attempt = |result: Result<()>| {
        if let Err(error) = result {
            problems.push(format!("{error:#}"));
        }
    };
    let started: Vec<String> = started(&lab);
    for node in &started {
        if let Ok(daemon) = lab.daemon(node)
            && !daemon.terminate(wait::patience(GRACE))
        {
            attempt(Err(anyhow::anyhow!("the netd of {node} had to be killed")));
        }
    }
    for node in &started {
        attempt(lab.clean(node).with_context(|| format!("clean up {node}")));
    }
    attempt(netns::delete(&lab.namespace("hold")));
    for namespace in &lab.record.namespaces {
        attempt(netns::delete(namespace));
    }
    for node in &started {
        attempt(remove_pins(&lab.namespace(node)));
    }
    let path = directory(name);
    attempt(fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display())));
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{}", problems.join("; "));
}

/// The nodes whose netd was ever started.
fn started(lab: &Lab) -> Vec<String> {
    let entries = lab.record.document.nodes.iter();
    entries
        .filter(|node| node.data_dir.exists())
        .map(|node| node.name.clone())
        .collect()
}

impl Lab {
    /// Runs `netd cleanup` on a node, and checks that it left no device behind.
    ///
    /// # Errors
    /// When it fails or a device of netd's is left.
    pub fn clean(&self, node: &str) -> Result<()> {
        let netd = binaries::find("netd")?;
        let mut args = vec!["cleanup".to_owned()];
        args.extend(self.identity(node)?);
        let namespace = self.namespace(node);
        command::run_inside(&namespace, &netd.display().to_string(), &args)?;
        let left = self.foreign_devices(node)?;
        if !left.is_empty() {
            bail!("`netd cleanup` left the devices {}", left.join(", "));
        }
        Ok(())
    }

    /// The devices of a node that the lab did not make: netd's.
    ///
    /// # Errors
    /// When the node's devices cannot be listed.
    pub fn foreign_devices(&self, node: &str) -> Result<Vec<String>> {
        let text = command::run(
            "ip",
            &["-n", &self.namespace(node), "-json", "link", "show"],
        )?;
        let links: Vec<serde_json::Value> = serde_json::from_str(&text).context("read links")?;
        let names = links.iter().filter_map(|link| link["ifname"].as_str());
        let ours = |name: &&str| !matches!(*name, "lo" | "eth0");
        Ok(names.filter(ours).map(ToOwned::to_owned).collect())
    }
}

/// Pins outlive namespaces: the ones that netd left are an error, and are removed all the same.
fn remove_pins(instance: &str) -> Result<()> {
    let path = Path::new("/sys/fs/bpf").join(format!("netd-{instance}"));
    if !path.exists() {
        return Ok(());
    }
    fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
    bail!("`netd cleanup` left the pins {}", path.display());
}
