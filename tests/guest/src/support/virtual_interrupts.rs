//! Virtual interrupts as a partition uses them: Hafnium's calls, the signals, and helpers that
//! raise interrupts of a context.

use core::arch::asm;

use crate::rt::call::call;
use crate::rt::check::{Check, equal, holds};
use crate::rt::{PATIENCE_MS, exception_level, ticks_per_ms, wait_until};
use crate::sp::{Command, Sp};
use crate::support::chain_cases::{FIQ, NOTHING};
use crate::{command, ffa, helper};

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(own_timer), helper!(call_context)];

/// The number of the helper [`own_timer`].
pub(crate) const OWN_TIMER: u32 = command!(own_timer);
/// The number of the helper [`call_context`].
pub(crate) const CALL_CONTEXT: u32 = command!(call_context);

/// Hafnium's call that enables a virtual interrupt.
pub(crate) const ENABLE: u32 = 0xff03;
/// Hafnium's call that fetches a pending virtual interrupt, or [`NONE`].
pub(crate) const GET: u32 = 0xff04;
/// Hafnium's call that deactivates a virtual interrupt.
pub(crate) const DEACTIVATE: u32 = 0xff08;
/// Hafnium's call that changes the target, the security state or the enable of an interrupt.
pub(crate) const RECONFIGURE: u32 = 0xff09;
/// The call that interrupts another context of the partition.
pub(crate) const SEND_IPI: u32 = 0xff0a;
/// The id with which [`GET`] says that no interrupt is pending.
pub(crate) const NONE: u64 = 0xffff_ffff;
/// Virtual INTID that asks for a managed exit.
pub(crate) const MANAGED_EXIT: u64 = 4;
/// Virtual INTID of interrupts between contexts.
pub(crate) const IPI: u64 = 9;
/// Virtual INTID of the timers of a partition.
pub(crate) const TIMER: u64 = 3;
/// INTID of the EL1 virtual timer.
pub(crate) const VIRTUAL_TIMER: u64 = 27;

/// Makes one of Hafnium's calls for interrupts, and returns w0.
pub(crate) fn hf(function: u32, arguments: &[u64]) -> u64 {
    call(ffa::conduit(), ffa::regs(function, arguments))[0]
}

/// The PEs of the machine in turn, for an interrupt that goes to each of them.
pub(crate) struct Tour {
    next: u64,
}

impl Tour {
    /// Begins at the first PE.
    pub(crate) const START: Self = Self { next: 0 };

    /// Lets `interrupt` go to the next PE. The SPMC refuses a PE that was never on, or that the
    /// machine does not have: PEs come on in the order of their numbers, so that one was the last.
    pub(crate) fn go_on(&mut self, interrupt: u64) {
        /// x2 of [`RECONFIGURE`]: the PE that an interrupt goes to.
        const TARGET: u64 = 0;
        if hf(RECONFIGURE, &[interrupt, TARGET, self.next]) == 0 {
            self.next += 1;
        } else {
            hf(RECONFIGURE, &[interrupt, TARGET, 0]);
            self.next = 1;
        }
    }
}

/// Returns the virtual interrupts that are signalled: bit 0 for an IRQ, bit 1 for an FIQ. At S-EL0
/// there are none.
pub(crate) fn signals() -> u64 {
    if exception_level() == 0 {
        return 0;
    }
    let pending: u64;
    // SAFETY: reads a status register.
    unsafe { asm!("mrs {}, isr_el1", out(reg) pending, options(nomem, nostack)) };
    (pending >> 7 & 1) | (pending >> 6 & 1) << 1
}

/// Returns whether a virtual IRQ is signalled.
pub(crate) fn is_signalled() -> bool {
    signals() & 1 != 0
}

/// Sets CNTV_CTL_EL0, and the EL1 virtual timer to expire in `ms` milliseconds.
pub(crate) fn set_virtual_timer(control: u64, ms: u64) {
    let ticks = ms * ticks_per_ms();
    // SAFETY: the timer of this partition, whose interrupt is masked in PSTATE.
    unsafe {
        asm!(
            "msr cntv_tval_el0, {}",
            "msr cntv_ctl_el0, {}",
            "isb",
            in(reg) ticks,
            in(reg) control,
            options(nostack),
        )
    };
}

/// Lets the virtual timer of this PE expire twice, and handles its interrupt each time.
fn own_timer(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    equal(hf(ENABLE, &[VIRTUAL_TIMER, 1, 1]), 0u64)?;
    for round in 0..2_u64 {
        set_virtual_timer(1, 1);
        holds(wait_until(PATIENCE_MS, || signals() == FIQ), round)?;
        equal(hf(GET, &[]), VIRTUAL_TIMER)?;
        equal(hf(GET, &[]), NONE)?;
        set_virtual_timer(0, 0);
        equal(hf(DEACTIVATE, &[VIRTUAL_TIMER, VIRTUAL_TIMER]), 0u64)?;
        equal(signals(), NOTHING)?;
    }
    Ok([0; 4])
}

/// Interrupts the context of this partition with the index in x4.
fn call_context(_: &Sp, [to, ..]: [u64; 4]) -> Check<[u64; 4]> {
    equal(hf(SEND_IPI, &[to]), 0u64)?;
    Ok([0; 4])
}
