//! Sizes of files. Functions and arguments are clippy's (`clippy.toml`).

use anyhow::Result;

use super::Findings;
use crate::workspace::Workspace;

/// A file of more lines is wrong.
const MOST: usize = 600;

/// A file of more lines should be looked at again.
const MANY: usize = 400;

/// Counts the lines of all Rust sources.
pub(super) fn check(workspace: &Workspace) -> Result<Findings> {
    let mut findings = Findings::default();
    for source in workspace.sources()? {
        if source.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let lines = workspace
            .text(&source)?
            .map_or(0, |text| text.lines().count());
        let line = format!("{} has {lines} lines, {MOST} at most", source.display());
        match lines {
            _ if lines > MOST => findings.wrong.push(line),
            _ if lines > MANY => findings.noted.push(line),
            _ => {}
        }
    }
    Ok(findings)
}
