//! Begins the state of each PE with what the report of a failure needs, and nothing else has to be
//! right for.

use core::mem::offset_of;

use aarch64_cpu::registers::TPIDR_EL2;
use tock_registers::interfaces::Readable;

use crate::sizes::EMERGENCY_STACK_SIZE;

/// Stack for reporting an exception of EL2 itself.
#[repr(C, align(16))]
struct EmergencyStack([u64; EMERGENCY_STACK_SIZE as usize / 8]);

/// The head of the state of a PE, to which TPIDR_EL2 points.
#[repr(C)]
pub struct Header {
    emergency_stack: EmergencyStack,
    /// Linear index of the PE.
    pub index: usize,
    /// Set by the first report of an exception of EL2; a second one has nothing to add.
    failed: bool,
}

impl Header {
    /// The head of the state of a PE that has not run.
    pub const NEW: Self = Self {
        emergency_stack: EmergencyStack([0; EMERGENCY_STACK_SIZE as usize / 8]),
        index: 0,
        failed: false,
    };

    /// Offset of the end of the emergency stack.
    pub const EMERGENCY_TOP: usize =
        offset_of!(Self, emergency_stack) + size_of::<EmergencyStack>();
}

/// Notes that this PE took an exception of its own, and returns whether it is the first one.
pub fn fail() -> bool {
    // SAFETY: TPIDR_EL2 points to the header of this PE (`Cpu::install`, before anything else
    // runs); nobody else uses the field.
    unsafe {
        let failed = &raw mut (*(TPIDR_EL2.get() as *mut Header)).failed;
        !failed.replace(true)
    }
}

/// Returns the index of this PE, without a reference to its state.
pub fn current_index() -> usize {
    // SAFETY: as for `fail`; the field is written by `Cpu::install` only.
    unsafe { (&raw const (*(TPIDR_EL2.get() as *const Header)).index).read() }
}
