//! Named network namespaces, and threads that live in one.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command;

/// Where a named namespace stands.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

/// Moves the calling thread, and every thread and process that it will start, into a namespace.
///
/// # Errors
/// When there is no such namespace, or without `CAP_SYS_ADMIN`.
pub fn enter(name: &str) -> Result<()> {
    let file = File::open(path(name)).with_context(|| format!("open the namespace {name}"))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("enter the namespace {name}"))
}

/// Runs `work` on a thread of its own inside a namespace and returns what it returns.
///
/// # Errors
/// When the namespace cannot be entered, or the work panics.
pub fn inside<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        scope
            .spawn(|| enter(name).map(|()| work()))
            .join()
            .map_err(|_| anyhow!("the work inside {name} panicked"))?
    })
}

/// Makes namespaces, with a working loopback in each.
///
/// # Errors
/// When one exists already or cannot be made.
pub fn create(names: &[String]) -> Result<()> {
    let batch: String = names
        .iter()
        .map(|name| format!("netns add {name}\n"))
        .collect();
    command::ip_batch(None, &batch)?;
    for name in names {
        command::ip_batch(Some(name), "link set lo up\n")?;
    }
    Ok(())
}

/// Ends every process inside a namespace and deletes it; one that does not exist is fine.
///
/// # Errors
/// When it cannot be unmounted.
pub fn delete(name: &str) -> Result<()> {
    if !path(name).exists() {
        return Ok(());
    }
    for process in crate::process::inside(name)? {
        process.kill();
    }
    command::run("ip", &["netns", "delete", name]).map(|_| ())
}
