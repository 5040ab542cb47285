//! Guests for tests on the target: two Secure Partitions, the Normal-world test OS, and partitions
//! that fail on purpose.
//!
//! They are an independent reading of FF-A: nothing here comes from the SPMC under test, so a wrong
//! constant cannot agree with itself. A test and the code that it needs inside a partition stand in
//! one file below [`tests`]; linking drops the half that an image does not use.

#![no_std]

pub mod board;
pub mod ffa;
pub mod foreign;
pub mod nwd;
pub mod rt;
pub mod selection;
pub mod sp;
pub mod support;
pub mod tests;
pub mod virtio;
