//! `netctl`: shows what netd does on this node, over netd's unix socket.
//!
//! The road of a command: [`args`] is what was typed, [`request`] what is meant, [`run`] asks
//! netd and picks, [`noun`] says how each kind of object looks, [`output`] writes it as table, JSON
//! or by a template. Answers go to standard output, everything else to standard error.

#![forbid(unsafe_code)]

mod args;
mod cell;
mod failure;
mod noun;
mod output;
mod request;
mod run;
mod watch;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

use args::Args;
use failure::Failure;
use output::Width;
use request::Request;

fn main() -> ExitCode {
    let args = Args::parse();
    let Err(failure) = execute(args) else {
        return ExitCode::SUCCESS;
    };
    let (code, message) = failure.outcome();
    if let Some(message) = message {
        // The exit code says it, too.
        let _ = writeln!(io::stderr(), "netctl: {message}");
    }
    code
}

fn execute(args: Args) -> Result<(), Failure> {
    let width = if io::stdout().is_terminal() {
        Width::Short
    } else {
        Width::Full
    };
    let request =
        Request::new(args, |name| std::env::var_os(name), width).map_err(Failure::Usage)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Start)?
        .block_on(run::run(request, &mut BufWriter::new(io::stdout())))
}
