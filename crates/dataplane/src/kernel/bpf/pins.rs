//! What is pinned in the BPF file system.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::sys;

/// Something about the BPF file system or a pin in it does not work; what was pinned remains.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path}")]
pub(crate) struct PinError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl PinError {
    pub(super) fn new(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self {
            action,
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

/// The directory of pins of one instance and layout.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Makes the directories if need be.
    pub(crate) fn create(root: PathBuf) -> Result<Self, PinError> {
        let pins = Self { root };
        let directory = pins.maps();
        fs::create_dir_all(&directory)
            .map_err(|source| PinError::new("create", &directory, source))?;
        Ok(pins)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    /// Pins an object where it was; tells whether it was there no more.
    pub(super) fn restore(&self, path: &Path, object: impl AsFd) -> Result<bool, PinError> {
        if path.exists() {
            return Ok(false);
        }
        let directory = self.maps();
        fs::create_dir_all(&directory)
            .map_err(|source| PinError::new("create", &directory, source))?;
        sys::object_pin(object.as_fd(), path)
            .map_err(|source| PinError::new("pin", path, source))?;
        Ok(true)
    }

    /// Removes what builds of other layouts have pinned for this instance, and with it their
    /// programs. Once ours work, they only stand in front of them.
    pub(crate) fn forget_other_layouts(&self) -> Result<(), PinError> {
        let Some(parent) = self.root.parent() else {
            return Ok(());
        };
        let error = |source| PinError::new("list", parent, source);
        for entry in fs::read_dir(parent).map_err(error)? {
            let path = entry.map_err(error)?.path();
            if path != self.root {
                fs::remove_dir_all(&path)
                    .map_err(|source| PinError::new("remove", &path, source))?;
            }
        }
        Ok(())
    }
}

/// Removes one pin, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), PinError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(PinError::new("remove", path, source)),
    }
}
