//! Running one test program to its end, or to the end of its time.

use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::outcome::{Outcome, Reader};
use crate::process::{command, print, say};

/// What a test program asked to end has left to clean up.
const GRACE: Duration = Duration::from_secs(20);

/// How a program is run.
#[derive(Debug)]
pub(crate) struct Limits {
    /// When it is ended.
    pub(crate) time: Duration,
    /// What is shown of what it prints.
    pub(crate) output: Output,
}

/// What is shown of what a test program prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// All of it, as it comes.
    Live,
    /// All of it at the end, if a test fails.
    Failures,
    /// Nothing.
    Silent,
}

/// Runs a test program and counts its tests.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn run(program: &mut Command, label: &str, limits: &Limits) -> Result<Outcome> {
    let started = Instant::now();
    if limits.output == Output::Silent {
        program.stderr(Stdio::null());
    }
    let mut child = program
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start the tests of {label}"))?;
    let (ended, end) = mpsc::channel::<()>();
    let watch = watch(child.id(), label.to_owned(), limits.time, end);
    let (reader, kept) = child
        .stdout
        .take()
        .map_or_else(Default::default, |stdout| follow(stdout, limits.output));
    let status = child
        .wait()
        .with_context(|| format!("wait for the tests of {label}"))?;
    drop(ended);
    drop(watch.join());
    let mut outcome = reader.finish(status.success());
    outcome.took = started.elapsed();
    if outcome.tally.failed > 0 && limits.output == Output::Failures {
        kept.iter().for_each(|line| print(line));
    }
    Ok(outcome)
}

/// Reads to the end. Lines that were not shown are returned.
fn follow(stdout: ChildStdout, output: Output) -> (Reader, Vec<String>) {
    let mut reader = Reader::default();
    let mut kept = Vec::new();
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        reader.read(&line);
        if output != Output::Live {
            kept.push(line);
        } else if says_something(&line) {
            print(&line);
        }
    }
    (reader, kept)
}

/// False for the frame that every test program draws, with or without tests in it.
fn says_something(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("running ") && !line.starts_with("test result: ok")
}

/// Ends the process when its time is over: it is asked first, so that it can clean up.
fn watch(
    pid: u32,
    label: String,
    time: Duration,
    end: mpsc::Receiver<()>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for (signal, wait) in [("-TERM", time), ("-KILL", GRACE)] {
            if end.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            say(&format!(
                "{label}: not done in {} s, ending it",
                wait.as_secs()
            ));
            // A process that is gone by now needs no signal.
            drop(command("kill").args([signal, &pid.to_string()]).status());
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tally;

    fn shell(script: &str, time: Duration) -> Outcome {
        let limits = Limits {
            time,
            output: Output::Silent,
        };
        run(command("sh").args(["-c", script]), "a script", &limits).unwrap()
    }

    #[test]
    fn lines_are_counted() {
        let script = "echo 'test result: ok. 3 passed; 0 failed; 0 ignored'";
        assert_eq!(
            shell(script, GRACE).tally,
            Tally {
                passed: 3,
                failed: 0
            }
        );
    }

    #[test]
    fn a_program_that_hangs_is_ended_and_has_failed() {
        let outcome = shell(
            "echo running 1 test; exec sleep 60",
            Duration::from_millis(50),
        );
        assert_eq!(
            outcome.tally,
            Tally {
                passed: 0,
                failed: 1
            }
        );
        assert!(outcome.took < GRACE);
    }
}
