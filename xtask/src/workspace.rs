//! Where things are in this repository.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Directories that hold no sources of ours, by name or by path from the root.
const NOT_SOURCES: &[&str] = &[".git", "target", "ebpf/target"];

/// A checkout of this repository, or a copy of one.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The checkout whose `cargo xtask` is running.
    pub(crate) fn current() -> Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR").context("run it as `cargo xtask`")?;
        let root = Path::new(&manifest)
            .parent()
            .context("xtask has no workspace above it")?;
        Ok(Self::at(root.to_path_buf()))
    }

    /// The checkout or copy at `root`.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The root directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target directory. Always inside the checkout: a copy has its own.
    pub(crate) fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// The separate workspace of the kernel programs.
    pub(crate) fn ebpf(&self) -> PathBuf {
        self.root.join("ebpf")
    }

    /// Every file that is a source: all but build output and version control, as paths from the
    /// root, in order.
    pub(crate) fn sources(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        self.walk(Path::new(""), &mut found)?;
        found.sort();
        Ok(found)
    }

    /// Sources whose path from the root begins with one of `under`, in order.
    pub(crate) fn sources_under(&self, under: &[&str]) -> Result<Vec<PathBuf>> {
        let mut sources = self.sources()?;
        sources.retain(|path| under.iter().any(|prefix| path.starts_with(prefix)));
        Ok(sources)
    }

    /// The text of a source, or `None` when it is not text.
    pub(crate) fn text(&self, source: &Path) -> Result<Option<String>> {
        let bytes = self.bytes(source)?;
        Ok(String::from_utf8(bytes).ok())
    }

    /// The content of a source.
    pub(crate) fn bytes(&self, source: &Path) -> Result<Vec<u8>> {
        fs::read(self.root.join(source)).with_context(|| format!("read {}", source.display()))
    }

    fn walk(&self, directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
        let absolute = self.root.join(directory);
        let entries =
            fs::read_dir(&absolute).with_context(|| format!("list {}", absolute.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("list {}", absolute.display()))?;
            let path = directory.join(entry.file_name());
            if NOT_SOURCES.iter().any(|other| path == Path::new(other)) {
                continue;
            }
            let kind = entry
                .file_type()
                .with_context(|| format!("read {}", path.display()))?;
            if kind.is_dir() {
                self.walk(&path, found)?;
            } else if kind.is_file() {
                found.push(path);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_leave_out_build_output_and_version_control() {
        let directory = tempfile::tempdir().unwrap();
        for file in [
            "a/b.rs",
            "README.md",
            "target/x",
            ".git/config",
            "ebpf/target/y",
            "ebpf/z",
        ] {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let workspace = Workspace::at(directory.path().to_path_buf());
        let expected: Vec<PathBuf> = ["README.md", "a/b.rs", "ebpf/z"].map(PathBuf::from).into();
        assert_eq!(workspace.sources().unwrap(), expected);
        assert_eq!(
            workspace.sources_under(&["ebpf"]).unwrap(),
            [PathBuf::from("ebpf/z")]
        );
    }
}
