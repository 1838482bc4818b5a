//! What a test program says about its tests, in libtest's words.

use std::time::Duration;

/// Tests that passed and that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

impl Tally {
    /// Adds another's.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// How a test program ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) ignored: usize,
    /// Names of the tests that failed.
    pub(crate) failures: Vec<String>,
    pub(crate) took: Duration,
}

/// Reads a test program's lines, one by one.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// From summaries: what counts.
    summed: Outcome,
    /// From single tests since the last summary: what counts when no summary follows.
    open: Tally,
    failures: Vec<String>,
    running: bool,
}

impl Reader {
    /// Takes in one line.
    pub(crate) fn read(&mut self, line: &str) {
        if line.starts_with("running ") && line.contains(" test") {
            self.running = true;
        } else if let Some(summary) = line.strip_prefix("test result: ") {
            self.close(summary);
        } else if let Some(rest) = line.strip_prefix("test ")
            && let Some((name, verdict)) = rest.rsplit_once(" ... ")
        {
            self.note(name, verdict);
        }
    }

    /// What has been read, given whether the program ended well. A program that ended badly without
    /// saying which test failed counts as one failure.
    pub(crate) fn finish(mut self, ended_well: bool) -> Outcome {
        let mut outcome = self.summed;
        if self.running {
            outcome.tally.add(self.open);
        }
        if !ended_well && (self.running || outcome.tally.failed == 0) {
            outcome.tally.failed += 1;
            self.failures.push("(the test program itself)".to_owned());
        }
        outcome.failures = self.failures;
        outcome
    }

    fn note(&mut self, name: &str, verdict: &str) {
        if verdict.starts_with("ok") {
            self.open.passed += 1;
        } else if verdict.starts_with("FAILED") {
            self.open.failed += 1;
            self.failures.push(name.to_owned());
        }
    }

    fn close(&mut self, summary: &str) {
        for part in summary.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(count), Some(what)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(count) = count.parse::<usize>() else {
                continue;
            };
            match what {
                "passed" => self.summed.tally.passed += count,
                "failed" => self.summed.tally.failed += count,
                "ignored" => self.summed.ignored += count,
                _ => {}
            }
        }
        self.open = Tally::default();
        self.running = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str], ended_well: bool) -> Outcome {
        let mut reader = Reader::default();
        for line in lines {
            reader.read(line);
        }
        reader.finish(ended_well)
    }

    #[test]
    fn summaries_are_what_counts() {
        let outcome = read(
            &[
                "running 3 tests",
                "test a ... ok",
                "test b::c ... FAILED",
                "test d ... ignored, needs a kernel",
                "test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 7 filtered out; \
                 finished in 0.01s",
            ],
            false,
        );
        assert_eq!(
            outcome.tally,
            Tally {
                passed: 1,
                failed: 1
            }
        );
        assert_eq!(outcome.ignored, 1);
        assert_eq!(outcome.failures, ["b::c"]);
    }

    #[test]
    fn several_summaries_add_up() {
        let summary = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured";
        let outcome = read(
            &["running 2 tests", summary, "running 2 tests", summary],
            true,
        );
        assert_eq!(
            outcome.tally,
            Tally {
                passed: 4,
                failed: 0
            }
        );
    }

    #[test]
    fn a_crash_keeps_what_passed_and_is_a_failure() {
        let outcome = read(&["running 9 tests", "test a ... ok"], false);
        assert_eq!(
            outcome.tally,
            Tally {
                passed: 1,
                failed: 1
            }
        );
    }

    #[test]
    fn a_program_that_fails_without_a_word_is_a_failure() {
        assert_eq!(
            read(&[], false).tally,
            Tally {
                passed: 0,
                failed: 1
            }
        );
    }

    #[test]
    fn a_program_without_tests_counts_nothing() {
        let summary = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out";
        assert_eq!(
            read(&["running 0 tests", summary], true).tally,
            Tally::default()
        );
    }
}
