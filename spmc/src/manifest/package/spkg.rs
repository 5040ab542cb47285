//! The header of an SP package, versions 1 and 2, as TF-A's `sptool` writes it: six little-endian
//! words.

use super::piece::Piece;
use crate::limits::MAX_SP_MANIFEST;
use crate::manifest::error::{Found, ManifestError, limit_text};

/// Bytes of the header.
pub(super) const HEADER_SIZE: usize = 24;

/// "SPKG"
pub(super) const MAGIC: u32 = 0x474b_5053;

/// The place that messages name.
pub(super) const PLACE: &str = "package header";

/// Parses the header of a package that was given `mem_size` bytes, and returns manifest and image.
/// The magic is right.
///
/// Refused: another version; a manifest that is not where the version has it (1: right behind the
/// header, 2: on a page) or larger than [`MAX_SP_MANIFEST`]; an image that does not start on a page
/// behind the manifest or reaches beyond `mem_size`; empty pieces.
#[cold]
#[inline(never)]
pub(super) fn parse(
    header: &[u8; HEADER_SIZE],
    mem_size: u64,
) -> Result<(Piece, Piece), ManifestError> {
    let (words, _) = header.as_chunks::<4>();
    let words = words.as_array::<6>().unwrap_or(&[[0; 4]; 6]);
    let [
        _,
        version,
        manifest_offset,
        manifest_size,
        image_offset,
        image_size,
    ] = words.map(u32::from_le_bytes);
    let manifest = Piece {
        offset: manifest_offset,
        size: manifest_size,
    };
    let image = Piece {
        offset: image_offset,
        size: image_size,
    };
    let page = "a page behind the header";
    match version {
        1 if manifest.offset as usize != HEADER_SIZE => {
            let expected = "24, right behind the header";
            return Err(refuse("manifest offset", expected, manifest.offset));
        }
        2 if !manifest.starts_page() => {
            return Err(refuse("manifest offset", page, manifest.offset));
        }
        1 | 2 => {}
        other => return Err(refuse("version", "1 or 2", other)),
    }
    if !image.starts_page() {
        return Err(refuse("image offset", page, image.offset));
    }
    if manifest.end() > image.offset.into() {
        let expected = "an image behind the manifest";
        return Err(refuse("image offset", expected, image.offset));
    }
    if manifest.size == 0 || manifest.size as usize > MAX_SP_MANIFEST {
        let expected = limit_text!("1 byte to ", MAX_SP_MANIFEST / 1024, " KiB");
        return Err(refuse("manifest size", expected, manifest.size));
    }
    if image.size == 0 || image.end() > mem_size {
        let expected = "1 byte to what mem_size leaves";
        return Err(refuse("image size", expected, image.size));
    }
    Ok((manifest, image))
}

#[cold]
#[inline(never)]
pub(super) fn refuse(field: &str, expected: &'static str, found: u32) -> ManifestError {
    ManifestError::new(PLACE, field, expected, Found::Number(found.into()))
}
