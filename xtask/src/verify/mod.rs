//! Checks that need no running: format, lints, layering, sizes, and the house rules that a compiler
//! does not know. `execute` never writes a source; `fix` repairs what can be repaired.

mod layering;
mod links;
mod manifests;
mod permissions;
mod sizes;
mod words;

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::object;
use crate::process::{cargo, print, run, run_cargo};
use crate::setup::Toolchain;
use crate::workspace::Workspace;

/// What a check has to say.
#[derive(Debug, Default)]
struct Findings {
    /// What must be changed, each with its place.
    wrong: Vec<String>,
    /// What should be looked at.
    noted: Vec<String>,
}

type Check = fn(&Workspace) -> Result<Findings>;

/// Checks of texts, quick.
const TEXTS: &[(&str, Check)] = &[
    ("manifests", manifests::check),
    ("layering", layering::check),
    ("permissions", permissions::check),
    ("sizes", sizes::check),
    ("words", words::check),
    ("links", links::check),
];

/// Runs all checks and says which do not hold.
///
/// # Errors
/// When the toolchain is missing and cannot be installed, or a file cannot be read. What does not
/// hold is no error but the exit code.
pub(crate) fn execute(workspace: &Workspace) -> Result<ExitCode> {
    let mut failed: Vec<&str> = Vec::new();
    for (name, check) in TEXTS {
        let findings = check(workspace).with_context(|| format!("check {name}"))?;
        findings
            .noted
            .iter()
            .for_each(|line| print(&format!("note: {name}: {line}")));
        findings
            .wrong
            .iter()
            .for_each(|line| print(&format!("error: {name}: {line}")));
        if !findings.wrong.is_empty() {
            failed.push(name);
        }
    }
    let toolchain = Toolchain::ensure()?;
    let checks: [(&str, Result<()>); 4] = [
        (
            "format",
            run(cargo(workspace.root()).args(["fmt", "--all", "--check"])),
        ),
        (
            "format of the kernel programs",
            run(toolchain.cargo(&workspace.ebpf()).args(["fmt", "--check"])),
        ),
        ("lints", lints(workspace, &toolchain)),
        (
            "lints of the kernel programs",
            kernel_lints(workspace, &toolchain),
        ),
    ];
    for (name, result) in checks {
        if let Err(error) = result {
            print(&format!("error: {name}: {error:#}"));
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!("verify: not right: {}", failed.join(", ")));
    Ok(ExitCode::FAILURE)
}

/// Formats, and applies what clippy proposes.
///
/// # Errors
/// When a tool fails.
pub(crate) fn fix(workspace: &Workspace) -> Result<()> {
    let toolchain = Toolchain::ensure()?;
    object::ensure(workspace, &toolchain)?;
    let ebpf = workspace.ebpf();
    let repair = [
        "clippy",
        "--fix",
        "--allow-dirty",
        "--allow-staged",
        "--allow-no-vcs",
    ];
    format(workspace, &toolchain)?;
    run_cargo(
        cargo(workspace.root())
            .args(repair)
            .args(["--workspace", "--all-targets"]),
    )?;
    run_cargo(toolchain.cargo(&ebpf).args(repair).arg("--release"))?;
    // What clippy writes is not always formatted.
    format(workspace, &toolchain)
}

fn format(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    run(cargo(workspace.root()).args(["fmt", "--all"]))?;
    run(toolchain.cargo(&workspace.ebpf()).arg("fmt"))
}

/// User space embeds the object, so that has to be there before anything is compiled.
fn lints(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    object::ensure(workspace, toolchain)?;
    let mut clippy = cargo(workspace.root());
    clippy.args([
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]);
    run_cargo(&mut clippy)?;
    Ok(())
}

fn kernel_lints(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    let mut clippy = toolchain.cargo(&workspace.ebpf());
    clippy.args(["clippy", "--locked", "--release", "--", "-D", "warnings"]);
    run_cargo(&mut clippy)?;
    Ok(())
}
