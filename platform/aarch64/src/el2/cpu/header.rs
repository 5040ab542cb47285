//! The head of the state of each PE: what the report of a failure needs, and what code needs that
//! must not make a reference to the rest. It is valid even if the rest of the state is not.

use core::mem::offset_of;

use aarch64_cpu::registers::TPIDR_EL2;
use tock_registers::interfaces::{Readable, Writeable};

use crate::sizes::EMERGENCY_STACK_SIZE;

/// Stack for reporting an exception of EL2 itself.
#[repr(C, align(16))]
struct EmergencyStack([u64; EMERGENCY_STACK_SIZE as usize / 8]);

/// The registers of the private interrupts of one PE.
#[derive(Clone, Copy)]
pub struct PrivateFrame {
    /// The address of the frame, or 0 before it is known.
    pub base: u64,
    /// The number of private interrupts, extended PPIs included.
    pub count: u32,
}

impl PrivateFrame {
    /// The frame of a PE that has not looked it up.
    pub const UNKNOWN: Self = Self { base: 0, count: 0 };
}

/// The head of the state of a PE. TPIDR_EL2 points to it.
#[repr(C)]
pub struct Header {
    emergency_stack: EmergencyStack,
    /// Linear index of the PE.
    pub index: usize,
    /// Set by the first report of an exception of EL2, so that a second exception is not reported.
    failed: bool,
    /// The registers of the PE's private interrupts.
    private_frame: PrivateFrame,
}

impl Header {
    /// The head of the state of a PE that has not run.
    pub const NEW: Self = Self {
        emergency_stack: EmergencyStack([0; EMERGENCY_STACK_SIZE as usize / 8]),
        index: 0,
        failed: false,
        private_frame: PrivateFrame::UNKNOWN,
    };

    /// Makes this the head of the state of PE `index`, which has no other state yet.
    ///
    /// # Safety
    ///
    /// The header stays where it is, and nothing else uses it, until the state of the PE takes its
    /// place (`Cpu::install`).
    pub unsafe fn install(&mut self, index: usize) {
        self.index = index;
        TPIDR_EL2.set(&raw mut *self as u64);
    }

    /// Offset of the end of the emergency stack.
    pub const EMERGENCY_TOP: usize =
        offset_of!(Self, emergency_stack) + size_of::<EmergencyStack>();
}

/// Records that this PE took an exception from EL2. Returns whether it is the first one.
pub fn fail() -> bool {
    // SAFETY: `Header::install` or `Cpu::install`, one of which runs before anything else, makes
    // TPIDR_EL2 point to the header of this PE. Only this function uses the field.
    unsafe {
        let failed = &raw mut (*(TPIDR_EL2.get() as *mut Header)).failed;
        !failed.replace(true)
    }
}

/// Returns the index of this PE, without making a reference to the state of the PE.
pub fn current_index() -> usize {
    // SAFETY: TPIDR_EL2 as in `fail`; only the two functions `install` write the field.
    unsafe { (&raw const (*(TPIDR_EL2.get() as *const Header)).index).read() }
}

/// Returns the registers of this PE's private interrupts.
#[inline(always)]
pub fn private_frame() -> PrivateFrame {
    // SAFETY: TPIDR_EL2 as in `fail`; only `set_private_frame` writes the field.
    unsafe { (&raw const (*(TPIDR_EL2.get() as *const Header)).private_frame).read() }
}

/// Records the registers of this PE's private interrupts.
pub fn set_private_frame(frame: PrivateFrame) {
    // SAFETY: TPIDR_EL2 as in `fail`; nothing refers to the field.
    unsafe { (&raw mut (*(TPIDR_EL2.get() as *mut Header)).private_frame).write(frame) }
}
