//! Kernel settings under /proc/sys, of the calling thread's network namespace.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A setting cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{action} sysctl {key}")]
pub(crate) struct SysctlError {
    action: &'static str,
    key: String,
    #[source]
    source: io::Error,
}

/// Reads `key`, given with slashes below /proc/sys; `None` when this kernel does not have it.
pub(crate) fn read(key: &str) -> Result<Option<String>, SysctlError> {
    match fs::read_to_string(path(key)) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SysctlError {
            action: "read",
            key: key.to_owned(),
            source,
        }),
    }
}

/// Writes `value` to `key`.
pub(crate) fn write(key: &str, value: &str) -> Result<(), SysctlError> {
    // With the line's end: the kernel takes no notice of a write of nothing, and a list that was
    // empty has to become empty again.
    fs::write(path(key), format!("{value}\n")).map_err(|source| SysctlError {
        action: "write",
        key: key.to_owned(),
        source,
    })
}

fn path(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key)
}
