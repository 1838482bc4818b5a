//! What netd does when it is called: be the daemon, or one of the things that end by themselves.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result, bail};
use tokio::runtime::{Builder, Runtime};

use crate::config::{Check, Command, Config, Given};
use crate::topology::{self, LoadError};
use crate::{agent, logging};

/// Does what was asked for.
///
/// # Errors
/// When it was refused or has failed.
pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Run(given) => daemon(given.config()?),
        Command::Check(given) => check(given),
        Command::Cleanup(given, dry_run) => cleanup(&given.cleanup(dry_run)?),
    }
}

fn daemon(config: Config) -> Result<()> {
    logging::start(config.logging.clone());
    runtime()?.block_on(agent::run(config))
}

/// One thread: what takes time here is the kernel's answer, and calls for it are short.
fn runtime() -> Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")
}

/// Tells what is wrong with the settings and with the topology, all at once.
fn check(given: Given) -> Result<()> {
    let (check, settings) = given.check();
    let checked = check.as_ref().map(check_topology).transpose();
    match (settings, checked) {
        (Ok(()), Ok(line)) => {
            writeln!(io::stdout(), "{}", line.unwrap_or_default()).context("write the result")
        }
        (Ok(()), Err(error)) => Err(error),
        (Err(errors), Ok(_)) => Err(errors.into()),
        (Err(errors), Err(error)) => bail!("{errors}\n{error}"),
    }
}

/// What is said of a topology without mistakes.
fn check_topology(check: &Check) -> Result<String> {
    let loaded = topology::load(&check.topology, check.node.as_ref()).map_err(listed)?;
    let unfit = check
        .node
        .as_ref()
        .map(|node| topology::unfit(&loaded, node));
    if let Some(errors) = unfit.filter(|errors| !errors.is_empty()) {
        return Err(listed(errors));
    }
    let topology = &loaded.topology;
    Ok(format!(
        "{}: no errors; nodes: {}, networks: {}, endpoints: {}, services: {}",
        check.topology.display(),
        topology.nodes.len(),
        topology.networks.len(),
        topology.endpoints.len(),
        topology.services.len(),
    ))
}

fn listed(errors: Vec<LoadError>) -> anyhow::Error {
    let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
    anyhow::Error::msg(lines.join("\n"))
}

fn cleanup(wanted: &dataplane::Cleanup) -> Result<()> {
    let cleaned = runtime()?.block_on(dataplane::cleanup(wanted));
    let verb = if wanted.dry_run {
        "would remove"
    } else {
        "removed"
    };
    let mut out = io::stdout().lock();
    for object in &cleaned.removed {
        writeln!(out, "{verb} {object}").context("write the result")?;
    }
    if cleaned.problems.is_empty() {
        if cleaned.removed.is_empty() {
            let whose = wanted.instance.as_ref();
            let whose = whose.map_or("netd".to_owned(), |it| format!("the instance {it}"));
            writeln!(out, "there is nothing of {whose} here").context("write the result")?;
        }
        return Ok(());
    }
    let problems: Vec<_> = cleaned.problems.iter().map(ToString::to_string).collect();
    bail!("{}", problems.join("\n"));
}

/// Tells why the process ends, on standard error.
pub(crate) fn complain(error: &anyhow::Error) {
    // When nobody reads the errors, nobody reads this one.
    let _ = writeln!(io::stderr(), "{error:#}");
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::config::Args;

    #[test]
    fn a_check_tells_mistakes_in_both_files_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        let topology = place("topology.toml");
        let settings = place("netd.toml");
        std::fs::write(&topology, "nodes = 1\n").unwrap();
        let text = format!("static = {topology:?}\nbogus = 1\nflow_capacity = 3\n");
        std::fs::write(&settings, text).unwrap();
        let words = ["netd", "check", "--config", settings.to_str().unwrap()];
        let asked = Args::try_parse_from(words).unwrap().asked().unwrap();
        let told = run(asked).unwrap_err().to_string();
        for wrong in ["`bogus`", "`3`: a number from 1024", "`nodes`"] {
            assert!(told.contains(wrong), "{wrong} in: {told}");
        }
    }
}
