//! Manifests: where versions and lints are stated, and what must never be linked.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::Findings;
use crate::workspace::Workspace;

/// Cryptography that needs a foreign tool chain to build, or that of the system.
const BANNED: &[&str] = &["openssl-sys", "aws-lc-sys", "native-tls"];

/// A member of a workspace of ours, or the kernel programs' package.
#[derive(Debug)]
pub(super) struct Manifest {
    /// Its directory, from the root.
    pub(super) directory: PathBuf,
    /// The package's name.
    pub(super) name: String,
    table: Table,
}

/// A dependency as a manifest states it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dependency {
    /// The package meant, with aliases resolved.
    pub(super) package: String,
    /// Only tests are compiled with it.
    pub(super) dev: bool,
    /// Its version is the workspace's.
    inherited: bool,
}

impl Manifest {
    pub(super) fn parse(directory: PathBuf, text: &str) -> Result<Self> {
        let table: Table = text.parse()?;
        let name = table
            .get("package")
            .and_then(|package| package.get("name"))
            .and_then(Value::as_str)
            .context("no package name")?
            .to_owned();
        Ok(Self {
            directory,
            name,
            table,
        })
    }

    /// All dependencies, whatever their kind and target. `shared` is the root's table of them.
    pub(super) fn dependencies(&self, shared: &Table) -> Vec<Dependency> {
        let mut found = Vec::new();
        collect(&self.table, shared, &mut found);
        let targets = self.table.get("target").and_then(Value::as_table);
        for target in targets
            .into_iter()
            .flat_map(Table::values)
            .filter_map(Value::as_table)
        {
            collect(target, shared, &mut found);
        }
        found
    }

    fn inherits_lints(&self) -> bool {
        let lints = self
            .table
            .get("lints")
            .and_then(|lints| lints.get("workspace"));
        lints.and_then(Value::as_bool) == Some(true)
    }
}

fn collect(table: &Table, shared: &Table, found: &mut Vec<Dependency>) {
    for (section, dev) in [
        ("dependencies", false),
        ("build-dependencies", false),
        ("dev-dependencies", true),
    ] {
        let Some(stated) = table.get(section).and_then(Value::as_table) else {
            continue;
        };
        for (name, value) in stated {
            let inherited = value.get("workspace").and_then(Value::as_bool) == Some(true);
            let stated = if inherited {
                shared.get(name).unwrap_or(value)
            } else {
                value
            };
            let package = stated
                .get("package")
                .and_then(Value::as_str)
                .unwrap_or(name)
                .to_owned();
            found.push(Dependency {
                package,
                dev,
                inherited,
            });
        }
    }
}

/// The manifests of all our packages, and the root's table of shared dependencies.
pub(super) fn read(workspace: &Workspace) -> Result<(Vec<Manifest>, Table)> {
    let root: Table = text(workspace, Path::new("Cargo.toml"))?
        .parse()
        .context("Cargo.toml")?;
    let own = root
        .get("workspace")
        .and_then(Value::as_table)
        .context("no workspace at the root")?;
    let members = own
        .get("members")
        .and_then(Value::as_array)
        .context("no members at the root")?;
    let mut manifests = Vec::new();
    for member in members.iter().filter_map(Value::as_str).chain(["ebpf"]) {
        let path = Path::new(member).join("Cargo.toml");
        let manifest = Manifest::parse(member.into(), &text(workspace, &path)?);
        manifests.push(manifest.with_context(|| path.display().to_string())?);
    }
    let shared = own
        .get("dependencies")
        .and_then(Value::as_table)
        .cloned()
        .unwrap_or_default();
    Ok((manifests, shared))
}

fn text(workspace: &Workspace, path: &Path) -> Result<String> {
    workspace
        .text(path)?
        .with_context(|| format!("{} is not a text", path.display()))
}

/// Checks that versions and lints are stated once, and that nothing banned is linked.
pub(super) fn check(workspace: &Workspace) -> Result<Findings> {
    let (manifests, shared) = read(workspace)?;
    let mut findings = Findings::default();
    // The kernel programs are a workspace of their own and state everything themselves.
    for manifest in manifests
        .iter()
        .filter(|manifest| manifest.directory != Path::new("ebpf"))
    {
        findings.wrong.extend(inheritance(manifest, &shared));
    }
    for lock in ["Cargo.lock", "ebpf/Cargo.lock"] {
        let lock = text(workspace, Path::new(lock))?;
        for package in banned(&lock) {
            findings.wrong.push(format!(
                "{package} must not be linked (`cargo tree -i {package}`)"
            ));
        }
    }
    Ok(findings)
}

fn inheritance(manifest: &Manifest, shared: &Table) -> Vec<String> {
    let place = manifest.directory.join("Cargo.toml");
    let mut wrong: Vec<String> = manifest
        .dependencies(shared)
        .iter()
        .filter(|dependency| !dependency.inherited)
        .map(|dependency| {
            let package = &dependency.package;
            format!(
                "{}: the version of {package} belongs into the root manifest",
                place.display()
            )
        })
        .collect();
    if !manifest.inherits_lints() {
        wrong.push(format!("{}: no `lints.workspace = true`", place.display()));
    }
    wrong
}

fn banned(lock: &str) -> Vec<&'static str> {
    let has = |package: &str| {
        lock.lines()
            .any(|line| line == format!("name = \"{package}\""))
    };
    BANNED
        .iter()
        .copied()
        .filter(|package| has(package))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Manifest {
        let text = format!("[package]\nname = \"x\"\n{text}");
        Manifest::parse("x".into(), &text).unwrap()
    }

    #[test]
    fn aliases_sections_and_targets_are_resolved() {
        let shared: Table = "abi = { path = \"a\", package = \"netd-abi\" }"
            .parse()
            .unwrap();
        let text = "[dependencies]\nabi.workspace = true\n[dev-dependencies]\nb = \"1\"\n\
                    [target.'cfg(unix)'.dependencies]\nc = { version = \"1\", package = \"d\" }";
        let packages: Vec<(String, bool, bool)> = manifest(text)
            .dependencies(&shared)
            .into_iter()
            .map(|found| (found.package, found.dev, found.inherited))
            .collect();
        let expected = [
            ("netd-abi", false, true),
            ("b", true, false),
            ("d", false, false),
        ]
        .map(|(package, dev, inherited)| (package.to_owned(), dev, inherited));
        assert_eq!(packages, expected);
    }

    #[test]
    fn own_versions_and_missing_lints_are_wrong() {
        let shared = Table::new();
        let good = manifest("[dependencies]\na.workspace = true\n[lints]\nworkspace = true");
        assert!(inheritance(&good, &shared).is_empty());
        assert_eq!(
            inheritance(&manifest("[dependencies]\na = \"1\""), &shared).len(),
            2
        );
    }

    #[test]
    fn banned_packages_are_found_by_their_full_name() {
        let lock = "[[package]]\nname = \"openssl-sys\"\n[[package]]\nname = \"native-tls-x\"\n";
        assert_eq!(banned(lock), ["openssl-sys"]);
    }
}
