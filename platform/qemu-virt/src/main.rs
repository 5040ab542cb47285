//! The SPMC for QEMU's virt machine. Device trees describe the board.

#![cfg_attr(target_os = "none", no_std, no_main)]

use platform_aarch64 as _;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("This is firmware; build it for aarch64-unknown-none-softfloat.");
}
