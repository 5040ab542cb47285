//! Shared memory (FF-A v1.0 chapters 5 and 11), and memory that nobody else reaches.

pub mod between;
pub mod death;
pub mod devices;
pub mod errors;
pub mod far;
pub mod fragments;
pub mod hole;
pub mod isolation;
pub mod long_calls;
pub mod race;
pub mod retrieval;
pub mod sizes;
pub mod transfer;
pub mod u_boot;
