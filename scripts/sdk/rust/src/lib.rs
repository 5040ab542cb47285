//! The parts that every Secure Partition at S-EL1 needs: an entry point with a stack and
//! stage 1, a console, and the loop that serves messages, notifications and interrupts.
//!
//! A partition implements [`Partition`] and names itself once by [`partition!`]. It has one
//! execution context, FF-A 1.2, and the MMU on: the GiBs in [`NON_SECURE`] are Non-secure, all
//! others are Secure, and stage 2, which is the SPMC's, decides what of them the partition has.
//! Nothing that the partition can write is ever executed ([`mod@stage1`]).
//! Physical interrupts stay masked while the partition runs; it gets its own ones between messages.
//!
//! The messages are those of the crate `arm-ffa`, which is passed on as [`ffa`].

#![cfg(target_os = "none")]
#![no_std]

pub mod call;
pub mod console;
pub mod entropy;
pub mod interrupt;
pub mod memory;
pub mod notification;
mod serve;
pub mod stage1;
mod start;
pub mod timer;

pub use aarch64_rt;
pub use arm_ffa as ffa;

pub use memory::Memory;
pub use serve::{Message, Partition, Reply, Request, exception, serve};
pub use start::{NON_SECURE, PAGE_TABLE};
