//! What is to happen to which frames.

use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// How long a frame is held back that others are to overtake, in milliseconds.
const OVERTAKEN_MS: u64 = 10;

/// What happens to frames. Chances are from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// The chance to be lost.
    pub loss: f64,
    /// The chance to come twice.
    pub duplicate: f64,
    /// The chance to change places with others: with a delay, not to be delayed; without one, to be
    /// held back for ten milliseconds.
    pub reorder: f64,
    /// How long frames take, in milliseconds.
    pub delay_ms: u64,
}

/// A fault between two members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Rule {
    /// `None` for any.
    pub(super) from: Option<String>,
    /// `None` for any.
    pub(super) to: Option<String>,
    pub(super) fault: Fault,
}

/// All faults; the last one that fits counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Rules(Vec<Rule>);

/// What has happened to frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Lost.
    pub lost: u64,
    /// Came twice.
    pub duplicated: u64,
    /// Held back for a while.
    pub held: u64,
}

impl Rules {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a rule in the place of one of the same pair.
    pub(super) fn set(&mut self, rule: Rule) {
        self.0
            .retain(|old| (&old.from, &old.to) != (&rule.from, &rule.to));
        self.0.push(rule);
    }

    /// What happens to frames from one member to another.
    pub(super) fn find(&self, from: &str, to: &str) -> Option<Fault> {
        let fits =
            |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|it| it == name);
        let mut found = self.0.iter().rev();
        found
            .find(|rule| fits(&rule.from, from) && fits(&rule.to, to))
            .map(|rule| rule.fault)
    }
}

impl Fault {
    /// The chance to be held back, and for how many milliseconds.
    pub(super) fn hold(&self) -> (f64, u64) {
        if self.delay_ms > 0 {
            (1.0 - self.reorder, self.delay_ms)
        } else {
            (self.reorder, OVERTAKEN_MS)
        }
    }

    /// Adds one word of a command line: `loss=5%`, `delay=20ms`.
    ///
    /// # Errors
    /// When it is none.
    pub fn add(&mut self, word: &str) -> Result<()> {
        let (name, value) = word.split_once('=').with_context(|| {
            format!(
                "{word}: loss=N%, delay=Nms, reorder=N%, duplicate=N%, down, partition or clear"
            )
        })?;
        match name {
            "loss" => self.loss = chance(value)?,
            "duplicate" => self.duplicate = chance(value)?,
            "reorder" => self.reorder = chance(value)?,
            "delay" => {
                let number = value.strip_suffix("ms").unwrap_or(value);
                self.delay_ms = number
                    .parse()
                    .with_context(|| format!("{value} is no time in milliseconds"))?;
            }
            other => bail!("there is no fault {other}: loss, delay, reorder, duplicate"),
        }
        Ok(())
    }
}

fn chance(text: &str) -> Result<f64> {
    let number = f64::from_str(text.strip_suffix('%').unwrap_or(text))
        .with_context(|| format!("{text} is no percentage"))?;
    if !(0.0..=100.0).contains(&number) {
        bail!("{text} is not from 0% to 100%");
    }
    Ok(number / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_faults() {
        let mut fault = Fault::default();
        for word in ["loss=10%", "delay=20ms", "reorder=5%", "duplicate=1%"] {
            fault.add(word).unwrap();
        }
        let expected = Fault {
            loss: 0.1,
            duplicate: 0.01,
            reorder: 0.05,
            delay_ms: 20,
        };
        assert_eq!(fault, expected);
        assert_eq!(fault.hold(), (0.95, 20));
        for word in ["loss", "loss=200%", "loss=x", "delay=soon", "jitter=1ms"] {
            assert!(fault.add(word).is_err(), "{word}");
        }
    }

    #[test]
    fn the_last_rule_that_fits_counts() {
        let rule = |from: Option<&str>, to: Option<&str>, loss| Rule {
            from: from.map(ToOwned::to_owned),
            to: to.map(ToOwned::to_owned),
            fault: Fault {
                loss,
                ..Fault::default()
            },
        };
        let mut rules = Rules::default();
        rules.set(rule(None, None, 0.1));
        rules.set(rule(Some("n1"), None, 0.2));
        rules.set(rule(Some("n1"), Some("n2"), 0.3));
        let loss = |from, to| rules.find(from, to).map(|fault| fault.loss);
        assert_eq!(loss("n2", "n1"), Some(0.1));
        assert_eq!(loss("n1", "n3"), Some(0.2));
        assert_eq!(loss("n1", "n2"), Some(0.3));
    }
}
