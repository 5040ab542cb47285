//! Careless callers: from FF-A v1.1 on, they leave arbitrary values in registers that a call does
//! not use (SBZ).

use spmc::ffa::{FunctionId, call_table};

/// The value that careless callers leave in such registers.
const GARBAGE: u64 = 0x6761_7262_6167_6501;

/// Returns the first of the registers up to x7 that `function` does not use, at 1.1 and later.
/// `FFA_MSG_WAIT` and `FFA_YIELD` use all registers: callers leave zeros there, as Hafnium
/// requires.
pub fn ignored_from(function: u64) -> usize {
    call_table::find(FunctionId::from_reg(function)).first_ignored()
}

/// Puts garbage into those of the registers x0 to x7 that the call does not use, except the first
/// `given`, which the caller has set on purpose.
pub fn leave_garbage(registers: &mut [u64], given: usize) {
    let ignored = ignored_from(registers[0]).max(given);
    for register in registers.iter_mut().take(8).skip(ignored) {
        *register = GARBAGE;
    }
}
