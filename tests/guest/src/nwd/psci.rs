//! The PSCI calls of the test OS.

use crate::rt::call::{Conduit, call};

const CPU_OFF: u64 = 0x8400_0002;
const CPU_ON: u64 = 0xc400_0003;
const AFFINITY_INFO: u64 = 0xc400_0004;
const SYSTEM_OFF: u64 = 0x8400_0008;

fn psci(function: u64, arguments: [u64; 3]) -> i64 {
    let mut regs = [0; 18];
    regs[0] = function;
    regs[1..4].copy_from_slice(&arguments);
    call(Conduit::Smc, regs)[0] as i64
}

/// Starts the PE `mpidr` at `entry` with `context` in x0, and returns whether PSCI took the call.
/// PSCI may take a call for a PE that does not exist.
pub fn cpu_on(mpidr: u64, entry: u64, context: u64) -> bool {
    psci(CPU_ON, [mpidr, entry, context]) == 0
}

/// Turns this PE off.
pub fn cpu_off() -> ! {
    let code = psci(CPU_OFF, [0; 3]);
    panic!("CPU_OFF: {code}")
}

/// Returns whether the PE `mpidr` is off.
pub fn is_off(mpidr: u64) -> bool {
    const OFF: i64 = 1;
    psci(AFFINITY_INFO, [mpidr, 0, 0]) == OFF
}

/// Powers the machine off.
pub fn system_off() -> ! {
    psci(SYSTEM_OFF, [0; 3]);
    loop {
        core::hint::spin_loop();
    }
}
