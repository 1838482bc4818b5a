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
    ("crates/abi", Some("#![deny(unsafe_code)]")),
    ("crates/dataplane", Some("#![deny(unsafe_code)]")),
    ("", Some("#![forbid(unsafe_code)]")),
];

/// Where unsafe code may be, besides.
const OPEN: &[&str] = &["ebpf", "crates/abi/src", "crates/dataplane/src/kernel"];

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
    text.lines()
        .enumerate()
        .filter(|(_, line)| is_unsafe(line))
        .map(|(index, _)| {
            format!(
                "{}:{}: unsafe code has no place here",
                source.display(),
                index + 1
            )
        })
        .collect()
}

/// True for a line of code with the keyword, or with its attribute.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let mut words = code
        .split_whitespace()
        .skip_while(|word| *word != "unsafe")
        .skip(1);
    let keyword = words
        .next()
        .is_some_and(|next| ["{", "fn", "impl", "trait", "extern"].contains(&next));
    keyword || code.contains("#[unsafe(")
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
        assert!(is_unsafe(&format!("let x = {keyword} {{ f() }};")));
        assert!(is_unsafe(&format!("{keyword} impl Pod for X {{}}")));
        assert!(!is_unsafe(&format!("// {keyword} fn")));
        assert!(!is_unsafe(&format!("#![forbid({keyword}_code)]")));
    }
}
