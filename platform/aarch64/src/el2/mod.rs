//! Everything that runs at EL2.
//!
//! EL2 runs with interrupts masked and to completion: nothing here is re-entered on one PE, except by an exception that
//! ends in a panic. What PEs share is behind locks or atomic.

mod affinity;
mod boot;
mod bulk;
mod carve;
mod console;
mod context;
mod cpu;
mod el0;
mod entry;
mod exit;
mod features;
mod gic;
mod header;
mod inject;
mod layout;
mod lines;
mod panic;
mod platform;
mod registers;
mod smc;
mod stacks;
mod stage1;
mod stage2;
mod tables;
mod timer;
mod traps;
mod vector_state;
mod vectors;
mod watchdog;
mod window;

unsafe extern "Rust" {
    /// Defined by the board package.
    safe static BOARD: crate::Board;
}
