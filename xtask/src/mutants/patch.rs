//! The patches and their heads:
//!
//! ```text
//! Breaks: the checksum is not updated when an address is rewritten
//! Test: netd-abi checksum::
//! diff --git a/crates/abi/src/checksum.rs b/crates/abi/src/checksum.rs
//! …
//! ```
//!
//! `Test` names a package and, as for `cargo xtask test`, a test program or a part of tests' names.
//! `PACKAGE/PROGRAM` builds that one test program and nothing beside it, with sound kernel programs
//! inside: enough for tests that start no daemon, and load the kernel programs from a file.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

const DIRECTORY: &str = "integration/mutants";

/// The tests that must notice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Selection {
    pub(super) package: String,
    /// The one test program that is built, where the patch names one.
    pub(super) program: Option<String>,
    pub(super) filter: String,
}

impl fmt::Display for Selection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.program.iter().map(|program| format!("/{program}"));
        write!(
            formatter,
            "{}{} {}",
            self.package,
            program.collect::<String>(),
            self.filter
        )
    }
}

/// A seeded fault.
#[derive(Debug)]
pub(super) struct Patch {
    /// From the workspace's root.
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) breaks: String,
    pub(super) selection: Selection,
}

impl Patch {
    /// Reads the head of the patch at `path`.
    ///
    /// # Errors
    /// When a line of the head is missing.
    pub(super) fn parse(path: PathBuf, text: &str) -> Result<Self> {
        let breaks = field(text, "Breaks").context("no line `Breaks: what it breaks`")?;
        let test = field(text, "Test").context("no line `Test: package filter`")?;
        let Some((package, filter)) = test.split_once(' ') else {
            bail!("`Test: {test}` has no filter after the package");
        };
        let (package, program) = match package.split_once('/') {
            Some((package, program)) => (package, Some(program.to_owned())),
            None => (package, None),
        };
        let selection = Selection {
            package: package.to_owned(),
            program,
            filter: filter.trim().to_owned(),
        };
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok(Self {
            path,
            name,
            breaks: breaks.to_owned(),
            selection,
        })
    }
}

/// A field of the head, which ends where the difference begins.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .take_while(|line| !line.starts_with("diff ") && !line.starts_with("--- "))
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .map(str::trim)
}

/// All patches with `part` in their names, in order.
///
/// # Errors
/// When some cannot be read; all such are named.
pub(super) fn all(workspace: &Workspace, part: &str) -> Result<Vec<Patch>> {
    let mut patches = Vec::new();
    let mut wrong = Vec::new();
    for path in workspace.sources_under(&[DIRECTORY])? {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path
            .extension()
            .is_none_or(|extension| extension != "patch")
            || !name.contains(part)
        {
            continue;
        }
        match read(workspace, &path) {
            Ok(patch) => patches.push(patch),
            Err(error) => wrong.push(format!("{}: {error:#}", path.display())),
        }
    }
    if !wrong.is_empty() {
        bail!("seeded faults without a proper head:\n{}", wrong.join("\n"));
    }
    Ok(patches)
}

fn read(workspace: &Workspace, path: &Path) -> Result<Patch> {
    let text = workspace.text(path)?.context("not a text")?;
    Patch::parse(path.to_path_buf(), &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_read() {
        let text = "Breaks: the port\nTest: netd-abi checksum::\n\ndiff --git a/x b/x\nTest: no";
        let patch = Patch::parse("integration/mutants/port.patch".into(), text).unwrap();
        assert_eq!(patch.name, "port");
        assert_eq!(patch.breaks, "the port");
        assert_eq!(patch.selection.to_string(), "netd-abi checksum::");
    }

    #[test]
    fn one_program_may_be_named() {
        let text = "Breaks: the port\nTest: netd-integration/programs anything";
        let patch = Patch::parse("x.patch".into(), text).unwrap();
        assert_eq!(patch.selection.package, "netd-integration");
        assert_eq!(patch.selection.program.as_deref(), Some("programs"));
        assert_eq!(
            patch.selection.to_string(),
            "netd-integration/programs anything"
        );
    }

    #[test]
    fn a_line_of_the_difference_is_not_the_head() {
        let text = "Breaks: the port\ndiff --git a/x b/x\nTest: netd-abi x";
        assert!(Patch::parse("x.patch".into(), text).is_err());
    }

    #[test]
    fn a_test_without_filter_is_refused() {
        assert!(Patch::parse("x.patch".into(), "Breaks: x\nTest: netd-abi").is_err());
    }
}
