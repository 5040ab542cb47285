//! The lines of the log on their way to the UART: kept until there is one, written in bounded time,
//! and counted when they are lost.
//!
//! A UART that takes no characters is given up after a bounded time, in the middle of a line if
//! need be. From then on it is asked once for each line, and not waited for. As soon as it takes
//! characters again, a line tells how many were lost.

use core::fmt::{self, Write};
use core::marker::PhantomData;

use log::Level;

use crate::uart::{Registers, Uart};

/// A counter that goes on with time.
pub trait Counter {
    /// Returns its value.
    fn now() -> u64;
}

/// A UART and the time that it is given, by the counter `C`.
pub struct Console<R, C> {
    /// The UART.
    pub uart: Uart<R>,
    /// How many ticks it may take for a character, see [`crate::uart::patience`].
    pub patience: u64,
    /// The counter.
    pub counter: PhantomData<C>,
}

impl<R: Registers, C: Counter> Console<R, C> {
    #[inline(never)]
    fn write(&self, text: &str) -> fmt::Result {
        self.uart.write(text, C::now, self.patience)
    }
}

/// Bytes for lines from before there is a UART. A line that does not fit is lost.
const EARLY: usize = 1024;

/// The state of the log.
pub struct Lines {
    early: [u8; EARLY],
    length: usize,
    /// Lines that were lost, wholly or in part, and of which no line tells yet.
    lost: u32,
}

/// The destination of a line: the UART, or else the early lines. A PE that panics may have to do
/// without the latter.
pub struct Sink<'l, R, C> {
    /// The UART, if there is one yet.
    pub console: Option<&'l Console<R, C>>,
    /// The state of the log, if its lock could be taken.
    pub lines: Option<&'l mut Lines>,
}

impl<R: Registers, C: Counter> Write for Sink<'_, R, C> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match (self.console, &mut self.lines) {
            (Some(console), _) => console.write(text),
            (None, Some(lines)) => lines.keep(text),
            (None, None) => Err(fmt::Error),
        }
    }
}

impl<R: Registers, C: Counter> Sink<'_, R, C> {
    /// Writes one line.
    #[inline(never)]
    pub fn line(&mut self, level: Level, text: &fmt::Arguments<'_>) -> fmt::Result {
        let letter = match level {
            Level::Error => 'E',
            Level::Warn => 'W',
            Level::Info => 'I',
            Level::Debug => 'D',
            Level::Trace => 'T',
        };
        writeln!(self, "[{letter}] spmc: {text}")
    }
}

impl Lines {
    /// No line was written yet.
    pub const NEW: Self = Self {
        early: [0; EARLY],
        length: 0,
        lost: 0,
    };

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

    /// Writes what was kept, as soon as there is a UART.
    pub fn write_kept(&mut self, console: &Console<impl Registers, impl Counter>) {
        let kept = self.early.get(..self.length).unwrap_or_default();
        let kept = core::str::from_utf8(kept).unwrap_or_default();
        if console.write(kept).is_err() {
            self.lost = self.lost.saturating_add(1);
        }
        self.length = 0;
    }

    /// Writes a line, and before it how many were lost. A UART that did not take characters before
    /// is not waited for again.
    pub fn write_line<R: Registers, C: Counter>(
        &mut self,
        console: Option<&Console<R, C>>,
        level: Level,
        text: &fmt::Arguments<'_>,
    ) {
        let count = self.lost;
        let mut sink = Sink {
            console,
            lines: Some(self),
        };
        if count > 0 {
            let stuck = console.is_none_or(|console| !console.uart.has_room());
            let lost = format_args!("{count} lines were lost or cut here");
            if stuck || sink.line(Level::Warn, &lost).is_err() {
                self.lost = count.saturating_add(1);
                return;
            }
        }
        let is_lost = sink.line(level, text).is_err();
        self.lost = is_lost.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uart::fake::Fake;
    use std::cell::Cell;

    std::thread_local! {
        /// The counter, which goes on with each look at it.
        static CLOCK: Cell<u64> = const { Cell::new(0) };
    }

    const PATIENCE: u64 = 100;

    struct Clock;

    impl Counter for Clock {
        fn now() -> u64 {
            CLOCK.set(CLOCK.get() + 1);
            CLOCK.get()
        }
    }

    type Fakes<'f> = Console<&'f Fake, Clock>;

    fn console(uart: Uart<&Fake>) -> Fakes<'_> {
        Console {
            uart,
            patience: PATIENCE,
            counter: PhantomData,
        }
    }

    /// Calls `test` with a PL011 and with a 16550.
    fn each(test: impl Fn(&Fakes<'_>, &Fake)) {
        let pl011 = Fake::pl011();
        test(&console(Uart::Pl011(&pl011)), &pl011);
        let ns16550 = Fake::ns16550(2);
        test(&console(Uart::Ns16550(&ns16550, 2)), &ns16550);
    }

    /// Writes a line, and returns for how long the UART was waited for.
    fn write(lines: &mut Lines, console: Option<&Fakes<'_>>, text: &str) -> u64 {
        let began = CLOCK.get();
        lines.write_line(console, Level::Info, &format_args!("{text}"));
        CLOCK.get() - began
    }

    #[test]
    fn a_stuck_uart_is_waited_for_once_and_lines_are_counted() {
        each(|console, fake| {
            let mut lines = Lines::NEW;
            assert_eq!(write(&mut lines, Some(console), "before"), 0);
            fake.be_busy(None);
            let waited = write(&mut lines, Some(console), "cut");
            assert!((PATIENCE..PATIENCE + 10).contains(&waited), "{waited}");
            for _ in 0..1000 {
                assert_eq!(write(&mut lines, Some(console), "dropped"), 0);
            }
            assert_eq!(fake.text(), "[I] spmc: before\n");
            fake.be_busy(Some(0));
            write(&mut lines, Some(console), "after");
            write(&mut lines, Some(console), "again");
            assert_eq!(
                fake.text(),
                "[I] spmc: before\n[W] spmc: 1001 lines were lost or cut here\n[I] spmc: after\n\
                 [I] spmc: again\n"
            );
        });
    }

    #[test]
    fn a_uart_that_gets_stuck_while_it_says_what_was_lost_loses_nothing_of_the_count() {
        each(|console, fake| {
            let mut lines = Lines::NEW;
            fake.be_busy(None);
            write(&mut lines, Some(console), "one");
            // It takes a character, and none for a long time.
            fake.be_busy(Some(0));
            fake.stick_after(1);
            let waited = write(&mut lines, Some(console), "two");
            assert!((PATIENCE..PATIENCE + 10).contains(&waited), "{waited}");
            fake.be_busy(Some(0));
            write(&mut lines, Some(console), "three");
            let text = fake.text();
            assert!(
                text.ends_with("[W] spmc: 2 lines were lost or cut here\n[I] spmc: three\n"),
                "{text}"
            );
        });
    }

    #[test]
    fn lines_are_kept_until_there_is_a_uart() {
        each(|console, fake| {
            let mut lines = Lines::NEW;
            assert_eq!(write(&mut lines, None, "early"), 0);
            lines.write_kept(console);
            write(&mut lines, Some(console), "late");
            assert_eq!(fake.text(), "[I] spmc: early\n[I] spmc: late\n");
        });
    }

    #[test]
    fn early_lines_that_do_not_fit_are_counted() {
        each(|console, fake| {
            let mut lines = Lines::NEW;
            for _ in 0..EARLY {
                write(&mut lines, None, "x");
            }
            lines.write_kept(console);
            write(&mut lines, Some(console), "late");
            let fit = EARLY / "[I] spmc: x\n".len();
            let text = fake.text();
            let lost = std::format!(
                "{} lines were lost or cut here\n[I] spmc: late\n",
                EARLY - fit
            );
            assert!(text.ends_with(&lost), "{text}");
        });
    }

    #[test]
    fn a_uart_that_is_stuck_at_first_is_waited_for_once() {
        each(|console, fake| {
            let mut lines = Lines::NEW;
            write(&mut lines, None, "early");
            fake.be_busy(None);
            lines.write_kept(console);
            assert_eq!(write(&mut lines, Some(console), "late"), 0);
            fake.be_busy(Some(0));
            write(&mut lines, Some(console), "now");
            assert_eq!(
                fake.text(),
                "[W] spmc: 2 lines were lost or cut here\n[I] spmc: now\n"
            );
        });
    }

    #[test]
    fn a_pe_without_the_lock_writes_to_the_uart_or_nothing() {
        let mut nowhere = Sink::<&Fake, Clock> {
            console: None,
            lines: None,
        };
        let text = format_args!("last");
        assert!(nowhere.line(Level::Error, &text).is_err());
        each(|console, fake| {
            let mut sink = Sink {
                console: Some(console),
                lines: None,
            };
            assert!(sink.line(Level::Error, &format_args!("last")).is_ok());
            assert_eq!(fake.text(), "[E] spmc: last\n");
        });
    }
}
