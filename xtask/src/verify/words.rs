//! Words and names that have no place in the sources: debts without an issue, tests that are
//! switched off, modules without a subject, paths of somebody's machine.

use std::path::Path;

use anyhow::Result;

use super::Findings;
use crate::workspace::Workspace;

/// Debts; one with an issue behind it, `(#`, is welcome.
const DEBTS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
];

/// Attributes of tests that do not test.
const IDLE: &[&str] = &[concat!("#[ign", "ore"), concat!("#[should_", "panic")];

/// Modules that are about nothing in particular.
const VAGUE: &[&str] = &[
    "common",
    "helper",
    "helpers",
    "misc",
    "types",
    "util",
    "utils",
    "core_utils",
];

/// Where people keep what is theirs.
const HOMES: &[&str] = &[concat!("/ho", "me/"), concat!("/ro", "ot/")];

/// Checks all texts.
pub(super) fn check(workspace: &Workspace) -> Result<Findings> {
    let mut findings = Findings::default();
    let checkout = workspace.root().display().to_string();
    for source in workspace.sources()? {
        findings.wrong.extend(vague(&source));
        let Some(text) = workspace.text(&source)? else {
            continue;
        };
        let rust = source
            .extension()
            .is_some_and(|extension| extension == "rs");
        for (index, line) in text.lines().enumerate() {
            let debts_and_idle = rust.then(|| debt(line).or_else(|| idle(line))).flatten();
            if let Some(what) = debts_and_idle.or_else(|| machine_path(line, &checkout)) {
                findings
                    .wrong
                    .push(format!("{}:{}: {what}", source.display(), index + 1));
            }
        }
    }
    Ok(findings)
}

fn vague(source: &Path) -> Option<String> {
    let rust = source
        .extension()
        .is_some_and(|extension| extension == "rs");
    let parts = source.with_extension("");
    let name = parts
        .iter()
        .find_map(|part| VAGUE.iter().find(|vague| part == **vague))?;
    rust.then(|| {
        format!(
            "{}: `{name}` says nothing about what is in it",
            source.display()
        )
    })
}

fn debt(line: &str) -> Option<String> {
    let word = DEBTS.iter().find(|debt| {
        line.split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|word| word == **debt)
            && !line.contains(&format!("{debt}(#"))
    })?;
    Some(format!("{word} without an issue"))
}

fn idle(line: &str) -> Option<String> {
    let attribute = IDLE
        .iter()
        .find(|attribute| line.trim_start().starts_with(**attribute))?;
    Some(format!("{attribute}] is not used here"))
}

fn machine_path(line: &str, checkout: &str) -> Option<String> {
    // A checkout directly under the root directory may have any name, like `/src`.
    let deep = checkout.matches('/').count() > 1;
    let path = HOMES
        .iter()
        .copied()
        .chain(deep.then_some(checkout))
        .find(|path| begins_within(line, path))?;
    Some(format!("a path of this machine: {path}"))
}

/// True when `path` stands in `line` as the beginning of a path.
fn begins_within(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"_-./*}".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debt_needs_an_issue() {
        let word = DEBTS[0];
        assert!(debt(&format!("// {word}: later")).is_some());
        assert!(debt(&format!("// {word}(#12): later")).is_none());
        assert!(debt(&format!("mktemp x.{}{}", DEBTS[2], DEBTS[2])).is_none());
    }

    #[test]
    fn a_module_has_a_subject() {
        assert!(vague(Path::new("netd/src/utils.rs")).is_some());
        assert!(vague(Path::new("integration/tests/common/mod.rs")).is_some());
        assert!(vague(Path::new("netd/src/topology.rs")).is_none());
        assert!(vague(Path::new("docs/common/text.md")).is_none());
    }

    #[test]
    fn paths_of_a_machine_are_told_from_parts_of_others() {
        let checkout = "/srv/code";
        assert!(machine_path("see /srv/code/netd", checkout).is_some());
        assert!(machine_path("see ./srv/code", checkout).is_none());
        assert!(machine_path("see crates/srv/code", checkout).is_none());
        assert!(machine_path("in src/main.rs, or /src", "/src").is_none());
        assert!(machine_path(&format!("cd {}me", HOMES[0]), checkout).is_some());
    }
}
