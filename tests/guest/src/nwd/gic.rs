//! Non-secure interrupts at a chosen time: the EL2 physical timer, and as much of the GICv3 as
//! passes the interrupt on.
//!
//! This image keeps interrupts masked in PSTATE. It wants to know what they do to a partition, and
//! acknowledges them by polling.

use core::arch::asm;

use crate::board::{GICD, GICR};
use crate::rt::check::{Check, equal, holds};
use crate::rt::{PATIENCE_MS, ticks_per_ms, wait_until};

/// PPI of the EL2 physical timer.
pub const TIMER: u32 = 26;
/// The SGI that ends the sleep of a PE. It is enabled only while that PE sleeps.
const WAKE: u32 = 5;
const SPURIOUS: u64 = 1023;

const GICR_STRIDE: u64 = 0x2_0000;
const GICR_SGI: u64 = 0x1_0000;
/// GICD_CTLR seen from the Non-secure state: affinity routing, Group 1 on.
const DISTRIBUTOR_ON: u32 = 1 << 4 | 1 << 1 | 1;
const ISENABLER0: u64 = 0x100;
const ICENABLER0: u64 = 0x180;
const ISPENDR0: u64 = 0x200;
const ICPENDR0: u64 = 0x280;
const ISACTIVER0: u64 = 0x300;
const IPRIORITYR: u64 = 0x400;
const PRIORITY: u8 = 0x80;

fn write32(address: u64, value: u32) {
    // SAFETY: a GIC register, mapped as device memory.
    unsafe { (address as *mut u32).write_volatile(value) };
}

fn read32(address: u64) -> u32 {
    // SAFETY: as above.
    unsafe { (address as *const u32).read_volatile() }
}

/// Names the state of an interrupt in the GIC.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not pending and not active.
    Inactive,
    /// Pending: nobody has acknowledged the interrupt.
    Pending,
    /// Active: somebody has acknowledged the interrupt and not deactivated it. It may be pending as
    /// well.
    Active,
}

impl From<State> for u64 {
    fn from(state: State) -> Self {
        state as u64
    }
}

/// Returns the state of the private interrupt `line` of the PE with this index, which may be
/// another PE.
pub fn state_of(pe: usize, line: u32) -> State {
    let redistributor = GICR + pe as u64 * GICR_STRIDE + GICR_SGI;
    let is_in = |register| read32(redistributor + register) >> line & 1 != 0;
    if is_in(ISACTIVER0) {
        State::Active
    } else if is_in(ISPENDR0) {
        State::Pending
    } else {
        State::Inactive
    }
}

/// Enables the private interrupt `line` of this PE, whose index is `pe`, at the redistributor and
/// the CPU interface.
pub fn open(pe: usize, line: u32) {
    let redistributor = GICR + pe as u64 * GICR_STRIDE + GICR_SGI;
    write32(GICD, DISTRIBUTOR_ON);
    // SAFETY: as above, a byte.
    unsafe { ((redistributor + IPRIORITYR + line as u64) as *mut u8).write_volatile(PRIORITY) };
    write32(redistributor + ISENABLER0, 1 << line);
    // SAFETY: interrupts are masked in PSTATE, so nothing is taken here.
    unsafe {
        asm!(
            "mrs {t}, S3_4_C12_C9_5", // ICC_SRE_EL2
            "orr {t}, {t}, #1",
            "msr S3_4_C12_C9_5, {t}",
            "isb",
            "mov {t}, #0xff",
            "msr S3_0_C4_C6_0, {t}", // ICC_PMR_EL1
            "mov {t}, #1",
            "msr S3_0_C12_C12_7, {t}", // ICC_IGRPEN1_EL1
            "isb",
            t = out(reg) _,
            options(nostack),
        )
    };
}

/// Disables the private interrupt `line` of the PE with this index.
pub fn close(pe: usize, line: u32) {
    write32(
        GICR + pe as u64 * GICR_STRIDE + GICR_SGI + ICENABLER0,
        1 << line,
    );
}

/// Enables the timer interrupt of this PE, whose index is `pe`, and starts the timer.
pub fn start_timer(pe: usize, ms: u64) {
    start_timer_ticks(pe, ms * ticks_per_ms());
}

/// Starts the timer with a time in ticks of the counter.
pub fn start_timer_ticks(pe: usize, ticks: u64) {
    open(pe, TIMER);
    // SAFETY: as above.
    unsafe {
        asm!(
            "mov {t}, #1",
            "msr cnthp_tval_el2, {ticks}",
            "msr cnthp_ctl_el2, {t}",
            "isb",
            t = out(reg) _,
            ticks = in(reg) ticks,
            options(nostack),
        )
    };
}

/// Enables the timer interrupt of this PE, whose index is `pe`, without starting the timer.
/// [`fire`] makes the interrupt pending.
pub fn enable(pe: usize) {
    const NEVER_MS: u64 = 1_000;
    start_timer(pe, NEVER_MS);
    // SAFETY: stops the timer.
    unsafe { asm!("msr cnthp_ctl_el2, xzr", "isb", options(nostack)) };
}

/// Makes the timer interrupt of the PE with this index pending, from any PE.
pub fn fire(pe: usize) {
    write32(
        GICR + pe as u64 * GICR_STRIDE + GICR_SGI + ISPENDR0,
        1 << TIMER,
    );
}

/// Lets this PE, whose index is `pe`, sleep until `is_awake` returns true. Whoever makes it return
/// true calls [`wake`] afterwards.
pub fn sleep_until(pe: usize, is_awake: impl Fn() -> bool) {
    open(pe, WAKE);
    let redistributor = GICR + pe as u64 * GICR_STRIDE + GICR_SGI;
    loop {
        // This comes before the look, so that an interrupt of whoever comes later stays pending.
        write32(redistributor + ICPENDR0, 1 << WAKE);
        // SAFETY: a barrier.
        unsafe { asm!("dsb sy", options(nostack)) };
        if is_awake() {
            break;
        }
        // SAFETY: ends when an interrupt is pending. None is taken, since PSTATE masks them.
        unsafe { asm!("wfi", options(nostack)) };
    }
    close(pe, WAKE);
}

/// Wakes the PE with this index, if that PE sleeps.
pub fn wake(pe: usize) {
    // SAFETY: a barrier, so that the PE sees what was stored before.
    unsafe { asm!("dsb sy", options(nostack)) };
    write32(
        GICR + pe as u64 * GICR_STRIDE + GICR_SGI + ISPENDR0,
        1 << WAKE,
    );
}

/// Returns whether the timer interrupt is pending.
pub fn is_pending() -> bool {
    waits(TIMER)
}

/// Returns whether the interrupt `line` is pending at the CPU interface of this PE.
pub fn waits(line: u32) -> bool {
    let highest: u64;
    // SAFETY: reads which interrupt is pending.
    unsafe { asm!("mrs {}, S3_0_C12_C12_2", out(reg) highest, options(nostack)) }; // ICC_HPPIR1_EL1
    highest == u64::from(line)
}

/// Acknowledges the timer interrupt, which must come, and turns the timer off.
pub fn acknowledge(pe: usize) -> Check {
    take(pe, TIMER)
}

/// Acknowledges the private interrupt `line`, which must come, and disables it. Turns the timer off
/// as well.
#[track_caller]
pub fn take(pe: usize, line: u32) -> Check {
    let mut interrupt = SPURIOUS;
    let came = wait_until(PATIENCE_MS, || {
        // SAFETY: reads ICC_IAR1_EL1, which acknowledges the pending interrupt, if there is one.
        unsafe { asm!("mrs {}, S3_0_C12_C12_0", out(reg) interrupt, options(nostack)) };
        interrupt != SPURIOUS
    });
    let redistributor = GICR + pe as u64 * GICR_STRIDE + GICR_SGI;
    write32(redistributor + ICENABLER0, 1 << line);
    // SAFETY: stops the timer, which nobody else on this PE uses.
    unsafe { asm!("msr cnthp_ctl_el2, xzr", "isb", options(nostack)) };
    holds(came, interrupt)?;
    // SAFETY: writes ICC_EOIR1_EL1, which ends the interrupt that was acknowledged.
    unsafe { asm!("msr S3_0_C12_C12_1, {}", "isb", in(reg) interrupt, options(nostack)) };
    equal(interrupt, line)
}
