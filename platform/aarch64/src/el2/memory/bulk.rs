//! Operations on many bytes: the functions that the compiler calls (`memcpy`, `memset`), and the
//! accessors of the window. The probes of registers (`features.rs`, `stage1.rs`), and the
//! translation of a partition's address, are here because they may fault, as the accessors may.
//!
//! Normal memory accepts unaligned accesses (SCTLR_EL2.A = 0), so nothing is aligned first: each
//! turn moves 64 bytes, and the bits of the remaining length select the accesses for the rest.

use core::arch::global_asm;

global_asm!(
    r#"
// Copies x2 bytes from x1 to x0, and advances both. Clobbers x3 to x10.
.macro copy_bytes
    subs    x2, x2, #64
    b.lo    2f
1:  ldp     x3, x4, [x1]
    ldp     x5, x6, [x1, #16]
    ldp     x7, x8, [x1, #32]
    ldp     x9, x10, [x1, #48]
    add     x1, x1, #64
    stp     x3, x4, [x0]
    stp     x5, x6, [x0, #16]
    stp     x7, x8, [x0, #32]
    stp     x9, x10, [x0, #48]
    add     x0, x0, #64
    subs    x2, x2, #64
    b.hs    1b
    // The low six bits of x2 are the number of bytes that are left.
2:  tbz     x2, #5, 3f
    ldp     x3, x4, [x1], #16
    ldp     x5, x6, [x1], #16
    stp     x3, x4, [x0], #16
    stp     x5, x6, [x0], #16
3:  tbz     x2, #4, 4f
    ldp     x3, x4, [x1], #16
    stp     x3, x4, [x0], #16
4:  tbz     x2, #3, 5f
    ldr     x3, [x1], #8
    str     x3, [x0], #8
5:  tbz     x2, #2, 6f
    ldr     w3, [x1], #4
    str     w3, [x0], #4
6:  tbz     x2, #1, 7f
    ldrh    w3, [x1], #2
    strh    w3, [x0], #2
7:  tbz     x2, #0, 8f
    ldrb    w3, [x1]
    strb    w3, [x0]
8:
.endm

.section .text.bulk, "ax"

// void *memcpy(to, from, bytes)
.global memcpy
memcpy:
    mov     x11, x0
    copy_bytes
    mov     x0, x11
    ret

// void *memset(to, byte, bytes)
.global memset
memset:
    mov     x3, x0
    and     x1, x1, #0xff
    mov     x4, #0x0101010101010101
    mul     x1, x1, x4
    subs    x2, x2, #64
    b.lo    2f
1:  stp     x1, x1, [x3]
    stp     x1, x1, [x3, #16]
    stp     x1, x1, [x3, #32]
    stp     x1, x1, [x3, #48]
    add     x3, x3, #64
    subs    x2, x2, #64
    b.hs    1b
2:  tbz     x2, #5, 3f
    stp     x1, x1, [x3], #16
    stp     x1, x1, [x3], #16
3:  tbz     x2, #4, 4f
    stp     x1, x1, [x3], #16
4:  tbz     x2, #3, 5f
    str     x1, [x3], #8
5:  tbz     x2, #2, 6f
    str     w1, [x3], #4
6:  tbz     x2, #1, 7f
    strh    w1, [x3], #2
7:  tbz     x2, #0, 8f
    strb    w1, [x3]
8:  ret

// A fault between window_access and window_access_end continues at window_fault, see vectors.rs.
// The code there uses no stack, calls nothing, and does not use x16 and x17. Each function returns
// 0, or 1 after a fault.
.global window_access
window_access:

// window_copy(to, from, bytes)
.global window_copy
window_copy:
    copy_bytes
    mov     x0, #0
    ret

// window_zero(from, to): zeroes whole pages by DC ZVA and cleans them to the point of coherency.
// window_zero_cached(from, to) does not clean them.
.global window_zero_cached
window_zero_cached:
    mov     x2, #0
    b       2f
.global window_zero
window_zero:
    mov     x2, #1
2:  mrs     x3, dczid_el0
    and     x3, x3, #0xf
    mov     x4, #4
    lsl     x4, x4, x3
    mov     x5, x0
    // Two blocks each turn: a block has 2 KiB at most, so a page is a multiple of two blocks.
1:  dc      zva, x5
    add     x5, x5, x4
    dc      zva, x5
    add     x5, x5, x4
    cmp     x5, x1
    b.lo    1b
    cbz     x2, 3f
// window_clean(from, to): cleans to the point of coherency.
.global window_clean
window_clean:
    mrs     x3, ctr_el0
    ubfx    x3, x3, #16, #4
    mov     x4, #4
    lsl     x4, x4, x3
    sub     x5, x4, #1
    bic     x0, x0, x5
1:  dc      cvac, x0
    add     x0, x0, x4
    cmp     x0, x1
    b.lo    1b
    dsb     sy
3:  mov     x0, #0
    ret

// try_translate(va): puts into PAR_EL1 what stage 1 of the loaded partition makes of an address
// that EL1 reads. The walk goes where the partition's tables lead, so the memory system may refuse
// it, which is an abort at EL2 (Arm ARM D8, address translation instructions).
.global try_translate
try_translate:
    at      s1e1r, x0
    isb
    mov     x0, #0
    ret

// Reads a system register, access to which EL3 may trap.
.macro probe name, register
.global probe_\name
probe_\name:
    mrs     x1, \register
    mov     x0, #0
    ret
.endm
    probe   has_fine_grained_traps, s3_4_c1_c1_4
    probe   has_hypervisor_configuration, s3_4_c1_c2_2
    probe   has_more_fine_grained_traps, s3_4_c3_c1_2
    probe   has_pointer_keys, s3_0_c2_c1_0
    probe   has_random_numbers, s3_3_c2_c4_0
    probe   has_event_counters, s3_3_c9_c12_0
    probe   has_tpidr2, s3_3_c13_c0_5
    probe   has_smpri, s3_0_c1_c2_4
    probe   has_tcr2, s3_5_c2_c0_3
    probe   has_pir, s3_5_c10_c2_3
    probe   has_pire0, s3_5_c10_c2_2
    probe   has_por, s3_5_c10_c2_4
    probe   has_por_el0, s3_3_c10_c2_4
    probe   has_gcscr, s3_5_c2_c5_0
    probe   has_gcspr, s3_5_c2_c5_1
    probe   has_gcscre0, s3_0_c2_c5_2
    probe   has_gcspr_el0, s3_3_c2_c5_1
    probe   has_s2por, s3_0_c10_c2_5
    probe   has_mair2, s3_5_c10_c2_1
    probe   has_amair2, s3_5_c10_c3_1
    probe   has_pfar, s3_5_c6_c0_5
    probe   has_rcwmask, s3_0_c13_c0_6
    probe   has_rcwsmask, s3_0_c13_c0_3
    probe   has_accdata, s3_0_c13_c0_5
    probe   has_mpam, s3_4_c10_c5_0
    probe   has_fpmr, s3_3_c4_c4_2

// Reads FFR, which traps in streaming mode unless all Exception levels enable FEAT_SME_FA64.
.global probe_has_ffr
probe_has_ffr:
    .inst   0x2519f000 // rdffr p0.b
    mov     x0, #0
    ret

// Set TCR2_EL2 and SCTLR2_EL2 to 0. Where EL3 traps them, they behave as 0, and the access faults.
// Called with the MMU off, before the features that they control matter.
.global clear_tcr2
clear_tcr2:
    msr     s3_4_c2_c0_3, xzr
    ret
.global clear_sctlr2
clear_sctlr2:
    msr     s3_4_c1_c0_3, xzr
    ret

.global window_access_end
window_access_end:

// window_settle(): waits for all stores. If one of them left an SError pending (ISR_EL1.A), drops
// it by drop_error and returns 1; otherwise returns 0.
.global window_settle
window_settle:
    dsb     sy
    mrs     x0, isr_el1
    ubfx    x0, x0, #8, #1
    cbnz    x0, drop_error
    ret

// Drops the pending SError. SErrors are masked at EL2, so ESB defers it into DISR_EL1. The register
// belongs to the Normal world, so its value is restored. Clobbers x1 only.
.global drop_error
drop_error:
    mrs     x1, s3_0_c12_c1_1
    hint    #16
    msr     s3_0_c12_c1_1, x1
    ret

window_fault:
    mov     x0, #1
    ret
"#
);

unsafe extern "C" {
    /// Copies `bytes`, with one side in the window. Returns 1 if an access faulted.
    pub fn window_copy(to: *mut u8, from: *const u8, bytes: usize) -> u64;
    /// Zeroes whole pages and cleans them to the point of coherency. Returns 1 if an access
    /// faulted.
    pub fn window_zero(from: u64, to: u64) -> u64;
    /// Zeroes whole pages that only observers with caches read. Returns 1 if an access faulted.
    pub fn window_zero_cached(from: u64, to: u64) -> u64;
    /// Cleans to the point of coherency. Returns 1 if an access faulted.
    pub fn window_clean(from: u64, to: u64) -> u64;
    /// Puts the stage-1 translation of an address of the loaded partition into PAR_EL1. Returns 1
    /// if the memory system refused the walk.
    pub safe fn try_translate(va: u64) -> u64;
    /// Waits for all stores. Returns 1 if the memory system refused one of them.
    pub safe fn window_settle() -> u64;
    /// Drops the pending SError.
    pub safe fn drop_error();
}

/// Declares functions that try to read a register.
macro_rules! probes {
    ($($name:ident: $symbol:ident;)*) => {
        unsafe extern "C" { $(safe fn $symbol() -> u64;)* }
        $(
            /// Returns whether EL3 lets EL2 access the register.
            pub fn $name() -> bool {
                $symbol() == 0
            }
        )*
    };
}

probes! {
    has_fine_grained_traps: probe_has_fine_grained_traps;
    has_hypervisor_configuration: probe_has_hypervisor_configuration;
    has_more_fine_grained_traps: probe_has_more_fine_grained_traps;
    has_pointer_keys: probe_has_pointer_keys;
    has_random_numbers: probe_has_random_numbers;
    has_event_counters: probe_has_event_counters;
    has_tpidr2: probe_has_tpidr2;
    has_smpri: probe_has_smpri;
    has_tcr2: probe_has_tcr2;
    has_pir: probe_has_pir;
    has_pire0: probe_has_pire0;
    has_por: probe_has_por;
    has_por_el0: probe_has_por_el0;
    has_gcscr: probe_has_gcscr;
    has_gcspr: probe_has_gcspr;
    has_gcscre0: probe_has_gcscre0;
    has_gcspr_el0: probe_has_gcspr_el0;
    has_s2por: probe_has_s2por;
    has_mair2: probe_has_mair2;
    has_amair2: probe_has_amair2;
    has_pfar: probe_has_pfar;
    has_rcwmask: probe_has_rcwmask;
    has_rcwsmask: probe_has_rcwsmask;
    has_accdata: probe_has_accdata;
    has_mpam: probe_has_mpam;
    has_fpmr: probe_has_fpmr;
    has_ffr: probe_has_ffr;
}
