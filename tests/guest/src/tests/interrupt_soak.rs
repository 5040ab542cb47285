//! Interrupts of all kinds against messages of all kinds, at random, on all PEs, for long: each secure interrupt is counted where it is raised and
//! where it is handled, each Non-secure one where it is asked for and where it is taken.
//!
//! A source is raised anew only when the last time was counted by its owner, in a page that it shares with the Normal world: two rises before the
//! first is acknowledged would be one interrupt.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::ffa::memory::access;
use crate::ffa::{self, NWD, SP1, error, id, route};
use crate::message::{self, request};
use crate::nwd::source::Source;
use crate::nwd::{Nwd, RX, TX, Test, ask, interrupt, page, pe, peek, poke};
use crate::rt::call::call;
use crate::rt::check::{Check, equal, holds};
use crate::rt::lock::Lock;
use crate::rt::stage1::{self, Attributes};
use crate::rt::{ticks_per_ms, wait_until};
use crate::sp::{Command, Sp};
use crate::{command, helper, println, test};

use super::interrupts::{ARM, LIMIT_MS};
use super::memory::transfer::share;
use super::memory::{Borrow, is_fine};
use super::preemption::{run, vcpu};

/// What comes before everything else.
pub const SETUP: &[Test] = &[test!(interrupt_setup, "A kernel with buffers")];

/// The soak, as long as it is part of the tests.
pub const TESTS: &[Test] = &[test!(
    interrupt_soak,
    "Secure and Non-secure interrupts against messages, from all PEs to eight partitions",
    pes = 4
)];

/// The soak for long.
pub const LONG: &[Test] = &[test!(
    interrupt_soak_for_long,
    "Secure and Non-secure interrupts against messages, from all PEs to eight partitions",
    pes = 4
)];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(count_here), helper!(work)];

const STEPS: u64 = 60_000;
const STEPS_FOR_LONG: u64 = 12 * STEPS;

// ---- inside the partitions ----

/// Address of the page with the count of edges that were handled; 0 if nobody asked for it.
static PAGE: AtomicU64 = AtomicU64::new(0);
const FIRST_EDGE: u64 = 32;
/// The secure PL011 is no edge, and raised by everybody.
const LEVEL: u64 = 40;

/// An interrupt is being handled.
pub fn count(interrupt: u64) {
    let page = PAGE.load(Ordering::Acquire);
    if page != 0 && interrupt >= FIRST_EDGE && interrupt != LEVEL {
        // SAFETY: a page that the Normal world shared for this; one context at a time handles the interrupt.
        unsafe {
            let word = page as *mut u64;
            word.write_volatile(word.read_volatile() + 1);
        }
    }
}

fn count_here(_: &Sp, [page, interrupt, ..]: [u64; 4]) -> Check<[u64; 4]> {
    stage1::map(page, Attributes::NonSecure);
    PAGE.store(page, Ordering::Release);
    const ENABLE: u32 = 0xff03;
    equal(super::interrupts::hf(ENABLE, &[interrupt, 1, 0]), 0u64)?;
    Ok([0; 4])
}

/// Does something: nothing, takes time, looks for interrupts, raises that of sp1, or lets another partition do so.
fn work(sp: &Sp, [kind, ticks, other, next]: [u64; 4]) -> Check<[u64; 4]> {
    match kind {
        1 => {
            let end = crate::rt::counter() + ticks;
            while crate::rt::counter() < end {}
        }
        2 => super::interrupts::on_interrupt(),
        3 if other as u16 != sp.identity.id => {
            let arguments = [next, ticks, 0, 0];
            let command = command!(work);
            let route = route(sp.identity.id, other as u16);
            let answer = call(
                ffa::conduit(),
                request(id::DIRECT_REQ_64, route, command, arguments),
            );
            if answer[0] == u64::from(id::ERROR) {
                equal(answer[2] as u32, error::BUSY as u32)?;
            } else {
                equal(answer[0], id::DIRECT_RESP_64)?;
            }
        }
        _ => {}
    }
    Ok([0; 4])
}

// ---- the Normal world ----

/// A source, its owner and interrupt, and how often it was raised.
struct Edge {
    source: Source,
    owner: u16,
    interrupt: u64,
    page: u64,
    raised: AtomicU64,
    lock: Lock,
}

static EDGES: [Edge; 2] = [
    Edge {
        source: Source::Clock,
        owner: 0x8007,
        interrupt: 34,
        page: page(71),
        raised: AtomicU64::new(0),
        lock: Lock::new(),
    },
    Edge {
        source: Source::Gpio,
        owner: 0x8008,
        interrupt: 39,
        page: page(72),
        raised: AtomicU64::new(0),
        lock: Lock::new(),
    },
];

impl Edge {
    fn prepare(&self) -> Check {
        poke(self.page, 0);
        let handle = share(self.owner, access::RW, &[(self.page, 1)])?;
        is_fine(Borrow::new(handle).by(self.owner)?)?;
        let arguments = [self.page, self.interrupt, 0, 0];
        ask(self.owner, command!(count_here), arguments).map(drop)
    }

    fn is_handled(&self) -> bool {
        peek(self.page) == self.raised.load(Ordering::Acquire)
    }

    /// Raises it if the last time was handled.
    fn raise(&self) {
        self.lock.with(|| {
            if self.is_handled() {
                self.raised.fetch_add(1, Ordering::AcqRel);
                self.source.raise();
            }
        });
    }
}

/// Steps made, requests answered, requests that met somebody busy, Non-secure interrupts asked for and taken, and those of them that preempted.
static COUNTS: [AtomicU64; 6] = [const { AtomicU64::new(0) }; 6];
const MADE: usize = 0;
const ANSWERED: usize = 1;
const BUSY: usize = 2;
const FIRED: usize = 3;
const TAKEN: usize = 4;
const PREEMPTED: usize = 5;

fn note(what: usize) -> u64 {
    COUNTS[what].fetch_add(1, Ordering::Relaxed)
}

fn total(what: usize) -> u64 {
    COUNTS[what].load(Ordering::Relaxed)
}

// req: INT-01, INT-02, INT-04, INT-05, INT-06, INT-07, INT-08, INT-10, INT-14
fn interrupt_soak(nwd: &Nwd) -> Check {
    soak(nwd, STEPS)
}

fn interrupt_soak_for_long(nwd: &Nwd) -> Check {
    soak(nwd, STEPS_FOR_LONG)
}

fn interrupt_setup(_: &Nwd) -> Check {
    let buffers = [TX.address(), RX.address(), 1];
    ffa::done(&ffa::call(id::RXTX_MAP_64, &buffers))
}

fn soak(nwd: &Nwd, steps: u64) -> Check {
    for edge in &EDGES {
        edge.prepare()?;
    }
    for pe in 1..nwd.pes {
        pe::start(pe, soak_here, [pe as u64, steps, 0, 0])?;
    }
    let mut outcome = soak_here([0, steps, 0, 0]).map(drop);
    for pe in 1..nwd.pes {
        outcome = outcome.and(pe::finish(pe).map(drop));
    }
    for edge in &EDGES {
        let handled = wait_until(LIMIT_MS, || edge.is_handled());
        let (raised, counted) = (edge.raised.load(Ordering::Relaxed), peek(edge.page));
        println!(
            "# interrupt {}: raised {raised}, handled {counted}",
            edge.interrupt
        );
        outcome = outcome.and_then(|()| holds(handled && raised > 0, counted));
    }
    println!(
        "# {} requests, {} busy; Non-secure interrupts: {} asked for, {} taken, {} preempted",
        total(ANSWERED),
        total(BUSY),
        total(FIRED),
        total(TAKEN),
        total(PREEMPTED),
    );
    outcome?;
    equal(total(FIRED), total(TAKEN))?;
    // Nothing is left over.
    for partition in SP1..SP1 + 8 {
        ask(partition, command!(work), [0; 4])?;
    }
    for edge in &EDGES {
        equal(peek(edge.page), edge.raised.load(Ordering::Relaxed))?;
    }
    Ok(())
}

/// What one PE keeps count of.
struct Worker {
    pe: usize,
    random: u64,
    /// The timer of this PE runs, or its interrupt was not taken yet.
    armed: bool,
}

fn soak_here([pe, steps, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let mut worker = Worker {
        pe: pe as usize,
        random: 0x2545_f491_4f6c_dd1d ^ pe << 9,
        armed: false,
    };
    while note(MADE) < steps {
        worker.step()?;
    }
    if worker.armed {
        worker.take()?;
    }
    Ok([0; 4])
}

impl Worker {
    fn next(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) % below
    }

    fn step(&mut self) -> Check {
        match self.next(10) {
            0 | 1 => EDGES[0].raise(),
            2 | 3 => EDGES[1].raise(),
            4 | 5 if !self.armed => {
                note(FIRED);
                self.armed = true;
                let ticks = self.next(ticks_per_ms() / 4);
                interrupt::start_timer_ticks(self.pe, ticks);
            }
            4 | 5 if interrupt::is_pending() => self.take()?,
            _ => self.request()?,
        }
        Ok(())
    }

    fn take(&mut self) -> Check {
        interrupt::acknowledge(self.pe)?;
        self.armed = false;
        note(TAKEN);
        Ok(())
    }

    /// A request to anybody, with all that comes in between.
    fn request(&mut self) -> Check {
        let partition = SP1 + self.next(8) as u16;
        let index = if partition.is_multiple_of(2) {
            self.pe as u16
        } else {
            0
        };
        let other = u64::from(SP1) + self.next(8);
        let ticks = self.next(ticks_per_ms() / 8);
        let arguments = [self.next(4), ticks, other, self.next(3)];
        let command = match self.next(16) {
            0 if partition == SP1 => ARM,
            _ => command!(work),
        };
        let message = request(id::DIRECT_REQ_64, route(NWD, partition), command, arguments);
        let mut answer = call(ffa::conduit(), message);
        let mut begun = false;
        loop {
            if answer[0] == u64::from(id::INTERRUPT) {
                begun = true;
                equal(answer[1], vcpu(partition, index))?;
                holds(self.armed, answer[1])?;
                self.take()?;
                note(PREEMPTED);
            } else if answer[0] == u64::from(id::ERROR) {
                equal(answer[2] as u32, error::BUSY as u32)?;
                if !begun {
                    note(BUSY);
                    return Ok(());
                }
            } else {
                message::answer(NWD, partition, &answer)?;
                note(ANSWERED);
                return Ok(());
            }
            answer = run(partition, index);
        }
    }
}
