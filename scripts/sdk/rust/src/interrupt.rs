//! The partition's own interrupts, which its manifest names in device regions. The calls are
//! Hafnium's: FF-A has none.

use crate::call::exchange;

const ENABLE: u64 = 0xff03;
const GET: u64 = 0xff04;
const DEACTIVATE: u64 = 0xff08;
/// The id that stands for no interrupt.
const NONE: u32 = 0xffff_ffff;

fn call(function: u64, arguments: [u64; 3]) -> u64 {
    let mut registers = [0; 18];
    registers[0] = function;
    registers[1..4].copy_from_slice(&arguments);
    exchange(registers)[0]
}

/// Enables or disables an interrupt. Returns whether the partition has it.
#[must_use]
pub fn enable(id: u32, on: bool) -> bool {
    call(ENABLE, [id.into(), on.into(), 0]) == 0
}

/// Takes the next interrupt that waits. [`deactivate`] must follow.
pub(crate) fn take() -> Option<u32> {
    let id = call(GET, [0; 3]) as u32;
    (id != NONE).then_some(id)
}

/// Ends the handling of an interrupt.
pub(crate) fn deactivate(id: u32) {
    call(DEACTIVATE, [id.into(), id.into(), 0]);
}
