//! Boot information for a partition (FF-A v1.1 section 5.4; v1.0 section 3.5.2 for partitions of
//! that version).
//!
//! The layout follows the partition's own version: a v1.0 partition knows only the name-value pairs
//! of that version. Both layouts hold what the partition asked for and no more, because the
//! strictest clients panic on an entry that they do not know.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

use super::config::{BootInfo, PartitionConfig};
use super::hob;
use super::package::{Lack, Package};
use crate::ffa::Version;

/// Bytes that [`write()`] needs at most.
pub const MAX_SIZE: usize = size_of::<Header>() + 2 * size_of::<Descriptor>();

/// Returns what a partition wants to be told, and the register for the address; `None` if it wants
/// nothing.
pub fn wanted(config: &PartitionConfig) -> Option<(u8, BootInfo)> {
    let wanted = config.boot_info.filter(BootInfo::is_for_something);
    config.boot_register.zip(wanted)
}

/// Returns the offset in the package at which the manifest lies when boot information has been
/// written: it moves if there is too little room in front of it, also for a HOB list that has to be
/// made.
///
/// Errors: there is no room; a HOB list can be neither found nor made.
#[cold]
#[inline(never)]
pub fn offset_of_manifest(config: &PartitionConfig, package: &Package) -> Result<u64, Lack> {
    let Some((_, wanted)) = wanted(config) else {
        return Ok(package.manifest_offset());
    };
    let made = match package.hob_list() {
        None if wanted.hob_list && !hob::can_be_made(config) => return Err(Lack::HobList),
        None if wanted.hob_list => hob::size(config),
        _ => 0,
    };
    package.offset_behind_boot_info(MAX_SIZE.saturating_add(made))
}

/// The kinds of contents: standard ones, with bit 7 zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A flattened device tree: the manifest of the partition.
    Manifest = 0,
    /// A list of hand-off blocks.
    HobList = 1,
}

/// Something that a partition is told of.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    /// Its kind.
    pub kind: Kind,
    /// Its address, as the partition sees it.
    pub address: u64,
    /// Its bytes.
    pub size: u32,
}

const SIGNATURE: u32 = 0x0ffa;

/// Descriptor flags: the name is a string (`[1:0]` = 0), the contents are an address (`[3:2]` = 0).
const FLAGS_STRING_ADDRESS: u16 = 0;

/// The start, v1.1 and later; descriptors follow.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    signature: U32,
    version: U32,
    blob_size: U32,
    descriptor_size: U32,
    descriptor_count: U32,
    descriptor_offset: U32,
    reserved: U64,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Descriptor {
    name: [u8; 16],
    kind: u8,
    reserved: u8,
    flags: U16,
    size: U32,
    contents: U64,
}

/// Initialization descriptor with its one name-value-size entry, v1.0.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Blob10 {
    magic: [u8; 4],
    count: U32,
    name: [u8; 16],
    value: U64,
    size: U64,
}

/// Writes boot information that names `contents`, of which v1.0 only knows the manifest. Returns
/// how many bytes of `to` it takes, `None` if `to` is too small ([`MAX_SIZE`] is enough for one of
/// each kind).
pub fn write(to: &mut [u8], version: Version, contents: &[Content]) -> Option<usize> {
    if version == Version::V1_0 {
        let content = contents
            .iter()
            .find(|content| content.kind == Kind::Manifest)?;
        return put(
            to,
            &Blob10 {
                magic: *b"FF-A",
                count: 1.into(),
                name: *b"TYPE_DT\0\0\0\0\0\0\0\0\0",
                value: content.address.into(),
                size: u64::from(content.size).into(),
            },
        );
    }
    let descriptors = contents.len().checked_mul(size_of::<Descriptor>())?;
    let size = size_of::<Header>().checked_add(descriptors)?;
    let (start, rest) = to.get_mut(..size)?.split_at_mut(size_of::<Header>());
    put(
        start,
        &Header {
            signature: SIGNATURE.into(),
            version: version.to_word().into(),
            blob_size: (size as u32).into(),
            descriptor_size: (size_of::<Descriptor>() as u32).into(),
            descriptor_count: (contents.len() as u32).into(),
            descriptor_offset: (size_of::<Header>() as u32).into(),
            reserved: 0.into(),
        },
    )?;
    let places = rest.chunks_exact_mut(size_of::<Descriptor>());
    for (content, place) in contents.iter().zip(places) {
        put(
            place,
            &Descriptor {
                name: match content.kind {
                    Kind::Manifest => *b"ffa_manifest\0\0\0\0",
                    Kind::HobList => *b"hob_list\0\0\0\0\0\0\0\0",
                },
                kind: content.kind as u8,
                reserved: 0,
                flags: FLAGS_STRING_ADDRESS.into(),
                size: content.size.into(),
                contents: content.address.into(),
            },
        )?;
    }
    Some(size)
}

fn put(to: &mut [u8], blob: &(impl IntoBytes + Immutable)) -> Option<usize> {
    let bytes = blob.as_bytes();
    to.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(bytes.len())
}
