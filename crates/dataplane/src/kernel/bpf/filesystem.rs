//! The BPF file system: mounted by netd where there is none, and unmounted again by its cleanup.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FsWord, StatxFlags, statfs, statx};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::pins::PinError;

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS: FsWord = 0xcafe_4a11;

/// What stands in the place of a device: tells which mounts are ours.
const SOURCE: &str = "netd";

/// Where the kernel tells what is mounted (proc(5)).
const MOUNTS: &str = "/proc/thread-self/mountinfo";

/// Mounts a BPF file system at `path` unless there is one; under the host's lock, or daemons that
/// start together mount one upon the other.
pub(crate) fn mount_bpffs(path: &Path) -> Result<(), PinError> {
    fs::create_dir_all(path).map_err(|source| PinError::new("create", path, source))?;
    if is_bpffs(path)? {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(SOURCE, path, "bpf", flags, None)
        .map_err(|errno| PinError::new("mount a BPF file system at", path, errno))
}

/// Unmounts the BPF file system; its pins go with it.
pub(crate) fn unmount_bpffs(path: &Path) -> Result<(), PinError> {
    unmount(path, UnmountFlags::empty())
        .map_err(|errno| PinError::new("unmount the BPF file system at", path, errno))
}

/// Whether a BPF file system is mounted at `path`.
pub(crate) fn is_mounted(path: &Path) -> bool {
    is_bpffs(path).unwrap_or(false)
}

/// Whether netd has mounted the BPF file system at `path`, and nothing is in it but `leaving`.
pub(crate) fn is_spare(path: &Path, leaving: &[PathBuf]) -> bool {
    is_mounted(path) && is_own(path).unwrap_or(false) && is_left(path, leaving).unwrap_or(false)
}

fn is_bpffs(path: &Path) -> Result<bool, PinError> {
    let filesystem = statfs(path).map_err(|errno| PinError::new("inspect", path, errno))?;
    Ok(filesystem.f_type == BPF_FS)
}

fn is_own(path: &Path) -> io::Result<bool> {
    let mount = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID)?.stx_mnt_id;
    let mounts = fs::read_to_string(MOUNTS)?;
    Ok(mounts.lines().any(|line| is_ours(line, mount)))
}

/// Whether a line of [`MOUNTS`] is of the mount with this number, and made by netd.
fn is_ours(line: &str, mount: u64) -> bool {
    let Some((place, filesystem)) = line.split_once(" - ") else {
        return false;
    };
    let number = place.split(' ').next().and_then(|it| it.parse().ok());
    number == Some(mount) && filesystem.split(' ').nth(1) == Some(SOURCE)
}

/// Whether nothing but `leaving` is in the file system, and what the kernel puts into every one.
fn is_left(path: &Path, leaving: &[PathBuf]) -> io::Result<bool> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let is_kernels = entry.file_name().to_string_lossy().ends_with(".debug");
        if !is_kernels && !leaving.contains(&entry.path()) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_netd_are_told_by_their_source() {
        let line = "512 30 0:49 / /sys/fs/bpf rw,nosuid shared:9 - bpf netd rw";
        assert!(is_ours(line, 512));
        assert!(!is_ours(line, 51));
        assert!(!is_ours(&line.replace("bpf netd", "bpf bpf"), 512));
        assert!(!is_ours("512 30 0:49 / /sys", 512));
    }
}
