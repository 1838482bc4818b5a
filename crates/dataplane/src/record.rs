//! What settings were before us, on disk, so that they can be given back even by a process that
//! knows nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Tells one start of the host from another. What was set before it is set no more.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// Name of the file in the state directory.
const FILE: &str = "sysctls.json";

/// Settings as they were, by their path below /proc/sys.
pub(crate) type Settings = BTreeMap<String, String>;

/// The record of one instance.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    path: PathBuf,
    contents: Contents,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    /// The start of the host that all this is of.
    #[serde(default)]
    boot: String,
    node: Settings,
    namespaces: BTreeMap<PathBuf, Settings>,
}

/// The record cannot be read or written; the settings are untouched.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path}")]
pub(crate) struct RecordError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Whether there is a record in `directory`.
pub(crate) fn exists(directory: &Path) -> bool {
    directory.join(FILE).exists()
}

impl Record {
    /// Reads the record in `directory`; an absent one is empty, and so is one that was kept before
    /// the host was started again.
    pub(crate) fn open(directory: &Path) -> Result<Self, RecordError> {
        let path = directory.join(FILE);
        match read(&path) {
            Ok(contents) => Ok(Self { path, contents }),
            Err(source) => Err(RecordError {
                action: "read",
                path,
                source,
            }),
        }
    }

    /// The node's settings that we have changed, as they were.
    pub(crate) const fn node(&self) -> &Settings {
        &self.contents.node
    }

    /// The same of tasks' namespaces.
    pub(crate) const fn namespaces(&self) -> &BTreeMap<PathBuf, Settings> {
        &self.contents.namespaces
    }

    /// Keeps what a setting of the node was, unless that is known already. Must succeed before the
    /// setting is changed.
    pub(crate) fn keep(&mut self, key: &str, value: &str) -> Result<(), RecordError> {
        if self.contents.node.contains_key(key) {
            return Ok(());
        }
        self.change(|contents| drop(contents.node.insert(key.to_owned(), value.to_owned())))
    }

    /// The same for a task's namespace.
    pub(crate) fn keep_in(
        &mut self,
        namespace: &Path,
        key: &str,
        value: &str,
    ) -> Result<(), RecordError> {
        if self
            .contents
            .namespaces
            .get(namespace)
            .is_some_and(|known| known.contains_key(key))
        {
            return Ok(());
        }
        self.change(|contents| {
            let known = contents.namespaces.entry(namespace.to_owned()).or_default();
            known.insert(key.to_owned(), value.to_owned());
        })
    }

    /// Remembers that something besides settings is about to be changed in a task's namespace.
    pub(crate) fn touch(&mut self, namespace: &Path) -> Result<(), RecordError> {
        self.change(|contents| {
            contents.namespaces.entry(namespace.to_owned()).or_default();
        })
    }

    /// Forgets a setting that has been given back.
    pub(crate) fn forget(&mut self, key: &str) -> Result<(), RecordError> {
        self.change(|contents| drop(contents.node.remove(key)))
    }

    /// Forgets a namespace that has its settings back, or is gone.
    pub(crate) fn forget_namespace(&mut self, namespace: &Path) -> Result<(), RecordError> {
        self.change(|contents| drop(contents.namespaces.remove(namespace)))
    }

    /// Removes the file: everything has been given back.
    pub(crate) fn remove(self) -> Result<(), RecordError> {
        match fs::remove_file(&self.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(RecordError {
                action: "remove",
                path: self.path,
                source,
            }),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Writes a new file beside the old one and puts it in its place.
    fn change(&mut self, change: impl FnOnce(&mut Contents)) -> Result<(), RecordError> {
        let mut contents = self.contents.clone();
        change(&mut contents);
        if contents == self.contents {
            return Ok(());
        }
        self.write(&contents).map_err(|source| RecordError {
            action: "write",
            path: self.path.clone(),
            source,
        })?;
        self.contents = contents;
        Ok(())
    }

    fn write(&self, contents: &Contents) -> io::Result<()> {
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
        }
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, serde_json::to_vec_pretty(contents)?)?;
        fs::File::open(&fresh)?.sync_all()?;
        fs::rename(&fresh, &self.path)
    }
}

fn read(path: &Path) -> io::Result<Contents> {
    let boot = fs::read_to_string(BOOT)?.trim_end().to_owned();
    let contents = match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Contents::default(),
        Err(error) => return Err(error),
    };
    Ok(if contents.boot == boot {
        contents
    } else {
        Contents {
            boot,
            ..Contents::default()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_value_is_kept_over_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let mut record = Record::open(directory.path()).unwrap();
        record.keep("net/ipv4/ip_forward", "0").unwrap();
        record.keep_in(Path::new("/run/netns/a"), "x", "2").unwrap();
        let mut record = Record::open(directory.path()).unwrap();
        record.keep("net/ipv4/ip_forward", "1").unwrap();
        assert_eq!(record.node()["net/ipv4/ip_forward"], "0");
        record.forget_namespace(Path::new("/run/netns/a")).unwrap();
        assert!(
            Record::open(directory.path())
                .unwrap()
                .namespaces()
                .is_empty()
        );
    }

    #[test]
    fn values_of_before_a_reboot_are_not_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let mut record = Record::open(directory.path()).unwrap();
        record.keep("net/ipv4/ip_forward", "0").unwrap();
        let boot = record.contents.boot.clone();
        let file = directory.path().join(FILE);
        let text = fs::read_to_string(&file).unwrap().replace(&boot, "another");
        fs::write(&file, text).unwrap();
        let mut record = Record::open(directory.path()).unwrap();
        assert!(record.node().is_empty());
        record.keep("net/ipv4/ip_forward", "1").unwrap();
        let record = Record::open(directory.path()).unwrap();
        assert_eq!(record.node()["net/ipv4/ip_forward"], "1");
    }

    #[test]
    fn broken_record_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), "{").unwrap();
        let error = Record::open(directory.path()).unwrap_err();
        assert!(error.to_string().starts_with("read "));
    }
}
