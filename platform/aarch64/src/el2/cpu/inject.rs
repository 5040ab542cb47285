//! Injection of exceptions: does for the loaded context what a PE does on exception entry to EL1
//! (Arm ARM D1.3.1, pseudocode `AArch64.TakeException`).

use spmc::hal::{Access, Fault};
use tock_registers::interfaces::{Readable, Writeable};

use super::context::GuestContext;
use crate::el2::registers::{ELR_EL12, ESR_EL12, FAR_EL12, SCTLR_EL12, SPSR_EL12, VBAR_EL12};

// Fields of SPSR_EL2.
const MODE: u64 = 0x1f;
const MODE_EL0T: u64 = 0b0_0000;
const MODE_EL1T: u64 = 0b0_0100;
const MODE_EL1H: u64 = 0b0_0101;
const MODE_AARCH32: u64 = 1 << 4;
const FLAGS: u64 = 0xf << 28; // NZCV
const DIT: u64 = 1 << 24;
const PAN: u64 = 1 << 22;
const SSBS: u64 = 1 << 12;
const DAIF: u64 = 0xf << 6;

// Fields of SCTLR_EL1 that determine PSTATE.PAN and PSTATE.SSBS.
const SCTLR_SPAN: u64 = 1 << 23;
const SCTLR_DSSBS: u64 = 1 << 44;

/// Bytes of an exception vector.
const VECTOR_SIZE: u64 = 0x80;

/// ESR_ELx.IL: all injected exceptions report a 32-bit instruction.
const IL: u64 = 1 << 25;

fn syndrome(class: u64, iss: u64) -> u64 {
    class << 26 | IL | iss
}

/// Makes `context` take `fault` as a synchronous External abort. Returns `false`, with nothing
/// changed, if the fault is in the vector for this exception.
pub fn abort(context: &mut GuestContext, fault: &Fault) -> bool {
    const INSTRUCTION_ABORT_LOWER: u64 = 0x20;
    const DATA_ABORT_LOWER: u64 = 0x24;
    const SAME_EL: u64 = 1;
    const WRITE: u64 = 1 << 6;
    const EXTERNAL: u64 = 0b01_0000;
    /// FAR is not valid.
    const FNV: u64 = 1 << 10;

    let class = match fault.access {
        Access::Execute => INSTRUCTION_ABORT_LOWER,
        Access::Read | Access::Write => DATA_ABORT_LOWER,
    } | if is_el0(context) { 0 } else { SAME_EL };
    let write = if fault.access == Access::Write {
        WRITE
    } else {
        0
    };
    let unknown = if fault.va.is_none() { FNV } else { 0 };
    if !take(context, syndrome(class, unknown | write | EXTERNAL)) {
        return false;
    }
    FAR_EL12.set(fault.va.unwrap_or(0));
    true
}

/// Makes `context` take an Undefined Instruction exception. Returns `false`, with nothing changed,
/// if the instruction is in the vector for this exception.
pub fn undefined(context: &mut GuestContext) -> bool {
    take(context, syndrome(0, 0))
}

fn is_el0(context: &GuestContext) -> bool {
    context.spsr & MODE_AARCH32 != 0 || context.spsr & MODE == MODE_EL0T
}

fn take(context: &mut GuestContext, syndrome: u64) -> bool {
    // The low bits are RES0, but software can write them.
    let vectors = VBAR_EL12.get() & !0x7ff;
    let offset = match context.spsr & MODE {
        mode if mode & MODE_AARCH32 != 0 => 0x600,
        MODE_EL0T => 0x400,
        MODE_EL1T => 0x000,
        _ => 0x200,
    };
    let vector = vectors + offset;
    // An exception that occurs in the vector for this exception (if only because the vector cannot
    // be fetched) would recur for ever.
    if (vector..vector + VECTOR_SIZE).contains(&context.pc) {
        return false;
    }

    ESR_EL12.set(syndrome);
    ELR_EL12.set(context.pc);
    SPSR_EL12.set(context.spsr);
    context.pc = vector;
    context.spsr = status_at_vector(context.spsr, SCTLR_EL12.get());
    true
}

/// Returns PSTATE at the vector: EL1h with all exceptions masked. The flags and DIT keep their
/// values, SCTLR_EL1 determines PAN and SSBS, and everything else is clear.
fn status_at_vector(status: u64, sctlr: u64) -> u64 {
    let mut new = MODE_EL1H | DAIF | status & (FLAGS | DIT | PAN);
    if sctlr & SCTLR_SPAN == 0 {
        new |= PAN;
    }
    if sctlr & SCTLR_DSSBS != 0 {
        new |= SSBS;
    }
    new
}
