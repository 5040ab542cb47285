//! The watchdog: the Secure EL2 physical timer, which stops a partition that exceeds its time
//! limit, for example while it initialises.

use aarch64_cpu::registers::CNTFRQ_EL0;
use spmc::own_interrupts;
use tock_registers::interfaces::{Readable, Writeable};

use crate::el2::gic;
use crate::el2::registers::{CNTHPS_CTL_EL2, CNTHPS_CVAL_EL2};

/// The interrupt of the Secure EL2 physical timer.
pub const INTERRUPT: u32 = own_interrupts::WATCHDOG;

const ENABLE: u64 = 1;

/// Returns how many ticks of the counter make up that many milliseconds.
pub fn ticks(milliseconds: u32) -> u64 {
    u64::from(milliseconds).saturating_mul(CNTFRQ_EL0.get()) / 1000
}

/// Makes the timer expire on this PE when the counter reaches `end`.
pub fn start(end: u64) {
    CNTHPS_CVAL_EL2.set(end);
    CNTHPS_CTL_EL2.set(ENABLE);
    gic::enable_watchdog(true);
}

/// Stops the watchdog of this PE.
pub fn stop() {
    CNTHPS_CTL_EL2.set(0);
    gic::enable_watchdog(false);
}
