//! Log lines on the UART of the board.
//!
//! Lines from before the board is known are kept, and written as soon as there is a UART. A UART
//! that takes no characters is given up after a bounded time; lines that are lost by that are
//! counted, and the count is logged when the UART takes characters again.

use core::fmt::{self, Write};

use aarch64_cpu::registers::{CNTFRQ_EL0, CNTPCT_EL0};
use log::{Level, LevelFilter, Log, Metadata, Record};
use spin::{Mutex, Once};
use spmc::manifest::board::{self, ConsoleKind};
use tock_registers::interfaces::Readable;

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

/// The UART of the board.
struct Console {
    uart: Uart<Mmio>,
    patience: u64,
}

impl Console {
    #[inline(never)]
    fn write(&self, text: &str) -> fmt::Result {
        self.uart.write(text, || CNTPCT_EL0.get(), self.patience)
    }
}

static CONSOLE: Once<Console> = Once::new();

/// The state of the log. The lock keeps the characters of different lines apart.
static LINES: Mutex<Lines> = Mutex::new(Lines {
    early: [0; EARLY],
    length: 0,
    lost: 0,
});

/// Bytes for lines from before there is a UART. A line that does not fit is lost.
const EARLY: usize = 1024;

struct Lines {
    early: [u8; EARLY],
    length: usize,
    /// Lines that were lost, wholly or in part, and of which no line tells yet.
    lost: u32,
}

/// The destination of a line: the UART, or else the early lines. A PE that panics may have to do
/// without the latter.
struct Sink<'l>(Option<&'l mut Lines>);

impl Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match (CONSOLE.get(), &mut self.0) {
            (Some(console), _) => console.write(text),
            (None, Some(lines)) => lines.keep(text),
            (None, None) => Err(fmt::Error),
        }
    }
}

impl Lines {
    fn keep(&mut self, text: &str) -> fmt::Result {
        let places = self.early.iter_mut().skip(self.length);
        let pairs = places.zip(text.bytes());
        let kept = pairs.map(|(place, byte)| *place = byte).count();
        self.length += kept;
        if kept < text.len() {
            return Err(fmt::Error);
        }
        Ok(())
    }

    /// Writes a line, and before it how many were lost. A UART that did not take characters before
    /// is not waited for again.
    fn write_line(&mut self, level: Level, text: &fmt::Arguments<'_>) {
        if self.lost > 0 {
            let stuck = CONSOLE.get().is_none_or(|console| !console.uart.has_room());
            let count = self.lost;
            let lost = format_args!("{count} lines were lost or cut here");
            if stuck || line(Sink(Some(self)), Level::Warn, &lost).is_err() {
                self.lost = self.lost.saturating_add(1);
                return;
            }
            self.lost = 0;
        }
        if line(Sink(Some(self)), level, text).is_err() {
            self.lost = 1;
        }
    }
}

/// Writes one line.
#[inline(never)]
fn line(mut to: Sink<'_>, level: Level, text: &fmt::Arguments<'_>) -> fmt::Result {
    let letter = match level {
        Level::Error => 'E',
        Level::Warn => 'W',
        Level::Info => 'I',
        Level::Debug => 'D',
        Level::Trace => 'T',
    };
    writeln!(to, "[{letter}] spmc: {text}")
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        LINES.lock().write_line(record.level(), record.args());
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
    let console = CONSOLE.call_once(|| Console { uart, patience });
    let mut lines = LINES.lock();
    let kept = lines.early.get(..lines.length).unwrap_or_default();
    let kept = core::str::from_utf8(kept).unwrap_or_default();
    if console.write(kept).is_err() {
        lines.lost = lines.lost.saturating_add(1);
    }
    lines.length = 0;
}

/// Logs the last line of a PE that is about to stop. The lock may be held by this PE itself, or by
/// another one that stopped with it, so the function waits for the lock for a limited time, and
/// then writes without it.
pub fn last_words(text: &fmt::Arguments<'_>) {
    const PATIENCE: u32 = 1_000_000;
    for _ in 0..PATIENCE {
        if let Some(mut lines) = LINES.try_lock() {
            return lines.write_line(Level::Error, text);
        }
        core::hint::spin_loop();
    }
    // Nothing is left to be done about an error.
    let _ = line(Sink(None), Level::Error, text);
}
