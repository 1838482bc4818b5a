//! Processes that outlive the command that started them, known by their number and by a word on
//! their command line, so that a number that the kernel gave away again is never signalled.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::{command, wait};

/// A process in the background.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// A part of its command line, empty where any will do.
    pub marker: String,
}

impl Process {
    /// Starts a program in a session of its own inside a namespace, its output in `log`; `marker`
    /// is a part of its command line.
    ///
    /// # Errors
    /// When the log cannot be opened or the program not be started.
    pub fn spawn_inside(
        namespace: &str,
        program: &Path,
        args: &[String],
        log: &Path,
        marker: &str,
    ) -> Result<Self> {
        let net = format!("--net={}", crate::netns::path(namespace).display());
        let mut all = vec!["nsenter".to_owned(), net, "--".to_owned()];
        all.push(program.display().to_string());
        all.extend_from_slice(args);
        Self::spawn(&all, log, marker)
    }

    /// Starts a program in a session of its own, its output in `log`.
    ///
    /// # Errors
    /// As [`Process::spawn_inside`].
    pub fn spawn(words: &[String], log: &Path, marker: &str) -> Result<Self> {
        let out = append(log)?;
        let err = out.try_clone().context("duplicate the log")?;
        // `setsid` and `nsenter` execute what follows in their own process: one number for all.
        let mut child = Command::new("setsid")
            .args(words)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("start {}", words.join(" ")))?;
        let pid = i32::try_from(child.id()).context("a process number is positive")?;
        // Without somebody who waits for it, it would stay a zombie as long as we live.
        std::thread::spawn(move || child.wait());
        Ok(Self {
            pid,
            marker: marker.to_owned(),
        })
    }

    /// Whether it is running.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let read = |name: &str| std::fs::read(format!("/proc/{}/{name}", self.pid));
        let line = read("cmdline").unwrap_or_default();
        if line.is_empty() {
            // Either a zombie, or in the middle of becoming another program.
            let stat = String::from_utf8_lossy(&read("stat").unwrap_or_default()).into_owned();
            let state = stat
                .rsplit(") ")
                .next()
                .and_then(|rest| rest.chars().next());
            // The first thread may have ended before the others, which still have all files open.
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid));
            return match state {
                Some('Z' | 'X') => threads.is_ok_and(|it| it.count() > 1),
                state => state.is_some(),
            };
        }
        String::from_utf8_lossy(&line).contains(&self.marker)
    }

    /// Ends it with SIGKILL and waits until it is gone.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        let _ = self.wait_gone(Duration::from_secs(10));
    }

    /// Asks it to end, and ends it if it has not within `grace`; whether it went by itself.
    #[must_use]
    pub fn terminate(&self, grace: Duration) -> bool {
        self.signal(Signal::TERM);
        let graceful = self.wait_gone(grace).is_ok();
        if !graceful {
            self.kill();
        }
        graceful
    }

    /// Sends a signal, unless the number means another process by now.
    pub fn signal(&self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return;
        };
        // The descriptor is taken first: what it means cannot change after the check.
        let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else {
            return;
        };
        if self.is_alive() {
            let _ = pidfd_send_signal(&descriptor, signal);
        }
    }

    fn wait_gone(&self, limit: Duration) -> Result<()> {
        wait::until(limit, "the end of a process", || !self.is_alive())
    }
}

/// Every process inside a namespace.
///
/// # Errors
/// When there is no such namespace.
pub fn inside(namespace: &str) -> Result<Vec<Process>> {
    let list = command::run("ip", &["netns", "pids", namespace])?;
    let pids = list.lines().filter_map(|line| line.trim().parse().ok());
    Ok(pids
        .map(|pid| Process {
            pid,
            marker: String::new(),
        })
        .collect())
}

fn append(log: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("open {}", log.display()))
}
