//! The programs of the workspace: daemon, command line, laboratory.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result};

use crate::object;
use crate::process::{cargo, command, run_cargo};
use crate::setup::{self, Toolchain};
use crate::workspace::Workspace;

/// Tells tests and the laboratory where the daemon and the command line are.
pub(crate) const DIRECTORY_VARIABLE: &str = "NETD_BIN_DIR";

/// How the programs are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build; for tests, laboratory and demo.
    Dev,
    /// Quick to run; for benchmarks and installation.
    Release,
}

impl Profile {
    /// Where cargo puts this profile's programs.
    pub(crate) fn directory(self, workspace: &Workspace) -> PathBuf {
        workspace.target().join(match self {
            Self::Dev => "debug",
            Self::Release => "release",
        })
    }
}

/// Builds the kernel programs, then the programs of user space.
///
/// # Errors
/// When one does not compile.
pub(crate) fn build(workspace: &Workspace, toolchain: &Toolchain, profile: Profile) -> Result<()> {
    object::ensure(workspace, toolchain)?;
    let mut build = cargo(workspace.root());
    build.args(["build", "--workspace", "--exclude", "xtask", "--bins"]);
    if profile == Profile::Release {
        build.arg("--release");
    }
    run_cargo(&mut build)?;
    Ok(())
}

/// Sets up and builds what is missing, then becomes the laboratory's program.
///
/// # Errors
/// When setup, build or the start of the program fails; otherwise this does not return.
pub(crate) fn become_lab(
    workspace: &Workspace,
    profile: Profile,
    arguments: &[String],
) -> Result<()> {
    let toolchain = setup::everything()?;
    build(workspace, &toolchain, profile)?;
    let directory = profile.directory(workspace);
    let program = directory.join("netd-lab");
    let name = program.display().to_string();
    let error = command(&name)
        .args(arguments)
        .env(DIRECTORY_VARIABLE, directory)
        .stdin(Stdio::inherit())
        .exec();
    Err(error).with_context(|| format!("start {name}"))
}
