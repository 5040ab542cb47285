//! The header of an SP package (SPKG version 1 and 2, as TF-A's `sptool` writes them).
//!
//! Packages come from a signed but still foreign file: no size or offset is used before it is checked against the memory that the
//! package was given.

use super::error::{Found, ManifestError};
use crate::addr::PAGE_SIZE;
use crate::limits::MAX_SP_MANIFEST;

/// Bytes of the header: six little-endian words.
pub const HEADER_SIZE: usize = 24;

/// "SPKG"
const MAGIC: u32 = 0x474b_5053;
/// A Transfer List of the Firmware Handoff specification, the other format of packages.
const TRANSFER_LIST: u32 = 0x4a0f_b10b;

const PLACE: &str = "package header";

/// A checked header: manifest and image lie inside the package's memory, behind the header, and do not overlap.
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

    fn overlaps(self, other: Self) -> bool {
        u64::from(self.offset) < other.end() && u64::from(other.offset) < self.end()
    }
}

impl Package {
    /// Parses the header of a package that was given `mem_size` bytes.
    ///
    /// Refused: another magic or version; a piece that is empty, lies over the header or reaches beyond `mem_size`; pieces that
    /// overlap; in version 2, a piece that does not start on a page; a manifest larger than [`MAX_SP_MANIFEST`].
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
        let version = u32::from_le_bytes(version);
        let alignment = match version {
            1 => 1,
            2 => PAGE_SIZE as u32,
            other => return Err(refuse("version", "1 or 2", other)),
        };
        let piece = |offset, size| Piece {
            offset: u32::from_le_bytes(offset),
            size: u32::from_le_bytes(size),
        };
        let package = Self {
            version,
            manifest: piece(manifest_offset, manifest_size),
            image: piece(image_offset, image_size),
        };
        check_piece(
            package.manifest,
            ["manifest offset", "manifest size"],
            alignment,
            mem_size,
        )?;
        check_piece(
            package.image,
            ["image offset", "image size"],
            alignment,
            mem_size,
        )?;
        if package.manifest_size() > MAX_SP_MANIFEST {
            return Err(refuse(
                "manifest size",
                "at most 16 KiB",
                package.manifest.size,
            ));
        }
        if package.manifest.overlaps(package.image) {
            return Err(refuse(
                "image offset",
                "an image that does not overlap the manifest",
                package.image.offset,
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

fn check_piece(
    piece: Piece,
    [offset_name, size_name]: [&'static str; 2],
    alignment: u32,
    mem_size: u64,
) -> Result<(), ManifestError> {
    if (piece.offset as usize) < HEADER_SIZE {
        return Err(refuse(
            offset_name,
            "an offset behind the header",
            piece.offset,
        ));
    }
    if !piece.offset.is_multiple_of(alignment) {
        return Err(refuse(offset_name, "a multiple of 4 KiB", piece.offset));
    }
    if piece.size == 0 {
        return Err(refuse(size_name, "at least 1", piece.size));
    }
    if piece.end() > mem_size {
        return Err(refuse(size_name, "an end within mem_size", piece.size));
    }
    Ok(())
}

fn refuse(field: &'static str, expected: &'static str, found: u32) -> ManifestError {
    ManifestError::new(PLACE, field, expected, Found::Number(found.into()))
}
