//! Running the tests: every package's own and the multi-node ones, each test program by itself, so
//! that one that crashes or hangs is a failure among others.

mod outcome;
pub(crate) mod program;
pub(crate) mod suite;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::binaries::Profile;
use crate::process::{print, say};
use crate::setup::{self, Toolchain};
use crate::workspace::Workspace;
use crate::{binaries, object};

pub(crate) use outcome::{Outcome, Tally};
pub(crate) use program::{Limits, Output};
use suite::Suite;

/// Tells tests to run their long variants.
pub(crate) const LONG_VARIABLE: &str = "NETD_TEST_LONG";

/// The package whose tests start nodes and take their time: their lines are shown as they come.
pub(crate) const INTEGRATION: &str = "netd-integration";

const LIMIT: Duration = Duration::from_secs(20 * 60);
const LONG_LIMIT: Duration = Duration::from_secs(3 * 60 * 60);

/// What to test.
#[derive(Debug)]
pub(crate) struct Request {
    /// A package, a test program, or a part of tests' names; everything without one.
    pub(crate) filter: Option<String>,
    /// With the long variants.
    pub(crate) long: bool,
}

/// Sets up, builds, runs, and prints `N passed, M failed`.
///
/// # Errors
/// When setup or build fails. Failing tests are no error but the exit code.
pub(crate) fn execute(workspace: &Workspace, request: &Request) -> Result<ExitCode> {
    let toolchain = setup::everything()?;
    let mut suites = prepare(workspace, &toolchain)?;
    if request.filter.is_none() {
        suites.push(suite::documentation(workspace));
    }
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    for suite in &suites {
        let outcome = run(workspace, suite, request)?;
        tally.add(outcome.tally);
        failures.extend(
            outcome
                .failures
                .iter()
                .map(|name| format!("{}: {name}", suite.label())),
        );
    }
    failures
        .iter()
        .for_each(|failure| print(&format!("FAILED {failure}")));
    if tally == Tally::default() {
        say("no test matches");
    }
    Ok(finish(tally))
}

/// Prints the last line and turns it into an exit code: success only if something passed and
/// nothing failed.
pub(crate) fn finish(tally: Tally) -> ExitCode {
    print(&format!("{} passed, {} failed", tally.passed, tally.failed));
    if tally.failed == 0 && tally.passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn prepare(workspace: &Workspace, toolchain: &Toolchain) -> Result<Vec<Suite>> {
    object::ensure(workspace, toolchain)?;
    suite::build(workspace, &["--workspace", "--bins", "--tests"])
}

fn run(workspace: &Workspace, suite: &Suite, request: &Request) -> Result<Outcome> {
    let mut program = suite.command(request.filter.as_deref());
    program.env(
        binaries::DIRECTORY_VARIABLE,
        Profile::Dev.directory(workspace),
    );
    if request.long {
        program.env(LONG_VARIABLE, "1");
    }
    let limits = Limits {
        time: if request.long { LONG_LIMIT } else { LIMIT },
        output: if suite.package() == INTEGRATION || request.filter.is_some() {
            Output::Live
        } else {
            Output::Failures
        },
    };
    let outcome = program::run(&mut program, &suite.label(), &limits)?;
    if outcome.tally != Tally::default() {
        print(&summary(suite, &outcome));
    }
    Ok(outcome)
}

fn summary(suite: &Suite, outcome: &Outcome) -> String {
    let Tally { passed, failed } = outcome.tally;
    let state = if failed == 0 { "ok    " } else { "FAILED" };
    let mut line = format!(
        "{state} {}: {passed} passed, {failed} failed",
        suite.label()
    );
    if outcome.ignored > 0 {
        line.push_str(&format!(", {} ignored", outcome.ignored));
    }
    line.push_str(&format!(" in {:.1} s", outcome.took.as_secs_f64()));
    line
}
