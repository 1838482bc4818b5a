//! The socket hooks' links: at the topmost cgroup of the host, pinned like those of interfaces.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::pins::{self, PinError, Pins};
use super::sys;
use crate::world::SocketHook;

/// Where the kernel tells what is mounted (proc(5)).
const MOUNTS: &str = "/proc/self/mountinfo";

/// How many programs the kernel runs at one hook of one cgroup (`BPF_CGROUP_MAX_PROGS`).
const MOST_PROGRAMS: u32 = 64;

/// The socket hooks cannot be attached; VIPs are translated per packet meanwhile.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CgroupError {
    /// The hierarchy cannot be looked for.
    #[error("read {MOUNTS}")]
    Mounts(#[source] io::Error),
    /// There is none.
    #[error("no cgroup v2 hierarchy is mounted as a whole")]
    NoHierarchy,
    /// Its top cannot be opened.
    #[error("open {path}")]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// As many programs are there as the kernel runs.
    #[error("{hook} has {MOST_PROGRAMS} programs already, as many as the kernel runs")]
    Full { hook: &'static str },
    /// The kernel refuses for another reason.
    #[error("attach {hook}")]
    Refused {
        hook: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Pin(#[from] PinError),
}

impl CgroupError {
    /// What would help, for the operator.
    pub(crate) const fn needed(&self) -> &'static str {
        match self {
            Self::NoHierarchy => "a cgroup2 mount, usually at /sys/fs/cgroup",
            Self::Full { .. } => "fewer instances of netd, or of other users of these hooks",
            Self::Mounts(_) | Self::Open { .. } | Self::Refused { .. } | Self::Pin(_) => "",
        }
    }
}

/// The top of the cgroup v2 hierarchy. A mount of a part of it would miss the sockets elsewhere.
pub(crate) fn top() -> Result<PathBuf, CgroupError> {
    let mounts = fs::read_to_string(MOUNTS).map_err(CgroupError::Mounts)?;
    mounts
        .lines()
        .find_map(read_mount)
        .ok_or(CgroupError::NoHierarchy)
}

/// The mount point of a line that is a whole cgroup v2 hierarchy.
fn read_mount(line: &str) -> Option<PathBuf> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    (filesystem.starts_with("cgroup2 ") && root == "/").then(|| PathBuf::from(point))
}

impl Pins {
    fn socket_hooks(&self) -> PathBuf {
        self.root().join("sockets")
    }

    fn socket_hook(&self, hook: SocketHook) -> PathBuf {
        self.socket_hooks().join(hook.name())
    }

    /// The socket hooks that are pinned and still attached.
    pub(crate) fn pinned_sockets(&self) -> Result<BTreeSet<SocketHook>, PinError> {
        let mut pinned = BTreeSet::new();
        for hook in SocketHook::ALL {
            let path = self.socket_hook(hook);
            let link = match sys::object_get(&path) {
                Ok(link) => link,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(PinError::new("open", &path, error)),
            };
            let info = sys::link_info(link.as_fd())
                .map_err(|source| PinError::new("inspect", &path, source))?;
            // The union holds the cgroup's number here, which is 0 once the cgroup is gone.
            if info.ifindex != 0 {
                pinned.insert(hook);
            }
        }
        Ok(pinned)
    }

    /// Attaches a program to the cgroup and pins the link.
    pub(super) fn attach_socket(
        &self,
        hook: SocketHook,
        program: impl AsFd,
        cgroup: &File,
    ) -> Result<(), CgroupError> {
        let directory = self.socket_hooks();
        fs::create_dir_all(&directory)
            .map_err(|source| PinError::new("create", &directory, source))?;
        let link = sys::link_create_at_cgroup(program.as_fd(), cgroup.as_fd(), hook.attach_type())
            .map_err(|source| match source.raw_os_error() {
                Some(libc::E2BIG) => CgroupError::Full { hook: hook.name() },
                _ => CgroupError::Refused {
                    hook: hook.name(),
                    source,
                },
            })?;
        let path = self.socket_hook(hook);
        pins::remove(&path)?;
        sys::object_pin(link.as_fd(), &path)
            .map_err(|source| PinError::new("pin", &path, source))?;
        Ok(())
    }

    /// Puts a fresh program behind a pinned link.
    pub(super) fn replace_socket(
        &self,
        hook: SocketHook,
        program: impl AsFd,
    ) -> Result<(), PinError> {
        let path = self.socket_hook(hook);
        let pinned = sys::object_get(&path).map_err(|e| PinError::new("open", &path, e))?;
        sys::link_update(pinned.as_fd(), program.as_fd())
            .map_err(|source| PinError::new("replace the program of", &path, source))
    }

    /// Detaches: nobody but the pin holds the link.
    pub(crate) fn detach_socket(&self, hook: SocketHook) -> Result<(), PinError> {
        pins::remove(&self.socket_hook(hook))
    }
}

/// Opens the top of the hierarchy.
pub(super) fn open(path: &Path) -> Result<File, CgroupError> {
    File::open(path).map_err(|source| CgroupError::Open {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_hierarchies_are_told_from_parts_and_from_version_1() {
        let whole = "33 24 0:28 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw";
        assert_eq!(
            read_mount(whole),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
        for line in [
            "33 24 0:28 /a/b /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw",
            "34 24 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu",
            "",
        ] {
            assert_eq!(read_mount(line), None, "{line}");
        }
    }
}
