//! Writing text to a UART, whatever its programming interface is, in bounded time.
//!
//! The drivers are generic over the access to registers, so that tests run them on a host.

use core::fmt;

mod ns16550;
mod pl011;
mod registers;

pub use registers::Registers;

#[cfg(test)]
pub mod fake;

/// A UART with its registers.
pub enum Uart<R> {
    /// PL011.
    Pl011(R),
    /// 16550, with log2 of the distance between registers.
    Ns16550(R, u8),
}

impl<R: Registers> Uart<R> {
    /// Sets up the UART, whose state at entry is unknown: 8 bits, no parity, and the speed in bits
    /// per second by the reference clock.
    pub fn init(&self, clock_hz: u32, baud: u32) {
        let baud = baud.max(1);
        match self {
            Self::Pl011(registers) => pl011::init(registers, clock_hz, baud),
            Self::Ns16550(registers, shift) => ns16550::init(registers, *shift, clock_hz, baud),
        }
    }

    /// Returns whether the UART takes a character now.
    pub fn has_room(&self) -> bool {
        match self {
            Self::Pl011(registers) => pl011::has_room(registers),
            Self::Ns16550(registers, shift) => ns16550::has_room(registers, *shift),
        }
    }

    /// Writes `text`. Gives up, with an error, if the UART takes no character for `patience` ticks
    /// of the counter `now` (see [`patience`]). The rest of the text is lost then.
    pub fn write(&self, text: &str, now: impl Fn() -> u64, patience: u64) -> fmt::Result {
        let wait = || self.wait(&now, patience);
        match self {
            Self::Pl011(registers) => {
                for character in text.bytes() {
                    if !pl011::has_room(registers) {
                        wait()?;
                    }
                    pl011::put(registers, character);
                }
            }
            Self::Ns16550(registers, shift) => {
                for character in text.bytes() {
                    if !ns16550::has_room(registers, *shift) {
                        wait()?;
                    }
                    ns16550::put(registers, character);
                }
            }
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn wait(&self, now: &impl Fn() -> u64, patience: u64) -> fmt::Result {
        let began = now();
        while !self.has_room() {
            if now().wrapping_sub(began) > patience {
                return Err(fmt::Error);
            }
            core::hint::spin_loop();
        }
        Ok(())
    }
}

/// Returns how many ticks of a counter of that frequency a UART may take for one character before
/// it counts as stuck: the time of 16 characters, but no less than a millisecond.
pub fn patience(counter_hz: u64, baud: u32) -> u64 {
    /// A character with its start and stop bits, 16 times.
    const BITS: u64 = 16 * 10;
    let characters = counter_hz.saturating_mul(BITS) / u64::from(baud.max(1));
    characters.max(counter_hz / 1000)
}

#[cfg(test)]
mod tests {
    use super::fake::Fake;
    use super::*;
    use std::cell::Cell;

    /// Calls `test` with each kind of UART.
    fn each(test: impl Fn(&Uart<&Fake>, &Fake)) {
        let pl011 = Fake::pl011();
        test(&Uart::Pl011(&pl011), &pl011);
        for shift in [0, 2] {
            let ns16550 = Fake::ns16550(shift);
            test(&Uart::Ns16550(&ns16550, shift), &ns16550);
        }
    }

    /// Writes `text` with a counter that begins at `clock` and goes on with each look at it.
    fn write(uart: &Uart<&Fake>, text: &str, clock: &Cell<u64>) -> fmt::Result {
        let now = || {
            clock.set(clock.get().wrapping_add(1));
            clock.get()
        };
        uart.write(text, now, 100)
    }

    #[test]
    fn text_comes_out_as_it_is() {
        each(|uart, fake| {
            uart.init(24_000_000, 115_200);
            let clock = Cell::new(0);
            write(uart, "[I] spmc: 7\n", &clock).unwrap();
            assert_eq!(fake.text(), "[I] spmc: 7\n");
            assert_eq!(clock.get(), 0, "no time is read while there is room");
        });
    }

    #[test]
    fn a_slow_uart_loses_nothing() {
        each(|uart, fake| {
            uart.init(24_000_000, 115_200);
            fake.be_busy(Some(90));
            let clock = Cell::new(0);
            write(uart, "slow", &clock).unwrap();
            assert_eq!(fake.text(), "slow");
        });
    }

    #[test]
    fn a_stuck_uart_is_given_up_after_a_bounded_time() {
        each(|uart, fake| {
            uart.init(24_000_000, 115_200);
            fake.be_busy(None);
            let clock = Cell::new(u64::MAX - 50);
            assert!(write(uart, "lost", &clock).is_err());
            assert_eq!(fake.text(), "");
            let waited = clock.get().wrapping_sub(u64::MAX - 50);
            assert!((100..110).contains(&waited), "{waited}");
            assert!(!uart.has_room());
            fake.be_busy(Some(0));
            assert!(uart.has_room());
        });
    }

    #[test]
    fn patience_is_the_time_of_16_characters_and_at_least_a_millisecond() {
        assert_eq!(patience(1_000_000_000, 9_600), 16_666_666);
        assert_eq!(patience(62_500_000, 115_200), 86_805);
        assert_eq!(patience(62_500_000, 3_000_000), 62_500);
        assert_eq!(patience(u64::MAX, 0), u64::MAX);
    }
}
