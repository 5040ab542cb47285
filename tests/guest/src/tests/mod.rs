//! The tests. Each file holds tests of the Normal world and, beside them, the helpers that run inside the partitions.
//!
//! A line `// req:` above a test names the requirement rows that it shows.

pub mod boot;
pub mod direct;
pub mod version;

use crate::nwd::Test;
use crate::sp::Command;

/// All tests of a Normal world that speaks FF-A 1.2, in the order in which they run.
pub const ALL: &[&[Test]] = &[version::TESTS, direct::TESTS];

/// The tests of a Normal world that speaks FF-A 1.0.
pub const V1_0: &[&[Test]] = &[];

/// All helpers.
pub const HELPERS: &[&[Command]] = &[version::HELPERS, direct::HELPERS];
