//! Exception vectors of the guests. A synchronous exception inside a probe ends the probe; any
//! other exception is an error of the test.
//!
//! Guests run with interrupts masked and poll for them.

use core::arch::global_asm;

macro_rules! vectors {
    ($name:literal, $el:literal) => {
        global_asm!(
            concat!(".section .text.", $name, ", \"ax\""),
            ".balign 2048",
            concat!(".global ", $name),
            concat!($name, ":"),
            ".rept 4",
            ".balign 128",
            "mov x0, #1",
            "b 9f",
            ".endr",
            ".balign 128", // synchronous, this level with its own stack pointer
            "stp x9, x10, [sp, #-16]!",
            "adrp x10, probe_start",
            "add x10, x10, :lo12:probe_start",
            concat!("mrs x9, elr_el", $el),
            "sub x9, x9, x10",
            "cmp x9, #64",
            "b.lo 8f",
            "sub x9, x30, x10",
            "cmp x9, #64",
            "b.lo 8f",
            "mov x0, #0",
            "b 9f",
            "8:", // end the probe: back to where it was called from, or behind its own call
            concat!("msr elr_el", $el, ", x30"),
            concat!("mrs x0, esr_el", $el),
            "ldp x9, x10, [sp], #16",
            "eret",
            ".rept 11",
            ".balign 128",
            "mov x0, #2",
            "b 9f",
            ".endr",
            ".balign 128",
            "9:",
            concat!("mrs x1, esr_el", $el),
            concat!("mrs x2, elr_el", $el),
            concat!("mrs x3, far_el", $el),
            "b unexpected_exception",
            ".previous",
        );
    };
}

vectors!("vectors_el1", "1");
vectors!("vectors_el2", "2");

#[unsafe(no_mangle)]
extern "C" fn unexpected_exception(kind: u64, syndrome: u64, pc: u64, address: u64) -> ! {
    panic!("exception kind {kind}, syndrome {syndrome:#x}, pc {pc:#x}, address {address:#x}")
}
