//! Setting up a machine: what is missing is named and installed, what is there is left alone.
//!
//! Two halves, since building needs less than running: `toolchain` is what building the kernel
//! programs takes, `host` what running nodes in network namespaces takes.

mod host;
mod toolchain;

use anyhow::Result;

pub(crate) use host::ensure_machine as virtual_machine;
pub(crate) use toolchain::Toolchain;

/// Makes sure of both halves. Silent when nothing is missing.
///
/// # Errors
/// When something is missing and cannot be installed.
pub(crate) fn everything() -> Result<Toolchain> {
    host::ensure()?;
    Toolchain::ensure()
}

/// Makes sure of what benchmarks compare netd with.
///
/// # Errors
/// As [`everything`].
pub(crate) fn peers() -> Result<()> {
    host::ensure_peers()
}
