//! Random interrupts of all kinds against random messages of all kinds, on all PEs, for minutes.
//! Each secure interrupt is counted where it is raised and where it is handled, each Non-secure one
//! where it is asked for and where it is taken.
//!
//! Secure interrupts are the edges of the clock (whose owner moves) and of the GPIO (whose owner
//! has a context for each PE), the level of the secure PL011, and interrupts between contexts. A
//! source is raised anew only when its owner has counted the last rise, because two rises before
//! the first acknowledgement would be one interrupt. Edges are counted in a page that the owner
//! shares with the Normal world, the others inside the partition.
//!
//! The soak ends after a fixed time, but only the counts decide its outcome.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::ffa::memory_descriptor::access;
use crate::ffa::{self, NWD, SP1, SP2, SP6, SP7, SP8, error, id, route};
use crate::nwd::source::{CLOCK_INTERRUPT, GPIO_INTERRUPT, Source};
use crate::nwd::{Nwd, RX, TX, Test, ask, gic, page, pe, peek, poke};
use crate::rt::call::call;
use crate::rt::check::{Check, equal, holds};
use crate::rt::lock::Lock;
use crate::rt::{Life, PATIENCE_MS, counter, ticks_per_ms, wait_until};
use crate::sp::{Command, Sp};
use crate::support::borrowing::{Borrow, is_fine};
use crate::support::helper_call::{self, request};
use crate::support::interrupt_counts::{CALLS, COUNT_HERE, COUNTED, LEVEL};
use crate::support::secure_uart::{UART, enable, let_uart_through, write_if_let_through};
use crate::support::sharing::share;
use crate::support::spinning::{run, vcpu};
use crate::support::virtual_interrupts::{ENABLE, IPI, SEND_IPI, hf};
use crate::{command, helper, println, test};

/// The test that maps the buffers, before all others.
pub const SETUP: &[Test] = &[test!(interrupt_setup, "A kernel with buffers")];

/// The soak.
pub const TESTS: &[Test] = &[test!(
    interrupt_soak,
    "Five minutes of Secure and Non-secure interrupts against messages, from all PEs to eight partitions",
    pes = 4
)];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(work)];

const DURATION_MS: u64 = 5 * 60 * 1000;
/// The contexts that have the interrupt of other contexts enabled, one bit each.
static CALLABLE: AtomicU64 = AtomicU64::new(0);

/// Interrupts another context of this partition, if that context is ready for it.
fn call_context(sp: &Sp, to: usize) -> Check {
    equal(hf(ENABLE, &[IPI, 1, 0]), 0u64)?;
    let callable = CALLABLE.fetch_or(1 << sp.vcpu, Ordering::AcqRel);
    if to != sp.vcpu && callable >> to & 1 != 0 && CALLS[to].begin() {
        equal(hf(SEND_IPI, &[to as u64]), 0u64)?;
    }
    Ok(())
}

/// Partitions whose contexts interrupt each other. sp4 is not among them, since the scheduler would
/// have to run it.
const CALLERS: [u16; 3] = [SP2, SP6, SP8];

/// Does work of one kind: nothing; takes time; handles interrupts; raises the interrupt of another
/// context, or that of sp1; or lets another partition do one of these.
fn work(sp: &Sp, [kind, ticks, other, next]: [u64; 4]) -> Check<[u64; 4]> {
    match kind {
        1 => {
            let end = counter() + ticks;
            while counter() < end {}
        }
        2 => crate::support::interrupt_handler::on_interrupt(),
        3 if CALLERS.contains(&sp.identity.id) => call_context(sp, (other % 4) as usize)?,
        4 if sp.identity.id == SP1 && LEVEL.begin() => {
            enable()?;
            let_uart_through();
        }
        4 => write_if_let_through(),
        ASK if other as u16 != sp.identity.id => {
            let arguments = [next, ticks, other, 0];
            let command = command!(work);
            let route = route(sp.identity.id, other as u16);
            let request = request(id::DIRECT_REQ_64, route, command, arguments);
            let answer = helper_call::resumed(other as u16, call(ffa::conduit(), request));
            if answer[0] == u64::from(id::ERROR) {
                equal(answer[2] as u32, error::BUSY as u32)?;
            } else {
                equal(answer[0], id::DIRECT_RESP_64)?;
                equal(answer[3], helper_call::OK)?;
            }
        }
        _ => {}
    }
    Ok([0; 4])
}

/// The last kind of work: to ask another partition, which is not asked to ask in turn.
const ASK: u64 = 5;

// ---- the Normal world ----

/// A source of edges with its owner and its interrupt, and the number of times that it was raised.
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
        owner: SP7,
        interrupt: CLOCK_INTERRUPT,
        page: page(71),
        raised: AtomicU64::new(0),
        lock: Lock::new(),
    },
    Edge {
        source: Source::Gpio,
        owner: SP8,
        interrupt: GPIO_INTERRUPT,
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
        ask(self.owner, COUNT_HERE, arguments).map(drop)
    }

    fn is_handled(&self) -> bool {
        peek(self.page) == self.raised.load(Ordering::Acquire)
    }

    /// Raises the interrupt if the last rise was handled.
    fn raise(&self) {
        self.lock.with(|| {
            if self.is_handled() {
                self.raised.fetch_add(1, Ordering::AcqRel);
                self.source.raise();
            }
        });
    }
}

/// Counts of requests that were answered or met somebody busy, of Non-secure interrupts that were
/// asked for and taken, and of those that preempted.
static COUNTS: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];
const ANSWERED: usize = 0;
const BUSY: usize = 1;
const FIRED: usize = 2;
const TAKEN: usize = 3;
const PREEMPTED: usize = 4;

fn note(what: usize) {
    COUNTS[what].fetch_add(1, Ordering::Relaxed);
}

fn total(what: usize) -> u64 {
    COUNTS[what].load(Ordering::Relaxed)
}

fn interrupt_setup(_: &Nwd) -> Check {
    let buffers = [TX.address(), RX.address(), 1];
    ffa::done(&ffa::call(id::RXTX_MAP_64, &buffers))
}

// req: INT-01, INT-02, INT-04, INT-05, INT-06, INT-07, INT-08, INT-10, INT-14
fn interrupt_soak(nwd: &Nwd) -> Check {
    for edge in &EDGES {
        edge.prepare()?;
    }
    let end = counter() + DURATION_MS * ticks_per_ms();
    for pe in 1..nwd.pes {
        pe::start(pe, soak_here, [pe as u64, end, 0, 0])?;
    }
    let mut outcome = soak_here([0, end, 0, 0]).map(drop);
    for pe in 1..nwd.pes {
        outcome = outcome.and(pe::finish(pe).map(drop));
    }
    for edge in &EDGES {
        let handled = wait_until(PATIENCE_MS, || edge.is_handled());
        let (raised, counted) = (edge.raised.load(Ordering::Relaxed), peek(edge.page));
        println!(
            "# interrupt {}: raised {raised}, handled {counted}",
            edge.interrupt
        );
        outcome = outcome.and_then(|()| holds(handled && raised > 0, counted));
    }
    // sp1's interrupt may wait until somebody writes a character.
    outcome = outcome.and_then(|()| ask(SP2, command!(work), [4, 0, 0, 0]).map(drop));
    for (partition, what, at) in [(SP1, UART, 0), (SP2, IPI, 2), (SP6, IPI, 2), (SP8, IPI, 2)] {
        outcome = outcome.and_then(|()| all_handled(partition, what, at));
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
    // No interrupt is left over.
    for partition in SP1..SP1 + 8 {
        ask(partition, command!(work), [0; 4])?;
    }
    for edge in &EDGES {
        equal(peek(edge.page), edge.raised.load(Ordering::Relaxed))?;
    }
    Ok(())
}

/// Checks that each interrupt that `partition` raised itself was handled.
fn all_handled(partition: u16, what: u64, at: usize) -> Check {
    let mut totals = [0; 4];
    let handled = wait_until(PATIENCE_MS, || {
        totals = ask(partition, COUNTED, [0; 4]).unwrap_or([0; 4]);
        totals[at] > 0 && totals[at] == totals[at + 1]
    });
    let [raised, counted] = [totals[at], totals[at + 1]];
    println!("# interrupt {what} of {partition:#x}: raised {raised}, handled {counted}");
    holds(handled, counted)
}

/// The state of one PE.
struct Worker {
    pe: usize,
    random: u64,
    /// Says whether the timer of this PE runs, or its interrupt has not been taken.
    armed: bool,
}

fn soak_here([pe, end, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let mut worker = Worker {
        pe: pe as usize,
        random: 0x2545_f491_4f6c_dd1d ^ pe << 9,
        armed: false,
    };
    let mut life = Life::new();
    while counter() < end {
        if pe == 0 {
            life.show(|| println!("# {} requests", total(ANSWERED)));
        }
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
                gic::start_timer_ticks(self.pe, ticks);
            }
            4 | 5 if gic::is_pending() => self.take()?,
            _ => self.request()?,
        }
        Ok(())
    }

    fn take(&mut self) -> Check {
        gic::acknowledge(self.pe)?;
        self.armed = false;
        note(TAKEN);
        Ok(())
    }

    /// Makes a request to any partition, and takes what comes in between.
    fn request(&mut self) -> Check {
        let partition = SP1 + self.next(8) as u16;
        let index = if partition.is_multiple_of(2) {
            self.pe as u16
        } else {
            0
        };
        let other = u64::from(SP1) + self.next(8);
        let ticks = self.next(ticks_per_ms() / 8);
        let arguments = [self.next(ASK + 1), ticks, other, self.next(ASK)];
        let message = request(
            id::DIRECT_REQ_64,
            route(NWD, partition),
            command!(work),
            arguments,
        );
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
                helper_call::answer(NWD, partition, &answer)?;
                note(ANSWERED);
                return Ok(());
            }
            answer = run(partition, index);
        }
    }
}
