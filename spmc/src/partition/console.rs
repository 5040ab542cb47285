//! The line that an execution context is writing to the console (`FFA_CONSOLE_LOG`).
//!
//! Characters come in small pieces and from many contexts, and are printed in whole lines.
//! Characters that control a terminal are not printed.

use core::str;

use crate::invariant::Invariant;
use crate::limits::MAX_CONSOLE_LINE;

/// A line that has not been ended yet. All zero when empty.
pub struct ConsoleLine {
    length: usize,
    bytes: [u8; MAX_CONSOLE_LINE],
}

impl ConsoleLine {
    /// Nothing written yet.
    pub const EMPTY: Self = Self {
        length: 0,
        bytes: [0; MAX_CONSOLE_LINE],
    };

    /// Appends one character. A line feed or zero ends the line, and so does its last free place:
    /// then `print` gets it. Empty lines are dropped, and so are carriage returns; what is not
    /// printable ASCII shows as `?`.
    pub fn put(&mut self, character: u8, print: impl FnOnce(&str)) {
        let printable = match character {
            b'\n' | 0 => return self.end(print),
            b'\r' => return,
            b' '..=b'~' => character,
            _ => b'?',
        };
        if let Some(free) = self.bytes.get_mut(self.length) {
            *free = printable;
            self.length = self.length.saturating_add(1);
        }
        if self.length == MAX_CONSOLE_LINE {
            self.end(print);
        }
    }

    /// Ends the line.
    pub fn end(&mut self, print: impl FnOnce(&str)) {
        let text = Invariant::part(self.bytes.get(..self.length));
        // The buffer holds ASCII only.
        if let Ok(text) = str::from_utf8(text)
            && !text.is_empty()
        {
            print(text);
        }
        self.length = 0;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::{String, ToString};
    use std::vec::Vec;

    fn lines(text: &[u8]) -> Vec<String> {
        let (mut line, mut lines) = (ConsoleLine::EMPTY, Vec::new());
        for character in text {
            line.put(*character, |text| lines.push(text.to_string()));
        }
        lines
    }

    #[test]
    fn lines_end_at_line_feeds_zeros_and_their_last_place() {
        assert_eq!(lines(b"one\ntwo\0\n\r\nthree"), ["one", "two"]);
        let long = [b'x'; MAX_CONSOLE_LINE + 1];
        assert_eq!(lines(&long), ["x".repeat(MAX_CONSOLE_LINE)]);
        assert_eq!(lines(b"\x1b[2J\xff~\n"), ["?[2J?~"]);
    }
}
