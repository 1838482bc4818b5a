//! Notices edits of one file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{self, Instant};

/// How long a file has to be left alone before it counts as written: editors write in steps.
const QUIET: Duration = Duration::from_millis(50);
/// After this long an edit is told even if more follow.
const PATIENCE: Duration = Duration::from_secs(1);

/// Watches the directory of a file, so that editors which replace the file are noticed too.
#[derive(Debug)]
pub(crate) struct Watch {
    edits: mpsc::Receiver<()>,
    /// When the edits that have been noticed will be told.
    settling: Option<Settling>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Starts to watch a file. The file need not exist; its directory has to.
    pub(crate) fn new(file: &Path) -> Result<Self> {
        let name = file
            .file_name()
            .context("the topology file has no name")?
            .to_owned();
        let directory = match file.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let (edited, edits) = mpsc::channel(1);
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if concerns(event, &name) {
                    // A full channel means that an edit is waiting to be told already.
                    let _ = edited.try_send(());
                }
            })
            .context("watch the topology file")?;
        watcher
            .watch(&directory, RecursiveMode::NonRecursive)
            .with_context(|| format!("watch {}", directory.display()))?;
        Ok(Self {
            edits,
            settling: None,
            _watcher: watcher,
        })
    }

    /// Waits until the file has been edited and then left alone for a moment. Nothing is lost, and
    /// nothing waits longer, when this is dropped before it is done and called again.
    pub(crate) async fn edited(&mut self) {
        loop {
            let Some(settling) = &mut self.settling else {
                if self.edits.recv().await.is_none() {
                    return std::future::pending().await;
                }
                let now = Instant::now();
                self.settling = Some(Settling {
                    quiet: now + QUIET,
                    latest: now + PATIENCE,
                });
                continue;
            };
            tokio::select! {
                () = time::sleep_until(settling.quiet) => {
                    self.settling = None;
                    return;
                }
                Some(()) = self.edits.recv() => {
                    settling.quiet = settling.latest.min(Instant::now() + QUIET);
                }
            }
        }
    }
}

/// The wait of an edit that has been noticed.
#[derive(Clone, Copy, Debug)]
struct Settling {
    /// If nothing more is written.
    quiet: Instant,
    /// Whatever is written.
    latest: Instant,
}

/// Whether something happened that may have changed the file. Errors count: what was missed is
/// unknown.
fn concerns(event: notify::Result<notify::Event>, name: &OsString) -> bool {
    let Ok(event) = event else {
        return true;
    };
    let touches = match event.kind {
        EventKind::Access(_) => false,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    };
    let named = |path: &PathBuf| path.file_name() == Some(name);
    touches && (event.need_rescan() || event.paths.iter().any(named))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    async fn is_told(watch: &mut Watch) -> bool {
        time::timeout(SOON, watch.edited()).await.is_ok()
    }

    #[tokio::test]
    async fn a_file_that_is_written_or_replaced_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("t.toml");
        let mut watch = Watch::new(&file).unwrap();
        fs::write(&file, "a = 1").unwrap();
        assert!(is_told(&mut watch).await, "creation");
        fs::write(&file, "a = 2").unwrap();
        assert!(is_told(&mut watch).await, "writing");
        let other = directory.path().join(".t.toml.swp");
        fs::write(&other, "a = 3").unwrap();
        fs::rename(&other, &file).unwrap();
        assert!(is_told(&mut watch).await, "replacing");
        fs::remove_file(&file).unwrap();
        assert!(is_told(&mut watch).await, "removal");
    }

    #[tokio::test]
    async fn reading_and_other_files_are_not_edits() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("t.toml");
        fs::write(&file, "a = 1").unwrap();
        let mut watch = Watch::new(&file).unwrap();
        fs::write(directory.path().join("other"), "").unwrap();
        fs::read(&file).unwrap();
        let told = time::timeout(QUIET * 6, watch.edited()).await;
        assert!(told.is_err());
    }

    #[tokio::test]
    async fn who_asks_all_the_time_does_not_put_an_edit_off() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("t.toml");
        let mut watch = Watch::new(&file).unwrap();
        fs::write(&file, "a = 1").unwrap();
        let interrupted =
            async { while time::timeout(QUIET / 5, watch.edited()).await.is_err() {} };
        assert!(time::timeout(SOON, interrupted).await.is_ok());
    }

    #[tokio::test]
    async fn a_burst_of_edits_is_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("t.toml");
        let mut watch = Watch::new(&file).unwrap();
        for step in 0..10 {
            fs::write(&file, format!("a = {step}")).unwrap();
        }
        assert!(is_told(&mut watch).await);
        let again = time::timeout(QUIET * 6, watch.edited()).await;
        assert!(again.is_err());
    }
}
