//! The EL1 physical timer of partitions. The hardware timer stays with the Normal world, which must
//! not lose interrupts while a partition runs, so partitions have a model of it: their accesses
//! trap, and the Secure EL2 virtual timer fires when the model of the loaded context expires.
//!
//! While the Normal world has the PE, the same hardware timer fires at a time that the engine sets
//! for contexts that wait.

use aarch64_cpu::registers::CNTPCT_EL0;
use spmc::own_interrupts;
use tock_registers::interfaces::{Readable, Writeable};

use crate::el2::registers::{CNTHVS_CTL_EL2, CNTHVS_CVAL_EL2, CNTV_CTL_EL02};

/// The interrupt of the Secure EL2 virtual timer.
pub const INTERRUPT: u32 = own_interrupts::PARTITION_TIMER;

/// Bits of CNTP_CTL_EL0.
const ENABLE: u64 = 1 << 0;
const IMASK: u64 = 1 << 1;
const ISTATUS: u64 = 1 << 2;

/// A register of the timer, by op2 of the trapped instruction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// CNTP_TVAL_EL0
    Value,
    /// CNTP_CTL_EL0
    Control,
    /// CNTP_CVAL_EL0
    Compare,
}

/// The model of one vCPU's timer. All zero means off.
#[repr(C)]
pub struct Timer {
    compare: u64,
    control: u64,
    /// The hardware must watch the timer: it is enabled and not masked, and has not expired since
    /// the partition last wrote one of its registers.
    armed: bool,
    /// The timer has expired since the partition last wrote one of its registers.
    told: bool,
}

impl Timer {
    /// A timer that is off.
    pub const OFF: Self = Self {
        compare: 0,
        control: 0,
        armed: false,
        told: false,
    };

    /// Returns what the partition reads from a register.
    pub fn read(&self, register: Register) -> u64 {
        let now = CNTPCT_EL0.get();
        match register {
            Register::Value => u64::from(self.compare.wrapping_sub(now) as u32),
            Register::Compare => self.compare,
            Register::Control if self.control & ENABLE != 0 && now >= self.compare => {
                self.control | ISTATUS
            }
            Register::Control => self.control,
        }
    }

    /// Writes a register for the partition. Returns whether this revokes an earlier expiry; if the
    /// condition still holds, the timer expires again.
    pub fn write(&mut self, register: Register, value: u64) -> bool {
        match register {
            Register::Value => {
                let offset = i64::from(value as i32);
                self.compare = CNTPCT_EL0.get().wrapping_add_signed(offset);
            }
            Register::Compare => self.compare = value,
            Register::Control => self.control = value & (ENABLE | IMASK),
        }
        self.armed = self.control == ENABLE;
        core::mem::take(&mut self.told)
    }

    /// Returns whether the hardware must watch the timer.
    #[inline(always)]
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// Returns the time at which the timer expires, if the hardware must watch it.
    pub fn deadline(&self) -> Option<u64> {
        self.armed.then_some(self.compare)
    }

    /// Makes the hardware watch this timer, or no timer if this one is not armed.
    pub fn start(&self) {
        stop();
        if self.armed {
            fire_at(self.compare);
        }
    }

    /// Notes that the timer expired.
    pub fn expire(&mut self) {
        self.armed = false;
        self.told = true;
    }
}

/// Makes the hardware timer fire when the counter reaches `time`.
pub fn fire_at(time: u64) {
    stop();
    CNTHVS_CVAL_EL2.set(time);
    CNTHVS_CTL_EL2.set(ENABLE);
}

/// Returns whether the EL1 virtual timer of the loaded context is the source of a Non-secure
/// interrupt, and then masks it in the timer. Without the mask the interrupt would preempt the
/// context each time it runs, and the Normal world could not clear it: the timer that asserts it is
/// loaded only while the context is.
pub fn silence_virtual() -> bool {
    let fires = CNTV_CTL_EL02.get() == ENABLE | ISTATUS;
    if fires {
        CNTV_CTL_EL02.set(ENABLE | IMASK);
    }
    fires
}

/// Returns whether the hardware timer asserts its interrupt. The GIC may signal the interrupt for a
/// moment after [`stop`].
pub fn is_firing() -> bool {
    CNTHVS_CTL_EL2.get() == ENABLE | ISTATUS
}

/// Makes the hardware timer fire no more.
pub fn stop() {
    CNTHVS_CTL_EL2.set(0);
}
