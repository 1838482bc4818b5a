//! The node daemon: drivers and wiring. What to do is decided in `model` and `dataplane`.
#![forbid(unsafe_code)]

mod agent;
mod api;
mod command;
mod config;
mod document;
mod logging;
mod topology;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let asked = config::Args::parse().asked();
    match asked.map_err(Into::into).and_then(command::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            command::complain(&error);
            ExitCode::FAILURE
        }
    }
}
