//! What is in the virtual machine: the programs that tests call with their libraries, the kernel's
//! modules for networks, and the tests themselves, at the places where they were built.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::archive::Archive;
use super::kernel::Kernel;
use crate::process::{command, find, output};

/// What tests and the first process call.
const PROGRAMS: &[&str] = &[
    "bash", "cat", "cp", "curl", "cut", "date", "env", "ethtool", "find", "grep", "head", "id",
    "ip", "kill", "ln", "ls", "mkdir", "modprobe", "mount", "mv", "nft", "nsenter", "ping", "ps",
    "rm", "sed", "setsid", "sh", "sleep", "sort", "ss", "stty", "sysctl", "tail", "tc", "timeout",
    "touch", "tr", "true", "umount", "uname", "unshare", "wc",
];

/// Modules below these directories, and what they depend on, which is below these, too.
const MODULES: &[&str] = &[
    "kernel/net",
    "kernel/drivers/net",
    "kernel/lib",
    "kernel/crypto",
];
/// Drivers of hardware that there is none of.
const WITHOUT: &[&str] = &["kernel/drivers/net/ethernet", "kernel/drivers/net/wireless"];

const INIT: &str = include_str!("init.sh");

/// Where file systems are mounted, and what programs expect.
const DIRECTORIES: &[&str] = &["/dev", "/proc", "/sys", "/tmp", "/run", "/etc", "/root"];

/// What goes in, by its path inside.
#[derive(Debug, Default)]
pub(super) struct Image {
    files: BTreeMap<String, Content>,
    directories: Vec<String>,
}

#[derive(Debug)]
enum Content {
    Of(PathBuf),
    Text(String),
}

impl Image {
    /// With everything but the tests.
    pub(super) fn new(kernel: &Kernel) -> Result<Self> {
        let mut image = Self::default();
        image.text("/init", INIT.to_owned());
        for program in PROGRAMS {
            let path = find(program).with_context(|| format!("no {program} on this machine"))?;
            image.program_at(&format!("/bin/{program}"), &path)?;
        }
        let inside = format!("/lib/modules/{}", kernel.release);
        image.modules(&kernel.modules(), Path::new(""), &inside)?;
        Ok(image)
    }

    /// Adds a text.
    pub(super) fn text(&mut self, path: &str, text: String) {
        self.files.insert(path.to_owned(), Content::Text(text));
    }

    /// Adds a directory where it is outside.
    pub(super) fn directory(&mut self, path: &Path) {
        self.directories.push(path.display().to_string());
    }

    /// Adds a file where it is outside.
    pub(super) fn file(&mut self, path: &Path) {
        let name = path.display().to_string();
        self.files.insert(name, Content::Of(path.to_path_buf()));
    }

    /// Adds a program where it is outside, and the libraries that it needs; `slim` is where it is
    /// copied to without what only a debugger reads.
    pub(super) fn program(&mut self, path: &Path, slim: &Path) -> Result<()> {
        output(command("strip").arg("-g").arg("-o").arg(slim).arg(path))?;
        self.program_at(&path.display().to_string(), slim)
    }

    fn program_at(&mut self, inside: &str, path: &Path) -> Result<()> {
        let content = Content::Of(path.to_path_buf());
        self.files.insert(inside.to_owned(), content);
        // What is not dynamically linked makes ldd(1) fail.
        let libraries = output(command("ldd").arg(path)).unwrap_or_default();
        for word in libraries.split_whitespace().filter(|w| w.starts_with('/')) {
            self.file(Path::new(word));
        }
        Ok(())
    }

    fn modules(&mut self, root: &Path, below: &Path, inside: &str) -> Result<()> {
        let directory = root.join(below);
        let entries = fs::read_dir(&directory);
        for entry in entries.with_context(|| format!("list {}", directory.display()))? {
            let entry = entry.context("list modules")?;
            let path = below.join(entry.file_name());
            if entry.path().is_dir() {
                let is_on_the_way = |one: &&str| {
                    (path.starts_with(one) || Path::new(one).starts_with(&path))
                        && !WITHOUT.iter().any(|other| path.starts_with(other))
                };
                if MODULES.iter().any(is_on_the_way) {
                    self.modules(root, &path, inside)?;
                }
            } else if entry.path().is_file() {
                let inside = format!("{inside}/{}", path.display());
                self.files.insert(inside, Content::Of(entry.path()));
            }
        }
        Ok(())
    }

    /// Writes the archive.
    pub(super) fn write(&self, to: &Path) -> Result<()> {
        let file = File::create(to).with_context(|| format!("make {}", to.display()))?;
        let mut archive = Archive::new(BufWriter::new(file));
        let own = self.directories.iter().map(String::as_str);
        for directory in DIRECTORIES.iter().copied().chain(own) {
            archive.directory(directory)?;
        }
        archive.device("/dev/console", (5, 1))?;
        for link in ["/usr/bin", "/usr/sbin", "/sbin"] {
            archive.link(link, "/bin")?;
        }
        for (path, content) in &self.files {
            let written = match content {
                Content::Text(text) => archive.file(path, text.as_bytes()),
                Content::Of(source) => {
                    let bytes = fs::read(source);
                    let bytes = bytes.with_context(|| format!("read {}", source.display()))?;
                    archive.file(path, &bytes)
                }
            };
            written.with_context(|| format!("write {path} into {}", to.display()))?;
        }
        archive.finish().context("end the archive")?;
        Ok(())
    }
}
