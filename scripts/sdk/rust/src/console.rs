//! The console: `FFA_CONSOLE_LOG`, so that a partition needs no device. The SPMC shows whole lines,
//! with the name of the partition in front.

use core::fmt::{self, Write};

use arm_ffa::Interface;
use arm_ffa::interface_args::{ConsoleLogChars, ConsoleLogChars64};

use crate::call::call;

/// The console of the partition.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut left = text.as_bytes();
        while !left.is_empty() {
            let mut characters = ConsoleLogChars64::default();
            let taken = characters.push(left);
            left = &left[taken..];
            let chars = ConsoleLogChars::Chars64(characters);
            call(Interface::ConsoleLog { chars }).map_err(|_| fmt::Error)?;
        }
        Ok(())
    }
}

/// Prints a line on the console, as in `std`.
#[macro_export]
macro_rules! println {
    ($($format:tt)*) => {{
        use core::fmt::Write;
        // Nobody can be told that the console is out of order.
        let _ = writeln!($crate::console::Console, $($format)*);
    }};
}
