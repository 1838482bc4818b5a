//! Seeded faults. Every patch in `integration/mutants/` breaks one thing and names the test that
//! has to notice. Each is applied to a copy of the tree, never to the tree; a fault that no test
//! notices is a hole in the tests. Those that the same test has to notice come one after the other:
//! little is built between them.

mod patch;
mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::binaries::{DIRECTORY_VARIABLE, Profile};
use crate::object;
use crate::process::{print, say};
use crate::setup::{self, Toolchain};
use crate::testing::{INTEGRATION, Limits, Outcome, Output, Tally, finish, program, suite};
use crate::workspace::Workspace;

use patch::{Patch, Selection};
use tree::Tree;

/// Random packets for each program: a fault shows within fewer than a whole test run takes.
const PACKETS_VARIABLE: &str = "NETD_TEST_PACKETS";
const PACKETS: &str = "30000";

const LIMIT: Duration = Duration::from_secs(10 * 60);

/// Packages that do without the kernel programs' object.
const WITHOUT_OBJECT: &[&str] = &["netd-abi", "netd-model", "netd-api", "netctl", "xtask"];

/// What became of a fault.
#[derive(Debug)]
enum Fate {
    /// The tests that noticed.
    Killed(Vec<String>),
    Survived,
    /// Nothing can be said, because of this.
    Void(String),
}

/// Applies the faults whose names contain `filter`, one by one, and prints what became of them;
/// a killed one counts as passed.
///
/// # Errors
/// When a patch has no proper head, or the copy cannot be made. Survivors are no error but the
/// exit code.
pub(crate) fn execute(workspace: &Workspace, filter: Option<&str>) -> Result<ExitCode> {
    let mut patches = patch::all(workspace, filter.unwrap_or_default())?;
    patches.sort_by(|one, other| one.selection.cmp(&other.selection));
    if patches.is_empty() {
        say("no seeded fault matches");
        return Ok(finish(Tally::default()));
    }
    let toolchain = setup::everything()?;
    let tree = Tree::of(workspace);
    let bench = Bench {
        tree: &tree,
        toolchain: &toolchain,
    };
    let sound = bench.baseline(&patches)?;
    let mut tally = Tally::default();
    for (index, patch) in patches.iter().enumerate() {
        say(&format!(
            "fault {} of {}: {}",
            index + 1,
            patches.len(),
            patch.name
        ));
        let fate = match sound.get(&patch.selection) {
            Some(Ok(())) => bench.judge(patch)?,
            Some(Err(reason)) => Fate::Void(reason.clone()),
            None => Fate::Void("not tried without the fault".to_owned()),
        };
        tally.add(report(patch, &fate));
    }
    tree.restore()?;
    Ok(finish(tally))
}

/// Where faults are tried.
struct Bench<'a> {
    tree: &'a Tree,
    toolchain: &'a Toolchain,
}

impl Bench<'_> {
    /// Runs the tests without any fault: one that fails by itself, or that does not exist, would
    /// seem to notice everything or nothing.
    fn baseline(&self, patches: &[Patch]) -> Result<BTreeMap<Selection, Result<(), String>>> {
        self.tree.restore()?;
        if patches.iter().any(|it| needs_object(&it.selection)) {
            let tree = self.tree.workspace();
            object::ensure(tree, self.toolchain)?;
            let (from, to) = (object::path(tree), self.sound_object());
            fs::copy(&from, &to).with_context(|| format!("copy to {}", to.display()))?;
        }
        let mut sound = BTreeMap::new();
        for patch in patches {
            if sound.contains_key(&patch.selection) {
                continue;
            }
            say(&format!("without fault: {}", patch.selection));
            let outcome = self
                .test(&patch.selection)
                .context("build the tree without faults")?;
            sound.insert(patch.selection.clone(), soundness(&outcome));
        }
        Ok(sound)
    }

    fn judge(&self, patch: &Patch) -> Result<Fate> {
        self.tree.restore()?;
        if let Err(error) = self.tree.apply(&patch.path) {
            return Ok(Fate::Void(format!("does not apply: {error:#}")));
        }
        Ok(match self.test(&patch.selection) {
            Err(error) => Fate::Void(format!("does not build: {error:#}")),
            Ok(outcome) if outcome.tally.failed > 0 => Fate::Killed(outcome.failures),
            Ok(_) => Fate::Survived,
        })
    }

    /// Builds what the tests need, as the tree is, and runs them.
    fn test(&self, selection: &Selection) -> Result<Outcome> {
        let tree = self.tree.workspace();
        if needs_object(selection) {
            object::ensure(tree, self.toolchain)?;
        }
        let inside = match &selection.program {
            Some(_) => self.sound_object(),
            None => object::path(tree),
        };
        let mut whole = Outcome::default();
        let wanted = cargo_selection(tree, selection);
        for suite in suite::build_with(tree, &wanted, &inside)? {
            if suite.package() != selection.package {
                continue;
            }
            let mut program = suite.command(Some(&selection.filter));
            program.env(DIRECTORY_VARIABLE, Profile::Dev.directory(tree));
            program.env(PACKETS_VARIABLE, PACKETS);
            program.env(object::VARIABLE, object::path(tree));
            let limits = Limits {
                time: LIMIT,
                output: Output::Silent,
            };
            let outcome = program::run(&mut program, &suite.label(), &limits)?;
            whole.tally.add(outcome.tally);
            whole.failures.extend(outcome.failures);
        }
        Ok(whole)
    }

    /// A copy of the kernel programs without fault.
    fn sound_object(&self) -> PathBuf {
        object::path(self.tree.workspace()).with_extension("sound.o")
    }
}

fn needs_object(selection: &Selection) -> bool {
    !WITHOUT_OBJECT.contains(&selection.package.as_str())
}

fn soundness(outcome: &Outcome) -> Result<(), String> {
    if outcome.tally.failed > 0 {
        return Err(format!(
            "fails without the fault: {}",
            outcome.failures.join(", ")
        ));
    }
    if outcome.tally.passed == 0 {
        return Err("no such test".to_owned());
    }
    Ok(())
}

/// Multi-node tests start the daemon and look with the command line. Where the filter is the name of
/// a test program, no other one is built.
fn cargo_selection<'a>(tree: &Workspace, selection: &'a Selection) -> Vec<&'a str> {
    let package = selection.package.as_str();
    let filter = selection.filter.as_str();
    let tests = tree.root().join("integration/tests");
    let is_program = || tests.join(format!("{filter}.rs")).exists() || tests.join(filter).is_dir();
    match &selection.program {
        Some(program) => vec!["-p", package, "--test", program],
        None if package == INTEGRATION => {
            let mut wanted = vec!["-p", "netd", "-p", "netctl", "-p", package, "--bins"];
            if is_program() {
                wanted.extend(["--test", filter]);
            } else {
                wanted.push("--tests");
            }
            wanted
        }
        None => vec!["-p", package, "--tests"],
    }
}

fn report(patch: &Patch, fate: &Fate) -> Tally {
    let Patch {
        name,
        breaks,
        selection,
        ..
    } = patch;
    let (word, detail, passed) = match fate {
        Fate::Killed(by) => ("killed  ", format!("noticed by {}", by.join(", ")), true),
        Fate::Survived => ("SURVIVED", format!("not noticed by {selection}"), false),
        Fate::Void(reason) => ("VOID    ", reason.clone(), false),
    };
    print(&format!("{word} {name}: {breaks}; {detail}"));
    Tally {
        passed: usize::from(passed),
        failed: usize::from(!passed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_does_not_exist_proves_nothing() {
        assert_eq!(
            soundness(&Outcome::default()),
            Err("no such test".to_owned())
        );
    }

    #[test]
    fn only_a_killed_fault_counts_as_passed() {
        let patch = Patch::parse("x".into(), "Breaks: y\nTest: netd-abi z\ndiff --git").unwrap();
        let killed = report(&patch, &Fate::Killed(vec!["z".to_owned()]));
        assert_eq!(
            killed,
            Tally {
                passed: 1,
                failed: 0
            }
        );
        assert_eq!(
            report(&patch, &Fate::Survived),
            Tally {
                passed: 0,
                failed: 1
            }
        );
        let void = report(&patch, &Fate::Void("does not apply".to_owned()));
        assert_eq!(
            void,
            Tally {
                passed: 0,
                failed: 1
            }
        );
    }
}
