//! The image as the linker laid it out (`linker/spmc.ld`).

use core::ops::Range;
unsafe extern "C" {
    safe static __image_start: u8;
    safe static __rodata_start: u8;
    safe static __data_start: u8;
    safe static __boot_stack_start: u8;
    safe static __boot_stack_end: u8;
    safe static __heap_start: u8;
    safe static __image_end: u8;
}

fn between(start: &'static u8, end: &'static u8) -> Range<u64> {
    &raw const *start as u64..&raw const *end as u64
}

/// Returns the range of the image: the memory that the SPMC owns before it has read its manifest.
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

/// Returns the range of data, zero-initialised data, the boot stack and the first memory of the
/// boot allocator.
pub fn data() -> Range<u64> {
    between(&__data_start, &__image_end)
}

/// Returns the part of [`data`] that the boot allocator has first.
pub fn heap() -> Range<u64> {
    between(&__heap_start, &__image_end)
}

/// Returns the range of the stack on which the boot PE runs until it serves calls.
pub fn boot_stack() -> Range<u64> {
    between(&__boot_stack_start, &__boot_stack_end)
}
