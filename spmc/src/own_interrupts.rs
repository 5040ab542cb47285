//! The interrupts that the SPMC has for itself, by INTID. The platform raises and takes them, and
//! no manifest can claim one.

/// The Non-secure SGI that the SPMC gives the Normal world as schedule receiver interrupt (FF-A
/// v1.1 section 10.7): the lowest that Linux leaves to firmware, and what Hafnium donates.
pub const SCHEDULE_RECEIVER: u32 = 8;

/// The Secure SGI by which a PE makes others look at their interrupts again.
pub const LOOK_AGAIN: u32 = 9;

/// CNTHVS, the Secure EL2 virtual timer, by which the SPMC watches the timers of partitions (Base
/// System Architecture).
pub const PARTITION_TIMER: u32 = 19;

/// CNTHPS, the Secure EL2 physical timer, the watchdog of the SPMC (Base System Architecture).
pub const WATCHDOG: u32 = 20;

/// All of them.
pub const ALL: [u32; 4] = [SCHEDULE_RECEIVER, LOOK_AGAIN, PARTITION_TIMER, WATCHDOG];
