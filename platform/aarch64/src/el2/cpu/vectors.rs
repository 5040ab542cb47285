//! The exception vectors of EL2, and the switch of general-purpose registers between the SPMC and a
//! partition.
//!
//! To the SPMC, running a partition is a call of [`enter`], which returns the kind of exception
//! that ended the run. The syndrome registers keep their values until the next exception.

use core::arch::global_asm;
use core::mem::offset_of;

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::VBAR_EL2;
use tock_registers::interfaces::Writeable;

use super::context::GuestContext;
use super::header::Header;
use crate::el2::panic;

/// The vector through which an exception from a partition was taken.
pub mod kind {
    /// Synchronous exception.
    pub const SYNC: u64 = 0;
    /// IRQ: a Secure Group 1 interrupt.
    pub const IRQ: u64 = 1;
    /// FIQ: an interrupt of the Normal world.
    pub const FIQ: u64 = 2;
    /// SError: an asynchronous external abort.
    pub const SERROR: u64 = 3;
}

/// Assembly: makes the frame below which a partition runs. The frame holds the callee-saved
/// registers, then the context's address (x0) at offset 96, then 48 bytes that `enter_el0` uses.
macro_rules! begin_frame {
    () => {
        r#"
    stp     x30, x19, [sp, #-160]!
    stp     x20, x21, [sp, #16]
    stp     x22, x23, [sp, #32]
    stp     x24, x25, [sp, #48]
    stp     x26, x27, [sp, #64]
    stp     x28, x29, [sp, #80]
    str     x0, [sp, #96]
"#
    };
}

/// Assembly: loads x2 to x30 from the context at x0.
macro_rules! load_guest_registers {
    () => {
        r#"
    ldp     x2, x3, [x0, #16]
    ldp     x4, x5, [x0, #32]
    ldp     x6, x7, [x0, #48]
    ldp     x8, x9, [x0, #64]
    ldp     x10, x11, [x0, #80]
    ldp     x12, x13, [x0, #96]
    ldp     x14, x15, [x0, #112]
    ldp     x16, x17, [x0, #128]
    ldp     x18, x19, [x0, #144]
    ldp     x20, x21, [x0, #160]
    ldp     x22, x23, [x0, #176]
    ldp     x24, x25, [x0, #192]
    ldp     x26, x27, [x0, #208]
    ldp     x28, x29, [x0, #224]
    ldr     x30, [x0, #240]
"#
    };
}
pub(super) use {begin_frame, load_guest_registers};

global_asm!(
    r#"
// A vector for an exception from a partition. The frame of `enter_guest` is on the stack.
.macro guest_vector kind
    .balign 0x80
    stp     x0, x1, [sp, #-16]!
    mov     x0, #\kind
    b       exit_guest
.endm

// A vector for an exception that EL2 itself causes: a defect, which ends this PE.
.macro fatal_vector
    .balign 0x80
    b       fatal
.endm

.section .text.vectors, "ax"
.balign 0x1000
.global el2_vectors
el2_vectors:
    // Current EL with SP_EL0, which EL2 never selects.
    fatal_vector
    fatal_vector
    fatal_vector
    fatal_vector
    // Current EL with SP_EL2. The accessors of the window may fault. They use neither the stack nor
    // x16 and x17.
    .balign 0x80
    mrs     x16, elr_el2
    adrp    x17, window_access
    add     x17, x17, :lo12:window_access
    cmp     x16, x17
    b.lo    fatal
    adrp    x17, window_access_end
    add     x17, x17, :lo12:window_access_end
    cmp     x16, x17
    b.hs    fatal
    adrp    x17, window_fault
    add     x17, x17, :lo12:window_fault
    msr     elr_el2, x17
    eret
    fatal_vector
    fatal_vector
    fatal_vector
    // Lower EL, AArch64.
    guest_vector {sync}
    guest_vector {irq}
    guest_vector {fiq}
    guest_vector {serror}
    // Lower EL, AArch32: an application of a partition at EL0.
    guest_vector {sync}
    guest_vector {irq}
    guest_vector {fiq}
    guest_vector {serror}

// u64 enter_guest(context)
.section .text.switch, "ax"
.global enter_guest
enter_guest:
"#,
    begin_frame!(),
    r#"
    ldp     x1, x2, [x0, #{pc}]
    msr     elr_el2, x1
    msr     spsr_el2, x2
"#,
    load_guest_registers!(),
    r#"
    ldp     x0, x1, [x0]
    eret
    // Keeps the PE from executing speculatively behind ERET with a partition's registers.
    dsb     nsh
    isb

.global exit_guest
exit_guest:
    // x0 = kind of exception, which is the result. On the stack are the partition's x0 and x1, then
    // the frame.
    ldr     x1, [sp, #16 + 96]
    stp     x2, x3, [x1, #16]
    stp     x4, x5, [x1, #32]
    stp     x6, x7, [x1, #48]
    stp     x8, x9, [x1, #64]
    stp     x10, x11, [x1, #80]
    stp     x12, x13, [x1, #96]
    stp     x14, x15, [x1, #112]
    stp     x16, x17, [x1, #128]
    stp     x18, x19, [x1, #144]
    stp     x20, x21, [x1, #160]
    stp     x22, x23, [x1, #176]
    stp     x24, x25, [x1, #192]
    stp     x26, x27, [x1, #208]
    stp     x28, x29, [x1, #224]
    str     x30, [x1, #240]
    ldp     x2, x3, [sp], #16
    stp     x2, x3, [x1]
    mrs     x2, elr_el2
    mrs     x3, spsr_el2
    stp     x2, x3, [x1, #{pc}]
    ldp     x20, x21, [sp, #16]
    ldp     x22, x23, [sp, #32]
    ldp     x24, x25, [sp, #48]
    ldp     x26, x27, [sp, #64]
    ldp     x28, x29, [sp, #80]
    ldp     x30, x19, [sp], #160
    ret

// The stack may be the cause, so the report uses another one.
fatal:
    mrs     x16, tpidr_el2
    add     sp, x16, #{emergency_top}
    mov     x29, xzr
    bl      {report}
1:  wfi
    b       1b
"#,
    sync = const kind::SYNC,
    irq = const kind::IRQ,
    fiq = const kind::FIQ,
    serror = const kind::SERROR,
    pc = const offset_of!(GuestContext, pc),
    emergency_top = const Header::EMERGENCY_TOP,
    report = sym panic::unexpected_exception,
);

#[allow(
    improper_ctypes,
    reason = "the assembly uses the fields of a context up to `spsr`"
)]
unsafe extern "C" {
    /// The start of the page of vectors.
    safe static el2_vectors: u8;
    fn enter_guest(context: &mut GuestContext) -> u64;
}

/// Returns the address of the page that holds these vectors and those for S-EL0 partitions.
pub fn page() -> u64 {
    &raw const el2_vectors as u64
}

/// Makes VBAR_EL2 point to the vectors.
pub fn install() {
    VBAR_EL2.set(page());
    barrier::isb(barrier::SY);
}

/// Enters a partition. Returns the [`kind`] of exception that ended its run.
///
/// # Safety
///
/// EL1 and stage 2 hold the state of the partition to which `context` belongs, so that the
/// partition can access its own memory only.
pub unsafe fn enter(context: &mut GuestContext) -> u64 {
    // SAFETY: contract above; `enter_guest` follows the procedure call standard.
    unsafe { enter_guest(context) }
}
