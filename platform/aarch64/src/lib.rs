//! The SPMC on AArch64: what [`spmc::hal::Hal`] asks for, done at Secure EL2.
//!
//! All `unsafe` code of the product is here. A board is a package that defines the symbol `BOARD`
//! (see [`Board`]) and links this library; entry, memory layout and everything else are the same
//! for all boards. On a host only [`Board`] exists, and what has unit tests.

#![cfg_attr(target_os = "none", no_std)]

mod board;
#[cfg(target_os = "none")]
mod el2;
#[cfg(any(target_os = "none", test))]
mod id_registers;
#[cfg(target_os = "none")]
mod sizes;

pub use board::Board;
