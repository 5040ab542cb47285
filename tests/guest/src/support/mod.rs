//! Helpers that several tests use, with the code that runs inside partitions for them.

pub mod complement;
pub mod helper_call;
