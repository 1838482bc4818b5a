//! What building the kernel programs takes: a nightly Rust with the sources of `core`, and
//! bpf-linker, which loads the LLVM library of that very toolchain.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, command, find, output, run, run_cargo, say};

/// The toolchain taken when none that fits is installed.
const PINNED: &str = "nightly-2026-05-20";

/// Names another toolchain, for those who must use it.
const VARIABLE: &str = "NETD_EBPF_TOOLCHAIN";

/// The LLVM versions that bpf-linker can read.
const LLVM: std::ops::RangeInclusive<u32> = 20..=22;

/// The version installed when there is none; a later one that is there is left alone.
const LINKER: &str = "0.10.4";

const COMPONENTS: &[&str] = &["rust-src", "rustfmt", "clippy"];

/// A toolchain that can build the kernel programs, complete.
#[derive(Debug)]
pub(crate) struct Toolchain {
    name: String,
    identity: String,
}

impl Toolchain {
    /// Finds one or installs it, with bpf-linker.
    ///
    /// # Errors
    /// When rustup is missing, or an installation does not succeed.
    pub(crate) fn ensure() -> Result<Self> {
        if find("rustup").is_none() {
            bail!("rustup is missing: install Rust from https://rustup.rs and run this again");
        }
        let (name, version) = choose()?;
        add_components(&name)?;
        let linker = ensure_linker()?;
        Ok(Self {
            identity: format!("{version}\n{linker}"),
            name,
        })
    }

    /// What compiles: version of the compiler and of the linker, as they state them.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// Its cargo, in the workspace of the kernel programs at `ebpf`.
    pub(crate) fn cargo(&self, ebpf: &Path) -> Command {
        let mut cargo = command("rustup");
        cargo
            .current_dir(ebpf)
            .args(["run", &self.name, "cargo"])
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("CARGO_BUILD_TARGET_DIR");
        cargo
    }
}

/// The first toolchain whose LLVM fits, with what its compiler says about itself.
fn choose() -> Result<(String, String)> {
    if let Ok(name) = env::var(VARIABLE) {
        let version = compiler(&name).with_context(|| format!("{VARIABLE}={name}"))?;
        return Ok((name, version));
    }
    for name in ["nightly", PINNED] {
        if let Ok(version) = compiler(name)
            && llvm(&version).is_some_and(|major| LLVM.contains(&major))
        {
            return Ok((name.to_owned(), version));
        }
    }
    say(&format!(
        "setup: installing the toolchain {PINNED} (rustup)"
    ));
    run(command("rustup").args(["toolchain", "install", PINNED, "--profile", "minimal"]))?;
    Ok((PINNED.to_owned(), compiler(PINNED)?))
}

fn compiler(name: &str) -> Result<String> {
    output(command("rustup").args(["run", name, "rustc", "--version", "--verbose"]))
}

/// The major version of LLVM in the words of `rustc --version --verbose`.
fn llvm(version: &str) -> Option<u32> {
    let line = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next()?.parse().ok()
}

fn add_components(toolchain: &str) -> Result<()> {
    let installed = output(command("rustup").args([
        "component",
        "list",
        "--installed",
        "--toolchain",
        toolchain,
    ]))?;
    let missing = missing_components(&installed);
    if missing.is_empty() {
        return Ok(());
    }
    say(&format!(
        "setup: adding {} to {toolchain} (rustup)",
        missing.join(", ")
    ));
    run(command("rustup")
        .args(["component", "add", "--toolchain", toolchain])
        .args(&missing))
}

/// Components that are not in rustup's list, in which names may carry a target.
fn missing_components(installed: &str) -> Vec<&'static str> {
    let has = |component: &str| {
        installed.lines().any(|line| {
            line.strip_prefix(component)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    };
    COMPONENTS
        .iter()
        .copied()
        .filter(|component| !has(component))
        .collect()
}

/// Installs bpf-linker unless a version that will do is there; returns what it says it is.
fn ensure_linker() -> Result<String> {
    if let Some(version) = linker() {
        return Ok(version);
    }
    say(&format!(
        "setup: installing bpf-linker {LINKER} (cargo install, some minutes)"
    ));
    let home = env::var_os("HOME").unwrap_or_else(|| "/".into());
    let install = ["install", "bpf-linker", "--version", LINKER, "--locked"];
    run_cargo(cargo(Path::new(&home)).args(install))?;
    linker().context("bpf-linker is not to be found after its installation")
}

fn linker() -> Option<String> {
    find("bpf-linker")?;
    let version = output(command("bpf-linker").arg("--version")).ok()?;
    linker_fits(&version).then_some(version)
}

fn linker_fits(version: &str) -> bool {
    let number = version.trim().rsplit(' ').next().unwrap_or_default();
    match (numbers(number), numbers(LINKER)) {
        (Some(there), Some(wanted)) => there >= wanted,
        _ => false,
    }
}

fn numbers(version: &str) -> Option<Vec<u32>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_is_read_from_the_compilers_words() {
        assert_eq!(
            llvm("rustc 1.97.0-nightly\nLLVM version: 22.1.4\n"),
            Some(22)
        );
        assert_eq!(llvm("rustc 1.97.0-nightly\n"), None);
    }

    #[test]
    fn components_are_found_with_and_without_a_target() {
        let all = "clippy-x86_64-unknown-linux-gnu\nrust-src\nrustfmt-x86_64-unknown-linux-gnu\n";
        assert!(missing_components(all).is_empty());
        assert_eq!(
            missing_components("rust-std-x\nclippy-x\n"),
            ["rust-src", "rustfmt"]
        );
    }

    #[test]
    fn an_older_linker_does_not_do_and_a_later_one_does() {
        assert!(linker_fits("bpf-linker 0.10.4\n"));
        assert!(linker_fits("bpf-linker 0.13.0\n"));
        assert!(!linker_fits("bpf-linker 0.9.15\n"));
        assert!(!linker_fits("no version"));
    }
}
