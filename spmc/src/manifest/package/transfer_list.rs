//! Packages in the form of a Transfer List (Firmware Handoff specification): a header, then entries
//! with a tag each, aligned to 8 bytes. TF-A's tools call the form `tl_pkg`.
//!
//! The manifest, the image and an optional HOB list are entries of their own, whose data begin on a
//! page. The image is the last one, because the memory behind it is the partition's. Entries of
//! other tags are passed over, among them those that only fill space.

use core::fmt::Write;

use arrayvec::ArrayString;

use super::hob_list;
use super::piece::{Piece, Read};
use crate::addr::{Pa, PageRange};
use crate::limits::MAX_SP_MANIFEST;
use crate::manifest::error::{Found, ManifestError, limit_text};

/// The first word of the header.
pub(super) const SIGNATURE: u32 = 0x4a0f_b10b;

/// Bytes of the header.
pub(super) const HEADER_SIZE: usize = 24;
/// Bytes of the header of an entry, at least.
const ENTRY_SIZE: usize = 8;
/// The alignment of entries.
const ALIGNMENT: u64 = 8;
/// Bit 0 of the flags: there is a checksum.
const HAS_CHECKSUM: u32 = 1;
/// Bytes that are summed up at a time.
const CHUNK: usize = 256;

/// A list of hand-off blocks.
const HOB_LIST: u32 = 3;
/// The image of a partition.
const IMAGE: u32 = 0x103;
/// The manifest of a partition, a device tree.
const MANIFEST: u32 = 0x106;

const PLACE: &str = "transfer list";

/// The entries of a package.
#[derive(Default)]
pub(super) struct Entries {
    manifest: Option<Piece>,
    image: Option<Piece>,
    hob_list: Option<Piece>,
}

/// One entry.
struct Entry {
    /// Offset of its header.
    at: u32,
    tag: u32,
    data: Piece,
}

/// Parses a list that was given `memory`, and returns manifest, image and HOB list. The signature
/// is right; `read` copies bytes of the list.
///
/// Refused: version 0, or a header of another size; an alignment that `memory` does not have; sizes
/// that contradict each other or `memory`; a wrong checksum, if there is one; an entry that reaches
/// beyond the used size; manifest, image or HOB list twice, empty or not on a page; a missing
/// manifest or image; a manifest larger than [`MAX_SP_MANIFEST`]; an entry behind the image; what
/// [`hob_list::check`] refuses. Errors of `read` end the parsing.
#[cold]
#[inline(never)]
pub(super) fn parse<E: From<ManifestError>>(
    header: &[u8; HEADER_SIZE],
    memory: PageRange<Pa>,
    read: &mut Read<E>,
) -> Result<(Piece, Piece, Option<Piece>), E> {
    let used = check_header(header, memory)?;
    if word(header, 16) & HAS_CHECKSUM != 0 {
        check_sum(used, read)?;
    }
    let mut entries = Entries::default();
    let mut at = HEADER_SIZE as u64;
    while at < used.into() {
        // It is below the used size, a word.
        let entry = read_entry(at as u32, used, read)?;
        entries.take(&entry)?;
        at = entry.data.end().next_multiple_of(ALIGNMENT);
    }
    let missing = |field| ManifestError::new(PLACE, field, "an entry", Found::Nothing);
    let manifest = entries.manifest.ok_or_else(|| missing("manifest"))?;
    let image = entries.image.ok_or_else(|| missing("image"))?;
    let list = match entries.hob_list {
        Some(entry) => Some(hob_list::check(entry, memory.base(), read)?),
        None => None,
    };
    Ok((manifest, image, list))
}

/// Checks the header. Returns the used size, which is that of header and entries.
#[inline(never)]
fn check_header(header: &[u8; HEADER_SIZE], memory: PageRange<Pa>) -> Result<u32, ManifestError> {
    let [_, _, _, _, _, version, size, alignment, ..] = *header;
    if version == 0 {
        return Err(refuse("version", "1 or later", 0));
    }
    if usize::from(size) != HEADER_SIZE {
        return Err(refuse("header size", "24", size.into()));
    }
    if memory.base().raw().trailing_zeros() < alignment.into() {
        let expected = "at most the alignment of the load address";
        return Err(refuse("alignment", expected, alignment.into()));
    }
    let (used, most) = (word(header, 8), word(header, 12));
    if (used as usize) < HEADER_SIZE || u64::from(used) > memory.size() {
        return Err(refuse("used size", "24 bytes to mem_size", used));
    }
    if most < used {
        return Err(refuse("maximum size", "the used size or more", most));
    }
    Ok(used)
}

/// Checks that all bytes together are 0 modulo 256.
#[inline(never)]
fn check_sum<E: From<ManifestError>>(used: u32, read: &mut Read<E>) -> Result<(), E> {
    let mut chunk = [0; CHUNK];
    let mut sum = 0_u8;
    for at in (0..used).step_by(CHUNK) {
        let count = used.saturating_sub(at).min(CHUNK as u32) as usize;
        let bytes = chunk.get_mut(..count).unwrap_or_default();
        read(at.into(), bytes)?;
        sum = bytes.iter().fold(sum, |sum, byte| sum.wrapping_add(*byte));
    }
    if sum != 0 {
        return Err(refuse("checksum", "bytes whose sum is 0 modulo 256", sum.into()).into());
    }
    Ok(())
}

/// Reads the header of the entry at `at`, and checks that the entry ends within the used size.
#[inline(never)]
fn read_entry<E: From<ManifestError>>(at: u32, used: u32, read: &mut Read<E>) -> Result<Entry, E> {
    let left = used.saturating_sub(at);
    if (left as usize) < ENTRY_SIZE {
        let expected = "8 bytes of its header";
        return Err(refuse_entry(at, "", expected, Found::Bytes(left as usize)).into());
    }
    let mut header = [0; ENTRY_SIZE];
    read(at.into(), &mut header)?;
    let (first, size) = (word(&header, 0), word(&header, 4));
    let (tag, header_size) = (first & 0xff_ffff, first >> 24);
    if (header_size as usize) < ENTRY_SIZE {
        let found = Found::Number(header_size.into());
        return Err(refuse_entry(at, "header size", "8 or more", found).into());
    }
    let offset = u64::from(at).saturating_add(header_size.into());
    let end = offset.saturating_add(size.into());
    if end > used.into() {
        let expected = "an end within the used size";
        return Err(refuse_entry(at, "size", expected, Found::Number(size.into())).into());
    }
    let data = Piece {
        // It is at most the used size, a word.
        offset: offset as u32,
        size,
    };
    Ok(Entry { at, tag, data })
}

impl Entries {
    /// Takes the next entry.
    #[inline(never)]
    fn take(&mut self, entry: &Entry) -> Result<(), ManifestError> {
        let Entry { at, tag, data } = *entry;
        if self.image.is_some() {
            let expected = "no entry behind the image";
            return Err(refuse_entry(at, "tag", expected, Found::Number(tag.into())));
        }
        let place = match tag {
            MANIFEST => &mut self.manifest,
            IMAGE => &mut self.image,
            HOB_LIST => &mut self.hob_list,
            _ => return Ok(()),
        };
        let refuse = |field, expected, found: u32| {
            Err(refuse_entry(
                at,
                field,
                expected,
                Found::Number(found.into()),
            ))
        };
        if place.is_some() {
            return refuse("tag", "one entry of its kind", tag);
        }
        if !data.starts_page() {
            return refuse("data", "a page of its own", data.offset);
        }
        if tag == MANIFEST && data.size as usize > MAX_SP_MANIFEST {
            let expected = limit_text!("at most ", MAX_SP_MANIFEST / 1024, " KiB of manifest");
            return refuse("size", expected, data.size);
        }
        if data.size == 0 {
            return refuse("size", "1 byte or more", 0);
        }
        *place = Some(data);
        Ok(())
    }
}

/// Returns the little-endian word at an offset; 0 if there is none.
fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    u32::from_le_bytes(*word.unwrap_or(&[0; 4]))
}

#[cold]
#[inline(never)]
fn refuse(field: &str, expected: &'static str, found: u32) -> ManifestError {
    ManifestError::new(PLACE, field, expected, Found::Number(found.into()))
}

/// Refuses the entry at `at`, or a field of it.
#[cold]
#[inline(never)]
fn refuse_entry(at: u32, field: &str, expected: &'static str, found: Found) -> ManifestError {
    let mut entry = ArrayString::<40>::new();
    let colon = if field.is_empty() { "" } else { ": " };
    // A name that does not fit is cut off.
    let _ = write!(entry, "entry at {at:#x}{colon}{field}");
    ManifestError::new(PLACE, &entry, expected, found)
}
