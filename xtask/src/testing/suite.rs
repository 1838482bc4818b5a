//! Test programs: cargo builds them and says where they are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::object;
use crate::process::{cargo, command, run_cargo};
use crate::workspace::Workspace;

/// Whether errors, other than panics, carry a stack.
const ERROR_STACKS: &str = "RUST_LIB_BACKTRACE";

/// One test program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suite {
    package: String,
    /// The target it was compiled from: a library, a binary, or a file in `tests/`.
    target: String,
    /// The package's directory, in which it runs.
    directory: PathBuf,
    runner: Runner,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Runner {
    Executable(PathBuf),
    /// Examples in documentation, which only cargo can run.
    Documentation,
}

impl Suite {
    /// The name of the package that it tests.
    pub(crate) fn package(&self) -> &str {
        &self.package
    }

    /// Whether it is the package's test program of this name.
    pub(crate) fn is(&self, package: &str, target: &str) -> bool {
        self.package == package && self.target == target
    }

    /// The program, if it is one.
    pub(crate) fn executable(&self) -> Option<&Path> {
        match &self.runner {
            Runner::Executable(path) => Some(path),
            Runner::Documentation => None,
        }
    }

    /// The directory in which it runs.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its name for people: package, and target where that says more.
    pub(crate) fn label(&self) -> String {
        if self.package == self.target.replace('_', "-") {
            self.package.clone()
        } else {
            format!("{} {}", self.package, self.target)
        }
    }

    /// The command that runs those of its tests that `filter` means: all of them if that is the
    /// name of the package or of the target.
    pub(crate) fn command(&self, filter: Option<&str>) -> Command {
        let mut run = match &self.runner {
            Runner::Executable(path) => command(&path.display().to_string()),
            Runner::Documentation => {
                let mut cargo = cargo(&self.directory);
                cargo.args(["test", "--quiet", "--doc", "--workspace", "--"]);
                return cargo;
            }
        };
        run.current_dir(&self.directory)
            .env("CARGO_MANIFEST_DIR", &self.directory);
        // Errors say where they come from; a stack for each of them, besides the one of the panic,
        // buries it.
        if env::var_os(ERROR_STACKS).is_none() {
            run.env(ERROR_STACKS, "0");
        }
        if let Some(filter) = filter
            && filter != self.package
            && filter != self.target
        {
            run.arg(filter);
        }
        run
    }
}

/// The examples in documentation, of all packages.
pub(crate) fn documentation(workspace: &Workspace) -> Suite {
    Suite {
        package: "documentation".to_owned(),
        target: "documentation".to_owned(),
        directory: workspace.root().to_path_buf(),
        runner: Runner::Documentation,
    }
}

/// Builds what `selection` (arguments for cargo) means and returns the test programs among it, by
/// package; the multi-node ones last.
///
/// # Errors
/// When something does not compile.
pub(crate) fn build(workspace: &Workspace, selection: &[&str]) -> Result<Vec<Suite>> {
    build_by(cargo(workspace.root()), selection)
}

/// As [`build`], with this object of the kernel programs inside whatever loads them.
///
/// # Errors
/// When something does not compile.
pub(crate) fn build_with(
    workspace: &Workspace,
    selection: &[&str],
    object: &Path,
) -> Result<Vec<Suite>> {
    let mut build = cargo(workspace.root());
    build.env(object::VARIABLE, object);
    build_by(build, selection)
}

fn build_by(mut cargo: Command, selection: &[&str]) -> Result<Vec<Suite>> {
    cargo
        .args(["build", "--message-format=json-render-diagnostics"])
        .args(selection);
    let messages = run_cargo(&mut cargo)?;
    let mut suites = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("read cargo's messages")?;
        suites.extend(suite(&message));
    }
    suites.sort_by_key(|suite: &Suite| {
        (
            suite.package == super::INTEGRATION,
            suite.package.clone(),
            suite.target.clone(),
        )
    });
    Ok(suites)
}

/// The test program that a message of cargo's is about, if it is about one.
fn suite(message: &Value) -> Option<Suite> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let directory = Path::new(message["manifest_path"].as_str()?)
        .parent()?
        .to_path_buf();
    Some(Suite {
        package: package(message["package_id"].as_str()?, &directory)?,
        target: message["target"]["name"].as_str()?.to_owned(),
        directory,
        runner: Runner::Executable(PathBuf::from(message["executable"].as_str()?)),
    })
}

/// The name in a package id, `path+file:///somewhere/abi#netd-abi@0.1.0`. It is left out where it
/// is the directory's: `path+file:///somewhere/netd#0.1.0`.
fn package(id: &str, directory: &Path) -> Option<String> {
    let (_, fragment) = id.rsplit_once('#')?;
    match fragment.split_once('@') {
        Some((name, _)) => Some(name.to_owned()),
        None => Some(directory.file_name()?.to_str()?.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(test: bool) -> Value {
        serde_json::json!({
            "reason": "compiler-artifact",
            "package_id": "path+file:///w/crates/abi#netd-abi@0.1.0",
            "manifest_path": "/w/crates/abi/Cargo.toml",
            "target": {"name": "abi", "kind": ["lib"]},
            "profile": {"test": test},
            "executable": "/w/target/debug/deps/abi-1",
        })
    }

    #[test]
    fn only_test_programs_are_suites() {
        let suite = suite(&artifact(true)).unwrap();
        assert_eq!(suite.label(), "netd-abi abi");
        assert_eq!(suite.directory, Path::new("/w/crates/abi"));
        assert_eq!(super::suite(&artifact(false)), None);
    }

    #[test]
    fn a_package_named_like_its_directory_is_recognized() {
        assert_eq!(
            package("path+file:///w/netd#0.1.0", Path::new("/w/netd")).unwrap(),
            "netd"
        );
    }

    #[test]
    fn a_filter_that_names_the_suite_runs_all_of_it() {
        let suite = suite(&artifact(true)).unwrap();
        assert_eq!(suite.command(Some("netd-abi")).get_args().count(), 0);
        assert_eq!(suite.command(Some("abi")).get_args().count(), 0);
        assert_eq!(suite.command(Some("checksum")).get_args().count(), 1);
    }
}
