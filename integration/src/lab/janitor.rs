//! The process that takes a lab down when its owner dies, in whatever way: of a panic, of Ctrl-C,
//! of SIGKILL. It learns of it from a pipe whose other end only the owner holds.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::{down, record};
use crate::binaries;

/// What the owner says when the lab is to stay.
const DISMISSED: &[u8] = b"k";

/// The owner's end.
#[derive(Debug)]
pub(super) struct Janitor {
    child: Child,
}

impl Janitor {
    pub(super) fn start(lab: &str) -> Result<Self> {
        // A session of its own: Ctrl-C is not meant for it.
        let child = Command::new("setsid")
            .arg(binaries::find("netd-lab")?)
            .args(["janitor", "--name", lab])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("start the lab's janitor")?;
        Ok(Self { child })
    }

    /// Tells it that the lab stays.
    pub(super) fn dismiss(mut self) -> Result<()> {
        let stdin = self
            .child
            .stdin
            .as_mut()
            .context("the janitor has a pipe")?;
        stdin
            .write_all(DISMISSED)
            .context("dismiss the lab's janitor")
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        // Closes the pipe, upon which it looks whether anything is left to do.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The janitor's life: waits for the owner's end and takes down what it left.
///
/// # Errors
/// When the lab cannot be taken down.
pub fn watch_owner(lab: &str) -> Result<()> {
    let mut word = Vec::new();
    std::io::stdin()
        .read_to_end(&mut word)
        .context("wait for the owner of the lab")?;
    if word == DISMISSED || !record::directory(lab).exists() {
        return Ok(());
    }
    down(lab)
}
