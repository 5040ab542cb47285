//! Accesses that may fault: the exception vectors record the exception and skip the access, and the
//! guest goes on.
//!
//! Each probe is a few instructions between two labels, which the exception vectors know. A
//! synchronous exception between the labels, or in code that was called from there, returns the
//! syndrome (ESR) to the caller of the probe.

use core::arch::global_asm;

/// The syndrome of the exception that ended a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault(pub u64);

impl Fault {
    /// Returns the exception class (Arm ARM, ESR_ELx.EC).
    pub fn class(self) -> u64 {
        self.0 >> 26
    }

    /// Data abort taken without a change of exception level.
    pub const DATA_ABORT: u64 = 0x25;
    /// Instruction abort taken without a change of exception level.
    pub const INSTRUCTION_ABORT: u64 = 0x21;
}

#[repr(C)]
struct Outcome {
    syndrome: u64,
    value: u64,
}

unsafe extern "C" {
    fn probe_read(address: u64) -> Outcome;
    fn probe_write(address: u64, value: u32) -> u64;
    fn probe_exec(address: u64, unused: u64, argument: u64) -> Outcome;
}

global_asm!(
    ".section .text.probe, \"ax\"",
    ".balign 64",
    ".global probe_start, probe_read, probe_write, probe_exec",
    "probe_start:",
    "probe_read:",
    "ldr w1, [x0]",
    "mov x0, #0",
    "ret",
    "probe_write:",
    "str w1, [x0]",
    "dsb sy", // what is reported late is reported here
    "mov x0, #0",
    "ret",
    "probe_exec:",
    "stp x29, x30, [sp, #-16]!",
    "mov x1, x0",
    "mov x0, #0",
    "blr x1",
    "ldp x29, x30, [sp], #16",
    "ret",
    ".balign 64",
    ".previous",
);

/// Reads a 32-bit word at any address.
pub fn read(address: u64) -> Result<u32, Fault> {
    // SAFETY: a load has no effect on this image, and an exception is caught.
    let outcome = unsafe { probe_read(address) };
    match outcome.syndrome {
        0 => Ok(outcome.value as u32),
        syndrome => Err(Fault(syndrome)),
    }
}

/// Writes a 32-bit word.
///
/// # Safety
///
/// If the write succeeds, nothing that this image relies on may lie at `address`.
pub unsafe fn write(address: u64, value: u32) -> Result<(), Fault> {
    // SAFETY: the caller's promise; an exception is caught.
    match unsafe { probe_write(address, value) } {
        0 => Ok(()),
        syndrome => Err(Fault(syndrome)),
    }
}

/// Calls the code at `address`.
///
/// # Safety
///
/// If the address can be executed, it must hold code that returns and keeps the procedure call
/// standard.
pub unsafe fn execute(address: u64) -> Result<(), Fault> {
    // SAFETY: the caller's promise; an exception is caught.
    unsafe { call(address, 0) }.map(drop)
}

/// Calls the code at `address` with `argument` in x2, and returns the value that the code leaves in
/// x1.
///
/// # Safety
///
/// As for [`execute`]. The code must leave x0 at 0.
pub unsafe fn call(address: u64, argument: u64) -> Result<u64, Fault> {
    // SAFETY: the caller's promise; an exception is caught.
    let outcome = unsafe { probe_exec(address, 0, argument) };
    match outcome.syndrome {
        0 => Ok(outcome.value),
        syndrome => Err(Fault(syndrome)),
    }
}
