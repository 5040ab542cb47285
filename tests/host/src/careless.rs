//! Callers that are careless: from FF-A v1.1 on they leave anything in the registers that a call
//! takes nothing from (SBZ).

use spmc::ffa::{FunctionId, call_table};

/// Value that they leave there.
const GARBAGE: u64 = 0x6761_7262_6167_6501;

/// Returns the first of the registers up to x7 that `function` takes nothing from, at 1.1 and
/// later. `FFA_MSG_WAIT` and `FFA_YIELD` have none: callers leave zero there, as Hafnium wants it.
pub fn ignored_from(function: u64) -> usize {
    call_table::find(FunctionId::from_reg(function)).first_ignored()
}

/// Leaves garbage in those of the registers x0 to x7 that the call takes nothing from, if only the
/// first `given` were chosen on purpose.
pub fn leave_garbage(registers: &mut [u64], given: usize) {
    let ignored = ignored_from(registers[0]).max(given);
    for register in registers.iter_mut().take(8).skip(ignored) {
        *register = GARBAGE;
    }
}
