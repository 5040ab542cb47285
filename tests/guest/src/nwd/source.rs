//! Devices whose interrupts the Normal world can raise, and which belong to partitions that claim
//! them as edges: each rise is one interrupt, and nothing needs to be cleared by its owner.

use crate::board::{CLOCK, GPIO};
use crate::rt::wait_until;

/// A device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The PL061: its pins are low, and it can ask for that.
    Gpio,
    /// The PL031: the time is what it is compared with.
    Clock,
}

/// INTID of the clock.
pub const CLOCK_INTERRUPT: u64 = 34;
/// INTID of the GPIO.
pub const GPIO_INTERRUPT: u64 = 39;

const GPIO_SENSE: u64 = 0x404;
const GPIO_EVENT: u64 = 0x40c;
const GPIO_ENABLE: u64 = 0x410;
/// A pin that nothing is connected to.
const PIN: u32 = 1;

const CLOCK_DATA: u64 = 0x00;
const CLOCK_MATCH: u64 = 0x04;
const CLOCK_MASK: u64 = 0x10;
const CLOCK_RAW: u64 = 0x14;
const CLOCK_CLEAR: u64 = 0x1c;

/// The clock ticks between reading the time and setting the match, at worst every time for this
/// long. An owner that clears it at once is not seen, either, so nobody waits longer.
const LIMIT_MS: u64 = 100;

fn write(address: u64, value: u32) {
    // SAFETY: a register of the device, mapped as device memory.
    unsafe { (address as *mut u32).write_volatile(value) };
}

fn read(address: u64) -> u32 {
    // SAFETY: as above.
    unsafe { (address as *const u32).read_volatile() }
}

/// Lets the clock raise its interrupt, a level, when its next second begins, and takes back what it
/// raises now.
pub fn alarm_next_second() {
    write(CLOCK + CLOCK_MASK, 1);
    write(CLOCK + CLOCK_CLEAR, 1);
    loop {
        let next = read(CLOCK + CLOCK_DATA).wrapping_add(1);
        write(CLOCK + CLOCK_MATCH, next);
        // Whoever lost the PE in between may have missed the second.
        if read(CLOCK + CLOCK_DATA).wrapping_sub(next) as i32 <= 0 {
            return;
        }
    }
}

impl Source {
    /// Its registers, a page.
    pub const fn address(self) -> u64 {
        match self {
            Self::Gpio => GPIO,
            Self::Clock => CLOCK,
        }
    }

    /// Raises its interrupt once.
    pub fn raise(self) {
        match self {
            Self::Gpio => {
                write(GPIO + GPIO_SENSE, PIN);
                write(GPIO + GPIO_EVENT, 0);
                write(GPIO + GPIO_ENABLE, PIN);
                write(GPIO + GPIO_ENABLE, 0);
            }
            Self::Clock => {
                write(CLOCK + CLOCK_MASK, 1);
                wait_until(LIMIT_MS, || {
                    write(CLOCK + CLOCK_MATCH, read(CLOCK + CLOCK_DATA));
                    read(CLOCK + CLOCK_RAW) != 0
                });
                write(CLOCK + CLOCK_CLEAR, 1);
            }
        }
    }
}
