//! `serve`, `load`, `ask`.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use integration::load::{Mode, Plan};
use integration::probe::{self, Outcome, Transport};
use integration::serve::{PORT, Server};
use integration::{load as client, netns};

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The task's name, as it answers.
    #[arg(long)]
    task: String,
    /// The node's name, as it answers.
    #[arg(long)]
    node: String,
    /// The port, TCP and UDP.
    #[arg(long, default_value_t = PORT)]
    port: u16,
    /// Answer datagrams from whatever address the routes choose, not from the one asked.
    #[arg(long)]
    naive: bool,
}

pub(crate) fn serve(arguments: Serve) -> Result<()> {
    let Serve {
        task,
        node,
        port,
        naive,
    } = arguments;
    integration::serve::run(Server {
        task,
        node,
        port,
        naive,
    })
}

#[derive(Debug, Args)]
pub(crate) struct Load {
    /// What one operation is.
    #[arg(value_enum)]
    mode: Mode,
    /// Whom to ask, as ADDRESS:PORT or [ADDRESS]:PORT.
    target: SocketAddr,
    /// The namespace to do it from; this one where none is given.
    #[arg(long)]
    namespace: Option<String>,
    /// The source address.
    #[arg(long)]
    source: Option<IpAddr>,
    /// How many at the same time.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Bytes of an answer (stream, udp).
    #[arg(long)]
    size: Option<usize>,
    /// After how many seconds an operation counts as failed.
    #[arg(long, default_value_t = 5.0)]
    limit: f64,
}

pub(crate) fn load(arguments: &Load) -> Result<()> {
    if let Some(namespace) = &arguments.namespace {
        netns::enter(namespace)?;
    }
    let mut plan = Plan::new(arguments.mode, arguments.target);
    plan.source = arguments.source;
    plan.connections = arguments.connections;
    plan.duration = Some(Duration::try_from_secs_f64(arguments.seconds)?);
    plan.limit = Duration::try_from_secs_f64(arguments.limit)?;
    plan.size = arguments.size.unwrap_or(plan.size);
    let report = client::start(&plan).wait()?;
    writeln!(
        std::io::stdout(),
        "{}",
        serde_json::to_string_pretty(&report)?
    )?;
    Ok(())
}

#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// How to ask.
    #[arg(value_enum)]
    transport: Transport,
    /// Whom to ask, as ADDRESS:PORT or [ADDRESS]:PORT.
    target: SocketAddr,
    /// The namespace to do it from; this one where none is given.
    #[arg(long)]
    namespace: Option<String>,
}

pub(crate) fn ask(arguments: &Ask) -> Result<()> {
    if let Some(namespace) = &arguments.namespace {
        netns::enter(namespace)?;
    }
    match probe::ask(arguments.transport, arguments.target) {
        Outcome::Answered { answer, own } => {
            writeln!(std::io::stdout(), "{answer} (asked from {own})")?;
            Ok(())
        }
        Outcome::Refused { after } => bail!("{}: refused after {after:?}", arguments.target),
        Outcome::Failed { error } => bail!("{}: {error}", arguments.target),
    }
}
