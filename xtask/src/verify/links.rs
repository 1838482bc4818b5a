//! Links between the documents: every one leads to a file that is there and, where it says, to a
//! heading in it.

use std::path::{Component, Path, PathBuf};

use anyhow::Result;

use super::Findings;
use crate::workspace::Workspace;

/// Checks the links of all Markdown files.
pub(super) fn check(workspace: &Workspace) -> Result<Findings> {
    let mut findings = Findings::default();
    for source in workspace.sources()? {
        if source.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let Some(text) = workspace.text(&source)? else {
            continue;
        };
        for (line, link) in links(&text) {
            if let Some(what) = broken(workspace, &source, link)? {
                findings
                    .wrong
                    .push(format!("{}:{line}: {link}: {what}", source.display()));
            }
        }
    }
    Ok(findings)
}

/// What is wrong with a link in `source`, if anything.
fn broken(workspace: &Workspace, source: &Path, link: &str) -> Result<Option<&'static str>> {
    let (path, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() {
        source.to_path_buf()
    } else {
        normalize(&source.parent().unwrap_or(Path::new("")).join(path))
    };
    let absolute = workspace.root().join(&target);
    if !absolute.exists() {
        return Ok(Some("no such file"));
    }
    if heading.is_empty() || !absolute.is_file() {
        return Ok(None);
    }
    let there = workspace
        .text(&target)?
        .is_some_and(|text| headings(&text).contains(&heading.into()));
    Ok((!there).then_some("no such heading"))
}

/// Links to other files and headings, with their lines, outside of code.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (index, line) in prose(text) {
        for (at, _) in line.match_indices("](") {
            let rest = &line[at + 2..];
            let Some(end) = rest.find([')', ' ']) else {
                continue;
            };
            let link = &rest[..end];
            if !link.contains("://") && !link.starts_with("mailto:") {
                found.push((index + 1, link));
            }
        }
    }
    found
}

/// Anchors of the headings, as the usual renderers make them.
fn headings(text: &str) -> Vec<String> {
    prose(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// Lines outside of code fences, with their index.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

fn normalize(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir {
            normal.pop();
        } else {
            normal.push(component);
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn links_outside_of_code_are_found() {
        let text = "see [a](b.md) and [c](https://d)\n```\n[e](f.md)\n```\n[g](#h)";
        assert_eq!(links(text), [(1, "b.md"), (5, "#h")]);
    }

    #[test]
    fn headings_become_anchors() {
        assert_eq!(
            headings("# Life of a packet\n## `netd`, 2."),
            ["life-of-a-packet", "netd-2"]
        );
    }

    #[test]
    fn a_link_needs_its_file_and_its_heading() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("docs")).unwrap();
        fs::write(directory.path().join("README.md"), "# Top\n").unwrap();
        let workspace = Workspace::at(directory.path().to_path_buf());
        let from = Path::new("docs/a.md");
        assert_eq!(broken(&workspace, from, "../README.md#top").unwrap(), None);
        assert_eq!(
            broken(&workspace, from, "../README.md#b").unwrap(),
            Some("no such heading")
        );
        assert_eq!(
            broken(&workspace, from, "b.md").unwrap(),
            Some("no such file")
        );
    }
}
