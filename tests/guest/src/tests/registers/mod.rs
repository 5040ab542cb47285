//! System registers and instructions: what partitions see, and what nobody sees of others.

pub mod el1_state;
pub mod extensions;
pub mod identification;
pub mod instructions;
pub mod sweeps;
