//! How the demo speaks, and how it keeps count of what was right.

use std::io::{IsTerminal, Write};

use anyhow::{Context, Result};

/// Speaks on standard output.
pub(super) struct Narrator {
    colours: bool,
    sections: usize,
    checks: usize,
    wrong: usize,
}

impl Narrator {
    pub(super) fn new() -> Self {
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            colours,
            sections: 0,
            checks: 0,
            wrong: 0,
        }
    }

    /// Begins a part.
    pub(super) fn section(&mut self, title: &str) -> Result<()> {
        self.sections += 1;
        let title = format!("{}. {title}", self.sections);
        let rule = "─".repeat(title.chars().count());
        self.say(&self.coloured("1", &format!("\n{title}\n{rule}")))
    }

    /// Says something to the reader.
    pub(super) fn say(&self, text: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}").context("write to standard output")?;
        out.flush().context("write to standard output")
    }

    /// Shows a command as it could be typed.
    pub(super) fn command(&self, text: &str) -> Result<()> {
        self.say(&self.coloured("36", &format!("  $ {text}")))
    }

    /// Shows what a command said.
    pub(super) fn output(&self, text: &str) -> Result<()> {
        let lines: Vec<String> = text
            .trim_end()
            .lines()
            .map(|line| format!("    {line}"))
            .collect();
        self.say(&lines.join("\n"))
    }

    /// Says whether something is as it should be.
    pub(super) fn check(&mut self, what: &str, test: impl FnOnce() -> Result<()>) -> Result<()> {
        self.checks += 1;
        match test() {
            Ok(()) => self.say(&format!("  {} {what}", self.coloured("32", "✓"))),
            Err(error) => {
                self.wrong += 1;
                self.say(&format!(
                    "  {} {what}: {error:#}",
                    self.coloured("31", "✗ WRONG:")
                ))
            }
        }
    }

    /// How many checks were wrong, of how many.
    pub(super) fn outcome(&self) -> (usize, usize) {
        (self.wrong, self.checks)
    }

    fn coloured(&self, code: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
