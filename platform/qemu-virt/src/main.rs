//! QEMU's virt machine (`-M virt,secure=on,virtualization=on,gic-version=3`): the facts that no
//! manifest carries.

#![cfg_attr(target_os = "none", no_std, no_main)]

use platform_aarch64::Board;

// SAFETY: the one definition of the symbol that the platform library declares, of the same type.
#[unsafe(no_mangle)]
static BOARD: Board = Board {
    uart: 0x0904_0000,
    uart_clock_hz: 24_000_000,
    distributor: 0x0800_0000,
    redistributors: 0x080a_0000,
    lends_cpu_interface: true,
};

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!(
        "This is firmware for {:#x?}; build it for aarch64-unknown-none-softfloat.",
        BOARD
    );
}
