//! The EL1 physical timer of partitions. The hardware's stays the Normal world's, which is not to
//! lose interrupts while a partition runs: partitions have a model of it. Their accesses trap, and
//! the Secure EL2 virtual timer says when the one of the loaded context expires.
//!
//! While a context is off the PE nothing watches its timer: one that expired meanwhile is seen when
//! the context runs again.

use aarch64_cpu::registers::CNTPCT_EL0;
use arm_gic::IntId;
use tock_registers::interfaces::{Readable, Writeable};

use crate::el2::registers::{CNTHVS_CTL_EL2, CNTHVS_CVAL_EL2, CNTV_CTL_EL02};

/// The interrupt of the Secure EL2 virtual timer (Base System Architecture): PPI 3, INTID 19.
pub const INTERRUPT: IntId = IntId::ppi(3);

/// CNTP_CTL_EL0.
const ENABLE: u64 = 1 << 0;
const IMASK: u64 = 1 << 1;
const ISTATUS: u64 = 1 << 2;

/// Which register an instruction accesses: its op2.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// CNTP_TVAL_EL0
    Value,
    /// CNTP_CTL_EL0
    Control,
    /// CNTP_CVAL_EL0
    Compare,
}

/// The timer of one vCPU. All zero: off.
#[repr(C)]
pub struct Timer {
    compare: u64,
    control: u64,
    /// The hardware must watch it: it is on, and if it expired, something was written to it since.
    armed: bool,
    /// It expired, and nothing was written to it since.
    told: bool,
}

impl Timer {
    /// Off.
    pub const OFF: Self = Self {
        compare: 0,
        control: 0,
        armed: false,
        told: false,
    };

    /// Returns what the partition reads.
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

    /// Takes what the partition writes. Returns whether that takes back an expiry, which comes
    /// again if it is still true.
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

    /// Returns whether the hardware must watch it.
    #[inline(always)]
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// Lets the hardware watch it, or nothing.
    pub fn start(&self) {
        CNTHVS_CTL_EL2.set(0);
        if self.armed {
            CNTHVS_CVAL_EL2.set(self.compare);
            CNTHVS_CTL_EL2.set(ENABLE);
        }
    }

    /// It expired.
    pub fn expire(&mut self) {
        self.armed = false;
        self.told = true;
        stop();
    }
}

/// Returns whether the EL1 virtual timer of the loaded context is what interrupts. That interrupt
/// is a Non-secure one, so it is masked here, in the timer itself: otherwise it would stop the
/// context, and stop it again as soon as it runs, and nobody else can do anything about it.
pub fn silence_virtual() -> bool {
    let fires = CNTV_CTL_EL02.get() == ENABLE | ISTATUS;
    if fires {
        CNTV_CTL_EL02.set(ENABLE | IMASK);
    }
    fires
}

/// The hardware watches nothing.
pub fn stop() {
    CNTHVS_CTL_EL2.set(0);
}
