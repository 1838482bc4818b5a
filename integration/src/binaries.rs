//! Where the project's programs are: `NETD_BIN_DIR`, or beside the running one.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The path of one of the project's programs (`netd`, `netctl`, `netd-lab`).
///
/// # Errors
/// When it is neither in `NETD_BIN_DIR` nor beside the running program (for a test: one above).
pub fn find(name: &str) -> Result<PathBuf> {
    let exe = std::env::current_exe().context("find the running program")?;
    let beside = exe.parent().unwrap_or(Path::new("/"));
    let mut places: Vec<PathBuf> = Vec::new();
    places.extend(std::env::var_os("NETD_BIN_DIR").map(PathBuf::from));
    places.push(beside.to_owned());
    places.extend(beside.parent().map(Path::to_owned));
    for place in &places {
        let candidate = place.join(name);
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    bail!("no {name} in {places:?}; build it, or set NETD_BIN_DIR");
}
