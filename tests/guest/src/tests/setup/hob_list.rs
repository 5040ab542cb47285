//! HOB lists of partitions at S-EL0: one that came in a transfer list, and one that the SPMC made
//! (UEFI Platform Initialization specification, volume 3, chapters 4 and 5).
//!
//! The partitions read the lists as StandaloneMm does: from block to block by their lengths, and
//! memory by the places of its descriptors.

use core::sync::atomic::Ordering;

use crate::board::RAM;
use crate::ffa::{SP3, SP4};
use crate::nwd::{Nwd, Test, ask, peek, poke};
use crate::rt::check::{Check, equal, holds};
use crate::sp::{self, Command, ENTRY, Sp};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        hob_list_of_the_package,
        "sp3 finds the HOB list of its package"
    ),
    test!(hob_list_that_was_made, "sp4 finds a HOB list that was made"),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(walk)];

/// Offset of the heap in the memory of a partition, and its bytes.
const HEAP: [u64; 2] = [0xc_0000, 0x1_0000];
/// The buffers of the Normal world for sp3 and for sp4, each of a page.
const BUFFERS: [u64; 2] = [RAM + 0x2801_0000, RAM + 0x2801_1000];

/// Kinds of blocks.
mod kind {
    pub const PHIT: u64 = 1;
    pub const GUID_EXTENSION: u64 = 4;
    pub const VOLUME: u64 = 5;
    pub const END: u64 = 0xffff;
}

/// First halves of the GUIDs of the buffer and of all memory.
const NS_BUFFER: u64 = 0x41a1_bfa2_f004_97e3;
const MEMORY: u64 = 0x4e2a_bf8d_0703_f912;

/// A pattern that the Normal world writes.
const PATTERN: u64 = 0x0123_4567_89ab_cdef;

// req: BOOT-21, PMAN-27
fn hob_list_of_the_package(_: &Nwd) -> Check {
    // The list is behind the page of the manifest.
    finds_its_list(SP3, BUFFERS[0], 0x2000)
}

// req: BOOT-19
fn hob_list_that_was_made(_: &Nwd) -> Check {
    finds_its_list(SP4, BUFFERS[1], 96)
}

fn finds_its_list(partition: u16, buffer: u64, place: u64) -> Check {
    poke(buffer, PATTERN);
    let [list, volume, heap, size] = ask(partition, command!(walk), [buffer, 0, 0, 0])?;
    equal(list, place)?;
    equal(volume, 0x4000u64)?;
    equal(heap, HEAP[0])?;
    equal(size, HEAP[1])?;
    equal(peek(buffer), !PATTERN)
}

fn word(address: u64) -> u64 {
    // SAFETY: the SPMC mapped what it names, and the list is aligned to 8 bytes.
    unsafe { (address as *const u64).read_volatile() }
}

fn complement(address: u64) {
    let word = address as *mut u64;
    // SAFETY: heap and buffer are writable, and nobody else uses them meanwhile.
    unsafe { word.write_volatile(!word.read_volatile()) };
}

/// Checks the HOB list, and writes to heap and buffer. The buffer is to be at x4. Returns offsets
/// of list, volume and heap in the partition's memory, and the bytes of the heap.
fn walk(_: &Sp, [expected, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let start = sp::memory_start();
    let info = ENTRY[1].load(Ordering::Relaxed);
    equal(info, start)?;
    // One descriptor: a HOB list by its address.
    equal(word(info + 16), 1u64 | 32 << 32)?;
    equal(word(info + 48) & 0xffff_ffff, 1u64)?;
    let size = word(info + 48) >> 32;
    let list = word(info + 56);
    let mut at = list;
    let (mut volume, mut buffer, mut heap) = (0, [0; 3], [0; 4]);
    loop {
        let (kind, length) = (word(at) & 0xffff, word(at) >> 16 & 0xffff);
        holds(length >= 8 && at + length <= list + size, length)?;
        equal(kind == kind::PHIT, at == list)?;
        match kind {
            kind::PHIT => equal(word(at + 48), list + size - 8)?,
            kind::VOLUME => volume = word(at + 8),
            kind::GUID_EXTENSION if word(at + 8) == NS_BUFFER => {
                buffer = [24, 32, 40].map(|field| word(at + field));
            }
            kind::GUID_EXTENSION if word(at + 8) == MEMORY => {
                holds(word(at + 24) >= 4, word(at + 24))?;
                let fourth = at + 32 + 3 * 32;
                heap = [0, 8, 16, 24].map(|field| word(fourth + field));
            }
            kind::END => break,
            other => equal(other, kind::END)?,
        }
        at += length;
    }
    equal(at + 8, list + size)?;
    equal(buffer[0], expected)?;
    equal(buffer[2], 0x1000u64)?;
    equal(heap[0], heap[1])?;
    // Cacheable, and free.
    equal(heap[3], 8u64)?;
    complement(heap[0]);
    complement(heap[0] + heap[2] - 8);
    complement(buffer[0]);
    Ok([list - start, volume - start, heap[0] - start, heap[2]])
}
