//! Calls to EL3 (SMCCC 1.2): 18 registers in, 18 registers out. EL3 preserves all other registers,
//! even when it runs the Normal world before it returns.

use core::arch::global_asm;

use spmc::ffa::SmcFrame;

global_asm!(
    r#"
.section .text.smc, "ax"
.global smc_call
smc_call:
    stp x19, x30, [sp, #-16]!
    mov x19, x0
    ldp x16, x17, [x19, #128]
    ldp x14, x15, [x19, #112]
    ldp x12, x13, [x19, #96]
    ldp x10, x11, [x19, #80]
    ldp x8, x9, [x19, #64]
    ldp x6, x7, [x19, #48]
    ldp x4, x5, [x19, #32]
    ldp x2, x3, [x19, #16]
    ldp x0, x1, [x19]
    smc #0
    stp x0, x1, [x19]
    stp x2, x3, [x19, #16]
    stp x4, x5, [x19, #32]
    stp x6, x7, [x19, #48]
    stp x8, x9, [x19, #64]
    stp x10, x11, [x19, #80]
    stp x12, x13, [x19, #96]
    stp x14, x15, [x19, #112]
    stp x16, x17, [x19, #128]
    ldp x19, x30, [sp], #16
    ret
"#
);

unsafe extern "C" {
    fn smc_call(frame: &mut SmcFrame);
}

/// Executes `SMC #0` with the registers in `frame`, and stores the results there.
pub fn smc(frame: &mut SmcFrame) {
    // SAFETY: `smc_call` follows the procedure call standard and stores x0 to x17 in `frame` only.
    // EL3 is trusted not to write memory of the SPMC.
    unsafe { smc_call(frame) };
}
