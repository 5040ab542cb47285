//! Everything that runs at EL2.
//!
//! EL2 runs with interrupts masked and to completion: no code here is re-entered on one PE, except
//! by an exception that ends in a panic. State that PEs share is atomic or behind a lock.

mod affinity;
mod boot;
mod console;
mod cpu;
mod gic;
mod memory;
mod panic;
mod per_pe;
mod platform;
mod registers;
mod ring;
mod smc;
