//! Where unsafe code may be: in the kernel programs, behind the kernel-facing modules of
//! `dataplane`, and as `unsafe impl` in `abi`. Everywhere else the compiler forbids it, and this
//! checks that it has been told to.

use std::path::Path;

use anyhow::Result;

use super::Findings;
use crate::workspace::Workspace;

/// What a crate root must state, by the beginning of its path; the first that fits counts.
const STATED: &[(&str, Option<&str>)] = &[
    ("ebpf", None),
    ("crates/abi", None),
    ("crates/dataplane", Some("#![deny(unsafe_code)]")),
    ("", Some("#![forbid(unsafe_code)]")),
];

/// Where unsafe code may be, besides.
const OPEN: &[&str] = &["ebpf", "crates/dataplane/src/kernel"];

/// Where only implementations may be unsafe: a trait of a foreign crate for a type of ours.
const IMPLEMENTATIONS: &str = "crates/abi/src";

/// Checks all Rust sources.
pub(super) fn check(workspace: &Workspace) -> Result<Findings> {
    let mut findings = Findings::default();
    for source in workspace.sources()? {
        if source.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let Some(text) = workspace.text(&source)? else {
            continue;
        };
        findings.wrong.extend(statement(&source, &text));
        if !OPEN.iter().any(|open| source.starts_with(open)) {
            findings.wrong.extend(uses(&source, &text));
        }
    }
    Ok(findings)
}

/// What a crate root lacks.
fn statement(source: &Path, text: &str) -> Option<String> {
    if !is_crate_root(source) {
        return None;
    }
    let (_, stated) = STATED.iter().find(|(place, _)| source.starts_with(place))?;
    let stated = (*stated)?;
    (!text.lines().any(|line| line == stated))
        .then(|| format!("{}: no `{stated}`", source.display()))
}

/// True for the file from which cargo compiles a library or a binary. Test programs are left to
/// [`uses`].
fn is_crate_root(source: &Path) -> bool {
    let within = |directory: &str| {
        source
            .parent()
            .is_some_and(|parent| parent.ends_with(directory))
    };
    let named = source.ends_with("src/lib.rs") || source.ends_with("src/main.rs");
    named || within("src/bin")
}

/// Unsafe code where there must be none.
fn uses(source: &Path, text: &str) -> Vec<String> {
    let implementations = source.starts_with(IMPLEMENTATIONS);
    text.lines()
        .enumerate()
        .filter(|(_, line)| match unsafe_what(line) {
            Some("impl") => !implementations,
            what => what.is_some(),
        })
        .map(|(index, _)| {
            format!(
                "{}:{}: unsafe code has no place here",
                source.display(),
                index + 1
            )
        })
        .collect()
}

/// What a line of code declares or does unsafely, as the word after the keyword.
fn unsafe_what(line: &str) -> Option<&str> {
    let code = line.split("//").next().unwrap_or_default();
    if code.contains(concat!("#[", "unsafe(")) {
        return Some("attribute");
    }
    let mut words = code
        .split_whitespace()
        .skip_while(|word| *word != "unsafe")
        .skip(1);
    words
        .next()
        .filter(|next| ["{", "fn", "impl", "trait", "extern"].contains(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORBID: &str = "#![forbid(unsafe_code)]\n";

    #[test]
    fn crate_roots_state_what_their_place_asks() {
        assert_eq!(statement(Path::new("netd/src/main.rs"), FORBID), None);
        assert!(statement(Path::new("netd/src/main.rs"), "").is_some());
        assert!(statement(Path::new("integration/src/bin/lab.rs"), "").is_some());
        assert!(statement(Path::new("crates/dataplane/src/lib.rs"), FORBID).is_some());
        assert_eq!(statement(Path::new("ebpf/src/main.rs"), ""), None);
        assert_eq!(statement(Path::new("netd/src/config.rs"), ""), None);
    }

    #[test]
    fn unsafe_code_is_told_from_words_about_it() {
        let keyword = "unsafe";
        assert_eq!(
            unsafe_what(&format!("let x = {keyword} {{ f() }};")),
            Some("{")
        );
        assert_eq!(unsafe_what(&format!("// {keyword} fn")), None);
        assert_eq!(unsafe_what(&format!("#![forbid({keyword}_code)]")), None);
    }

    #[test]
    fn implementations_are_open_to_abi_alone() {
        let implementation = concat!("un", "safe impl Pod for X {}");
        assert!(uses(Path::new("crates/abi/src/pod.rs"), implementation).is_empty());
        assert_eq!(uses(Path::new("netd/src/main.rs"), implementation).len(), 1);
        let function = concat!("un", "safe fn f() {}");
        assert_eq!(uses(Path::new("crates/abi/src/pod.rs"), function).len(), 1);
    }
}
