//! Programs at interfaces: by a tcx link where the kernel has them (Linux 6.6), by a filter of the
//! classic tc where not.
//!
//! A link is pinned and is what holds the program. A filter belongs to its interface and outlives this
//! process by itself; a directory stands in the place of the pin, to know it by.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use abi::hash::murmur3_32;

use super::pins::{self, PinError, Pins};
use super::sys::{self, AttachType};
use crate::kernel::netlink::{Filter, NetlinkError, Side};
use crate::world::Program;

/// How programs are attached to interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attach {
    /// By tcx links.
    Tcx,
    /// By filters of the classic tc.
    Tc,
}

impl Attach {
    /// Its name in settings and listings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Tc => "tc",
        }
    }

    /// The best that the kernel knows: one without tcx refuses the kind of link before it looks for
    /// the interface, which there is none of this number.
    pub(super) fn best(program: BorrowedFd<'_>) -> Self {
        match sys::link_create(program, 0, AttachType::TcxIngress) {
            Err(error) if error.raw_os_error() != Some(libc::ENODEV) => Self::Tc,
            Ok(_) | Err(_) => Self::Tcx,
        }
    }
}

/// A program is not attached, or cannot be looked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachError {
    #[error(transparent)]
    Pin(#[from] PinError),
    #[error(transparent)]
    Filter(#[from] NetlinkError),
}

/// A program at an interface, as it was left there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PinnedLink {
    pub(crate) program: Program,
    /// The interface that it was made for.
    pub(crate) ifindex: u32,
    /// Whether it is still there; it goes with its interface.
    pub(crate) alive: bool,
    attach: Attach,
}

impl Pins {
    fn links(&self) -> PathBuf {
        self.root().join("links")
    }

    fn filters(&self) -> PathBuf {
        self.root().join("filters")
    }

    fn place(&self, attach: Attach, program: Program, ifindex: u32) -> PathBuf {
        let directory = match attach {
            Attach::Tcx => self.links(),
            Attach::Tc => self.filters(),
        };
        directory.join(format!("{}-{ifindex}", program.name()))
    }

    fn filter(&self, program: Program, ifindex: u32) -> Filter {
        let instance = self.root().parent().and_then(Path::file_name);
        let instance = instance.unwrap_or_default().to_string_lossy();
        filter(&instance, program, ifindex)
    }

    /// Every program that was attached and not detached.
    pub(crate) fn pinned_links(&self) -> Result<Vec<PinnedLink>, AttachError> {
        let mut links = Vec::new();
        for (program, ifindex) in entries(&self.links())? {
            let path = self.place(Attach::Tcx, program, ifindex);
            let link = sys::object_get(&path).map_err(|e| PinError::new("open", &path, e))?;
            let info = sys::link_info(link.as_fd())
                .map_err(|source| PinError::new("inspect", &path, source))?;
            links.push(PinnedLink {
                program,
                ifindex,
                alive: info.ifindex == ifindex,
                attach: Attach::Tcx,
            });
        }
        for (program, ifindex) in entries(&self.filters())? {
            links.push(PinnedLink {
                program,
                ifindex,
                alive: self.filter(program, ifindex).exists()?,
                attach: Attach::Tc,
            });
        }
        Ok(links)
    }

    /// Attaches `program` to an interface so that it outlives this process.
    pub(super) fn attach(
        &self,
        attach: Attach,
        program: Program,
        fd: impl AsFd,
        ifindex: u32,
    ) -> Result<(), AttachError> {
        let path = self.place(attach, program, ifindex);
        match attach {
            Attach::Tcx => {
                let attach_type = match side(program) {
                    Side::Egress => AttachType::TcxEgress,
                    Side::Ingress => AttachType::TcxIngress,
                };
                let link = sys::link_create(fd.as_fd(), ifindex, attach_type)
                    .map_err(|source| PinError::new("attach for", &path, source))?;
                make_directory(&self.links())?;
                pins::remove(&path)?;
                sys::object_pin(link.as_fd(), &path)
                    .map_err(|source| PinError::new("pin", &path, source))?;
            }
            Attach::Tc => {
                // Before the filter, which nobody would find otherwise.
                make_directory(&path)?;
                self.filter(program, ifindex).put(fd.as_fd())?;
            }
        }
        Ok(())
    }

    /// Puts a fresh program in the place of the one that is attached; no packet passes without one.
    pub(super) fn replace(&self, link: &PinnedLink, fd: impl AsFd) -> Result<(), AttachError> {
        match link.attach {
            Attach::Tcx => {
                let path = self.place(Attach::Tcx, link.program, link.ifindex);
                let pinned = sys::object_get(&path).map_err(|e| PinError::new("open", &path, e))?;
                sys::link_update(pinned.as_fd(), fd.as_fd())
                    .map_err(|source| PinError::new("replace the program of", &path, source))?;
            }
            Attach::Tc => self.filter(link.program, link.ifindex).put(fd.as_fd())?,
        }
        Ok(())
    }

    /// Detaches: nobody but its pin holds a link; a filter is removed.
    pub(crate) fn detach(&self, program: Program, ifindex: u32) -> Result<(), AttachError> {
        pins::remove(&self.place(Attach::Tcx, program, ifindex))?;
        let path = self.place(Attach::Tc, program, ifindex);
        if path.exists() {
            self.filter(program, ifindex).remove()?;
            fs::remove_dir(&path).map_err(|source| PinError::new("remove", &path, source))?;
        }
        Ok(())
    }
}

/// Removes every filter of an instance, whose pins of all layouts are in `directory`.
pub(crate) fn detach_filters(directory: &Path) -> Result<(), AttachError> {
    let instance = directory.file_name().unwrap_or_default().to_string_lossy();
    let layouts = fs::read_dir(directory);
    let layouts = layouts.map_err(|source| PinError::new("list", directory, source))?;
    for layout in layouts {
        let layout = layout.map_err(|source| PinError::new("list", directory, source))?;
        for (program, ifindex) in entries(&layout.path().join("filters"))? {
            filter(&instance, program, ifindex).remove()?;
        }
    }
    Ok(())
}

/// The filter of a program of the instance whose pins are in a directory of this name. It is the same in
/// every layout: one that is new takes the place of what is old.
fn filter(instance: &str, program: Program, ifindex: u32) -> Filter {
    let name = format!("{instance}:{}", program.name());
    Filter {
        ifindex,
        side: side(program),
        handle: murmur3_32(name.as_bytes(), 0).max(1),
        name,
    }
}

const fn side(program: Program) -> Side {
    match program {
        Program::ToTask => Side::Egress,
        Program::FromTask | Program::FromOverlay | Program::FromUplink => Side::Ingress,
    }
}

fn make_directory(path: &Path) -> Result<(), PinError> {
    fs::create_dir_all(path).map_err(|source| PinError::new("create", path, source))
}

/// What a directory's entries are named after; nothing where there is no directory.
fn entries(directory: &Path) -> Result<Vec<(Program, u32)>, PinError> {
    let error = |source| PinError::new("list", directory, source);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(error(source)),
    };
    let mut named = Vec::new();
    for entry in entries {
        let name = entry.map_err(error)?.file_name();
        named.extend(name.to_str().and_then(parse));
    }
    Ok(named)
}

/// Reads the name of a pinned link.
fn parse(name: &str) -> Option<(Program, u32)> {
    let (program, ifindex) = name.split_once('-')?;
    let program = Program::ALL
        .into_iter()
        .find(|candidate| candidate.name() == program)?;
    Some((program, ifindex.parse().ok()?))
}
