//! What is written down of a lab, in `/run/netd-lab/NAME/lab.json`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::document::Document;
use super::spec::{Spec, check_name};
use crate::process::Process;

/// Where labs are written down.
const ROOT: &str = "/run/netd-lab";

/// The directory of a lab.
#[must_use]
pub fn directory(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

/// The labs that there are.
///
/// # Errors
/// When they cannot be listed.
pub fn names() -> Result<Vec<String>> {
    let entries = match fs::read_dir(ROOT) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("list {ROOT}")),
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// Everything that is needed to go on with a lab, or to take it down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// What it is to be.
    pub spec: Spec,
    /// What it consists of.
    pub document: Document,
    /// The namespaces that were made, or were about to be.
    pub namespaces: Vec<String>,
    /// The daemons, by the node's name.
    pub daemons: BTreeMap<String, Process>,
}

impl Record {
    /// Claims the name.
    ///
    /// # Errors
    /// When there is a lab of this name.
    pub(super) fn begin(spec: &Spec) -> Result<Self> {
        let path = directory(&spec.name);
        fs::create_dir_all(ROOT).with_context(|| format!("make {ROOT}"))?;
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                bail!(
                    "a lab {0} exists; take it down with `lab down --name {0}`",
                    spec.name
                )
            }
            other => other.with_context(|| format!("make {}", path.display()))?,
        }
        let record = Self {
            spec: spec.clone(),
            document: Document::new(spec),
            namespaces: Vec::new(),
            daemons: BTreeMap::new(),
        };
        record.save()?;
        Ok(record)
    }

    /// Reads what was written down.
    ///
    /// # Errors
    /// When there is no lab of this name.
    pub fn load(name: &str) -> Result<Self> {
        check_name(name)?;
        let path = directory(name).join("lab.json");
        if !path.exists() {
            bail!("there is no lab {name}");
        }
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("understand {}", path.display()))
    }

    /// Writes it down, at once.
    pub(super) fn save(&self) -> Result<()> {
        let directory = directory(&self.spec.name);
        let (path, draft) = (directory.join("lab.json"), directory.join("lab.json.new"));
        let text = serde_json::to_vec_pretty(self).context("write the lab down")?;
        fs::write(&draft, text).with_context(|| format!("write {}", draft.display()))?;
        fs::rename(&draft, &path).with_context(|| format!("replace {}", path.display()))
    }

    /// Writes down that namespaces are about to be made.
    pub(super) fn announce(&mut self, namespaces: &[String]) -> Result<()> {
        self.namespaces.extend_from_slice(namespaces);
        self.save()
    }
}
