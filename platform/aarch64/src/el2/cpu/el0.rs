//! S-EL0 partitions: entry and exit, which switch between two tables of the EL2&0 regime, and TLB
//! maintenance for that regime.
//!
//! HCR_EL2.E2H is always 1. While an S-EL0 partition runs, TGE is 1, too, so that there is no EL1
//! and all exceptions are taken to EL2. TTBR0_EL2 then holds the partition's table, in which
//! nothing of the SPMC is mapped except by the last entry of the first table of level 1: EL2's
//! private addresses, with stacks, windows and the page of vectors. An exception is taken to the
//! vectors at their private address. The code there puts back the SPMC's table and branches to the
//! SPMC's own addresses. ASIDs keep the translations of both apart in TLBs: the SPMC has ASID 0.
//!
//! None of this costs time for S-EL1 partitions: they have vectors of their own, and the SPMC's
//! table stays in TTBR0_EL2 while they run.

use core::arch::{asm, global_asm};
use core::mem::offset_of;

use spmc::addr::{PAGE_SHIFT, World};
use spmc::hal::{Roots, TlbScope};

use super::context::GuestContext;
use super::vectors::{begin_frame, kind, load_guest_registers};
use crate::el2::memory::{stage1, stage2};

/// Offset of the vectors for S-EL0 in the page of vectors.
const VECTORS: u64 = 0x800;

/// HCR_EL2.TGE.
const TGE: u64 = 1 << 27;

/// Position of the ASID in TTBR0_EL2 and in the arguments of TLB maintenance instructions.
const ASID_SHIFT: u32 = 48;

/// Returns the value of TTBR0_EL2 for a partition.
pub fn translation_base(roots: &Roots) -> u64 {
    u64::from(roots.tag()) << ASID_SHIFT | roots.of(World::Secure).raw()
}

global_asm!(
    r#"
// A vector for an exception from an S-EL0 partition. The frame of `enter_el0` is on the stack.
.macro el0_vector kind
    .balign 0x80
    stp     x0, x1, [sp, #-16]!
    mov     x0, #\kind
    b       leave_el0
.endm

// A vector for an exception that EL2 itself causes while tables are switched: a defect that cannot
// be reported, since the code of the SPMC is not mapped.
.macro stuck_vector
    .balign 0x80
    b       .
.endm

// The second half of the page of vectors, which starts in vectors.rs.
.section .text.vectors.el0, "ax"
.balign 0x800
el0_vectors:
    // The vectors for the current EL with SP_EL0, which EL2 never selects. Their space holds the
    // code that runs while tables are switched.

// On the stack are TTBR0_EL2 and HCR_EL2 for the partition, then its x0 and x1.
arrive_at_el0:
    ldp     x0, x1, [sp], #16
    msr     ttbr0_el2, x0
    msr     hcr_el2, x1
    ldp     x0, x1, [sp], #16
    eret
    dsb     nsh
    isb

    .balign 0x80
// x0 = kind of exception. On the stack are the partition's x0 and x1, then the frame.
leave_el0:
    // Before the indirect branch below, see `clear_branch_history`.
    ldr     x1, [sp, #16 + 144]
    cbz     x1, 2f
1:  b       . + 4
    subs    x1, x1, #1
    b.ne    1b
2:  hint    #22
    ldr     x1, [sp, #16 + 112]
    msr     ttbr0_el2, x1
    ldr     x1, [sp, #16 + 120]
    msr     hcr_el2, x1
    ldr     x1, [sp, #16 + 128]
    msr     vbar_el2, x1
    ldr     x1, [sp, #16 + 136]
    isb
    br      x1
    .balign 0x200
    // Current EL with SP_EL2.
    stuck_vector
    stuck_vector
    stuck_vector
    stuck_vector
    // Lower EL, AArch64.
    el0_vector {sync}
    el0_vector {irq}
    el0_vector {fiq}
    el0_vector {serror}
    // Lower EL, AArch32, which an S-EL0 partition cannot be in.
    stuck_vector
    stuck_vector
    stuck_vector
    stuck_vector
    .balign 0x80

.section .text.switch, "ax"
// u64 enter_el0(context, ttbr0, branches): like enter_guest. At the end of the same frame it stores
// the SPMC's TTBR0_EL2, HCR_EL2 and VBAR_EL2, the address at which the exit goes on, and
// `branches`.
.global enter_el0
enter_el0:
"#,
    begin_frame!(),
    r#"
    str     x2, [sp, #144]
    mrs     x2, ttbr0_el2
    mrs     x3, hcr_el2
    stp     x2, x3, [sp, #112]
    mrs     x4, vbar_el2
    adrp    x5, exit_guest
    add     x5, x5, :lo12:exit_guest
    stp     x4, x5, [sp, #128]
    ldr     x4, ={alias} + {vectors}
    msr     vbar_el2, x4
    ldp     x4, x5, [x0, #{pc}]
    msr     elr_el2, x4
    msr     spsr_el2, x5
    orr     x3, x3, #{tge}
    ldp     x4, x5, [x0]
    stp     x4, x5, [sp, #-16]!
    stp     x1, x3, [sp, #-16]!
"#,
    load_guest_registers!(),
    r#"
    ldr     x0, ={alias} + {vectors} + (arrive_at_el0 - el0_vectors)
    br      x0
.ltorg
"#,
    alias = const stage1::VECTORS,
    vectors = const VECTORS,
    tge = const TGE,
    pc = const offset_of!(GuestContext, pc),
    sync = const kind::SYNC,
    irq = const kind::IRQ,
    fiq = const kind::FIQ,
    serror = const kind::SERROR,
);

#[allow(
    improper_ctypes,
    reason = "the assembly uses the fields of a context up to `spsr`"
)]
unsafe extern "C" {
    fn enter_el0(context: &mut GuestContext, translation_base: u64, branches: u64) -> u64;
}

/// Enters an S-EL0 partition. Returns the [`kind`] of exception that ended its run, after that many
/// `branches` that clear the branch history.
///
/// # Safety
///
/// `translation_base` is that of the partition to which `context` belongs. EL2 runs on a stack that
/// is mapped at private addresses.
pub unsafe fn enter(context: &mut GuestContext, translation_base: u64, branches: u64) -> u64 {
    // SAFETY: contract above; `enter_el0` follows the procedure call standard.
    unsafe { enter_el0(context, translation_base, branches) }
}

/// Invalidates translations of the partition with this `asid` on all PEs, after making updates of
/// its tables visible. Returns when no PE can use them any more.
pub fn invalidate(asid: u16, scope: TlbScope<'_>) {
    let asid = u64::from(asid) << ASID_SHIFT;
    stage2::publish();
    match scope {
        TlbScope::Ranges(ranges) if stage2::pages(ranges) <= stage2::MAX_PAGES_BY_ADDRESS => {
            for (_, range) in ranges {
                let first = range.base().raw() >> PAGE_SHIFT;
                for page in first..first + range.pages() {
                    // SAFETY: TLB maintenance only drops cached translations.
                    unsafe {
                        asm!("tlbi vae2is, {}", in(reg) asid | page, options(nostack, preserves_flags))
                    };
                }
            }
        }
        // Entries of every level: a table may be about to be used for something else. No TLBI by
        // ASID applies to the EL2&0 regime while TGE = 0, so the SPMC's own translations are
        // invalidated, too.
        // SAFETY: TLB maintenance only drops cached translations.
        _ => unsafe { asm!("tlbi alle2is", options(nostack, preserves_flags)) },
    }
    stage2::complete();
    // SAFETY: a barrier changes no state.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
}
