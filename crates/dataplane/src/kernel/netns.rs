//! Network namespaces by file descriptor.
//!
//! A thread enters a namespace, works there, and ends; no thread that others share ever changes
//! its namespace, so that a tokio worker is always where the process started.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FsWord, fstatfs};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// `NSFS_MAGIC` of linux/magic.h.
const NSFS: FsWord = 0x6e73_6673;

/// An open network namespace, which lives at least as long as this value.
#[derive(Clone, Debug)]
pub(crate) struct Netns {
    file: Arc<File>,
    path: PathBuf,
}

/// A namespace cannot be opened or entered.
#[derive(Debug, thiserror::Error)]
#[error("{action} namespace {path}")]
pub(crate) struct NetnsError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Netns {
    /// Opens the namespace bound to `path`.
    ///
    /// # Errors
    /// When there is no such file, or it is no namespace.
    pub(crate) fn open(path: &Path) -> Result<Self, NetnsError> {
        let error = |source| NetnsError {
            action: "open",
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(error)?;
        let filesystem = fstatfs(&file).map_err(|errno| error(errno.into()))?;
        if filesystem.f_type != NSFS {
            return Err(error(io::Error::other("not a network namespace")));
        }
        Ok(Self {
            file: Arc::new(file),
            path: path.to_owned(),
        })
    }

    /// Whether it is the one that the calling thread is in.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub(crate) fn is_here(&self) -> Result<bool, NetnsError> {
        let identity = |file: io::Result<Metadata>| file.map(|it| (it.dev(), it.ino()));
        let error = |source| self.error("compare", source);
        let own = identity(std::fs::metadata("/proc/thread-self/ns/net")).map_err(error)?;
        Ok(identity(self.file.metadata()).map_err(error)? == own)
    }

    /// Runs `work` on a thread of its own inside the namespace and waits for it.
    pub(crate) fn run<T, F>(&self, work: F) -> Result<T, NetnsError>
    where
        T: Send,
        F: FnOnce() -> T + Send,
    {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("netns".to_owned())
                .spawn_scoped(scope, || {
                    move_into_link_name_space(self.as_fd(), Some(LinkNameSpaceType::Network))?;
                    Ok::<T, rustix::io::Errno>(work())
                })
                .map_err(|source| self.error("start a thread for", source))?;
            match thread.join() {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(errno)) => Err(self.error("enter", errno.into())),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn error(&self, action: &'static str, source: io::Error) -> NetnsError {
        NetnsError {
            action,
            path: self.path.clone(),
            source,
        }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_file_is_no_namespace() {
        let error = Netns::open(Path::new("/proc/self/status")).unwrap_err();
        assert!(error.to_string().contains("/proc/self/status"));
    }

    #[test]
    fn work_is_done_inside() {
        let here = Netns::open(Path::new("/proc/thread-self/ns/net")).unwrap();
        assert!(here.is_here().unwrap());
        if rustix::process::geteuid().is_root() {
            assert_eq!(here.run(|| 7).unwrap(), 7);
        } else {
            eprintln!("SKIPPED: needs root");
        }
    }
}
