//! Benchmarks.

/// Runs.
pub fn run() {}
