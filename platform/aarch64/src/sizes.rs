//! Sizes that both code and linker script know. The build script of a board includes this file,
//! too, and hands them to the linker; `xtask`, which checks that they suffice, does, too.

#![allow(dead_code, reason = "nobody needs all of them")]

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// Bytes of the stack of a PE. `cargo xtask build` checks that the deepest path fits
/// (`docs/architecture.md`, "Stacks").
pub const STACK_SIZE: u64 = 3 * PAGE;

/// Bytes of the stack that the boot PE has until it serves: reading manifests takes a deep one,
/// once. Later its memory holds vector registers of other PEs.
pub const BOOT_STACK_SIZE: u64 = 14 * PAGE;

/// Bytes of the stack for reporting an exception of EL2 itself.
pub const EMERGENCY_STACK_SIZE: u64 = 2048;

/// Bytes of the frame that the entry code has on a PE's stack for the registers of the SPMD.
pub const SMC_FRAME_SIZE: u64 = 144;

/// Z0 to Z31 at the largest vector length of the architecture, 2048 bits.
const VECTOR_REGISTERS: u64 = 2 * PAGE;

/// Bytes that are carved before the boot stack is free: tables of EL2's own stage 1, the boot PE's
/// vector registers, and those of other PEs that the boot stack has no room for. `tables` is the
/// number of pages for stage 2.
pub const fn carve_size(pes: u64, tables: u64) -> u64 {
    // One for each 2 MiB: redistributors of 256 KiB at most, and what the image grows by. The
    // others serve what every board has.
    let stage1 = 8 + (pes - 1) / 8 + (tables + 16 * pes) / 512;
    let others = ((pes - 1) * VECTOR_REGISTERS).saturating_sub(BOOT_STACK_SIZE);
    stage1 * PAGE + VECTOR_REGISTERS + others
}
