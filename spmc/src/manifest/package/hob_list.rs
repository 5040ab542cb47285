//! Checking a HOB list that comes in a package (UEFI Platform Initialization specification, volume
//! 3, chapters 4 and 5). The partition walks the list by the lengths that the list gives, so no
//! length may lead out of the entry that has the list.
//!
//! The addresses in the list are the partition's affair: they grant nothing.

use super::piece::{Piece, Read};
use crate::addr::Pa;
use crate::manifest::error::{Found, ManifestError};
use crate::manifest::hob::{END, FIRMWARE_VOLUME, GUID_EXTENSION, MEMORY_GUID, PHIT};

/// Bytes of the header of a block: kind, length, and four that are reserved.
const HEADER: u32 = 8;
/// Bytes of hand-off information, which begins the list.
const PHIT_SIZE: u32 = 56;
/// Offset in it of the address where the list ends.
const PHIT_END: u64 = 48;
/// Bytes that a GUID extension has at least, and those in front of a list of descriptors.
const GUID_SIZE: u32 = 24;
const BEFORE_DESCRIPTORS: u32 = 32;
/// Bytes of a descriptor of memory.
const DESCRIPTOR: u32 = 32;

const PLACE: &str = "HOB list";

/// Checks the list in `entry` of a package that is loaded at `base`. Returns the list up to its
/// end, which may come before that of the entry.
///
/// Refused: a list that does not begin with hand-off information, or has that twice; a block that
/// reaches beyond the entry, or is shorter than its kind is, or not a multiple of 8 bytes; a list
/// without an end; an end outside of the entry according to the hand-off information; more
/// descriptors of memory than their block has. Errors of `read` end the check.
#[cold]
#[inline(never)]
pub(super) fn check<E: From<ManifestError>>(
    entry: Piece,
    base: Pa,
    read: &mut Read<E>,
) -> Result<Piece, E> {
    let mut at = 0_u32;
    loop {
        let left = entry.size.saturating_sub(at);
        if left < HEADER {
            return Err(refuse("end", "one within the entry", Found::Nothing).into());
        }
        let offset = u64::from(entry.offset).saturating_add(at.into());
        let mut word = |from: u64| -> Result<u64, E> {
            let mut word = [0; 8];
            read(offset.saturating_add(from), &mut word)?;
            Ok(u64::from_le_bytes(word))
        };
        let header = word(0)?;
        let (kind, length) = (header & 0xffff, (header >> 16 & 0xffff) as u32);
        let shortest = match kind {
            PHIT => PHIT_SIZE,
            GUID_EXTENSION | FIRMWARE_VOLUME => GUID_SIZE,
            _ => HEADER,
        };
        if !(shortest..=left).contains(&length) || !length.is_multiple_of(HEADER) {
            let expected = "that of the kind, within the entry";
            return Err(refuse("length of a block", expected, number(length.into())).into());
        }
        if (kind == PHIT) != (at == 0) {
            let expected = "hand-off information first, and once";
            return Err(refuse("kind of a block", expected, number(kind)).into());
        }
        if kind == PHIT {
            let end = word(PHIT_END)?;
            let start = base.raw().saturating_add(entry.offset.into());
            if !(start..=start.saturating_add(entry.size.into())).contains(&end) {
                let expected = "an address within the entry";
                return Err(refuse("end of the list", expected, number(end)).into());
            }
        }
        if kind == GUID_EXTENSION && [word(8)?, word(16)?] == MEMORY_GUID {
            let count = match length {
                BEFORE_DESCRIPTORS.. => word(24)? & 0xffff_ffff,
                _ => u64::MAX,
            };
            let room = length.saturating_sub(BEFORE_DESCRIPTORS) / DESCRIPTOR;
            if count > room.into() {
                let expected = "a count of memory that the block has";
                return Err(refuse("descriptors", expected, Found::Count(count)).into());
            }
        }
        at = at.saturating_add(length);
        if kind == END {
            return Ok(Piece { size: at, ..entry });
        }
    }
}

fn number(number: u64) -> Found {
    Found::Number(number)
}

#[cold]
#[inline(never)]
fn refuse(field: &str, expected: &'static str, found: Found) -> ManifestError {
    ManifestError::new(PLACE, field, expected, found)
}
