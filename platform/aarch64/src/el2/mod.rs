//! Everything that runs at EL2.
//!
//! EL2 runs with interrupts masked and to completion: nothing here is re-entered on one PE, except
//! by an exception that ends in a panic. What PEs share is behind locks or atomic.

mod affinity;
mod boot;
mod console;
mod cpu;
mod gic;
mod memory;
mod panic;
mod platform;
mod registers;
mod smc;
mod traps;

unsafe extern "Rust" {
    /// Defined by the board package.
    safe static BOARD: crate::Board;
}
