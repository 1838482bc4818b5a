//! One process for each instance on a host, wherever its state is; and one for each state directory.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::problem::{Problem, ProblemCode};

/// Where the locks of instances are.
pub(crate) const DIRECTORY: &str = "/run/netd";

/// What follows the instance in the name of its lock.
const SUFFIX: &str = ".lock";

/// Held by the process that drives an instance; free again when that ends, however it ends. The file
/// of an instance goes with it, unless the process was killed.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Takes the lock of an instance; `directory` is [`DIRECTORY`].
    pub(crate) fn instance(directory: &Path, instance: &str) -> Result<Self, Problem> {
        let path = directory.join(format!("{instance}{SUFFIX}"));
        let what = format!("another process drives the instance {instance}");
        loop {
            make(directory, &path)?;
            let file = File::create(&path).map_err(|source| unusable(&path, &source))?;
            let lock = Self::take(&path, file, &what)?;
            // Whoever held it until now may have removed it meanwhile.
            if lock.is_there()? {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock of a state directory: the directory itself.
    pub(crate) fn state(directory: &Path) -> Result<Self, Problem> {
        make(directory, directory)?;
        let file = File::open(directory).map_err(|source| unusable(directory, &source))?;
        let what = format!("another process has its state in {}", directory.display());
        Self::take(directory, file, &what)
    }

    fn take(path: &Path, file: File, busy: &str) -> Result<Self, Problem> {
        match file.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                file,
            }),
            Err(TryLockError::Error(source)) => Err(unusable(path, &source)),
            Err(TryLockError::WouldBlock) => {
                let message = format!("{busy}: stop it first");
                Err(Problem::new(ProblemCode::Busy, message, ""))
            }
        }
    }

    fn is_there(&self) -> Result<bool, Problem> {
        let metadata = self.file.metadata();
        let metadata = metadata.map_err(|source| unusable(&self.path, &source))?;
        Ok(metadata.nlink() > 0)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A state directory is its own lock, and no file that could be removed.
        if self.is_there().is_ok_and(|is_there| is_there) {
            let _ = fs::remove_file(&self.path);
        }
        // Said aloud: closing the file frees nothing while a process that is just being started still has a
        // copy of the descriptor.
        let _ = self.file.unlock();
    }
}

/// Waits for the lock of what all instances on a host have in common; free when the file is closed.
pub(crate) fn host(directory: &Path) -> Result<File, Problem> {
    make(directory, directory)?;
    let file = File::open(directory).map_err(|source| unusable(directory, &source))?;
    file.lock().map_err(|source| unusable(directory, &source))?;
    Ok(file)
}

/// The instances that have a lock in `directory`, held or not.
pub(crate) fn instances(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name();
            Some(name.to_str()?.strip_suffix(SUFFIX)?.to_owned())
        })
        .collect()
}

fn make(directory: &Path, path: &Path) -> Result<(), Problem> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o755).create(directory);
    made.map_err(|source| unusable(path, &source))
}

fn unusable(path: &Path, source: &io::Error) -> Problem {
    let message = format!("lock {}: {source}", path.display());
    Problem::new(
        ProblemCode::Record,
        message,
        "a directory that can be written",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_has_one_driver_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("run");
        let lock = Lock::instance(&directory, "a").unwrap();
        let busy = Lock::instance(&directory, "a").unwrap_err();
        assert_eq!(busy.code, ProblemCode::Busy);
        let told = "another process drives the instance a: stop it first";
        assert_eq!(busy.to_string(), told);
        let other = Lock::instance(&directory, "b").unwrap();
        assert_eq!(instances(&directory), ["a", "b"].map(str::to_owned).into());
        drop(lock);
        assert_eq!(instances(&directory), ["b".to_owned()].into());
        drop(Lock::instance(&directory, "a").unwrap());
        drop(other);
        assert!(instances(&directory).is_empty());
    }

    #[test]
    fn a_lock_is_free_when_dropped_whoever_has_a_copy_of_its_descriptor() {
        let directory = tempfile::tempdir().unwrap();
        let state = Lock::state(directory.path()).unwrap();
        let instance = Lock::instance(directory.path(), "a").unwrap();
        let copies = [&state, &instance].map(|lock| lock.file.try_clone().unwrap());
        drop((state, instance));
        assert!(Lock::state(directory.path()).is_ok());
        assert!(Lock::instance(directory.path(), "a").is_ok());
        drop(copies);
    }

    #[test]
    fn state_directory_has_one_user_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let lock = Lock::state(&state).unwrap();
        assert_eq!(Lock::state(&state).unwrap_err().code, ProblemCode::Busy);
        drop(lock);
        assert!(Lock::state(&state).is_ok());
        assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
    }
}
