//! The SPMC on AArch64: implements [`spmc::hal::Hal`] at Secure EL2.
//!
//! All `unsafe` code of the product is in this crate. A board is a package that defines the symbol
//! `BOARD` (see [`Board`]) and links this library; entry code, memory layout and everything else
//! are the same for all boards. On a host this crate consists of [`Board`] and of the modules that
//! have unit tests.

#![cfg_attr(target_os = "none", no_std)]

mod board;
#[cfg(target_os = "none")]
mod el2;
#[cfg(any(target_os = "none", test))]
mod id_registers;
#[cfg(target_os = "none")]
mod sizes;
#[cfg(target_os = "none")]
mod traps;

pub use board::Board;
