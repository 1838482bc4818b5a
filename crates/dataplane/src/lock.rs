//! One process for each instance.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use crate::problem::{Problem, ProblemCode};

/// Name of the file in the state directory.
const FILE: &str = "lock";

/// Held by the process that drives an instance; free again when that ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the instance whose state is in `directory`.
    pub(crate) fn take(directory: &Path) -> Result<Self, Problem> {
        let unusable = |source: io::Error| {
            let message = format!("lock {}: {source}", directory.display());
            Problem::new(
                ProblemCode::Record,
                message,
                "a state directory that can be written",
            )
        };
        fs::create_dir_all(directory).map_err(unusable)?;
        let file = File::create(directory.join(FILE)).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
            Err(TryLockError::WouldBlock) => Err(Problem::new(
                ProblemCode::Busy,
                format!(
                    "another process drives the instance of {}",
                    directory.display()
                ),
                "another instance name, or the other process to end",
            )),
        }
    }

    /// Takes the lock of an instance that may never have run here; `None` when it has not.
    pub(crate) fn take_existing(directory: &Path) -> Result<Option<Self>, Problem> {
        if !directory.join(FILE).exists() {
            return Ok(None);
        }
        Self::take(directory).map(Some)
    }

    /// Removes the file of an instance that is no more.
    pub(crate) fn remove(directory: &Path) -> io::Result<()> {
        match fs::remove_file(directory.join(FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_has_one_driver_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let lock = Lock::take(directory.path()).unwrap();
        assert_eq!(
            Lock::take(directory.path()).unwrap_err().code,
            ProblemCode::Busy
        );
        assert_eq!(
            Lock::take_existing(directory.path()).unwrap_err().code,
            ProblemCode::Busy
        );
        drop(lock);
        assert!(Lock::take(directory.path()).is_ok());
        let nowhere = directory.path().join("never");
        assert!(Lock::take_existing(&nowhere).unwrap().is_none());
        assert!(!nowhere.exists());
    }
}
