//! The SPMC image, one for all boards: a device tree tells it on which one it runs.

#![cfg_attr(target_os = "none", no_std, no_main)]

use platform_aarch64 as _;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("This is firmware; build it for aarch64-unknown-none-softfloat.");
}
