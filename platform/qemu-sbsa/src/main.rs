//! QEMU's SBSA reference machine (`-M sbsa-ref`): the facts that no manifest carries.

#![cfg_attr(target_os = "none", no_std, no_main)]

use platform_aarch64::Board;

// SAFETY: the one definition of the symbol that the platform library declares, of the same type.
#[unsafe(no_mangle)]
static BOARD: Board = Board {
    uart: 0x6003_0000,
    uart_clock_hz: 24_000_000,
    distributor: 0x4006_0000,
    redistributors: 0x4008_0000,
    lends_cpu_interface: true,
};

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!(
        "This is firmware for {:#x?}; build it for aarch64-unknown-none-softfloat.",
        BOARD
    );
}
