//! What is pinned in the BPF file system.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::sys::{self, AttachType};
use crate::world::Program;

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

/// A program's pinned link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PinnedLink {
    pub(crate) program: Program,
    /// The interface that it was made for.
    pub(crate) ifindex: u32,
    /// Whether that interface still exists.
    pub(crate) alive: bool,
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
        for directory in [pins.maps(), pins.links()] {
            fs::create_dir_all(&directory)
                .map_err(|source| PinError::new("create", &directory, source))?;
        }
        Ok(pins)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    fn link(&self, program: Program, ifindex: u32) -> PathBuf {
        self.links().join(format!("{}-{ifindex}", program.name()))
    }

    /// Every pinned link.
    pub(crate) fn pinned_links(&self) -> Result<Vec<PinnedLink>, PinError> {
        let directory = self.links();
        let error = |source| PinError::new("list", &directory, source);
        let mut links = Vec::new();
        for entry in fs::read_dir(&directory).map_err(error)? {
            let name = entry.map_err(error)?.file_name();
            let Some((program, ifindex)) = name.to_str().and_then(parse) else {
                continue;
            };
            let path = directory.join(&name);
            let link = sys::object_get(&path).map_err(|e| PinError::new("open", &path, e))?;
            let info = sys::link_info(link.as_fd())
                .map_err(|source| PinError::new("inspect", &path, source))?;
            links.push(PinnedLink {
                program,
                ifindex,
                alive: info.ifindex == ifindex,
            });
        }
        Ok(links)
    }

    /// Attaches `program` to an interface and pins the link, so that it outlives this process.
    pub(super) fn attach(
        &self,
        program: Program,
        fd: impl AsFd,
        ifindex: u32,
    ) -> Result<(), PinError> {
        let path = self.link(program, ifindex);
        let attach_type = match program {
            Program::ToTask => AttachType::TcxEgress,
            Program::FromTask | Program::FromOverlay | Program::FromUplink => {
                AttachType::TcxIngress
            }
        };
        let link = sys::link_create(fd.as_fd(), ifindex, attach_type)
            .map_err(|source| PinError::new("attach for", &path, source))?;
        remove(&path)?;
        sys::object_pin(link.as_fd(), &path).map_err(|source| PinError::new("pin", &path, source))
    }

    /// Pins an object where it was; tells whether it was there no more.
    pub(super) fn restore(&self, path: &Path, object: impl AsFd) -> Result<bool, PinError> {
        if path.exists() {
            return Ok(false);
        }
        for directory in [self.maps(), self.links()] {
            fs::create_dir_all(&directory)
                .map_err(|source| PinError::new("create", &directory, source))?;
        }
        sys::object_pin(object.as_fd(), path)
            .map_err(|source| PinError::new("pin", path, source))?;
        Ok(true)
    }

    /// Puts a fresh program behind a pinned link; no packet passes without one.
    pub(super) fn replace(&self, link: &PinnedLink, fd: impl AsFd) -> Result<(), PinError> {
        let path = self.link(link.program, link.ifindex);
        let pinned = sys::object_get(&path).map_err(|e| PinError::new("open", &path, e))?;
        sys::link_update(pinned.as_fd(), fd.as_fd())
            .map_err(|source| PinError::new("replace the program of", &path, source))
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

    /// Detaches: nobody but the pin holds the link.
    pub(crate) fn detach(&self, program: Program, ifindex: u32) -> Result<(), PinError> {
        remove(&self.link(program, ifindex))
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

/// Reads the name of a pinned link.
fn parse(name: &str) -> Option<(Program, u32)> {
    let (program, ifindex) = name.split_once('-')?;
    let program = Program::ALL
        .into_iter()
        .find(|candidate| candidate.name() == program)?;
    Some((program, ifindex.parse().ok()?))
}
