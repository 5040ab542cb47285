//! A register file that behaves like a UART, for the tests of the drivers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::string::String;

use super::registers::Registers;
use super::{ns16550, pl011};

/// A UART of one kind.
pub struct Fake {
    /// `reg-shift` of a 16550.
    shift: Option<u8>,
    registers: RefCell<HashMap<usize, u32>>,
    divisor: Cell<u32>,
    text: RefCell<String>,
    /// How many looks at its status a character takes. `None`: it never goes.
    pace: Cell<Option<u32>>,
    left: Cell<u32>,
    /// How many characters it takes before it gets stuck.
    budget: Cell<u32>,
}

impl Fake {
    pub fn pl011() -> Self {
        Self::new(None)
    }

    pub fn ns16550(shift: u8) -> Self {
        Self::new(Some(shift))
    }

    fn new(shift: Option<u8>) -> Self {
        Self {
            shift,
            registers: RefCell::default(),
            divisor: Cell::new(0),
            text: RefCell::default(),
            pace: Cell::new(Some(0)),
            left: Cell::new(0),
            budget: Cell::new(u32::MAX),
        }
    }

    /// Sets how many looks at its status each character takes from now on, or that the UART is
    /// stuck.
    pub fn be_busy(&self, pace: Option<u32>) {
        self.pace.set(pace);
        self.left.set(pace.unwrap_or(0));
        self.budget.set(u32::MAX);
    }

    /// Makes the UART get stuck behind that many characters.
    pub fn stick_after(&self, characters: u32) {
        self.budget.set(characters);
    }

    /// Returns the characters that were sent.
    pub fn text(&self) -> String {
        self.text.borrow().clone()
    }

    /// Returns the value that was last written to a register.
    pub fn register(&self, offset: usize) -> u32 {
        self.registers.borrow().get(&offset).copied().unwrap_or(0)
    }

    /// Returns the divisor of a 16550.
    pub fn divisor(&self) -> u32 {
        self.divisor.get()
    }

    fn is_latch_open(&self, shift: u8) -> bool {
        let control = self.register(ns16550::register::LINE_CONTROL << shift);
        control & ns16550::DIVISOR_LATCH != 0
    }

    fn send(&self, value: u32) {
        let character = u8::try_from(value).expect("a character");
        assert!(self.left.get() == 0 && self.pace.get().is_some(), "overrun");
        self.text.borrow_mut().push(character.into());
        self.left.set(self.pace.get().unwrap_or(0));
        self.budget.set(self.budget.get() - 1);
        if self.budget.get() == 0 {
            self.pace.set(None);
        }
    }

    fn has_room(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left == 0 && self.pace.get().is_some()
    }
}

impl Registers for &Fake {
    fn read(&self, offset: usize) -> u32 {
        match self.shift {
            None if offset == pl011::register::FLAGS => {
                if self.has_room() {
                    0
                } else {
                    pl011::TRANSMIT_FULL
                }
            }
            Some(shift) if offset == ns16550::register::LINE_STATUS << shift => {
                if self.has_room() {
                    ns16550::TRANSMIT_EMPTY
                } else {
                    0
                }
            }
            _ => panic!("nobody reads register {offset:#x}"),
        }
    }

    fn write(&self, offset: usize, value: u32) {
        use ns16550::register::{DATA, INTERRUPT_ENABLE};
        match self.shift {
            None if offset == pl011::register::DATA => return self.send(value),
            None => {}
            Some(shift) if self.is_latch_open(shift) && offset == DATA << shift => {
                return self.divisor.set(self.divisor.get() & 0xff00 | value);
            }
            Some(shift) if self.is_latch_open(shift) && offset == INTERRUPT_ENABLE << shift => {
                return self.divisor.set(self.divisor.get() & 0xff | value << 8);
            }
            Some(shift) if offset == DATA << shift => return self.send(value),
            Some(shift) => assert!(offset >> shift < 8 && offset.trailing_zeros() >= shift.into()),
        }
        self.registers.borrow_mut().insert(offset, value);
    }
}
