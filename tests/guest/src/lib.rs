//! Guests for tests on the target: the Normal-world test OS ([`nwd`]), test partitions ([`sp`]),
//! and both in the style of other projects ([`foreign`]).
//!
//! The guests are an independent reading of FF-A: no code comes from the SPMC under test, so a
//! wrong constant cannot agree with itself. A test and the code that it needs inside a partition
//! stand in one file below [`tests`]; what several tests need is in [`support`]. Linking drops the
//! half that an image does not use. The table of system registers is the platform's: the test that
//! uses it compares the table with what a partition reaches.

// On a host the crate is empty, and the links above lead nowhere.
#![cfg_attr(not(target_os = "none"), allow(rustdoc::broken_intra_doc_links))]
#![cfg(target_os = "none")]
#![no_std]

pub mod board;
pub mod ffa;
pub mod foreign;
pub mod nwd;
pub mod rt;
pub mod selection;
pub mod sp;
pub mod support;
#[path = "../../../platform/aarch64/src/system_registers.rs"]
pub mod system_registers;
pub mod tests;
pub mod virtio;
