//! The engine of a Secure Partition Manager Core (SPMC) for the Arm Firmware Framework (FF-A).
//!
//! One [`Spmc`] serves all processing elements. It knows hardware only through [`hal::Hal`], so
//! that the same code runs on the target and, over a fake, on the host. A guest can never panic it:
//! everything that a caller controls is checked, and the lints below keep it so.

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;

pub mod activation;
pub mod addr;
pub mod boot;
pub mod dispatch;
pub mod error;
pub mod ffa;
pub mod geometry;
pub mod hal;
pub mod id;
pub mod interrupt;
pub mod limits;
pub mod manifest;
pub mod mem;
pub mod mm;
pub mod notification;
pub mod own_interrupts;
pub mod partition;
pub mod spmc;
pub mod sync;
pub mod vcpu_set;
pub mod vector_length;

mod bits;
mod invariant;

pub use spmc::{Pe, Spmc};
