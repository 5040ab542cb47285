//! System registers and instructions: what partitions can see and use, and what survives a switch.

pub mod el1_state;
pub mod extensions;
pub mod identification;
pub mod instructions;
pub mod pointers;
pub mod scalable;
pub mod sweeps;
