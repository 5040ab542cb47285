//! Devices whose interrupts the Normal world can raise. The partitions that claim the interrupts
//! take them as edges: each rise is one interrupt, and the owner need not clear the device.

use crate::board::{CLOCK, GPIO};
use crate::rt::wait_until;

/// A device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The PL061, which raises its interrupt when it is told to sense low pins.
    Gpio,
    /// The PL031, which raises its interrupt when the time equals the match register.
    Clock,
}

/// INTID of the clock.
pub const CLOCK_INTERRUPT: u64 = 34;
/// INTID of the GPIO.
pub const GPIO_INTERRUPT: u64 = 39;

const GPIO_SENSE: u64 = 0x404;
const GPIO_EVENT: u64 = 0x40c;
const GPIO_ENABLE: u64 = 0x410;
/// A pin of the PL061 that nothing is connected to.
const PIN: u32 = 1;

const CLOCK_DATA: u64 = 0x00;
const CLOCK_MATCH: u64 = 0x04;
const CLOCK_MASK: u64 = 0x10;
const CLOCK_RAW: u64 = 0x14;
const CLOCK_CLEAR: u64 = 0x1c;

/// Milliseconds after which [`Source::raise`] goes on. The clock may tick each time between the
/// read of the time and the write of the match register, and an owner that clears the interrupt at
/// once hides the rise.
const LIMIT_MS: u64 = 100;

fn write(address: u64, value: u32) {
    // SAFETY: a register of the device, mapped as device memory.
    unsafe { (address as *mut u32).write_volatile(value) };
}

fn read(address: u64) -> u32 {
    // SAFETY: as above.
    unsafe { (address as *const u32).read_volatile() }
}

/// Has the clock raise its interrupt, as a level, when the next second begins, and clears what it
/// raises now.
pub fn alarm_next_second() {
    write(CLOCK + CLOCK_MASK, 1);
    write(CLOCK + CLOCK_CLEAR, 1);
    loop {
        let next = read(CLOCK + CLOCK_DATA).wrapping_add(1);
        write(CLOCK + CLOCK_MATCH, next);
        // A caller that lost the PE in between may have missed the second.
        if read(CLOCK + CLOCK_DATA).wrapping_sub(next) as i32 <= 0 {
            return;
        }
    }
}

impl Source {
    /// Returns the address of the page with the device's registers.
    pub const fn address(self) -> u64 {
        match self {
            Self::Gpio => GPIO,
            Self::Clock => CLOCK,
        }
    }

    /// Raises the interrupt of the device once.
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
