//! The initial file system of a Linux kernel: an archive in cpio's "newc" format, written without
//! cpio.
//!
//! An entry consists of a header of 110 bytes, most of them hexadecimal digits, the name and the
//! contents, the last two padded to multiples of four bytes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive under construction.
#[derive(Default)]
pub struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<String>,
}

impl Initramfs {
    /// Adds a directory and its parents.
    pub fn directory(&mut self, path: &str) {
        if path.is_empty() || !self.directories.insert(path.to_string()) {
            return;
        }
        self.parent(path);
        self.entry(path, DIRECTORY, &[], (0, 0));
    }

    /// Adds an executable file.
    pub fn file(&mut self, path: &str, contents: &[u8]) {
        self.parent(path);
        self.entry(path, FILE, contents, (0, 0));
    }

    /// Adds a file of this machine.
    pub fn copy(&mut self, path: &str, from: &Path) -> Result<()> {
        let contents = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.file(path, &contents);
        Ok(())
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, to: &str) {
        self.parent(path);
        self.entry(path, LINK, to.as_bytes(), (0, 0));
    }

    /// Adds a character device.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.parent(path);
        self.entry(path, CHARACTER_DEVICE, &[], (major, minor));
    }

    /// Returns the archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[], (0, 0));
        self.bytes
    }

    fn parent(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8], (major, minor): (u32, u32)) {
        self.entries += 1;
        let size = contents.len() as u32;
        let name_size = name.len() as u32 + 1;
        // inode, mode, uid, gid, links, time, size, device, special device, size of the name,
        // checksum
        let fields = [
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
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.fill();
        self.bytes.extend_from_slice(contents);
        self.fill();
    }

    fn fill(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_their_parents_and_are_aligned() {
        let mut archive = Initramfs::default();
        archive.file("a/b/file", b"12345");
        archive.link("a/link", "b");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let mut names = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let field = |index: usize| {
                let digits = &bytes[at + 6 + index * 8..][..8];
                usize::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
            };
            let (size, name_size) = (field(6), field(11));
            let name = &bytes[at + 110..][..name_size - 1];
            names.push(String::from_utf8(name.to_vec()).unwrap());
            let contents = (at + 110 + name_size).next_multiple_of(4);
            if names.last().unwrap() == "a/b/file" {
                assert_eq!(&bytes[contents..][..size], b"12345");
            }
            at = (contents + size).next_multiple_of(4);
        }
        assert_eq!(names, ["a", "a/b", "a/b/file", "a/link", "TRAILER!!!"]);
    }
}
