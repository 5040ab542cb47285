//! Counts of completions: how often each function completed in which way.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::ffa::{Answer, id};
use crate::println;

/// Number of rows: functions by the low byte of their id, from 0x60 on, then all others together.
const FUNCTIONS: usize = 0x40;
/// Number of columns: success or a response, a message, then the error codes from -1 on, then
/// everything else.
const RESULTS: usize = 12;
const SUCCESS: usize = 0;
const MESSAGE: usize = 1;
const ERRORS: usize = 2;
const OTHER: usize = RESULTS - 1;

const NAMES: [&str; RESULTS] = [
    "success",
    "message",
    "NOT_SUPPORTED",
    "INVALID_PARAMETERS",
    "NO_MEMORY",
    "BUSY",
    "INTERRUPTED",
    "DENIED",
    "RETRY",
    "ABORTED",
    "NO_DATA",
    "other",
];

/// A table of counts.
pub struct Tally([[AtomicU32; RESULTS]; FUNCTIONS]);

impl Tally {
    /// Returns a table without counts.
    pub const fn new() -> Self {
        Self([const { [const { AtomicU32::new(0) }; RESULTS] }; FUNCTIONS])
    }

    /// Counts a call.
    pub fn count(&self, function: u64, answer: &Answer) {
        let is_ffa = matches!(function as u32 >> 16, 0x8400 | 0xc400);
        let row = match function & 0xffff {
            number @ 0x60..0x9f if is_ffa => number as usize - 0x60,
            _ => FUNCTIONS - 1,
        };
        let result = match answer[0] as u32 {
            id::ERROR => match -(answer[2] as i32) {
                code @ 1..10 => ERRORS + code as usize - 1,
                _ => OTHER,
            },
            id::INTERRUPT | id::RUN | id::YIELD => MESSAGE,
            id::DIRECT_REQ_32 | id::DIRECT_REQ_64 | id::DIRECT_REQ2 => MESSAGE,
            number if matches!(number >> 16, 0x8400 | 0xc400) => SUCCESS,
            _ => OTHER,
        };
        self.0[row][result].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many calls were counted.
    pub fn total(&self) -> u64 {
        let all = self.0.iter().flatten();
        all.map(|count| u64::from(count.load(Ordering::Relaxed)))
            .sum()
    }

    /// Returns the counts of a function, `None` behind the last one.
    pub fn row(&self, row: usize) -> Option<[u32; RESULTS]> {
        let row = self.0.get(row)?;
        Some(core::array::from_fn(|n| row[n].load(Ordering::Relaxed)))
    }

    /// Writes a line for each function that was called.
    pub fn print(&self, whose: &str) {
        for row in 0..FUNCTIONS {
            if let Some(counts) = self.row(row) {
                print_row(whose, row, &counts);
            }
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

fn print_row(whose: &str, row: usize, counts: &[u32; RESULTS]) {
    if counts.iter().all(|count| *count == 0) {
        return;
    }
    let number = row + 0x60;
    if row == FUNCTIONS - 1 {
        crate::rt::uart::print(format_args!("# {whose}, others:"));
    } else {
        crate::rt::uart::print(format_args!("# {whose}, {number:#x}:"));
    }
    for (count, name) in counts.iter().zip(NAMES).filter(|(count, _)| **count != 0) {
        crate::rt::uart::print(format_args!(" {count} {name}"));
    }
    println!("");
}
