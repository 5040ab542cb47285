//! Log lines on the PL011 of the Secure world.

use core::fmt::{self, Write};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record};
use spin::Mutex;

use crate::Board;

/// Offsets of PL011 registers in bytes (Arm DDI 0183).
mod register {
    pub const DATA: usize = 0x00;
    pub const FLAGS: usize = 0x18;
    pub const INTEGER_BAUD: usize = 0x24;
    pub const FRACTIONAL_BAUD: usize = 0x28;
    pub const LINE_CONTROL: usize = 0x2c;
    pub const CONTROL: usize = 0x30;
    pub const INTERRUPT_MASK: usize = 0x38;
}

const BAUD: u32 = 115_200;
const TRANSMIT_FULL: u32 = 1 << 5;
const EIGHT_BITS_FIFO: u32 = 0b11 << 5 | 1 << 4;
const ENABLE_TRANSMIT: u32 = 1 | 1 << 8;

/// A PL011, by the address of its registers, or null before `init`. Its registers are accessed
/// under the lock [`LINE`], or by a PE that panics.
struct Uart(AtomicPtr<u8>);

impl Uart {
    fn write_register(&self, offset: usize, value: u32) {
        let base = self.0.load(Ordering::Relaxed);
        if !base.is_null() {
            // SAFETY: `init` stores the address of the board's PL011, whose page stage 1 maps as
            // Device memory; `offset` is that of a register.
            unsafe { base.add(offset).cast::<u32>().write_volatile(value) };
        }
    }

    fn is_full(&self) -> bool {
        let base = self.0.load(Ordering::Relaxed);
        // SAFETY: as in `write_register`; reading the flag register has no side effect.
        !base.is_null()
            && unsafe { base.add(register::FLAGS).cast::<u32>().read_volatile() } & TRANSMIT_FULL
                != 0
    }
}

impl Write for &Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while self.is_full() {
                core::hint::spin_loop();
            }
            self.write_register(register::DATA, byte.into());
        }
        Ok(())
    }
}

static UART: Uart = Uart(AtomicPtr::new(ptr::null_mut()));

/// Keeps the characters of different lines apart.
static LINE: Mutex<()> = Mutex::new(());

struct Console;

impl Log for Console {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let _line = LINE.lock();
        write_line(record.level(), record.args());
    }

    fn flush(&self) {}
}

fn write_line(level: Level, text: &fmt::Arguments<'_>) {
    let letter = match level {
        Level::Error => 'E',
        Level::Warn => 'W',
        Level::Info => 'I',
        Level::Debug => 'D',
        Level::Trace => 'T',
    };
    // Writing to the UART cannot fail.
    let _ = writeln!(&UART, "[{letter}] spmc: {text}");
}

/// Sets up the UART, whose state at entry is unknown, and makes it the destination of the log. The
/// level is `Info` until the engine has read the manifest.
pub fn init(board: &Board) {
    // The divisor has six fractional bits: clock / (16 * baud) * 64.
    let divisor = board.uart_clock_hz * 4 / BAUD;
    UART.0.store(board.uart as *mut u8, Ordering::Relaxed);
    UART.write_register(register::CONTROL, 0);
    UART.write_register(register::INTERRUPT_MASK, 0);
    UART.write_register(register::INTEGER_BAUD, divisor >> 6);
    UART.write_register(register::FRACTIONAL_BAUD, divisor & 0x3f);
    UART.write_register(register::LINE_CONTROL, EIGHT_BITS_FIFO);
    UART.write_register(register::CONTROL, ENABLE_TRANSMIT);

    // `set_logger` fails only if a logger is set already, and this is the only call.
    let _ = log::set_logger(&Console);
    log::set_max_level(LevelFilter::Info);
}

/// Logs the last line of a PE that is about to stop. The lock may be held by this PE itself, or by
/// another one that stopped with it, so the function waits for the lock for a limited time, and
/// then writes without it.
pub fn last_words(text: &fmt::Arguments<'_>) {
    const PATIENCE: u32 = 1_000_000;
    let mut line = LINE.try_lock();
    for _ in 0..PATIENCE {
        if line.is_some() {
            break;
        }
        core::hint::spin_loop();
        line = LINE.try_lock();
    }
    write_line(Level::Error, text);
}
