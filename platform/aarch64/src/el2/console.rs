//! The log on the UART of the board: its registers, and the lock that PEs share.
//! [`crate::log_lines`] has the rest.

use core::fmt;
use core::marker::PhantomData;

use aarch64_cpu::registers::{CNTFRQ_EL0, CNTPCT_EL0};
use log::{Level, LevelFilter, Log, Metadata, Record};
use spin::{Mutex, Once};
use spmc::manifest::board::{self, ConsoleKind};
use tock_registers::interfaces::Readable;

use crate::log_lines::{Console, Counter, Lines, Sink};
use crate::uart::{Registers, Uart, patience};

/// The registers of the UART, which stage 1 maps as Device memory: bytes or words.
struct Mmio {
    base: u64,
    words: bool,
}

impl Registers for Mmio {
    #[inline(always)]
    fn read(&self, offset: usize) -> u32 {
        let register = self.base + offset as u64;
        // SAFETY: `init` maps the page of the UART's registers, and the drivers' offsets are those
        // of registers; reading the registers that they read has no side effect.
        unsafe {
            if self.words {
                (register as *const u32).read_volatile()
            } else {
                (register as *const u8).read_volatile().into()
            }
        }
    }

    #[inline(always)]
    fn write(&self, offset: usize, value: u32) {
        let register = self.base + offset as u64;
        // SAFETY: as in `read`. The registers are written under the lock `LINES`, or by a PE that
        // panics.
        unsafe {
            if self.words {
                (register as *mut u32).write_volatile(value);
            } else {
                (register as *mut u8).write_volatile(value as u8);
            }
        }
    }
}

/// CNTPCT_EL0.
struct PhysicalCounter;

impl Counter for PhysicalCounter {
    #[inline(always)]
    fn now() -> u64 {
        CNTPCT_EL0.get()
    }
}

/// The UART of the board.
static CONSOLE: Once<Console<Mmio, PhysicalCounter>> = Once::new();

/// The state of the log. The lock keeps the characters of different lines apart.
static LINES: Mutex<Lines> = Mutex::new(Lines::NEW);

struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        LINES
            .lock()
            .write_line(CONSOLE.get(), record.level(), record.args());
    }

    fn flush(&self) {}
}

/// Begins to keep lines. The level is `Info` until the engine has read the manifest.
pub fn begin() {
    // `set_logger` fails only if a logger is set already, and this is the only call.
    let _ = log::set_logger(&Logger);
    log::set_max_level(LevelFilter::Info);
}

/// Makes a UART the destination of the log, and writes what was kept.
///
/// # Safety
///
/// Stage 1 maps the page of the UART's registers as Device memory, and nothing else uses the UART.
pub unsafe fn init(board: &board::Console) {
    let (words, shift) = match board.kind {
        ConsoleKind::Pl011 => (true, None),
        ConsoleKind::Ns16550 { shift, words } => (words, Some(shift)),
    };
    let base = board.base.raw();
    let registers = Mmio { base, words };
    let uart = match shift {
        None => Uart::Pl011(registers),
        Some(shift) => Uart::Ns16550(registers, shift),
    };
    if let Some(clock_hz) = board.clock_hz {
        uart.init(clock_hz, board.baud);
    }
    let patience = patience(CNTFRQ_EL0.get(), board.baud);
    let console = CONSOLE.call_once(|| Console {
        uart,
        patience,
        counter: PhantomData,
    });
    LINES.lock().write_kept(console);
}

/// Logs the last line of a PE that is about to stop. The lock may be held by this PE itself, or by
/// another one that stopped with it, so the function waits for the lock for a limited time, and
/// then writes without it.
pub fn last_words(text: &fmt::Arguments<'_>) {
    const PATIENCE: u32 = 1_000_000;
    for _ in 0..PATIENCE {
        if let Some(mut lines) = LINES.try_lock() {
            return lines.write_line(CONSOLE.get(), Level::Error, text);
        }
        core::hint::spin_loop();
    }
    // Nothing is left to be done about an error.
    let _ = Sink {
        console: CONSOLE.get(),
        lines: None,
    }
    .line(Level::Error, text);
}
