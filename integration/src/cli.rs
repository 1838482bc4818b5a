//! The command line: what was typed, and which part of the library does it.

mod bench;
mod lab;
mod load;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Laboratories of network namespaces for netd, and the servers and clients that live in them.
///
/// Needs root. Everything of a lab is recorded in /run/netd-lab/NAME/ (topology, logs, sockets).
#[derive(Debug, Parser)]
#[command(name = "netd-lab", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a lab and leave it up; prints one JSON document.
    Up(lab::Up),
    /// Take a lab down; nothing of it stays.
    Down(lab::Name),
    /// List the labs.
    Ls,
    /// End a node's netd with SIGKILL.
    Kill(lab::Node),
    /// Start a node's netd again and wait until it is ready.
    Start(lab::Node),
    /// Let faults happen on the wire: loss=10% delay=20ms reorder=5% duplicate=1%, down, partition,
    /// or clear.
    Fault(lab::Faults),
    /// Show a newcomer what netd does: three nodes, real servers and clients; checks every answer.
    Demo,
    /// Be a task's server: HTTP and UDP, answers who it is and whom it sees.
    Serve(load::Serve),
    /// Load a server from inside a namespace, and report rates, latencies, errors as JSON.
    Load(load::Load),
    /// Ask once by UDP or HTTP and print the answer.
    Ask(load::Ask),
    /// Measure netd against its peers in the same run.
    Bench(bench::Bench),
    /// Be a benchmark's server.
    #[command(hide = true)]
    BenchRespond,
    /// Have the faults of a lab's wire in one's hands.
    #[command(hide = true)]
    FaultKeeper(lab::Name),
    /// Take a lab down as soon as standard input is closed.
    #[command(hide = true)]
    Janitor(lab::Name),
}

/// Does what was asked for.
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Up(up) => lab::up(up),
        Command::Down(lab) => integration::lab::down(&lab.name),
        Command::Ls => lab::list(),
        Command::Kill(node) => lab::kill(&node),
        Command::Start(node) => lab::start(&node),
        Command::Fault(faults) => lab::fault(&faults),
        Command::FaultKeeper(lab) => integration::lab::fault::keep(&lab.name),
        Command::Demo => crate::demo::run(),
        Command::Serve(serve) => load::serve(serve),
        Command::Load(load) => load::load(&load),
        Command::Ask(ask) => load::ask(&ask),
        Command::Bench(bench) => bench::run(&bench),
        Command::BenchRespond => integration::bench::respond(),
        Command::Janitor(lab) => integration::lab::watch_owner(&lab.name),
    }
}
