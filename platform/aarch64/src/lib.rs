//! The SPMC on AArch64: implements [`spmc::hal::Hal`] at Secure EL2.
//!
//! All `unsafe` code of the product is in this crate, which is the same for all boards: device
//! trees describe them, see [`spmc::manifest::board`]. On a host this crate consists of the modules
//! that have unit tests.

#![cfg_attr(target_os = "none", no_std)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(any(target_os = "none", test))]
mod boot_allocator;
#[cfg(target_os = "none")]
mod el2;
#[cfg(any(target_os = "none", test))]
mod errata;
#[cfg(any(target_os = "none", test))]
mod field;
#[cfg(any(target_os = "none", test))]
mod id_registers;
#[cfg(any(target_os = "none", test))]
mod log_lines;
#[cfg(any(target_os = "none", test))]
mod redistributor;
#[cfg(any(target_os = "none", test))]
mod sizes;
#[cfg(any(target_os = "none", test))]
mod skip;
#[cfg(target_os = "none")]
mod traps;
#[cfg(any(target_os = "none", test))]
mod uart;
