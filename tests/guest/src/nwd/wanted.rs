//! The tests that are wanted among those selected: by a text in their names, to be run or listed.

use crate::board::{LISTING, PATTERN, PATTERN_LENGTH};

/// Tests that leave behind what others rely on: the version, and the RX/TX pair of the Normal
/// world. They run in any case.
const FOUNDATIONS: [&str; 2] = ["version_negotiates_1_2", "rxtx_map_and_unmap"];

/// Says which tests are wanted, and what for.
pub struct Wanted {
    /// Set if the tests are to be listed and not run.
    pub only_list: bool,
    pattern: [u8; PATTERN_LENGTH],
}

impl Wanted {
    /// Reads what stands in memory, behind the selection.
    pub fn read() -> Self {
        // SAFETY: both lie in RAM that is mapped and that nothing else uses; any bytes are valid.
        unsafe {
            Self {
                only_list: (LISTING as *const u64).read_volatile() == 1,
                pattern: (PATTERN as *const [u8; PATTERN_LENGTH]).read_volatile(),
            }
        }
    }

    /// Returns whether the test of that name is wanted.
    pub fn has(&self, name: &str) -> bool {
        let end = self.pattern.iter().position(|byte| *byte == 0);
        let pattern = &self.pattern[..end.unwrap_or(PATTERN_LENGTH)];
        pattern.is_empty()
            || FOUNDATIONS.contains(&name)
            || name
                .as_bytes()
                .windows(pattern.len())
                .any(|part| part == pattern)
    }
}
