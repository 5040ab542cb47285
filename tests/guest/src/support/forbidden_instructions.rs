//! Instructions that must be undefined for partitions, each as a function.

use core::arch::{asm, naked_asm};

use crate::rt::probe;

macro_rules! forbidden {
    ($($name:ident $instruction:literal,)+) => {
        $(
            /// Executes the instruction.
            #[unsafe(naked)]
            pub(crate) extern "C" fn $name() {
                naked_asm!($instruction, "mov x0, #0", "ret")
            }
        )+
        /// The instructions that must be undefined.
        pub(crate) static FORBIDDEN: [(&str, extern "C" fn()); [$(stringify!($name)),+].len()] =
            [$((stringify!($name), $name)),+];
    };
}

// The instructions are written as encodings, so that the assembler need not know the extensions.
forbidden! {
    rdvl ".inst 0x04bf5029", // x9, #1
    ptrue_p0 ".inst 0x2518e3e0",
    read_zcr_el1 "mrs x9, s3_0_c1_c2_0",
    write_zcr_el1 "msr s3_0_c1_c2_0, x9",
    smstart_sm "msr s0_3_c4_c3_3, xzr",
    smstart_za "msr s0_3_c4_c5_3, xzr",
    rdsvl ".inst 0x04bf5829", // x9, #1
    read_svcr "mrs x9, s3_3_c4_c2_2",
    read_smcr_el1 "mrs x9, s3_0_c1_c2_6",
    copy_memory "mov x11, #0\n.inst 0x190a0569", // CPYFP [X9]!, [X10]!, X11!
    read_tcr2_el1 "mrs x9, s3_0_c2_c0_3",
    read_pir_el1 "mrs x9, s3_0_c10_c2_3",
    read_por_el1 "mrs x9, s3_0_c10_c2_4",
    read_gcscr_el1 "mrs x9, s3_0_c2_c5_0",
    read_tpidr2_el0 "mrs x9, s3_3_c13_c0_5",
    write_tpidr2_el0 "msr s3_3_c13_c0_5, x9",
    read_scxtnum_el0 "mrs x9, s3_3_c13_c0_7",
    write_scxtnum_el1 "msr s3_0_c13_c0_7, x9",
    read_pmcr_el0 "mrs x9, s3_3_c9_c12_0",
    write_pmcr_el0 "msr s3_3_c9_c12_0, x9",
    read_pmccntr_el0 "mrs x9, s3_3_c9_c13_0",
    write_pmcntenset_el0 "msr s3_3_c9_c12_1, x9",
    write_pmuserenr_el0 "msr s3_3_c9_c14_0, x9",
    read_mdscr_el1 "mrs x9, s2_0_c0_c2_2",
    write_mdscr_el1 "msr s2_0_c0_c2_2, x9",
    read_dbgbcr0_el1 "mrs x9, s2_0_c0_c0_5",
    write_dbgbvr0_el1 "msr s2_0_c0_c0_4, x9",
    read_mdrar_el1 "mrs x9, s2_0_c1_c0_0",
    write_oslar_el1 "msr s2_0_c1_c0_4, x9",
    read_oslsr_el1 "mrs x9, s2_0_c1_c1_4",
    read_pmscr_el1 "mrs x9, s3_0_c9_c9_0",
    read_trfcr_el1 "mrs x9, s3_0_c1_c2_1",
    read_trblimitr_el1 "mrs x9, s3_0_c9_c11_0",
    read_amcr_el0 "mrs x9, s3_3_c13_c2_0",
    read_gcr_el1 "mrs x9, s3_0_c1_c0_6",
    read_rgsr_el1 "mrs x9, s3_0_c1_c0_5",
    write_tfsr_el1 "msr s3_0_c5_c6_0, x9",
    write_actlr_el1 "msr s3_0_c1_c0_1, x9",
    read_lorc_el1 "mrs x9, s3_0_c10_c4_3",
    read_errselr_el1 "mrs x9, s3_0_c5_c3_1",
    implementation_defined "mrs x9, s3_0_c15_c0_0",
    read_hcr_el2 "mrs x9, s3_4_c1_c1_0",
    write_hcr_el2 "msr s3_4_c1_c1_0, x9",
    read_vttbr_el2 "mrs x9, s3_4_c2_c1_0",
    write_vsttbr_el2 "msr s3_4_c2_c6_0, x9",
    read_sctlr_el2 "mrs x9, s3_4_c1_c0_0",
    write_vbar_el2 "msr s3_4_c12_c0_0, x9",
    read_cptr_el2 "mrs x9, s3_4_c1_c1_2",
    read_scr_el3 "mrs x9, s3_6_c1_c1_0",
    write_vbar_el3 "msr s3_6_c12_c0_0, x9",
    translate_as_el2 "sys #4, c7, c8, #0, x9",
    invalidate_all_of_el1 "sys #4, c8, c7, #4",
}

/// Clears the traps of the partition itself (`FPEN`, `ZEN`, `SMEN`), so that only the SPMC's are
/// left, and returns CPACR_EL1 as it was.
pub(crate) fn open_at_el1() -> u64 {
    const ALL: u64 = 3 << 24 | 3 << 20 | 3 << 16;
    let before: u64;
    // SAFETY: no instruction becomes available that this image uses.
    unsafe {
        asm!("mrs {}, cpacr_el1", "msr cpacr_el1, {}", "isb", out(reg) before, in(reg) ALL, options(nostack))
    };
    before
}

/// Restores CPACR_EL1 after [`open_at_el1`].
pub(crate) fn close_at_el1(before: u64) {
    // SAFETY: restores the value that this image runs with.
    unsafe { asm!("msr cpacr_el1, {}", "isb", in(reg) before, options(nostack)) };
}

/// Exception class of an undefined instruction.
pub(crate) const UNDEFINED: u64 = 0;

/// Returns the class of the exception that an instruction ends in, or all ones if there is none.
pub(crate) fn exception_class(instruction: extern "C" fn()) -> u64 {
    // SAFETY: the function returns, and keeps what the procedure call standard says.
    unsafe { probe::execute(instruction as *const () as u64) }
        .map_or_else(|fault| fault.class(), |()| u64::MAX)
}

/// Returns whether an instruction is undefined.
pub(crate) fn is_undefined(instruction: extern "C" fn()) -> bool {
    exception_class(instruction) == UNDEFINED
}
