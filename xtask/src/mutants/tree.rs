//! The copy of the tree in which faults are tried: `target/mutants/tree`. It has a target directory
//! of its own, which stays warm because files that are the same are not written again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::{command, output};
use crate::workspace::Workspace;

/// A copy of a workspace.
#[derive(Debug)]
pub(super) struct Tree {
    original: Workspace,
    copy: Workspace,
}

impl Tree {
    /// The copy that belongs to a workspace; [`Tree::restore`] makes it.
    pub(super) fn of(original: &Workspace) -> Self {
        let copy = Workspace::at(original.target().join("mutants/tree"));
        Self {
            original: original.clone(),
            copy,
        }
    }

    /// The copy, as a workspace.
    pub(super) fn workspace(&self) -> &Workspace {
        &self.copy
    }

    /// Makes the copy equal to the original; writes only what differs.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub(super) fn restore(&self) -> Result<()> {
        let root = self.copy.root();
        fs::create_dir_all(root).with_context(|| format!("create {}", root.display()))?;
        let wanted: BTreeSet<PathBuf> = self.original.sources()?.into_iter().collect();
        for there in self.copy.sources()? {
            if !wanted.contains(&there) {
                let path = root.join(&there);
                fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
            }
        }
        for source in &wanted {
            self.copy_file(source)?;
        }
        Ok(())
    }

    /// Applies a patch, given by its path from the root.
    ///
    /// # Errors
    /// When it does not fit the sources.
    pub(super) fn apply(&self, patch: &Path) -> Result<()> {
        let root = self.copy.root();
        // Git must not find the repository around the copy: it would leave out, without a word,
        // whatever lies outside of that repository's part of the tree.
        let ceiling = root.parent().unwrap_or(root);
        output(
            command("git")
                .current_dir(root)
                .env("GIT_CEILING_DIRECTORIES", ceiling)
                .env_remove("GIT_DIR")
                .args(["apply", "--whitespace=nowarn"])
                .arg(self.original.root().join(patch)),
        )?;
        Ok(())
    }

    fn copy_file(&self, source: &Path) -> Result<()> {
        let wanted = self.original.bytes(source)?;
        let path = self.copy.root().join(source);
        if fs::read(&path).is_ok_and(|there| there == wanted) {
            return Ok(());
        }
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("create {}", directory.display()))?;
        }
        fs::write(&path, wanted).with_context(|| format!("write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> (tempfile::TempDir, Workspace) {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("src")).unwrap();
        fs::write(directory.path().join("src/a.rs"), "one\n").unwrap();
        let workspace = Workspace::at(directory.path().to_path_buf());
        (directory, workspace)
    }

    const PATCH: &str = "Breaks: it\n--- a/src/a.rs\n+++ b/src/a.rs\n@@ -1 +1 @@\n-one\n+two\n";

    #[test]
    fn a_fault_is_applied_to_the_copy_alone_and_taken_back() {
        let (directory, workspace) = workspace();
        fs::write(directory.path().join("f.patch"), PATCH).unwrap();
        let tree = Tree::of(&workspace);
        tree.restore().unwrap();
        tree.apply(Path::new("f.patch")).unwrap();
        let copied = tree.workspace().root().join("src/a.rs");
        assert_eq!(fs::read_to_string(&copied).unwrap(), "two\n");
        assert_eq!(
            fs::read_to_string(directory.path().join("src/a.rs")).unwrap(),
            "one\n"
        );
        tree.restore().unwrap();
        assert_eq!(fs::read_to_string(&copied).unwrap(), "one\n");
    }

    #[test]
    fn a_fault_that_does_not_fit_is_refused() {
        let (directory, workspace) = workspace();
        fs::write(
            directory.path().join("f.patch"),
            PATCH.replace("-one", "-three"),
        )
        .unwrap();
        let tree = Tree::of(&workspace);
        tree.restore().unwrap();
        assert!(tree.apply(Path::new("f.patch")).is_err());
    }

    #[test]
    fn restoring_removes_what_the_original_lacks() {
        let (_directory, workspace) = workspace();
        let tree = Tree::of(&workspace);
        tree.restore().unwrap();
        let extra = tree.workspace().root().join("src/extra.rs");
        fs::write(&extra, "").unwrap();
        tree.restore().unwrap();
        assert!(!extra.exists());
    }
}
