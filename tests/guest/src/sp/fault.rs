//! Partitions that fail. Some are tiny position-independent images that fail while they initialise,
//! each in its own way, in place of the second test partition; others fail later, when a test wants
//! it.

use core::arch::asm;

/// Faults with stage 1 off and nothing at the exception vector, so that the SPMC cannot inject the
/// abort.
pub fn die() {
    // SAFETY: the end of this incarnation of the partition.
    unsafe {
        asm!(
            "msr vbar_el1, {none}",
            "mrs {sctlr}, sctlr_el1",
            "bic {sctlr}, {sctlr}, #1",
            "msr sctlr_el1, {sctlr}",
            "isb",
            "ldr {none}, [{none}]",
            none = inout(reg) crate::board::SELECTION => _,
            sctlr = out(reg) _,
        )
    };
}

/// Defines the entry point of a partition that fails: by `Abort`, `Error`, `Spin` or `Unknown`.
#[macro_export]
macro_rules! failing_partition {
    // Reads memory that no partition has, with no exception vectors to take the abort.
    (Abort) => {
        $crate::failing_partition!("mov x0, #0", "msr vbar_el1, x0", "1: ldr x1, [x0]", "b 1b");
    };
    // Reports that it cannot start: FFA_ERROR with NOT_SUPPORTED.
    (Error) => {
        $crate::failing_partition!(
            "1: mov w0, #0x60", "movk w0, #0x8400, lsl #16",
            "mov x1, #0", "mov w2, #-1",
            "mov x3, #0", "mov x4, #0", "mov x5, #0", "mov x6, #0", "mov x7, #0",
            "smc #0", "b 1b"
        );
    };
    // Never ends its initialisation.
    (Spin) => {
        $crate::failing_partition!("1: b 1b");
    };
    // Repeats an unknown call until it succeeds.
    (Unknown) => {
        $crate::failing_partition!(
            "1: mov w0, #0x95", "movk w0, #0x8400, lsl #16",
            "mov x1, #0", "mov x2, #0", "mov x3, #0", "mov x4, #0", "mov x5, #0", "mov x6, #0", "mov x7, #0",
            "smc #0", "b 1b"
        );
    };
    ($($instruction:literal),+) => {
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        #[unsafe(link_section = ".text.entry")]
        extern "C" fn _start() -> ! {
            core::arch::naked_asm!($($instruction),+)
        }
    };
}
