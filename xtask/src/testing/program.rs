//! Running one test program to its end, or to the end of its time.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::outcome::{Outcome, Reader};
use crate::process::{command, print, say};

/// What a test program asked to end has left to clean up, and what one that has ended has left
/// until all of its output is here.
const GRACE: Duration = Duration::from_secs(20);

/// How often the end of the program's time is looked at.
const TICK: Duration = Duration::from_millis(100);

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
    let lines = child
        .stdout
        .take()
        .map(lines)
        .context("no output to read")?;
    let mut watch = Watch::new(label, limits.time);
    let mut reader = Reader::default();
    let mut kept = Vec::new();
    while !watch.is_over(&mut child) {
        match lines.recv_timeout(TICK) {
            Ok(line) => {
                reader.read(&line);
                show(line, limits.output, &mut kept);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child
        .wait()
        .with_context(|| format!("wait for the tests of {label}"))?;
    let mut outcome = reader.finish(status.success());
    outcome.took = started.elapsed();
    if outcome.tally.failed > 0 {
        kept.iter().for_each(|line| print(line));
    }
    Ok(outcome)
}

/// The lines of an output, as they come.
fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn show(line: String, output: Output, kept: &mut Vec<String>) {
    match output {
        Output::Live if says_something(&line) => print(&line),
        Output::Failures => kept.push(line),
        Output::Live | Output::Silent => {}
    }
}

/// False for the frame that every test program draws, with or without tests in it.
fn says_something(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("running ") && !line.starts_with("test result: ok")
}

/// Ends a program whose time is over: it is asked first, so that it can clean up.
struct Watch<'a> {
    label: &'a str,
    next: Instant,
    signals: std::slice::Iter<'static, &'static str>,
    ended: Option<Instant>,
}

impl<'a> Watch<'a> {
    fn new(label: &'a str, time: Duration) -> Self {
        Self {
            label,
            next: Instant::now() + time,
            signals: ["-TERM", "-KILL"].iter(),
            ended: None,
        }
    }

    /// True when no more output is worth waiting for: the program has ended some time ago, and
    /// something that it has left behind keeps its output open.
    fn is_over(&mut self, child: &mut Child) -> bool {
        let now = Instant::now();
        if self.ended.is_none() && matches!(child.try_wait(), Ok(Some(_))) {
            self.ended = Some(now);
        }
        if let Some(ended) = self.ended {
            let over = now > ended + GRACE;
            if over {
                say(&format!(
                    "{}: something that it started is still running",
                    self.label
                ));
            }
            return over;
        }
        if now > self.next
            && let Some(signal) = self.signals.next()
        {
            say(&format!(
                "{}: takes too long, ending it (kill {signal})",
                self.label
            ));
            self.next = now + GRACE;
            // A process that is gone by now needs no signal.
            drop(
                command("kill")
                    .arg(signal)
                    .arg(child.id().to_string())
                    .status(),
            );
        }
        false
    }
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
    fn a_program_may_leave_a_silent_child_behind() {
        let script = "sleep 1 >/dev/null & echo 'test result: ok. 1 passed; 0 failed'";
        assert_eq!(
            shell(script, GRACE).tally,
            Tally {
                passed: 1,
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
