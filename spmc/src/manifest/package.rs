//! The header of an SP package (SPKG version 1 and 2, as TF-A's `sptool` writes them).
//!
//! Packages come from a signed but still foreign file: no size or offset is used before it is checked against the memory that the
//! package was given.

use super::error::{Found, ManifestError, limit_text};
use crate::addr::PAGE_SIZE;
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

impl Piece {
    fn end(self) -> u64 {
        u64::from(self.offset).saturating_add(self.size.into())
    }
}

impl Package {
    /// Parses the header of a package that was given `mem_size` bytes.
    ///
    /// Refused: another magic or version; a manifest that is not where the version has it (1: right behind the header, 2: on a page)
    /// or larger than [`MAX_SP_MANIFEST`]; an image that does not start on a page behind the manifest or reaches beyond `mem_size`;
    /// empty pieces.
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

    /// Where the manifest starts, from the start of the package.
    pub fn manifest_offset(&self) -> u64 {
        self.manifest.offset.into()
    }

    /// Bytes of the manifest, 1 to [`MAX_SP_MANIFEST`].
    pub fn manifest_size(&self) -> usize {
        self.manifest.size as usize
    }

    /// Where the image starts, from the start of the package.
    pub fn image_offset(&self) -> u64 {
        self.image.offset.into()
    }

    /// Bytes of the image, at least 1.
    pub fn image_size(&self) -> u64 {
        self.image.size.into()
    }

    /// 1 or 2.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Whether the first page holds the header only, so that boot information may be written over it. Packages of version 2 always
    /// have that room.
    pub fn first_page_is_free(&self) -> bool {
        self.manifest_offset() >= PAGE_SIZE && self.image_offset() >= PAGE_SIZE
    }
}

/// Whether a piece starts on a page of its own, not on that of the header.
fn starts_page(piece: Piece) -> bool {
    piece.offset != 0 && u64::from(piece.offset).is_multiple_of(PAGE_SIZE)
}

#[cold]
#[inline(never)]
fn refuse(field: &'static str, expected: &'static str, found: u32) -> ManifestError {
    ManifestError::new(PLACE, field, expected, Found::Number(found.into()))
}
