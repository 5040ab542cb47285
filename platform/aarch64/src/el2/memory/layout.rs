//! The image as the linker laid it out (`linker/spmc.ld`).

use core::ops::Range;
use core::slice;

use spmc::hal::Table;
use spmc::limits::MAX_PES;

use crate::sizes::STACK_SIZE;

unsafe extern "C" {
    safe static __image_start: u8;
    safe static __rodata_start: u8;
    safe static __data_start: u8;
    safe static __tables_start: u8;
    safe static __carve_start: u8;
    safe static __carve_end: u8;
    safe static __boot_stack_start: u8;
    safe static __boot_stack_end: u8;
    safe static __stacks_start: u8;
    safe static __image_end: u8;
}

fn between(start: &'static u8, end: &'static u8) -> Range<u64> {
    &raw const *start as u64..&raw const *end as u64
}

/// Returns the range of all memory that the SPMC owns.
pub fn image() -> Range<u64> {
    between(&__image_start, &__image_end)
}

/// Returns the range of the code, including the vectors.
pub fn text() -> Range<u64> {
    between(&__image_start, &__rodata_start)
}

/// Returns the range of the constants.
pub fn rodata() -> Range<u64> {
    between(&__rodata_start, &__data_start)
}

/// Returns the range of data, zero-initialised data, translation tables and carved memory.
pub fn data() -> Range<u64> {
    between(&__data_start, &__carve_end)
}

/// Returns the part of [`data`] that is carved at boot.
pub fn carve() -> Range<u64> {
    between(&__carve_start, &__carve_end)
}

/// Returns the range of the stack on which the boot PE runs until it serves calls.
pub fn boot_stack() -> Range<u64> {
    between(&__boot_stack_start, &__boot_stack_end)
}

/// Returns the physical range of a PE's stack. The PE accesses it at private virtual addresses, see
/// `stage1`.
pub fn stack(pe: usize) -> Range<u64> {
    assert!(pe < MAX_PES);
    let base = &raw const __stacks_start as u64 + pe as u64 * STACK_SIZE;
    base..base + STACK_SIZE
}

/// Returns the tables in the image: the pool of stage-2 translation tables.
pub fn tables() -> &'static [Table] {
    let range = between(&__tables_start, &__carve_start);
    let count = (range.end - range.start) as usize / size_of::<Table>();
    // SAFETY: the linker script reserves the range for tables and aligns it to pages. A table
    // consists of atomics, for which any bits are valid.
    unsafe { slice::from_raw_parts(range.start as *const Table, count) }
}
