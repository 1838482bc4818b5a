//! The project's own tooling: `cargo xtask --help`.

#![forbid(unsafe_code)]

mod binaries;
mod mutants;
mod object;
mod process;
mod setup;
mod testing;
mod verify;
mod vm;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use binaries::Profile;
use process::say;
use workspace::Workspace;

/// Builds, checks, tests, measures and shows netd.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Installs what this machine lacks (as root) and says what; silent when nothing is missing.
    ///
    /// Programs from Debian packages, the nightly toolchain that compiles the kernel programs, and
    /// bpf-linker. Every other command that needs them does this by itself.
    Setup,
    /// Builds the kernel programs, if their sources have changed, and the binaries.
    Build {
        /// With optimisations, into target/release.
        #[arg(long)]
        release: bool,
    },
    /// Sets up, builds and runs the tests (as root); the last line is `N passed, M failed`.
    Test {
        /// A package (`netd-abi`), a test program, or a part of tests' names; with --mutants, a
        /// part of the faults' names.
        filter: Option<String>,
        /// With soak tests, a thousand cycles, a million packets: hours.
        #[arg(long, conflicts_with = "mutants")]
        long: bool,
        /// Instead of the tests, runs the seeded faults of integration/mutants: each must fail a
        /// test, and then counts as passed.
        #[arg(long)]
        mutants: bool,
        /// Instead of all tests, runs some on Debian's Linux 6.1, in a virtual machine that needs no
        /// hardware's help and may run for 40 minutes: the programs' instruction counts, the classic
        /// tc and flows of the data plane's own tests, reachability, restart, upgrade, and random
        /// packets.
        #[arg(long, conflicts_with_all = ["long", "mutants"])]
        vm: bool,
    },
    /// Checks format, lints, layering, sizes and the house rules. Writes no source.
    Verify,
    /// Repairs what `verify` finds, as far as tools can: format, and lints with a machine's remedy.
    Fix,
    /// Starts three nodes as network namespaces, serves real clients on them, shows what happened,
    /// and cleans up (as root).
    Demo(Passed),
    /// Laboratories: up, down, ls, kill, start, fault (as root).
    ///
    /// `lab up --name q --nodes 3 --demo` starts nodes as network namespaces q-n1, q-n2, q-n3 and a
    /// client q-client on one underlay, prints one JSON document about them, and leaves them
    /// running; `lab down --name q` leaves nothing of them. `lab up --help` knows the rest.
    Lab(Passed),
    /// Measures netd against its peers in the same run (as root), with optimised binaries.
    ///
    /// Names choose measurements (all without any); `--json` prints one object a line.
    Bench(Passed),
}

/// Arguments for the laboratory's program, which knows them.
#[derive(Debug, Args)]
struct Passed {
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENTS"
    )]
    arguments: Vec<String>,
}

fn main() -> ExitCode {
    match execute(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn execute(task: Task) -> Result<ExitCode> {
    let workspace = Workspace::current()?;
    match task {
        Task::Setup => {
            setup::everything()?;
        }
        Task::Build { release } => {
            let profile = if release {
                Profile::Release
            } else {
                Profile::Dev
            };
            let toolchain = setup::Toolchain::ensure()?;
            binaries::build(&workspace, &toolchain, profile)?;
        }
        Task::Test {
            filter,
            mutants: true,
            ..
        } => {
            return mutants::execute(&workspace, filter.as_deref());
        }
        Task::Test {
            filter, vm: true, ..
        } => return vm::execute(&workspace, filter.as_deref()),
        Task::Test { filter, long, .. } => {
            return testing::execute(&workspace, &testing::Request { filter, long });
        }
        Task::Verify => return verify::execute(&workspace),
        Task::Fix => verify::fix(&workspace)?,
        Task::Demo(passed) => lab(&workspace, Profile::Dev, &["demo"], passed)?,
        Task::Lab(passed) => lab(&workspace, Profile::Dev, &[], passed)?,
        Task::Bench(passed) => {
            setup::peers()?;
            lab(&workspace, Profile::Release, &["bench"], passed)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Hands over to the laboratory's program, with what is passed after `command`.
fn lab(workspace: &Workspace, profile: Profile, command: &[&str], passed: Passed) -> Result<()> {
    let mut arguments: Vec<String> = command.iter().map(ToString::to_string).collect();
    arguments.extend(passed.arguments);
    binaries::become_lab(workspace, profile, &arguments)
}
