//! The HOB list of a partition that asks for one (`hob_list` in `boot-info`): where its image, its
//! heap and the buffer of the Normal world are, in the form of the UEFI Platform Initialization
//! specification, volume 3, chapters 4 and 5. StandaloneMm reads it.
//!
//! The list is built from the manifest where the package has none: SPKG packages have no place for
//! one, and tools that write one use the same facts. All fields are words of 64 bits,
//! little-endian.

use super::config::{MemoryRegion, PartitionConfig};
use crate::addr::PAGE_SIZE;

/// Name of the region that the partition takes for its heap.
const HEAP: &str = "heap";
/// Name of the region through which the Normal world talks to the partition.
const NS_BUFFER: &str = "ns_comm_buffer";

/// Hand-off information: it begins the list.
pub(super) const PHIT: u64 = 1;
/// Something that a GUID names.
pub(super) const GUID_EXTENSION: u64 = 4;
/// A firmware volume.
pub(super) const FIRMWARE_VOLUME: u64 = 5;
/// The end of the list.
pub(super) const END: u64 = 0xffff;
/// The version of the hand-off information.
const PHIT_VERSION: u64 = 10;

/// f00497e3-bfa2-41a1-9d29-54c2e93721c5: the buffer of the Normal world, as one descriptor.
const NS_BUFFER_GUID: [u64; 2] = [0x41a1_bfa2_f004_97e3, 0xc521_37e9_c254_299d];
/// 0703f912-bf8d-4e2a-be07-ab272525c592: all memory, as a list of descriptors.
pub(super) const MEMORY_GUID: [u64; 2] = [0x4e2a_bf8d_0703_f912, 0x92c5_2525_27ab_07be];

/// The state of memory: cacheable.
const CACHEABLE: u64 = 8;
/// The state of memory: in use, so that the partition does not make it heap.
const ALLOCATED: u64 = 16;

/// Words of a descriptor: address, address for the CPU, size, state.
const DESCRIPTOR: usize = 4;
/// Descriptors that come before those of other regions: image, Secure buffer, buffer of the Normal
/// world, heap. StandaloneMm finds them by their places.
const FIRST_DESCRIPTORS: usize = 4;
/// Words of the list without descriptors behind the first.
const WORDS: usize = 7 + 3 + (3 + DESCRIPTOR) + (4 + FIRST_DESCRIPTORS * DESCRIPTOR) + 1;

/// The regions that every list names.
struct Regions<'c> {
    heap: &'c MemoryRegion,
    ns_buffer: &'c MemoryRegion,
}

/// Returns whether the manifest has the regions that a list needs.
pub fn can_be_made(config: &PartitionConfig) -> bool {
    regions(config).is_some()
}

fn regions(config: &PartitionConfig) -> Option<Regions<'_>> {
    let named = |name: &str| {
        let mut regions = config.memory_regions.iter();
        regions.find(|region| region.name.as_str() == name)
    };
    Some(Regions {
        heap: named(HEAP)?,
        ns_buffer: named(NS_BUFFER)?,
    })
}

/// Returns the other regions, in the order of the manifest.
fn others(config: &PartitionConfig) -> impl Iterator<Item = &MemoryRegion> {
    let regions = config.memory_regions.iter();
    regions.filter(|region| !matches!(region.name.as_str(), HEAP | NS_BUFFER))
}

/// Returns the bytes of the list.
pub fn size(config: &PartitionConfig) -> usize {
    let further = others(config).count().saturating_mul(DESCRIPTOR);
    WORDS
        .saturating_add(further)
        .saturating_mul(size_of::<u64>())
}

/// The image of a partition inside of its memory.
#[derive(Clone, Copy)]
pub struct Image {
    /// Its first address.
    pub base: u64,
    /// Its bytes.
    pub size: u64,
}

/// Writes the list for `config`, which will lie at `address`. Returns its bytes; `None` if `to` is
/// too small, or the manifest lacks a region.
pub fn write(to: &mut [u8], address: u64, config: &PartitionConfig, image: Image) -> Option<usize> {
    let Regions { heap, ns_buffer } = regions(config)?;
    let length = size(config);
    let to = to.get_mut(..length)?;
    let memory = config.memory;
    let end = address.saturating_add(length as u64);
    // The image ends with a page, behind which the heap may begin.
    let image_end = image.base.saturating_add(image.size);
    let image_end = image_end.checked_next_multiple_of(PAGE_SIZE)?;
    let start = memory.base().raw();
    let image_descriptor = descriptor(start, image_end.saturating_sub(start), ALLOCATED);
    let count = others(config).count().saturating_add(FIRST_DESCRIPTORS);

    let mut words = to.chunks_exact_mut(size_of::<u64>());
    let mut put = |all: &[u64]| {
        for (word, to) in all.iter().zip(words.by_ref()) {
            to.copy_from_slice(&word.to_le_bytes());
        }
    };
    put(&[
        header(PHIT, 7),
        PHIT_VERSION,
        memory.end().raw(),
        start,
        start.saturating_add(PAGE_SIZE).max(end),
        end,
        end.saturating_sub(size_of::<u64>() as u64),
    ]);
    put(&[header(FIRMWARE_VOLUME, 3), image.base, image.size]);
    put(&[header(GUID_EXTENSION, 3 + DESCRIPTOR)]);
    put(&NS_BUFFER_GUID);
    put(&of_region(ns_buffer, ALLOCATED));
    let words = count.saturating_mul(DESCRIPTOR).saturating_add(4);
    put(&[header(GUID_EXTENSION, words)]);
    put(&MEMORY_GUID);
    put(&[count as u64]);
    put(&image_descriptor);
    // There is no Secure buffer: no caller in the Secure world has one.
    put(&descriptor(start, 0, ALLOCATED));
    put(&of_region(ns_buffer, ALLOCATED));
    put(&of_region(heap, 0));
    for region in others(config) {
        put(&of_region(region, ALLOCATED));
    }
    put(&[header(END, 1)]);
    Some(length)
}

/// Returns the header of an entry with that many words.
fn header(kind: u64, words: usize) -> u64 {
    (words as u64).wrapping_mul(8 << 16) | kind
}

fn descriptor(base: u64, size: u64, state: u64) -> [u64; DESCRIPTOR] {
    [base, base, size, state | CACHEABLE]
}

fn of_region(region: &MemoryRegion, state: u64) -> [u64; DESCRIPTOR] {
    descriptor(region.range.base().raw(), region.range.size(), state)
}
