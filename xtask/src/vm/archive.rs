//! The kernel's first file system: a cpio archive of the format `newc`
//! (Documentation/driver-api/early-userspace/buffer-format.rst), uncompressed.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const DEVICE: u32 = 0o020_600;

/// The archive, written as it is added to.
#[derive(Debug)]
pub(super) struct Archive<W> {
    to: W,
    entries: u32,
    directories: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(to: W) -> Self {
        Self {
            to,
            entries: 0,
            directories: BTreeSet::new(),
        }
    }

    /// Adds a directory, and those that it is in.
    pub(super) fn directory(&mut self, path: &str) -> io::Result<()> {
        let path = path.trim_matches('/');
        if path.is_empty() || self.directories.contains(path) {
            return Ok(());
        }
        self.parents(path)?;
        self.directories.insert(path.to_owned());
        self.entry(path, DIRECTORY, (0, 0), &[])
    }

    /// Adds a file that anybody may execute.
    pub(super) fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        let path = path.trim_matches('/');
        self.parents(path)?;
        self.entry(path, FILE, (0, 0), content)
    }

    /// Adds a symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        let path = path.trim_matches('/');
        self.parents(path)?;
        self.entry(path, LINK, (0, 0), target.as_bytes())
    }

    /// Adds a character device of these two numbers.
    pub(super) fn device(&mut self, path: &str, numbers: (u32, u32)) -> io::Result<()> {
        let path = path.trim_matches('/');
        self.parents(path)?;
        self.entry(path, DEVICE, numbers, &[])
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn parents(&mut self, path: &str) -> io::Result<()> {
        match Path::new(path).parent().and_then(Path::to_str) {
            Some(parent) => self.directory(parent),
            None => Ok(()),
        }
    }

    fn entry(
        &mut self,
        name: &str,
        mode: u32,
        (major, minor): (u32, u32),
        content: &[u8],
    ) -> io::Result<()> {
        self.entries += 1;
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        let mut head = "070701".to_owned();
        for field in [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            major,
            minor,
            name_size,
            0,
        ] {
            head.push_str(&format!("{field:08x}"));
        }
        head.push_str(name);
        head.push('\0');
        self.padded(head.as_bytes())?;
        self.padded(content)
    }

    /// What follows begins at a multiple of four.
    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        let padding = bytes.len().next_multiple_of(4) - bytes.len();
        self.to.write_all(bytes)?;
        self.to.write_all(&[0; 3][..padding])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_after_their_directories_each_once() {
        let mut archive = Archive::new(Vec::new());
        archive.file("/a/b/one", b"12345").unwrap();
        archive.link("/a/b/two", "one").unwrap();
        archive.directory("/a").unwrap();
        let bytes = archive.finish().unwrap();
        assert!(bytes.len().is_multiple_of(4));
        let text = String::from_utf8_lossy(&bytes);
        let names: Vec<&str> = text
            .split("070701")
            .skip(1)
            .map(|entry| entry[104..].split('\0').next().unwrap())
            .collect();
        assert_eq!(names, ["a", "a/b", "a/b/one", "a/b/two", "TRAILER!!!"]);
        assert!(text.contains(concat!("12345\0\0\0", "070701")), "{text}");
    }
}
