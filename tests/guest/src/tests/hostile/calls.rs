//! Random calls with arguments that are half right, as an attacker in either world makes them.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use super::random::Random;
use super::tally::Tally;
use super::{GIVEN, PRIVATE, PRIVATE_PAGES};
use crate::board::package;
use crate::ffa::memory_calls::{Caller, words};
use crate::ffa::{self, Answer, NOBODY, NWD, SP1, SP2, SP3, SP4, SPMC, id, route};
use crate::rt::call::{Regs, call};
use crate::rt::page::PAGE_SIZE;

/// Handles that this image heard of. Any of them may be stale.
pub static HANDLES: [AtomicU64; 32] = [const { AtomicU64::new(0) }; 32];
/// The calls of this image.
pub static TALLY: Tally = Tally::new();

/// Ids of everybody, of nobody and of the SPMC.
const IDS: [u16; 9] = [NWD, SP1, SP2, SP3, SP4, SPMC, NOBODY, 1, 0xffff];

/// An endpoint that makes random calls.
pub struct Attacker {
    /// Id, version and buffers of the endpoint.
    pub me: Caller,
    /// The source of its choices.
    pub random: Random,
    /// Pages of its own that the endpoint may give away: address of the first, and number.
    pub pages: (u64, u64),
    /// The memory of the image that runs this code, which the endpoint does not give away.
    pub image: Range<u64>,
    /// Number of calls that were made.
    pub calls: u64,
}

impl Attacker {
    /// Makes a call and counts it.
    pub fn make(&mut self, registers: Regs) -> Answer {
        let answer = call(ffa::conduit(), registers);
        self.calls += 1;
        TALLY.count(registers[0], &answer);
        answer
    }

    /// Makes a call with these arguments and counts it.
    pub fn call(&mut self, function: u32, arguments: &[u64]) -> Answer {
        self.make(ffa::regs(function, arguments))
    }

    /// Returns an id that somebody may have.
    pub fn id(&mut self) -> u16 {
        if self.random.once_in(16) {
            return self.random.next() as u16;
        }
        self.random.one_of(&IDS)
    }

    /// Returns the address of a page: mostly of the attacker's own.
    pub fn page(&mut self) -> u64 {
        let (first, count) = self.pages;
        let (start, below) = match self.random.below(24) {
            0 => (GIVEN, 512),
            // The private pages are no target for the Normal world, which owns them.
            1 if self.me.id != NWD => (PRIVATE, PRIVATE_PAGES),
            2 => (package(self.random.below(4)), 256),
            3 => return self.random.next() & !0xfff,
            _ => (first, count),
        };
        start + self.random.below(below) * PAGE_SIZE as u64
    }

    /// Returns a handle that somebody may have.
    pub fn handle(&mut self) -> u64 {
        let known = self.random.one_of(&[0, 1, 2, 3, 4, 5, 6, 7]) + 8 * self.random.below(4);
        let handle = HANDLES[known as usize].load(Ordering::Relaxed);
        match self.random.below(16) {
            0 => handle ^ 1 << self.random.below(64),
            1 => handle.wrapping_add(1),
            2 => handle.wrapping_sub(1),
            3 => self.random.next(),
            _ => handle,
        }
    }

    /// Returns a word for an argument.
    pub fn word(&mut self) -> u64 {
        match self.random.below(11) {
            0..3 => 0,
            3 => self.random.below(16),
            4 => route(self.me.id, self.id()),
            5 => route(self.id(), self.me.id),
            6 => self.page(),
            7 => words(self.handle())[self.random.below(2) as usize],
            8 => 1 << self.random.below(64),
            9 => u64::MAX >> (32 * self.random.below(2)),
            _ => self.random.next(),
        }
    }

    /// Returns the registers of a call of any function of FF-A, 32 or 64 bits, or of none.
    pub fn any_call(&mut self) -> Regs {
        let mut registers = [0; 18];
        let width = self.random.one_of(&[0x8400_0000, 0xc400_0000_u64]);
        registers[0] = width | (0x60 + self.random.below(0x36));
        let used = if self.random.once_in(4) { 18 } else { 8 };
        for register in &mut registers[1..used] {
            *register = self.word();
        }
        registers
    }

    /// Returns the registers of a direct request to somebody.
    pub fn direct(&mut self) -> Regs {
        let function = self
            .random
            .one_of(&[id::DIRECT_REQ_32, id::DIRECT_REQ_64, id::DIRECT_REQ2]);
        let from = if self.random.once_in(16) {
            self.id()
        } else {
            self.me.id
        };
        let mut registers = ffa::regs(function, &[route(from, self.id())]);
        // Most requests have no framework flag and no UUID.
        let first = if self.random.once_in(8) { 2 } else { 4 };
        for register in &mut registers[first..8] {
            *register = self.word();
        }
        registers
    }

    /// Makes a call about notifications.
    pub fn notify(&mut self) -> Answer {
        let function = self.random.one_of(&[
            id::NOTIFICATION_BITMAP_CREATE,
            id::NOTIFICATION_BITMAP_DESTROY,
            id::NOTIFICATION_BIND,
            id::NOTIFICATION_UNBIND,
            id::NOTIFICATION_SET,
            id::NOTIFICATION_SET,
            id::NOTIFICATION_GET,
            id::NOTIFICATION_GET,
            id::NOTIFICATION_INFO_GET_32,
            id::NOTIFICATION_INFO_GET_64,
        ]);
        let other = self.id();
        let me = self.me.id;
        let arguments = match function {
            id::NOTIFICATION_BITMAP_CREATE | id::NOTIFICATION_BITMAP_DESTROY => {
                [u64::from(other), 1 + self.random.below(9), 0, 0]
            }
            id::NOTIFICATION_GET => [u64::from(me) | self.random.below(4) << 16, 0xf, 0, 0],
            id::NOTIFICATION_INFO_GET_32 | id::NOTIFICATION_INFO_GET_64 => [0; 4],
            // A receiver binds the notifications that others set.
            id::NOTIFICATION_SET => [
                route(me, other),
                self.random.one_of(&[0, 0, 1, 2, 0x1_0001]),
                1 << self.random.below(32),
                0,
            ],
            _ => [
                route(other, me),
                self.random.below(2),
                1 << self.random.below(32),
                0,
            ],
        };
        self.call(function, &arguments)
    }
}

/// Remembers a handle, and returns the one that was forgotten in exchange, or 0.
pub fn remember(random: &mut Random, handle: u64) -> u64 {
    let place = random.below(HANDLES.len() as u64) as usize;
    HANDLES[place].swap(handle, Ordering::Relaxed)
}
