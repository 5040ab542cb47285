//! Arm's FVP Base model (`FVP_Base_RevC-2xAEMvA`): the facts that no manifest carries. This package
//! is built, but it was never run.

#![cfg_attr(target_os = "none", no_std, no_main)]

use platform_aarch64::Board;

// SAFETY: the one definition of the symbol that the platform library declares, of the same type.
#[unsafe(no_mangle)]
static BOARD: Board = Board {
    uart: 0x1c09_0000,
    uart_clock_hz: 24_000_000,
    distributor: 0x2f00_0000,
    redistributors: 0x2f10_0000,
    lends_cpu_interface: false,
};

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!(
        "This is firmware for {:#x?}; build it for aarch64-unknown-none-softfloat.",
        BOARD
    );
}
