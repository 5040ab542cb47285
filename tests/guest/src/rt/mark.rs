//! Marks for the instruction counter: `movz xzr, #n` has no effect on the machine, and the QEMU
//! plugin reads its counters where it sees one.

use core::arch::{asm, global_asm};

/// Number of marks.
const MARKS: u64 = 256;

global_asm!(
    ".section .text.marks, \"ax\"",
    ".balign 8",
    ".global marks",
    "marks:",
    ".set mark, 0",
    ".rept 256",
    ".inst 0xd280001f | (mark << 5)", // movz xzr, #mark
    "ret",
    ".set mark, mark + 1",
    ".endr",
    ".previous",
);

unsafe extern "C" {
    static marks: u64;
}

/// Executes mark `number`.
#[inline(always)]
pub fn mark(number: u64) {
    assert!(number < MARKS);
    let address = (&raw const marks) as u64 + number * 8;
    // SAFETY: two instructions that change nothing but the link register.
    unsafe { asm!("blr {}", in(reg) address, out("x30") _, options(nostack)) };
}
