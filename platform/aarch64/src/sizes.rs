//! Sizes that the code and the linker script share. The build script of each board includes this
//! file and passes the sizes to the linker; `xtask` includes it to check that the sizes suffice.

#![allow(dead_code, reason = "each user needs some of them")]

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// Bytes of the stack of a PE. `cargo xtask build` checks that the deepest path fits
/// (`docs/architecture.md`, "Stacks").
pub const STACK_SIZE: u64 = 3 * PAGE;

/// Bytes of the stack on which the boot PE runs until it serves calls. Parsing manifests needs a
/// deep stack, but only once; afterwards this memory holds the vector registers of other PEs.
pub const BOOT_STACK_SIZE: u64 = 14 * PAGE;

/// Bytes of the stack for reporting an exception of EL2 itself.
pub const EMERGENCY_STACK_SIZE: u64 = 2048 + 64;

/// Bytes of the frame that the entry code has on a PE's stack for the registers of the SPMD.
pub const SMC_FRAME_SIZE: u64 = 144;

/// Bytes of Z0 to Z31 at the largest vector length of the architecture, 2048 bits.
const VECTOR_REGISTERS: u64 = 2 * PAGE;

/// Bytes for what the engine allocates by what the manifests say.
const HEAP: u64 = 112 * PAGE;

/// Returns how many bytes are carved before the boot stack is free: for the tables of EL2's own
/// stage 1, for the vector registers of the boot PE, and for those vector registers of other PEs
/// that do not fit in the boot stack. `tables` is the number of pages for stage 2.
pub const fn carve_size(pes: u64, tables: u64) -> u64 {
    // Nine tables serve what every board has. Each further table maps 2 MiB: of redistributors, of
    // which a PE has 256 KiB at most, or of the image, which grows with the tables and the PEs.
    let stage1 = 9 + (pes - 1) / 8 + (tables + 16 * pes) / 512;
    let others = ((pes - 1) * VECTOR_REGISTERS).saturating_sub(BOOT_STACK_SIZE);
    stage1 * PAGE + VECTOR_REGISTERS + others + HEAP
}
