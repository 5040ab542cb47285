//! Boot information for a partition (FF-A v1.1 section 5.4; v1.0 section 3.5.2 for partitions of
//! that version).
//!
//! The layout follows the partition's own version: a v1.0 partition knows only the name-value pairs
//! of that version. Both layouts hold one entry, the partition's manifest, because the strictest
//! clients panic on any other number.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

use crate::ffa::Version;

/// Bytes that [`write()`] needs at most.
pub const MAX_SIZE: usize = size_of::<Blob>();

const SIGNATURE: u32 = 0x0ffa;

/// Descriptor type: standard (bit 7 zero), flattened device tree.
const TYPE_FDT: u8 = 0;

/// Descriptor flags: the name is a string (`[1:0]` = 0), the contents are an address (`[3:2]` = 0).
const FLAGS_STRING_ADDRESS: u16 = 0;

/// Header and the one descriptor behind it, v1.1 and later.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Blob {
    header: Header,
    descriptor: Descriptor,
}

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

/// Writes boot information that names the manifest at `address` (as the partition sees it), `size`
/// bytes long. Returns how many bytes of `to` it takes, `None` if `to` is too small ([`MAX_SIZE`]
/// is enough).
pub fn write(to: &mut [u8], version: Version, address: u64, size: u32) -> Option<usize> {
    if version == Version::V1_0 {
        return put(
            to,
            &Blob10 {
                magic: *b"FF-A",
                count: 1.into(),
                name: *b"TYPE_DT\0\0\0\0\0\0\0\0\0",
                value: address.into(),
                size: u64::from(size).into(),
            },
        );
    }
    put(
        to,
        &Blob {
            header: Header {
                signature: SIGNATURE.into(),
                version: version.to_word().into(),
                blob_size: (size_of::<Blob>() as u32).into(),
                descriptor_size: (size_of::<Descriptor>() as u32).into(),
                descriptor_count: 1.into(),
                descriptor_offset: (size_of::<Header>() as u32).into(),
                reserved: 0.into(),
            },
            descriptor: Descriptor {
                name: *b"ffa_manifest\0\0\0\0",
                kind: TYPE_FDT,
                reserved: 0,
                flags: FLAGS_STRING_ADDRESS.into(),
                size: size.into(),
                contents: address.into(),
            },
        },
    )
}

fn put(to: &mut [u8], blob: &(impl IntoBytes + Immutable)) -> Option<usize> {
    let bytes = blob.as_bytes();
    to.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(bytes.len())
}
