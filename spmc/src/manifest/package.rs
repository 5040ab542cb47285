//! The header of an SP package (SPKG version 1 and 2, as TF-A's `sptool` writes them).
//!
//! Packages come from a file that is signed but not trusted: each size and offset is checked
//! against the memory of the package before it is used.

use core::fmt;

use super::config::{AbortAction, PartitionConfig};
use super::error::{Found, ManifestError, limit_text};
use crate::addr::{PAGE_SIZE, Pa, PageRange};
use crate::limits::MAX_SP_MANIFEST;

/// Bytes of the header: six little-endian words.
pub const HEADER_SIZE: usize = 24;

/// "SPKG"
const MAGIC: u32 = 0x474b_5053;
/// A Transfer List of the Firmware Handoff specification, the other format of packages.
const TRANSFER_LIST: u32 = 0x4a0f_b10b;

const PLACE: &str = "package header";

/// A checked header: header, manifest and image follow each other inside the package's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Package {
    version: u32,
    manifest: Piece,
    image: Piece,
}

/// A part of the package: never empty, and its end is within the package.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Piece {
    offset: u32,
    size: u32,
}

/// The lack of room in a package for what its manifest asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoRoom {
    /// `boot-info`: header and image leave too little between them.
    ForBootInfo,
    /// `abort-action` 2: the package's memory has no room for a second copy of the package.
    ForCopy,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ForBootInfo => "the package has no room for boot information before its image",
            Self::ForCopy => {
                "abort-action 2 (restart) needs room for a copy of the package at the end of its \
                 memory, and no region there"
            }
        })
    }
}

impl Piece {
    fn end(self) -> u64 {
        u64::from(self.offset).saturating_add(self.size.into())
    }
}

impl Package {
    /// Parses the header of a package that was given `mem_size` bytes.
    ///
    /// Refused: another magic or version; a manifest that is not where the version has it (1: right
    /// behind the header, 2: on a page) or larger than [`MAX_SP_MANIFEST`]; an image that does not
    /// start on a page behind the manifest or reaches beyond `mem_size`; empty pieces.
    #[inline(never)]
    pub fn parse(header: &[u8; HEADER_SIZE], mem_size: u64) -> Result<Self, ManifestError> {
        let (words, _) = header.as_chunks::<4>();
        let [
            magic,
            version,
            manifest_offset,
            manifest_size,
            image_offset,
            image_size,
        ] = *words.as_array().unwrap_or(&[[0; 4]; 6]);
        match u32::from_le_bytes(magic) {
            MAGIC => {}
            TRANSFER_LIST => {
                return Err(refuse(
                    "magic",
                    "an SPKG package, not a transfer list",
                    TRANSFER_LIST,
                ));
            }
            other => return Err(refuse("magic", "0x474b5053 (\"SPKG\")", other)),
        }
        let piece = |offset, size| Piece {
            offset: u32::from_le_bytes(offset),
            size: u32::from_le_bytes(size),
        };
        let package = Self {
            version: u32::from_le_bytes(version),
            manifest: piece(manifest_offset, manifest_size),
            image: piece(image_offset, image_size),
        };
        let Self {
            version,
            manifest,
            image,
        } = package;
        match version {
            1 if manifest.offset as usize != HEADER_SIZE => {
                return Err(refuse(
                    "manifest offset",
                    "24, right behind the header",
                    manifest.offset,
                ));
            }
            2 if !starts_page(manifest) => {
                return Err(refuse(
                    "manifest offset",
                    "a page behind the header",
                    manifest.offset,
                ));
            }
            1 | 2 => {}
            other => return Err(refuse("version", "1 or 2", other)),
        }
        if !starts_page(image) {
            return Err(refuse(
                "image offset",
                "a page behind the header",
                image.offset,
            ));
        }
        if manifest.end() > image.offset.into() {
            return Err(refuse(
                "image offset",
                "an image behind the manifest",
                image.offset,
            ));
        }
        if manifest.size == 0 || package.manifest_size() > MAX_SP_MANIFEST {
            let expected = limit_text!("1 byte to ", MAX_SP_MANIFEST / 1024, " KiB");
            return Err(refuse("manifest size", expected, manifest.size));
        }
        if image.size == 0 || image.end() > mem_size {
            return Err(refuse(
                "image size",
                "1 byte to what mem_size leaves",
                image.size,
            ));
        }
        Ok(package)
    }

    /// Returns the offset of the manifest in the package.
    pub fn manifest_offset(&self) -> u64 {
        self.manifest.offset.into()
    }

    /// Returns the bytes of the manifest, 1 to [`MAX_SP_MANIFEST`].
    pub fn manifest_size(&self) -> usize {
        self.manifest.size as usize
    }

    /// Returns the offset of the image in the package.
    pub fn image_offset(&self) -> u64 {
        self.image.offset.into()
    }

    /// Returns the bytes of the image, at least 1.
    pub fn image_size(&self) -> u64 {
        self.image.size.into()
    }

    /// Returns the version, 1 or 2.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Returns the offset of the manifest that leaves `room` bytes, a multiple of 8, for boot
    /// information in front of it. Boot information is written over the header: packages of version
    /// 2 have at least a page for that, others have their manifest moved.
    ///
    /// Errors: the manifest would reach the image.
    pub fn offset_behind_boot_info(&self, room: usize) -> Result<u64, NoRoom> {
        let offset = room as u64;
        if self.manifest_offset() >= offset {
            return Ok(self.manifest_offset());
        }
        if offset.saturating_add(self.manifest.size.into()) > self.image_offset() {
            return Err(NoRoom::ForBootInfo);
        }
        Ok(offset)
    }

    /// Takes pages at the end of the partition's memory for a copy of the package, if the partition
    /// is to be restarted when it fails.
    ///
    /// Errors: the package itself, a region, or the entry point lies there.
    pub fn reserve_copy(&self, config: &mut PartitionConfig) -> Result<(), NoRoom> {
        if config.abort_action != AbortAction::Restart {
            return Ok(());
        }
        let pages = self.image.end().div_ceil(PAGE_SIZE);
        let left = config.memory.pages().saturating_sub(pages);
        let base = config.memory.base();
        let copy = Pa::new(base.raw().saturating_add(left.saturating_mul(PAGE_SIZE)));
        let (Some(memory), Some(copy)) = (
            PageRange::new(base, left).filter(|_| left >= pages),
            PageRange::new(copy, pages),
        ) else {
            return Err(NoRoom::ForCopy);
        };
        let mut regions = config.memory_regions.iter();
        if regions.any(|region| region.range.overlaps(&copy))
            || config.entrypoint_offset >= memory.size()
        {
            return Err(NoRoom::ForCopy);
        }
        config.memory = memory;
        config.copy = Some(copy);
        Ok(())
    }
}

/// Returns whether a piece starts on a page of its own, not on that of the header.
fn starts_page(piece: Piece) -> bool {
    piece.offset != 0 && u64::from(piece.offset).is_multiple_of(PAGE_SIZE)
}

#[cold]
#[inline(never)]
fn refuse(field: &'static str, expected: &'static str, found: u32) -> ManifestError {
    ManifestError::new(PLACE, field, expected, Found::Number(found.into()))
}
