//! `netd-lab`: laboratories of network namespaces, and the demo's server and clients.

#![forbid(unsafe_code)]

mod cli;
mod demo;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::run(cli::Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "netd-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}
