//! The hostile Normal world, and the checks that it makes meanwhile.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::calls::{Attacker, HANDLES, TALLY};
use super::inside::{ANSWER, BORROW, DIE, GENEROUS, MORTAL, RAMPAGE, RELAY};
use super::random::{Random, mix};
use super::{GIVEN, LENT, PRIVATE, PRIVATE_PAGES};
use crate::board::{BL33, PARAMETERS};
use crate::ffa::memory_calls::{completed, reclaim};
use crate::ffa::memory_descriptor::{NORMAL_WB, Transaction, access};
use crate::ffa::{self, Answer, NWD, SP1, SP2, SP3, SP4, error, id, route};
use crate::nwd::source::Source;
use crate::nwd::{self, Nwd, RX, TX, Test, gic, pe, peek, poke};
use crate::rt::call::{Regs, call};
use crate::rt::check::{Check, equal, holds};
use crate::rt::lock::Lock;
use crate::rt::{Life, PATIENCE_MS, counter, ticks_per_ms};
use crate::support::helper_call::{self, request};
use crate::support::sharing::receiver;
use crate::{println, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(hostile_setup, "A kernel at 1.2 with buffers"),
    test!(
        hostile,
        "The Normal world and two partitions are hostile, on all PEs at once",
        pes = 4
    ),
    test!(
        after_the_attack,
        "Whoever behaves finds everything as before"
    ),
];

/// The least number of calls, unless the parameters ask for another one.
const CALLS: u64 = 1_000_000;
/// Number of transactions of the Normal world that may be left half sent.
const HALF_SENT: u64 = 8;
/// Number of steps that a PE takes before it may go off.
const CHUNK: u64 = 200;

/// The memory that this image and its tests use.
const IMAGE: Range<u64> = BL33..BL33 + 0x200_0000;

/// A lock for RX and TX of the Normal world.
static BUFFERS: Lock = Lock::new();
/// The handle of the page that each PE shares with a partition that behaves. No attack uses it.
static BEHAVING: [AtomicU64; pe::MAX] = [const { AtomicU64::new(0) }; pe::MAX];
/// Handles that were not forgotten because others still had the memory.
static HELD: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// Number of shares that fit in at the beginning.
static CAPACITY: AtomicU64 = AtomicU64::new(0);
static SEED: AtomicU64 = AtomicU64::new(0);
/// The step from which on it is late: then what nobody recovers from may happen.
static LATE: AtomicU64 = AtomicU64::new(0);

static COUNTS: [AtomicU64; 10] = [const { AtomicU64::new(0) }; 10];
/// Index of the calls of partitions.
const MADE: usize = 0;
/// Index of the requests to partitions that behave; the answers are behind it.
const ASKED: usize = 1;
const ANSWERED: usize = 2;
/// Index of the calls that ended because a partition died or was dead.
const ABORTED: usize = 3;
/// Index of the PEs that went off.
const OFF: usize = 4;
/// Index of the Non-secure interrupts that were taken; the Secure ones that were raised are behind
/// it.
const TAKEN: usize = 5;
const RAISED: usize = 6;
/// Index of the requests that met a busy partition.
const BUSY: usize = 7;
/// Index of the shares for which there was no room.
const NO_ROOM: usize = 8;
/// Index of the lives of sp1.
const LIVES: usize = 9;
/// Time at which the last life of sp1 began.
static BORN: AtomicU64 = AtomicU64::new(0);

fn note(what: usize, times: u64) {
    COUNTS[what].fetch_add(times, Ordering::Relaxed);
}

fn total(what: usize) -> u64 {
    COUNTS[what].load(Ordering::Relaxed)
}

/// Returns the number of calls of everybody.
fn made() -> u64 {
    TALLY.total() + total(MADE)
}

/// Returns the word that stands at an address that nobody was given.
fn pattern(address: u64) -> u64 {
    mix(address)
}

fn private_words() -> impl Iterator<Item = u64> {
    (PRIVATE..PRIVATE + PRIVATE_PAGES * 4096).step_by(8)
}

// req: RXTX-01, VER-01
fn hostile_setup(_: &Nwd) -> Check {
    equal(
        ffa::call(id::VERSION, &[ffa::V1_2.into()])[0],
        u64::from(ffa::V1_2),
    )?;
    map_buffers()?;
    for address in private_words() {
        poke(address, pattern(address));
    }
    CAPACITY.store(capacity()?, Ordering::Relaxed);
    Ok(())
}

fn map_buffers() -> Check {
    let buffers = [TX.address(), RX.address(), 1];
    ffa::done(&ffa::call(id::RXTX_MAP_64, &buffers))
}

/// Returns the number of one-page shares that fit in.
fn capacity() -> Check<u64> {
    const MAX: usize = 256;
    let mut handles = [0; MAX];
    let mut count = 0;
    for slot in &mut handles {
        match share_page(SP4, LENT + 64 * 4096 + count as u64 * 4096)? {
            Some(handle) => *slot = handle,
            None => break,
        }
        count += 1;
    }
    for handle in &handles[..count] {
        ffa::done(&reclaim(*handle, 0))?;
    }
    Ok(count as u64)
}

/// Shares a page. Returns `None` if there is no room.
fn share_page(partition: u16, address: u64) -> Check<Option<u64>> {
    BUFFERS.with(|| {
        let share = Transaction {
            sender: NWD,
            attributes: NORMAL_WB,
            flags: 0,
            handle: 0,
            tag: 0,
            receivers: &[receiver(partition, access::RW)],
            ranges: &[(address, 1)],
        };
        let answer = nwd::caller().send(id::MEM_SHARE_64, &share);
        if answer[0] == u64::from(id::ERROR) {
            ffa::refused(&answer, error::NO_MEMORY)?;
            return Ok(None);
        }
        completed(&answer).map(Some)
    })
}

// req: GEN-20, MSGD-07
fn hostile(nwd: &Nwd) -> Check {
    // SAFETY: two words of RAM that nothing else uses; whoever starts this image may have set them.
    let [seed, calls] = [0, 8].map(|n| unsafe { ((PARAMETERS + n) as *const u64).read_volatile() });
    let calls = if calls == 0 { CALLS } else { calls };
    println!("# seed {seed}, {calls} calls at least");
    SEED.store(seed, Ordering::Relaxed);
    // A step makes some 30 calls, on each of four PEs.
    LATE.store(calls / 160, Ordering::Relaxed);

    let pes = nwd.pes;
    let mut chunks = [0; pe::MAX];
    let mut life = Life::new();
    let mut begin = |pe: usize| {
        let first = chunks[pe];
        chunks[pe] += CHUNK;
        pe::start(pe, attack, [pe as u64, first, 0, 0])
    };
    for pe in 1..pes {
        begin(pe)?;
    }
    let mut first = 0;
    while made() < calls {
        attack([0, first, 0, 0])?;
        first += CHUNK;
        // The PEs go off and come back one after the other.
        let pe = 1 + (first / CHUNK) as usize % (pes - 1);
        pe::finish(pe)?;
        pe::all_off(pe..pe + 1)?;
        note(OFF, 1);
        pe::all_on(pe..pe + 1)?;
        begin(pe)?;
        for pe in 1..pes {
            if pe::is_done(pe) {
                pe::finish(pe)?;
                begin(pe)?;
            }
        }
        life.show(|| println!("# {} calls", made()));
    }
    for pe in 1..pes {
        pe::finish(pe)?;
    }
    report();
    equal(total(ASKED), total(ANSWERED))
}

fn report() {
    TALLY.print("Normal world");
    println!(
        "# {} calls of the Normal world, {} of partitions that told of them",
        TALLY.total(),
        total(MADE)
    );
    println!(
        "# {} requests to those that behave, {} answered, {} tries met them busy, {} without room",
        total(ASKED),
        total(ANSWERED),
        total(BUSY),
        total(NO_ROOM)
    );
    println!(
        "# sp1 had {} lives, {} calls of hostile ones ended by death; {} times a PE went off",
        total(LIVES),
        total(ABORTED),
        total(OFF),
    );
    println!(
        "# {} Non-secure interrupts taken, {} Secure ones raised",
        total(TAKEN),
        total(RAISED)
    );
}

/// One PE of the hostile Normal world.
struct Outside {
    attacker: Attacker,
    pe: usize,
    armed: bool,
    /// Says whether most of the time is over, so that what nobody recovers from may happen.
    is_late: bool,
}

/// Takes a number of steps on one PE.
fn attack([pe, first, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let mut outside = Outside {
        attacker: Attacker {
            me: nwd::caller(),
            random: Random::of_step(0, 0, 0),
            pages: (GIVEN + pe * 64 * 4096, 64),
            image: IMAGE,
            calls: 0,
        },
        pe: pe as usize,
        armed: false,
        is_late: false,
    };
    let late = LATE.load(Ordering::Relaxed);
    for step in first..first + CHUNK {
        outside.is_late = step >= late;
        outside.attacker.random = Random::of_step(SEED.load(Ordering::Relaxed), pe, step);
        outside.step()?;
    }
    if outside.armed {
        outside.take()?;
    }
    Ok([0; 4])
}

impl Outside {
    fn step(&mut self) -> Check {
        match self.attacker.random.below(64) {
            0..3 => self.any(),
            3..5 => self.buffers()?,
            5..14 => self.send(),
            14..18 => self.reclaim(),
            18..21 => drop(self.attacker.notify()),
            21..23 => self.arm()?,
            23 => self.raise(),
            24 => self.retrieve(),
            25..28 => self.behave()?,
            28 => self.look()?,
            29..34 => self.direct()?,
            _ => self.rampage()?,
        }
        Ok(())
    }

    /// Sends memory, and reclaims the handle that is forgotten in exchange: at once or later, as
    /// others may have the memory.
    fn send(&mut self) {
        let forgotten = BUFFERS.with(|| self.attacker.send());
        let Some(handle) = forgotten.filter(|handle| *handle != 0) else {
            return;
        };
        let answer = reclaim(handle, 0);
        let is_held = answer[0] == u64::from(id::ERROR) && answer[2] as i32 == error::DENIED;
        if let (true, Some(place)) = (is_held, HELD.get(COUNT.fetch_add(1, Ordering::Relaxed))) {
            place.store(handle, Ordering::Relaxed);
        }
    }

    /// Makes a call of any function but those that would take from this image what it needs for its
    /// checks.
    fn any(&mut self) {
        let mut registers = self.attacker.any_call();
        match registers[0] as u32 | 0x4000_0000 {
            VERSION | RXTX_MAP | RXTX_UNMAP | RUN => return,
            RECLAIM | FRAG_RX | FRAG_TX => {
                let handle = registers[1] as u32 as u64 | registers[2] << 32;
                if is_behaving(handle) {
                    registers[1] ^= 1 << 20;
                }
            }
            _ => {}
        }
        self.attacker.make(registers);
    }

    /// Maps the buffers anew, in wrong ways and at last in the right one.
    fn buffers(&mut self) -> Check {
        BUFFERS.with(|| {
            let attacker = &mut self.attacker;
            attacker.call(id::RX_RELEASE, &[]);
            attacker.call(id::RXTX_UNMAP, &[0]);
            let wrong = [attacker.word(), attacker.page(), attacker.random.below(4)];
            let answer = attacker.call(id::RXTX_MAP_64, &wrong);
            if answer[0] as u32 == id::SUCCESS {
                attacker.call(id::RXTX_UNMAP, &[0]);
            }
            map_buffers()
        })
    }

    fn reclaim(&mut self) {
        let handle = self.attacker.handle();
        if !is_behaving(handle) {
            self.attacker.reclaim(handle);
        }
    }

    /// Makes calls of borrowers, which a kernel may not make.
    fn retrieve(&mut self) {
        BUFFERS.with(|| {
            self.attacker.retrieve();
            self.attacker.relinquish();
            self.attacker.call(id::RX_RELEASE, &[]);
        });
    }

    /// Lets a Non-secure interrupt come soon.
    fn arm(&mut self) -> Check {
        if self.armed {
            return self.take();
        }
        self.armed = true;
        let ticks = self.attacker.random.below(ticks_per_ms() / 4);
        gic::start_timer_ticks(self.pe, ticks);
        Ok(())
    }

    fn take(&mut self) -> Check {
        gic::acknowledge(self.pe)?;
        self.armed = false;
        note(TAKEN, 1);
        Ok(())
    }

    /// Raises a Secure interrupt.
    fn raise(&mut self) {
        static RAISING: [Lock; 2] = [const { Lock::new() }; 2];
        let which = self.attacker.random.below(2) as usize;
        RAISING[which].with(|| [Source::Clock, Source::Gpio][which].raise());
        note(RAISED, 1);
    }

    /// Makes a request of any kind to anybody.
    fn direct(&mut self) -> Check {
        let registers = self.attacker.direct();
        let answer = self.attacker.make(registers);
        self.follow(answer).map(drop)
    }

    /// Gives a hostile partition time.
    fn rampage(&mut self) -> Check {
        let random = &mut self.attacker.random;
        let partition = random.one_of(&[SP1, SP2, SP2]);
        let seed = random.next();
        let steps = 1 + random.below(128);
        let handle = self.attacker.handle();
        let what = match partition {
            SP1 if self.is_late => MORTAL | GENEROUS,
            SP1 => MORTAL,
            _ => 0,
        };
        let function = self
            .attacker
            .random
            .one_of(&[id::DIRECT_REQ_64, id::DIRECT_REQ_32]);
        let seed = if function == id::DIRECT_REQ_32 {
            seed >> 32
        } else {
            seed
        };
        let message = request(
            function,
            route(NWD, partition),
            RAMPAGE,
            [seed, steps, handle, what],
        );
        let answer = self.attacker.make(message);
        let answer = self.follow(answer)?;
        if answer[0] as u32 == id::ERROR && answer[2] as i32 == error::ABORTED {
            note(ABORTED, 1);
        }
        if matches!(answer[0] as u32, id::DIRECT_RESP_64 | id::DIRECT_RESP_32)
            && answer[3] == helper_call::OK
            && answer[1] as u16 == NWD
        {
            // A hostile partition may answer anything. Count no more calls than it can have made.
            note(MADE, answer[4].min(1000));
            let born = answer[5];
            let is_new = partition == SP1 && function == id::DIRECT_REQ_64 && born < counter();
            if is_new && BORN.fetch_max(born, Ordering::AcqRel) < born {
                note(LIVES, 1);
            }
        }
        Ok(())
    }

    /// Resumes the partition that was stopped or has yielded until it answers, and returns how the
    /// last call completed.
    fn follow(&mut self, mut answer: Answer) -> Check<Answer> {
        const TRIES: usize = 10_000;
        let mut whom = 0;
        for _ in 0..TRIES {
            match answer[0] as u32 {
                id::INTERRUPT | id::YIELD => {
                    whom = answer[1];
                    if self.armed && gic::is_pending() {
                        self.take()?;
                    }
                }
                id::ERROR if whom != 0 && answer[2] as i32 == error::BUSY => {}
                _ => return Ok(answer),
            }
            answer = self.attacker.call(id::RUN, &[whom]);
        }
        Ok(answer)
    }

    /// Asks a partition that behaves until it answers, and checks the answer.
    fn ask(&mut self, partition: u16, command: u32, arguments: [u64; 4]) -> Check<[u64; 4]> {
        let message: Regs = request(id::DIRECT_REQ_64, route(NWD, partition), command, arguments);
        note(ASKED, 1);
        let end = counter() + PATIENCE_MS * ticks_per_ms();
        loop {
            let answer = call(ffa::conduit(), message);
            let answer = self.follow(answer)?;
            if answer[0] == u64::from(id::ERROR) && answer[2] as i32 == error::BUSY {
                note(BUSY, 1);
                holds(counter() < end, partition)?;
                continue;
            }
            let results = helper_call::answer(NWD, partition, &answer)?;
            note(ANSWERED, 1);
            return Ok(results);
        }
    }

    /// Asks partitions that behave for something, as their clients do.
    fn behave(&mut self) -> Check {
        let number = self.attacker.random.next();
        let (one, other) = self.attacker.random.one_of(&[(SP3, SP4), (SP4, SP3)]);
        match self.attacker.random.below(4) {
            0 => self.borrow(number),
            1 => {
                let arguments = [other.into(), number, 0, 0];
                self.ask(one, RELAY, arguments).map(drop)
            }
            _ => {
                let [got, ..] = self.ask(one, ANSWER, [number, 0, 0, 0])?;
                equal(got, mix(number ^ u64::from(one)))
            }
        }
    }

    /// Shares a page with a partition that behaves, which changes it.
    fn borrow(&mut self, word: u64) -> Check {
        let address = LENT + self.pe as u64 * 4096;
        poke(address, word);
        let Some(handle) = share_page(SP4, address)? else {
            note(NO_ROOM, 1);
            return Ok(());
        };
        BEHAVING[self.pe].store(handle, Ordering::Release);
        let changed = self.ask(SP4, BORROW, [handle, word, 0, 0]);
        BEHAVING[self.pe].store(0, Ordering::Release);
        changed?;
        ffa::done(&reclaim(handle, 0))?;
        equal(peek(address), !word)
    }

    /// Checks a page that nobody was given.
    fn look(&mut self) -> Check {
        let page = PRIVATE + self.attacker.random.below(PRIVATE_PAGES) * 4096;
        (page..page + 4096)
            .step_by(8)
            .try_for_each(|address| equal(peek(address), pattern(address)))
    }
}

const VERSION: u32 = id::VERSION | 0x4000_0000;
const RXTX_MAP: u32 = id::RXTX_MAP_64;
const RXTX_UNMAP: u32 = id::RXTX_UNMAP | 0x4000_0000;
const RUN: u32 = id::RUN | 0x4000_0000;
const RECLAIM: u32 = id::MEM_RECLAIM | 0x4000_0000;
const FRAG_RX: u32 = id::MEM_FRAG_RX | 0x4000_0000;
const FRAG_TX: u32 = id::MEM_FRAG_TX | 0x4000_0000;

fn is_behaving(handle: u64) -> bool {
    let mut live = BEHAVING.iter().map(|live| live.load(Ordering::Acquire));
    live.any(|live| live != 0 && live == handle)
}

// req: GEN-20
fn after_the_attack(nwd: &Nwd) -> Check {
    for address in private_words() {
        equal(peek(address), pattern(address))?;
    }
    // The hostile partitions die, and the memory that they had is given back.
    let mut last = Outside {
        attacker: Attacker {
            me: nwd::caller(),
            random: Random::of_step(0, 0, 0),
            pages: (GIVEN, 64),
            image: IMAGE,
            calls: 0,
        },
        pe: 0,
        armed: false,
        is_late: false,
    };
    for partition in [SP1, SP2] {
        let message = request(
            id::DIRECT_REQ_64,
            route(NWD, partition),
            RAMPAGE,
            [0, 1, 0, DIE],
        );
        let answer = call(ffa::conduit(), message);
        last.follow(answer)?;
    }
    let mut reclaimed = 0;
    for handle in HANDLES.iter().chain(&HELD) {
        let answer = reclaim(handle.load(Ordering::Relaxed), 0);
        reclaimed += u64::from(answer[0] as u32 == id::SUCCESS);
    }
    let before = CAPACITY.load(Ordering::Relaxed);
    let capacity = capacity()?;
    println!("# {reclaimed} handles reclaimed; room for {capacity} shares, at first for {before}",);
    // Transactions that the Normal world left half sent stay until it sends more.
    holds(capacity + HALF_SENT >= before, capacity)?;
    for pe in 0..nwd.pes {
        let check = |[pe, ..]: [u64; 4]| -> Check<[u64; 4]> {
            let mut outside = Outside {
                attacker: Attacker {
                    me: nwd::caller(),
                    random: Random::of_step(1, pe, 0),
                    pages: (GIVEN, 64),
                    image: IMAGE,
                    calls: 0,
                },
                pe: pe as usize,
                armed: false,
                is_late: false,
            };
            for _ in 0..16 {
                outside.behave()?;
            }
            outside.borrow(pe)?;
            Ok([0; 4])
        };
        pe::run_on(pe, check, [pe as u64, 0, 0, 0])?;
    }
    equal(total(ASKED), total(ANSWERED))
}
