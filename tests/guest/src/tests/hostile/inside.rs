//! Code inside the partitions: the hostile ones, which attack in the time that requests give them,
//! and those that behave.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::calls::{Attacker, TALLY, remember};
use super::random::{Random, mix};
use super::{GIVEN, PRIVATE, PRIVATE_PAGES, WINDOW, is_private};
use crate::board::{self, package};
use crate::ffa::memory_calls::Caller;
use crate::ffa::memory_descriptor::{NORMAL_WB, Transaction, access};
use crate::ffa::{self, Answer, NWD, SP1, SP2, error, id, route};
use crate::nwd::source::{CLOCK_INTERRUPT, GPIO_INTERRUPT};
use crate::nwd::{peek, poke};
use crate::rt::call::{Regs, call};
use crate::rt::check::{Check, equal};
use crate::rt::lock::Lock;
use crate::rt::page::{PAGE_SIZE, Shared};
use crate::rt::stage1::{self, Attributes};
use crate::rt::{counter, probe};
use crate::sp::{self, Command, Sp, fault};
use crate::support::helper_call::{self, request};
use crate::support::sharing::receiver;
use crate::support::virtual_interrupts::{GET, hf};
use crate::{command, helper, println};

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(rampage),
    helper!(answer),
    helper!(relay),
    helper!(borrow),
];

/// Asks a partition to be hostile. Arguments: the seed of its choices, the number of its calls, a
/// handle that it may know, and flags such as [`MORTAL`].
pub const RAMPAGE: u32 = command!(rampage);
/// Asks for [`mix`] of a number. The partition checks its secret before it answers.
pub const ANSWER: u32 = command!(answer);
/// Asks a partition to ask another one.
pub const RELAY: u32 = command!(relay);

/// Asks for a page to be retrieved, checked, written to and relinquished.
pub const BORROW: u32 = command!(borrow);

/// The partition may die.
pub const MORTAL: u64 = 1;
/// The partition must die.
pub const DIE: u64 = 2;
/// The partition may give away pages of its own. A partition that dies while others have its pages
/// stays dead.
pub const GENEROUS: u64 = 4;

// ---- hostile partitions ----

/// Numbers of the pages at which the memory that a hostile partition gives away may begin, and how
/// far it may go on behind the last of them.
const FIRST_OF: u64 = 32;
const REST: u64 = 16;

/// Returns the first of these pages, in memory of the partition that nothing else uses.
fn own() -> u64 {
    sp::free_memory().next_multiple_of(PAGE_SIZE as u64)
}

static PREPARED: AtomicBool = AtomicBool::new(false);
/// Time at which the partition began to be hostile.
static BORN: AtomicU64 = AtomicU64::new(0);
static PREPARING: Lock = Lock::new();

/// Returns whether this partition is hostile. A hostile partition may have given away memory that
/// it needs, and panic.
pub fn is_hostile() -> bool {
    PREPARED.load(Ordering::Acquire)
}

/// Maps the memory that the partition may be given, and the memory that it tries to reach.
fn prepare() {
    PREPARING.with(|| {
        if !PREPARED.swap(true, Ordering::AcqRel) {
            BORN.store(counter(), Ordering::Release);
            stage1::map_range(GIVEN, 512, Attributes::NonSecure);
            stage1::map_range(own(), (FIRST_OF + REST) as usize, Attributes::Data);
            stage1::map_range(PRIVATE, PRIVATE_PAGES as usize, Attributes::NonSecure);
            for other in 0..4 {
                if package(other) != sp::memory_start() {
                    stage1::map_range(package(other), 256, Attributes::Data);
                }
            }
            stage1::map_range(board::SPMC, 64, Attributes::Data);
        }
    });
}

/// Interrupts that give a partition cycles.
const OWN_LINES: [u64; 2] = [CLOCK_INTERRUPT, GPIO_INTERRUPT];

/// A hostile partition while it serves a request, or has cycles for another reason.
pub(super) struct Inside {
    pub(super) attacker: Attacker,
    /// Set if nobody asks it to be hostile: its interrupts alone give it cycles, so it leaves them
    /// as they are, and does not wait while it attacks (`FFA_ERROR` waits, too), since the SPMC
    /// tells it only once of an interrupt that it does not fetch. It asks nobody else to be
    /// hostile, either.
    is_alone: bool,
    /// The request that waits for its response.
    request: Option<Regs>,
    /// The callee that was stopped for interrupts of this partition, and that this partition has to
    /// resume.
    stopped: Option<u16>,
    steps: u64,
    what: u64,
}

/// Attacks for ever. Each request of this kind says for how many calls. A random call may answer
/// the request, or bring the next one.
fn rampage(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    // Partitions that ask anybody may ask one that behaves to be hostile, too.
    if ![SP1, SP2].contains(&sp.identity.id) {
        return Ok([0; 4]);
    }
    let mut inside = Inside::new(sp.caller(), false);
    inside.begin(sp.request);
    loop {
        while inside.steps > 0 {
            inside.steps -= 1;
            inside.step();
        }
        inside.end();
    }
}

impl Inside {
    /// Prepares the partition `me` to be hostile.
    pub(super) fn new(me: Caller, is_alone: bool) -> Self {
        prepare();
        Self {
            attacker: Attacker {
                me,
                random: Random::of_step(0, 0, 0),
                pages: (own(), FIRST_OF),
                image: sp::memory_start()..own(),
                calls: 0,
            },
            is_alone,
            request: None,
            stopped: None,
            steps: 0,
            what: 0,
        }
    }

    /// Takes a request.
    fn begin(&mut self, registers: Regs) {
        self.request = Some(registers);
        self.steps = 0;
        if registers[0] as u32 != id::DIRECT_REQ2 && registers[3] == u64::from(RAMPAGE) {
            let [seed, steps, handle, what] = [4, 5, 6, 7].map(|n| registers[n]);
            self.attacker.random = Random::of_step(seed, 0, 0);
            self.steps = steps % 256;
            self.attacker.pages = if what & MORTAL == 0 || what & GENEROUS != 0 {
                (own(), FIRST_OF)
            } else {
                (GIVEN, 512)
            };
            self.what = what;
            self.attacker.calls = 0;
            if handle != 0 {
                remember(&mut self.attacker.random, handle);
            }
        }
    }

    /// Answers the request, or waits for one. Returns when the partition has cycles again.
    pub(super) fn end(&mut self) {
        let registers = match self.request {
            None => ffa::regs(id::MSG_WAIT, &[]),
            Some(request) => self.response(&request),
        };
        let answer = call(ffa::conduit(), registers);
        self.after(&registers, &answer);
        if answer[0] as u32 == id::ERROR {
            // The SPMC accepts nothing else before the callee is resumed.
            while let Some(callee) = self.stopped {
                self.make(ffa::regs(id::RUN, &[u64::from(callee) << 16]));
            }
            // The partition was wrong about whether it has a request.
            self.request = match self.request {
                None => Some(ffa::regs(
                    id::DIRECT_REQ_64,
                    &[route(NWD, self.attacker.me.id)],
                )),
                Some(_) => None,
            };
        }
    }

    fn response(&self, request: &Regs) -> Regs {
        let back = route(request[1] as u16, (request[1] >> 16) as u16);
        let function = match request[0] as u32 {
            id::DIRECT_REQ2 => id::DIRECT_RESP2,
            id::DIRECT_REQ_64 => id::DIRECT_RESP_64,
            _ => id::DIRECT_RESP_32,
        };
        let born = BORN.load(Ordering::Acquire);
        let words = [back, 0, helper_call::OK, self.attacker.calls, born];
        let used = if function == id::DIRECT_RESP2 { 1 } else { 5 };
        ffa::regs(function, &words[..used])
    }

    /// Takes note of what a call returned.
    fn after(&mut self, made: &Regs, answer: &Answer) {
        let callee = match made[0] as u32 {
            id::DIRECT_REQ_32 | id::DIRECT_REQ_64 | id::DIRECT_REQ2 => Some(made[1] as u16),
            id::RUN => Some((made[1] >> 16) as u16),
            _ => None,
        };
        if callee.is_some() && is_interrupt(answer) {
            self.stopped = callee;
        } else if made[0] as u32 == id::RUN && callee == self.stopped && !is_busy(answer) {
            self.stopped = None;
        }
        let is_answered = matches!(
            made[0] as u32,
            id::DIRECT_RESP_32 | id::DIRECT_RESP_64 | id::DIRECT_RESP2 | id::ERROR | id::MSG_WAIT
        );
        match answer[0] as u32 {
            id::DIRECT_REQ_32 | id::DIRECT_REQ_64 | id::DIRECT_REQ2 => self.begin(*answer),
            id::RUN | id::INTERRUPT if is_answered => self.request = None,
            _ => {}
        }
    }

    fn make(&mut self, registers: Regs) -> Answer {
        let waits = matches!(registers[0] as u32, id::MSG_WAIT | id::ERROR);
        if self.is_alone && waits {
            return [0; 18];
        }
        let answer = self.attacker.make(registers);
        self.after(&registers, &answer);
        answer
    }

    /// Makes one attack.
    pub(super) fn step(&mut self) {
        let attacker = &mut self.attacker;
        match attacker.random.below(40) {
            0..8 => self.any(),
            8..12 => self.direct(),
            12..17 => drop(attacker.send()),
            17..20 => {
                if attacker.retrieve() {
                    self.use_retrieved();
                }
            }
            20..22 => drop(attacker.relinquish()),
            22..25 => {
                let handle = attacker.handle();
                attacker.reclaim(handle);
            }
            25 => self.buffers(),
            26..29 => drop(attacker.notify()),
            29 => self.interrupts(),
            30 => self.timer(),
            31 => self.run(),
            32 => drop(self.make(ffa::regs(id::YIELD, &[]))),
            33 => drop(self.make(ffa::regs(id::MSG_WAIT, &[]))),
            34 => self.log(),
            35 => drop(attacker.call(id::RX_RELEASE, &[])),
            36 => self.message(),
            _ => self.touch(),
        }
        if self.what & DIE != 0 {
            TALLY.print(if self.attacker.me.id == SP1 {
                "sp1"
            } else {
                "sp2"
            });
            self.die();
        }
        if self.what & MORTAL != 0 && self.attacker.random.once_in(3000) {
            self.die();
        }
    }

    /// Dies in one of several ways, if it may.
    pub(super) fn die(&mut self) {
        match self.attacker.random.below(2) {
            0 => drop(call(ffa::conduit(), ffa::regs(id::ABORT_64, &[]))),
            _ => fault::die(),
        }
        fault::die();
    }

    /// Makes a call of any function but those after which the partition could not go on.
    fn any(&mut self) {
        let registers = self.attacker.any_call();
        if !matches!(registers[0] as u32, id::ABORT_32 | id::ABORT_64) {
            self.make(registers);
        }
    }

    /// Makes a direct request, which may ask the callee to be hostile.
    fn direct(&mut self) {
        let mut registers = self.attacker.direct();
        let asks = !self.is_alone && self.attacker.random.once_in(4);
        if asks && registers[0] as u32 != id::DIRECT_REQ2 {
            registers[3] = RAMPAGE.into();
            registers[4] = self.attacker.random.next() as u32 as u64;
            registers[5] = self.attacker.random.below(4);
            registers[6] = self.attacker.handle();
            registers[7] = 0;
        }
        let mut answer = self.make(registers);
        // Mostly the partition resumes its callee.
        while is_interrupt(&answer) && !self.attacker.random.once_in(16) {
            let callee = registers[1] as u16;
            answer = self.make(ffa::regs(id::RUN, &[u64::from(callee) << 16]));
        }
    }

    /// Writes to memory that it retrieved, and mostly releases RX.
    fn use_retrieved(&mut self) {
        let rx = self.attacker.me.rx;
        let composite = rx.u32(rx.u32(32) as usize + 4) as usize;
        if composite < PAGE_SIZE - 32 {
            let address = rx.u64(composite + 16);
            self.write(address);
        }
        if !self.attacker.random.once_in(8) {
            self.attacker.call(id::RX_RELEASE, &[]);
        }
    }

    /// Writes to a page that may belong to the partition.
    fn write(&mut self, address: u64) {
        let garbage = self.attacker.random.next() as u32;
        let (start, length) = (sp::memory_start(), WINDOW);
        let is_image = (start..start + length).contains(&address) && !is_own(address);
        let is_mapped = (GIVEN..GIVEN + WINDOW).contains(&address)
            || (PRIVATE..PRIVATE + PRIVATE_PAGES * 4096).contains(&address)
            || (package(0)..package(4)).contains(&address);
        if is_image || !is_mapped {
            return;
        }
        // SAFETY: nothing that this image needs lies there. What comes of it, others see.
        if unsafe { probe::write(address, garbage) }.is_ok() && is_private(address) {
            self.violated(address);
        }
    }

    /// Reports that the partition reached memory that nobody gave it. The scenario forbids the word
    /// in the line.
    fn violated(&self, address: u64) {
        println!(
            "# VIOLATION: {:#x} reaches {address:#x}",
            self.attacker.me.id
        );
    }

    /// Tries to reach memory of others.
    fn touch(&mut self) {
        let random = &mut self.attacker.random;
        let offset = random.below(64) * 4096 + random.below(1024) * 4;
        let address = match random.below(4) {
            0 => GIVEN + random.below(512) * 4096,
            1 => PRIVATE + random.below(PRIVATE_PAGES) * 4096,
            2 => board::SPMC + offset,
            _ => package(2 + random.below(2)) + offset,
        };
        let is_its_own = (sp::memory_start()..own()).contains(&address);
        if (GIVEN..GIVEN + WINDOW).contains(&address) {
            self.write(address);
        } else if !is_its_own && probe::read(address).is_ok() {
            self.violated(address);
        }
    }

    /// Maps its buffers anew, in right and wrong ways.
    fn buffers(&mut self) {
        let attacker = &mut self.attacker;
        attacker.call(id::RXTX_UNMAP, &[0]);
        let wrong = [attacker.page(), attacker.page(), attacker.random.below(4)];
        attacker.call(id::RXTX_MAP_64, &wrong);
        attacker.call(id::RXTX_UNMAP, &[0]);
        let (tx, rx) = (attacker.me.tx.address(), attacker.me.rx.address());
        attacker.call(id::RXTX_MAP_64, &[tx, rx, 1]);
    }

    /// Makes calls of the paravirtual interrupt controller.
    fn interrupts(&mut self) {
        let random = &mut self.attacker.random;
        let function = 0xff01 + random.below(12) as u32;
        let line = random.one_of(&[3, 4, 5, 9, 27, 34, 39, 40, 8, 1023]);
        let second = random.one_of(&[0, 1, line, line]);
        let first = if function == 0xff0a {
            random.below(9)
        } else {
            line
        };
        let third = random.below(2);
        if self.is_alone && (function == GET || OWN_LINES.contains(&line)) {
            return;
        }
        hf(function, &[first, second, third]);
        self.attacker.calls += 1;
    }

    /// Sets its timer, to fire soon or never.
    fn timer(&mut self) {
        let control = self.attacker.random.below(4);
        let ticks = self.attacker.random.below(100_000);
        // SAFETY: interrupts are masked in this image.
        unsafe {
            asm!("msr cntp_tval_el0, {}", "msr cntp_ctl_el0, {}", "isb",
                in(reg) ticks, in(reg) control, options(nostack));
        }
    }

    fn run(&mut self) {
        let who = u64::from(self.attacker.id()) << 16 | self.attacker.random.below(5);
        self.make(ffa::regs(id::RUN, &[who]));
    }

    /// Writes characters to the console, now and then without an end of line.
    fn log(&mut self) {
        let random = &mut self.attacker.random;
        let letters = u64::from_le_bytes(*b"hostile ");
        let last = if random.once_in(8) {
            0x0a21_2121
        } else {
            letters
        };
        let count = 1 + random.below(20);
        self.make(ffa::regs(
            id::CONSOLE_LOG_64,
            &[count, letters, letters, last],
        ));
    }

    /// Sends an indirect message.
    fn message(&mut self) {
        let (me, to) = (self.attacker.me, self.attacker.id());
        let answer = ffa::indirect_message::send(me.tx, me.id, to, &[0x5a; 32]);
        TALLY.count(id::MSG_SEND2.into(), &answer);
        self.attacker.calls += 1;
    }
}

fn is_interrupt(answer: &Answer) -> bool {
    answer[0] as u32 == id::INTERRUPT
}

/// Returns whether the address lies in memory that this partition gives away.
fn is_own(address: u64) -> bool {
    let end = own() + (FIRST_OF + REST) * PAGE_SIZE as u64;
    (own()..end).contains(&address)
}

// ---- partitions that behave ----

/// A page that nobody else may read or write.
static SECRET: Shared<PAGE_SIZE> = Shared::new();
static KEEPING: Lock = Lock::new();
static WRITTEN: AtomicBool = AtomicBool::new(false);

/// Returns the word at `offset` of the secret of a partition.
fn secret(partition: u16, offset: usize) -> u64 {
    mix(u64::from(partition) << 32 | offset as u64)
}

/// Checks that the secret has not changed.
fn keep_secret(sp: &Sp) -> Check {
    KEEPING.with(|| {
        let first = !WRITTEN.swap(true, Ordering::AcqRel);
        for offset in (0..PAGE_SIZE).step_by(8) {
            let word = secret(sp.identity.id, offset);
            if first {
                SECRET.write(offset, &word.to_le_bytes());
            }
            equal(SECRET.u64(offset), word)?;
        }
        Ok(())
    })
}

fn answer(sp: &Sp, [number, ..]: [u64; 4]) -> Check<[u64; 4]> {
    keep_secret(sp)?;
    Ok([mix(number ^ u64::from(sp.identity.id)), 0, 0, 0])
}

/// Asks another partition that behaves. Result: whether that partition was free.
fn relay(sp: &Sp, [other, number, ..]: [u64; 4]) -> Check<[u64; 4]> {
    keep_secret(sp)?;
    let (me, other) = (sp.identity.id, other as u16);
    let message = request(
        id::DIRECT_REQ_64,
        route(me, other),
        ANSWER,
        [number, 0, 0, 0],
    );
    let got = helper_call::resumed(other, call(ffa::conduit(), message));
    if is_busy(&got) {
        return Ok([0; 4]);
    }
    let [got, ..] = helper_call::answer(me, other, &got)?;
    equal(got, mix(number ^ u64::from(other)))?;
    Ok([1, 0, 0, 0])
}

/// A lock: TX and RX belong to one context at a time.
static BUFFERS: Lock = Lock::new();
/// Number of tries while somebody fills its RX buffer all the time.
const TRIES: usize = 1_000;

/// Retrieves a page, checks its word, changes it and relinquishes it.
fn borrow(sp: &Sp, [handle, word, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let caller = sp.caller();
    let receivers = [receiver(caller.id, access::RW)];
    let transaction = Transaction {
        sender: NWD,
        attributes: NORMAL_WB,
        flags: 0,
        handle,
        tag: 0,
        receivers: &receivers,
        ranges: &[],
    };
    BUFFERS.with(|| {
        let mut answer = caller.send(id::MEM_RETRIEVE_REQ_64, &transaction);
        for _ in 0..TRIES {
            if !is_busy(&answer) {
                break;
            }
            // Somebody's indirect message is in RX.
            ffa::call(id::RX_RELEASE, &[]);
            answer = caller.send(id::MEM_RETRIEVE_REQ_64, &transaction);
        }
        let got = caller.retrieved(&answer, &transaction)?;
        stage1::map(got.first, Attributes::NonSecure);
        equal(peek(got.first), word)?;
        poke(got.first, !word);
        stage1::unmap(got.first);
        ffa::done(&caller.relinquish(handle, 0))?;
        keep_secret(sp)?;
        Ok([!word, 0, 0, 0])
    })
}

fn is_busy(answer: &Answer) -> bool {
    answer[0] == u64::from(id::ERROR) && answer[2] as i32 == error::BUSY
}
