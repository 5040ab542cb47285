//! PL011 output: the Normal world writes to UART0, partitions to the secure UART1. The firmware has
//! set both up.

use core::fmt::{self, Write};

use crate::board;

const NORMAL_UART: usize = board::NORMAL_UART as usize;
/// Address of the secure PL011, a device region of the test partitions.
pub const SECURE_UART: usize = board::SECURE_UART as usize;
const DATA: usize = 0;
const FLAGS: usize = 0x18;
const TX_FULL: u32 = 1 << 5;

struct Console(usize);

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.put(b'\r');
            }
            self.put(byte);
        }
        Ok(())
    }
}

impl Console {
    fn put(&mut self, byte: u8) {
        // SAFETY: the registers of this world's PL011, mapped as device memory or with the MMU off.
        unsafe {
            while ((self.0 + FLAGS) as *const u32).read_volatile() & TX_FULL != 0 {}
            ((self.0 + DATA) as *mut u32).write_volatile(byte as u32);
        }
    }
}

/// Writes to the console of this image.
pub fn print(arguments: fmt::Arguments) {
    let base = if super::exception_level() == 2 {
        NORMAL_UART
    } else {
        SECURE_UART
    };
    // `write_str` of the console cannot fail.
    let _ = Console(base).write_fmt(arguments);
}

/// Writes a line to the console of this image.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => {
        $crate::rt::uart::print(format_args!("{}\n", format_args!($($argument)*)))
    };
}
