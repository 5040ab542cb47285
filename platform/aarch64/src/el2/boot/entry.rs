//! The first instructions: the way from EL3's hand-over to Rust code with a stack, initialised
//! memory and the MMU on.
//!
//! The boot PE enters at the first byte of the image with x0 = physical address of the SPMC
//! manifest, x1 = that of the hardware configuration or 0, and x4 = linear index of the PE. The
//! other PEs enter at `secondary_start`, which the boot PE registers with
//! `FFA_SECONDARY_EP_REGISTER`: with an entry point each, no PE has to read memory with caches off
//! to find out which kind it is. EL3 hands over with all exceptions masked and with MMU and caches
//! off, except on a PE that was turned off and on again: such a PE finds the registers of EL2 as
//! they were when it was turned off.
//!
//! An EL3 that refused `secondary_start` sends the other PEs to the first byte, too. The code there
//! must not run twice, so a PE that comes after the boot PE is turned away before it writes
//! anything.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};

use spmc::ffa::SmcFrame;

use crate::el2::memory::stage1;
use crate::el2::{affinity, boot};
use crate::sizes::{MAX_PES, SMC_FRAME_SIZE};

const _: () = assert!(SMC_FRAME_SIZE == size_of::<SmcFrame>() as u64);
const _: () = assert!(MAX_PES == spmc::limits::MAX_PES as u64);

global_asm!(
    r#"
.section .text.start, "ax"
.global _start
_start:
    adrp    x9, {cold}
    ldr     x9, [x9, :lo12:{cold}]
    cbz     x9, late
    cmp     x4, #{most_pes}
    b.hs    too_many_pes
    msr     spsel, #1
    mov     x20, x0
    mov     x21, x4
    mov     x23, x1

    // Earlier boot stages ran with caches on. A later write-back of one of their lines would
    // overwrite what this code stores with caches off. The header of the SPMC manifest is read with
    // caches off.
    bl      clean_writable
    cbz     x20, 1f
    dc      civac, x20
    dsb     sy
1:

    // Relocate. The linker script checks that there are relative relocations only. They are packed
    // as RELR: an even word is the address of a word to relocate; an odd word is a bitmap of the 63
    // words behind the last word covered.
    adrp    x0, link_address
    ldr     x1, [x0, :lo12:link_address]
    adrp    x2, _start
    add     x2, x2, :lo12:_start
    subs    x2, x2, x1
    b.eq    5f
    adrp    x0, __relr_start
    add     x0, x0, :lo12:__relr_start
    adrp    x1, __relr_end
    add     x1, x1, :lo12:__relr_end
2:  cmp     x0, x1
    b.hs    5f
    ldr     x3, [x0], #8
    tbnz    x3, #0, 3f
    add     x4, x3, x2
    ldr     x5, [x4]
    add     x5, x5, x2
    str     x5, [x4], #8
    b       2b
3:  mov     x6, x4
    add     x4, x4, #(63 * 8)
4:  lsr     x3, x3, #1
    cbz     x3, 2b
    tbz     x3, #0, 6f
    ldr     x5, [x6]
    add     x5, x5, x2
    str     x5, [x6]
6:  add     x6, x6, #8
    b       4b

    // Clear .bss.
5:  adrp    x0, __bss_start
    add     x0, x0, :lo12:__bss_start
    adrp    x1, __bss_end
    add     x1, x1, :lo12:__bss_end
7:  stp     xzr, xzr, [x0]
    stp     xzr, xzr, [x0, #16]
    stp     xzr, xzr, [x0, #32]
    stp     xzr, xzr, [x0, #48]
    add     x0, x0, #64
    cmp     x0, x1
    b.lo    7b

    adrp    x9, __boot_stack_end
    add     sp, x9, :lo12:__boot_stack_end
    mov     x0, x20
    bl      {prepare}
    // A line that was fetched by speculation since the first time holds old data.
    bl      clean_writable
    bl      stage1_enable
    ldr     x9, ={boot_stack_end}
    mov     sp, x9
    bl      own_stack
    mov     x0, x20
    mov     x1, x21
    mov     x2, x22
    mov     x3, x23
    bl      {primary}
    cbz     w0, too_many_pes
    mov     sp, x22
    mov     x0, x21
    mov     x1, x22
    bl      {settle}
    brk     #0

// Cleans and invalidates, to the point of coherency, all lines of what the code stores to while the
// MMU is off: data, constants that are relocated, the boot stack, and the first memory of the boot
// allocator, from which come the tables of EL2. Accesses with the MMU off go around the caches, so
// they and later cacheable accesses to the same memory have mismatched attributes: software must do
// this before and after (Arm ARM B2, mismatched memory attributes; D7, caches while the MMU is
// off). Clobbers x0 to x3.
.macro clean_lines from, to
    adrp    x0, \from
    adrp    x1, \to
    // Both are at page boundaries.
15: .rept 8
    dc      civac, x0
    add     x0, x0, x2
    .endr
    cmp     x0, x1
    b.lo    15b
.endm
clean_writable:
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4
    mov     x3, #4
    lsl     x2, x3, x2
    dsb     sy
    clean_lines __data_start, __image_end
    dsb     sy
    ret

.global secondary_start
secondary_start:
    msr     spsel, #1
    bl      enter_running
    mov     x0, x21
    mov     x1, x22
    bl      {secondary}
    brk     #0

// A PE that the Normal world turned on, and that EL3 sent to the entry point of the boot PE.
late:
    msr     spsel, #1
    bl      enter_running
    mov     x0, x21
    bl      {refuse}
    b       too_many_pes

// Turns on the MMU of a PE other than the boot PE and gives it its stack. Returns with x21 = index
// of the PE and x22 = frame on its stack, see `own_stack`. If there is no stack for the PE, control
// goes to `too_many_pes`.
enter_running:
    mov     x20, x30
    mov     x21, x4
    bl      stage1_enable

    // x4 is the index when a PE is turned on for the first time. When it is turned on again, its
    // general-purpose registers are those with which it was turned off, so the index is looked up
    // by the affinity. The boot PE wrote the table and its length with caches on, and so this PE
    // reads them: the MMU is on.
    mrs     x9, mpidr_el1
    adrp    x10, {affinities}
    add     x10, x10, :lo12:{affinities}
    ldp     x10, x13, [x10]
    cbz     x13, too_many_pes
    mov     x11, #0
9:  ldr     x12, [x10, x11, lsl #3]
    cmp     x12, x9
    csel    x21, x11, x21, eq
    add     x11, x11, #1
    cmp     x11, x13
    b.lo    9b
    cmp     x21, x13
    b.hs    too_many_pes
    bl      own_stack
    mov     sp, x22
    ret     x20

// Sets x22 to the frame for the SPMD at the top of the stack of the PE with index x21; the stack
// begins below the frame.
own_stack:
    ldr     x22, ={stack_end}
    mov     x9, #{private_size}
    msub    x22, x9, x21, x22
    sub     x22, x22, #{frame_size}
    ret
.ltorg

// Serves a PE that has no stack, or that entered at the entry point of the boot PE, or the boot PE
// if the SPMC cannot run at all. The Normal world may use such a PE, partitions may not. Each call
// from the SPMD is answered by FFA_ERROR, NOT_SUPPORTED, with two exceptions. Framework messages
// from the SPMD need responses of their own kind: version negotiation fails, power management
// succeeds. FFA_INTERRUPT is for a Secure interrupt, namely the SGI that other PEs send to all PEs;
// the interrupt is completed here, since the SPMD would put an FFA_ERROR into the registers of the
// Normal world. x4 = -1 is an index without a stack, by which the PE gets here again when it is
// turned on again.
too_many_pes:
    mov     w0, #0x0060
    movk    w0, #0x8400, lsl #16
    mov     x1, #0
    mov     w2, #-1
    mov     x3, #0
    mov     x4, #0
    mov     x5, #0
    mov     x6, #0
    mov     x7, #0
8:  smc     #0
    // FFA_INTERRUPT?
    mov     w9, #0x0062
    movk    w9, #0x8400, lsl #16
    cmp     w0, w9
    b.eq    10f
    // FFA_MSG_SEND_DIRECT_REQ from the SPMD?
    mov     w9, #0x006f
    movk    w9, #0x8400, lsl #16
    mov     w10, #0xffff
    cmp     w0, w9
    lsr     w9, w1, #16
    ccmp    w9, w10, #0, eq
    b.ne    too_many_pes
    mov     w0, #0x0070
    movk    w0, #0x8400, lsl #16
    ror     w1, w1, #16
    // Message 8 (version) is answered by message 9 and an error; messages 0 and 1 (power
    // management) by message 2 and success.
    tst     w2, #8
    mov     w2, #2
    mov     w9, #9
    csel    w2, w2, w9, eq
    orr     w2, w2, #0x80000000
    csetm   w3, ne
    mov     x4, #-1
    b       8b
    // Read ICC_IAR1_EL1 and write ICC_EOIR1_EL1 until no interrupt is pending (INTIDs 1020 to
    // 1023); then FFA_NORMAL_WORLD_RESUME.
10: mrs     x9, s3_0_c12_c12_0
    sub     w10, w9, #1020
    cmp     w10, #4
    b.lo    11f
    msr     s3_0_c12_c12_1, x9
    b       10b
11: mov     w0, #0x007c
    movk    w0, #0x8400, lsl #16
    b       8b

// The word is relocated itself, so it is not among the constants of .rodata.
.section .data.rel.ro.link_address, "aw"
.balign 8
link_address:
    .quad   _start
"#,
    cold = sym COLD,
    affinities = sym affinity::OF_PES,
    most_pes = const MAX_PES,
    boot_stack_end = const stage1::BOOT_STACK_END,
    stack_end = const stage1::STACK_END,
    private_size = const stage1::PRIVATE_SIZE,
    frame_size = const SMC_FRAME_SIZE,
    prepare = sym boot::prepare,
    primary = sym boot::primary,
    settle = sym boot::settle,
    secondary = sym boot::secondary,
    refuse = sym boot::refuse,
);

/// Not zero until the boot PE calls [`close_first_entry`]. The static is in `.data`, so that
/// loading the image again restores its value: only a newly loaded image may be entered at its
/// first byte.
static COLD: AtomicU64 = AtomicU64::new(1);

/// Turns away each PE that enters at the first byte of the image from now on. The boot PE calls
/// this with the MMU on.
pub fn close_first_entry() {
    COLD.store(0, Ordering::Relaxed);
    // PEs read `COLD` from memory, with the MMU off. The store was a coherent one, so no cache
    // holds an older copy of the line that could be written back later.
    // SAFETY: DC CVAC on the address of a static cleans the line and changes no data.
    unsafe {
        asm!("dc cvac, {}", "dsb sy", in(reg) &raw const COLD, options(nostack, preserves_flags))
    };
}

unsafe extern "C" {
    fn secondary_start();
}

/// Returns the physical address at which PEs other than the boot PE enter.
pub fn secondary_entry() -> u64 {
    secondary_start as *const () as u64
}
