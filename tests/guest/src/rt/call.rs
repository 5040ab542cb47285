//! SMC, HVC and SVC with the registers of FF-A v1.2: x0 to x17 in and out.

use core::arch::asm;

/// x0 to x17 of a call or of its completion.
pub type Regs = [u64; 18];

/// The instruction that makes the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// Secure monitor call.
    Smc,
    /// Hypervisor call.
    Hvc,
    /// Supervisor call, from S-EL0.
    Svc,
}

macro_rules! conduit {
    ($instruction:literal, $r:ident) => {
        // SAFETY: all registers that the callee may change are outputs, and memory counts as
        // changed.
        unsafe {
            asm!(
                $instruction,
                inout("x0") $r[0], inout("x1") $r[1], inout("x2") $r[2], inout("x3") $r[3],
                inout("x4") $r[4], inout("x5") $r[5], inout("x6") $r[6], inout("x7") $r[7],
                inout("x8") $r[8], inout("x9") $r[9], inout("x10") $r[10], inout("x11") $r[11],
                inout("x12") $r[12], inout("x13") $r[13], inout("x14") $r[14], inout("x15") $r[15],
                inout("x16") $r[16], inout("x17") $r[17],
                options(nostack),
            )
        }
    };
}

/// Makes the call and returns the registers with which it completes.
#[inline(always)]
pub fn call(conduit: Conduit, mut r: Regs) -> Regs {
    match conduit {
        Conduit::Smc => conduit!("smc #0", r),
        Conduit::Hvc => conduit!("hvc #0", r),
        Conduit::Svc => conduit!("svc #0", r),
    }
    r
}
