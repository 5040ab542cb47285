//! The timer of the partition: [`INTERRUPT`] comes when its time is over, also while the partition
//! waits. It is the EL1 physical timer, of which the SPMC gives each partition its own.

use core::arch::asm;
use core::time::Duration;

/// The interrupt of the timer, which [`interrupt::enable`](crate::interrupt::enable) turns on. The
/// id is Hafnium's.
pub const INTERRUPT: u32 = 3;

/// CNTP_CTL_EL0.ENABLE.
const ON: u64 = 1;

/// Starts the timer, which then runs out once.
pub fn start(time: Duration) {
    let frequency: u64;
    // SAFETY: reads the frequency of the counter.
    unsafe { asm!("mrs {}, cntfrq_el0", out(reg) frequency, options(nomem, nostack)) };
    let part = u64::from(time.subsec_nanos()) * frequency / 1_000_000_000;
    let ticks = time
        .as_secs()
        .saturating_mul(frequency)
        .saturating_add(part);
    let now: u64;
    // SAFETY: reads the counter.
    unsafe { asm!("isb", "mrs {}, cntpct_el0", out(reg) now, options(nomem, nostack)) };
    let end = now.saturating_add(ticks);
    // SAFETY: starts the partition's own timer, whose interrupt is masked here.
    unsafe {
        asm!(
            "msr cntp_cval_el0, {end}",
            "msr cntp_ctl_el0, {on}",
            "isb",
            end = in(reg) end,
            on = in(reg) ON,
            options(nomem, nostack),
        );
    }
}

/// Stops the timer. Its interrupt counts as handled only after that.
pub fn stop() {
    // SAFETY: stops the partition's own timer.
    unsafe { asm!("msr cntp_ctl_el0, xzr", "isb", options(nomem, nostack)) };
}
