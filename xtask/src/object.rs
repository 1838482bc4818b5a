//! The objects of the kernel programs, `target/ebpf/netd.bpf.o` and, for laboratories only,
//! `target/ebpf/fault.bpf.o`: built once per change of their sources. A stamp beside them says from
//! what they were made; a file system's times are not asked, so that switching branches back and
//! forth costs nothing.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::{run_cargo, say};
use crate::setup::Toolchain;
use crate::workspace::Workspace;

/// What goes into the object, besides the part of the root manifest that `crates/abi` inherits.
const SOURCES: &[&str] = &["ebpf", "crates/abi"];

/// Names another object than [`path`]: to what is compiled with one inside, and to tests that load one.
pub(crate) const VARIABLE: &str = "NETD_EBPF_OBJECT";

/// Builds the object if its sources or its toolchain have changed since.
///
/// # Errors
/// When it does not compile, or cannot be written.
pub(crate) fn ensure(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    let stamp = stamp(workspace, toolchain.identity())?;
    let object = path(workspace);
    let faults = object.with_file_name("fault.bpf.o");
    let stamp_file = object.with_extension("stamp");
    let there = object.is_file() && faults.is_file();
    if there && fs::read_to_string(&stamp_file).is_ok_and(|there| there == stamp) {
        return Ok(());
    }
    say("build: kernel programs");
    let ebpf = workspace.ebpf();
    run_cargo(toolchain.cargo(&ebpf).args(["build", "--release"]))?;
    install(
        &ebpf.join("target/bpfel-unknown-none/release/netd"),
        &object,
    )?;
    install(
        &ebpf.join("target/bpfel-unknown-none/release/fault"),
        &faults,
    )?;
    fs::write(&stamp_file, stamp).with_context(|| format!("write {}", stamp_file.display()))
}

/// Where the object is.
pub(crate) fn path(workspace: &Workspace) -> PathBuf {
    workspace.target().join("ebpf/netd.bpf.o")
}

/// Puts the object in its place unless the same is there: user space is built again only when the
/// programs have really changed.
fn install(built: &Path, object: &Path) -> Result<()> {
    let new = fs::read(built).with_context(|| format!("read {}", built.display()))?;
    if fs::read(object).is_ok_and(|old| old == new) {
        return Ok(());
    }
    if let Some(directory) = object.parent() {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    fs::write(object, new).with_context(|| format!("write {}", object.display()))
}

/// A digest of the sources, and the identity of what compiles them.
fn stamp(workspace: &Workspace, compiler: &str) -> Result<String> {
    let mut digest = DefaultHasher::new();
    for source in workspace.sources_under(SOURCES)? {
        source.hash(&mut digest);
        workspace.bytes(&source)?.hash(&mut digest);
    }
    inherited(workspace)?.hash(&mut digest);
    Ok(format!("{:016x}\n{compiler}\n", digest.finish()))
}

/// What members of the root workspace inherit of it, but for dependencies: those of user space do
/// not go into the object.
fn inherited(workspace: &Workspace) -> Result<String> {
    let manifest = fs::read_to_string(workspace.root().join("Cargo.toml"))
        .context("read the root manifest")?;
    let manifest: toml::Table = manifest.parse().context("parse the root manifest")?;
    let package = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("package"));
    Ok(package.map(ToString::to_string).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> (tempfile::TempDir, Workspace) {
        let directory = tempfile::tempdir().unwrap();
        for file in [
            "ebpf/src/main.rs",
            "crates/abi/src/lib.rs",
            "netd/src/main.rs",
        ] {
            write(directory.path(), file, "one");
        }
        write(
            directory.path(),
            "Cargo.toml",
            "[workspace.package]\nedition = \"2024\"",
        );
        let workspace = Workspace::at(directory.path().to_path_buf());
        (directory, workspace)
    }

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_stamp_follows_the_sources_of_the_object_and_nothing_else() {
        let (directory, workspace) = workspace();
        let first = stamp(&workspace, "rustc").unwrap();
        write(directory.path(), "netd/src/main.rs", "two");
        write(directory.path(), "ebpf/target/x", "built");
        let manifest =
            "[workspace.package]\nedition = \"2024\"\n[workspace.dependencies]\na = \"1\"";
        write(directory.path(), "Cargo.toml", manifest);
        assert_eq!(stamp(&workspace, "rustc").unwrap(), first);
        write(directory.path(), "crates/abi/src/lib.rs", "two");
        assert_ne!(stamp(&workspace, "rustc").unwrap(), first);
    }

    #[test]
    fn the_stamp_follows_names_and_toolchain() {
        let (directory, workspace) = workspace();
        let first = stamp(&workspace, "rustc").unwrap();
        assert_ne!(stamp(&workspace, "rustc 2").unwrap(), first);
        write(directory.path(), "ebpf/src/new.rs", "");
        assert_ne!(stamp(&workspace, "rustc").unwrap(), first);
    }

    #[test]
    fn the_stamp_follows_the_inherited_edition() {
        let (directory, workspace) = workspace();
        let first = stamp(&workspace, "rustc").unwrap();
        write(
            directory.path(),
            "Cargo.toml",
            "[workspace.package]\nedition = \"2027\"",
        );
        assert_ne!(stamp(&workspace, "rustc").unwrap(), first);
    }

    #[test]
    fn an_equal_object_keeps_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let (built, object) = (
            directory.path().join("built"),
            directory.path().join("d/object"),
        );
        fs::write(&built, "code").unwrap();
        install(&built, &object).unwrap();
        let first = fs::metadata(&object).unwrap().modified().unwrap();
        install(&built, &object).unwrap();
        assert_eq!(fs::metadata(&object).unwrap().modified().unwrap(), first);
        fs::write(&built, "other code").unwrap();
        install(&built, &object).unwrap();
        assert_eq!(fs::read_to_string(&object).unwrap(), "other code");
    }
}
