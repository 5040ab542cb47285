//! All kinds of messages at once, from all PEs to eight partitions, for long: nothing is lost,
//! duplicated or misrouted, and nothing leaks.
//!
//! Every message carries its lane (the sender) and its number in the lane; a receiver takes only
//! the next number. The free resources of the engine are measured before and after: as many shares
//! of as many pieces must fit in.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::ffa::indirect_message::{self, Header};
use crate::ffa::memory_calls::reclaim;
use crate::ffa::memory_descriptor::{NORMAL_WB, Receiver, Transaction, access};
use crate::ffa::{self, NWD, SP1, SP2, V1_2, error, id, route};
use crate::nwd::{self, Nwd, RX, TX, Test, page, pe, peek, poke};
use crate::rt::call::call;
use crate::rt::check::{Check, equal, fail, holds};
use crate::rt::lock::Lock;
use crate::rt::page::PAGE_SIZE;
use crate::rt::stage1::{self, Attributes};
use crate::rt::{Life, PATIENCE_MS, wait_until};
use crate::sp::{self, Command, Sp};
use crate::support::helper_call::{self, request};
use crate::support::sharing::receiver;
use crate::{command, helper, println, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(soak_setup, "A kernel at 1.2 with buffers and notifications"),
    test!(
        soak,
        "All kinds of messages at once, from all PEs to eight partitions",
        pes = 4
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(bind),
    helper!(count),
    helper!(relay),
    helper!(collect),
    helper!(write),
    helper!(take),
    helper!(raise),
    helper!(borrow),
];

const PARTITIONS: usize = 8;
/// One lane for each PE and one for each partition, by index.
const LANES: usize = 2 * pe::MAX;

/// Number of messages that a partition sends to another one in a row.
const RELAYED: u64 = 8;

/// The least number of calls that the soak makes, over all PEs.
const CALLS: u64 = 1_000_000;

// ---- counts of both sides ----

/// The number of the last message in each lane.
struct Lanes([AtomicU64; LANES]);

impl Lanes {
    const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; LANES])
    }

    /// Returns the next number of a lane, of which the caller is the only sender.
    fn next(&self, lane: usize) -> u64 {
        self.0[lane].load(Ordering::Acquire) + 1
    }

    /// Counts the message with that number, which must follow the last one of its lane.
    #[track_caller]
    fn advance(&self, lane: usize, number: u64) -> Check {
        let before = self.0[lane].swap(number, Ordering::AcqRel);
        equal(number, before + 1)
    }
}

/// Returns the index of a partition: 0 to 7.
fn index_of(partition: u16) -> usize {
    (partition - SP1) as usize % PARTITIONS
}

/// Makes a request, and returns `None` if the partition was busy.
#[track_caller]
fn attempt(
    me: u16,
    partition: u16,
    function: u32,
    command: u32,
    arguments: [u64; 4],
) -> Check<Option<[u64; 4]>> {
    let registers = request(function, route(me, partition), command, arguments);
    let answer = call(ffa::conduit(), registers);
    if answer[0] == u64::from(id::ERROR) && answer[2] == u64::from(error::BUSY as u32) {
        return Ok(None);
    }
    if function == id::DIRECT_REQ_32 {
        equal(answer[0], id::DIRECT_RESP_32)?;
        equal(answer[1], route(partition, me))?;
        equal(answer[3], helper_call::OK)?;
        return Ok(Some([answer[4], answer[5], answer[6], answer[7]]));
    }
    helper_call::answer(me, partition, &answer).map(Some)
}

// ---- inside the partitions ----

/// Direct messages by lane.
static DIRECT: Lanes = Lanes::new();
/// Indirect messages that were taken, by lane.
static TAKEN: Lanes = Lanes::new();
/// Indirect messages that were sent, by receiver: partitions by index, then the Normal world.
static SENT: Lanes = Lanes::new();
/// How often each notification of the Normal world was seen.
static SEEN: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];
/// A lock: TX and RX belong to one context at a time.
static BUFFERS: Lock = Lock::new();

/// Binds a notification of the Normal world for each PE.
fn bind(sp: &Sp, [map, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let who = route(NWD, sp.identity.id);
    ffa::done(&ffa::call(id::NOTIFICATION_BIND, &[who, 0, map, 0]))?;
    Ok([0; 4])
}

/// Counts the next message in a lane. Result: a number that only this partition answers.
fn count(sp: &Sp, [lane, number, ..]: [u64; 4]) -> Check<[u64; 4]> {
    DIRECT.advance(lane as usize, number)?;
    Ok([mix(sp.identity.id, number), 0, 0, 0])
}

/// Returns what `partition` answers to `number`, in 32 bits.
fn mix(partition: u16, number: u64) -> u64 {
    u64::from((number as u32).wrapping_mul(0x9e37_79b1) ^ u32::from(partition) << 16)
}

/// Asks another partition again and again. Result: how often that partition was free.
fn relay(sp: &Sp, [target, function, ..]: [u64; 4]) -> Check<[u64; 4]> {
    static NUMBERS: [Lanes; PARTITIONS] = [const { Lanes::new() }; PARTITIONS];
    static LOCK: Lock = Lock::new();
    let (me, target) = (sp.identity.id, target as u16);
    let lane = pe::MAX + index_of(me);
    let lanes = &NUMBERS[index_of(target)];
    let mut asked = 0;
    for _ in 0..RELAYED {
        // Contexts of this partition share its lane.
        LOCK.with(|| {
            let number = lanes.next(lane);
            let arguments = [lane as u64, number, 0, 0];
            let Some([answer, ..]) =
                attempt(me, target, function as u32, command!(count), arguments)?
            else {
                return Ok(());
            };
            asked += 1;
            equal(answer, mix(target, number))?;
            lanes.advance(lane, number)
        })?;
    }
    Ok([asked, 0, 0, 0])
}

/// Takes the notifications of the Normal world. Result: how often the one in x4 was seen.
fn collect(sp: &Sp, [bit, ..]: [u64; 4]) -> Check<[u64; 4]> {
    const FROM_VMS: u64 = 1 << 1;
    let got = ffa::call(id::NOTIFICATION_GET, &[sp.identity.id.into(), FROM_VMS]);
    ffa::succeeded(&got)?;
    let map = got[4] | got[5] << 32;
    for (n, seen) in SEEN.iter().enumerate() {
        seen.fetch_add(map >> n & 1, Ordering::AcqRel);
    }
    let seen = &SEEN[bit as usize];
    Ok([seen.load(Ordering::Acquire), 0, 0, 0])
}

/// Sends an indirect message. Result: whether there was room.
fn write(sp: &Sp, [target, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let (me, target) = (sp.identity.id, target as u16);
    let slot = if target == NWD {
        PARTITIONS
    } else {
        index_of(target)
    };
    BUFFERS.with(|| {
        let number = SENT.next(slot);
        let lane = pe::MAX + index_of(me);
        if !post(&sp::TX, me, target, lane, number)? {
            return Ok([0; 4]);
        }
        SENT.advance(slot, number)?;
        Ok([1, 0, 0, 0])
    })
}

/// Takes an indirect message, if there is one. Result: whether there was one.
fn take(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    const FRAMEWORK: u64 = 1 << 2 | 1 << 3;
    let taken = BUFFERS.with(|| unpost(&sp::RX, sp.identity.id, FRAMEWORK, &TAKEN))?;
    Ok([taken as u64, 0, 0, 0])
}

/// Sets a notification for the Normal world.
fn raise(sp: &Sp, [bit, ..]: [u64; 4]) -> Check<[u64; 4]> {
    // The schedule receiver interrupt waits until the partition gives up the PE.
    const DELAY: u64 = 1 << 1;
    let map = 1_u64 << bit;
    let who = route(sp.identity.id, NWD);
    let arguments = [who, DELAY, map & 0xffff_ffff, map >> 32];
    ffa::done(&ffa::call(id::NOTIFICATION_SET, &arguments))?;
    Ok([0; 4])
}

/// Retrieves a page, checks its word, changes it and relinquishes the page. Result: whether RX was
/// free.
fn borrow(sp: &Sp, [handle, word, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let caller = sp.caller();
    let receivers = [receiver(caller.id, access::RW)];
    let transaction = Transaction {
        sender: NWD,
        attributes: NORMAL_WB,
        flags: 0,
        handle,
        tag: word,
        receivers: &receivers,
        ranges: &[],
    };
    BUFFERS.with(|| {
        let answer = caller.send(id::MEM_RETRIEVE_REQ_64, &transaction);
        if answer[0] == u64::from(id::ERROR) {
            ffa::refused(&answer, error::BUSY)?;
            return Ok([0; 4]);
        }
        let got = caller.retrieved(&answer, &transaction)?;
        stage1::map(got.first, Attributes::NonSecure);
        equal(peek(got.first), word)?;
        poke(got.first, !word);
        stage1::unmap(got.first);
        ffa::done(&caller.relinquish(handle, 0))?;
        Ok([1, 0, 0, 0])
    })
}

// ---- indirect messages, on both sides ----

/// Sends lane and number. Returns false if there is no room.
fn post(
    tx: &crate::rt::page::Shared<PAGE_SIZE>,
    me: u16,
    to: u16,
    lane: usize,
    number: u64,
) -> Check<bool> {
    let mut payload = [0; 16];
    payload[..8].copy_from_slice(&(lane as u64).to_le_bytes());
    payload[8..].copy_from_slice(&number.to_le_bytes());
    let answer = indirect_message::send(tx, me, to, &payload);
    if answer[0] == u64::from(id::ERROR) {
        ffa::refused(&answer, error::BUSY)?;
        return Ok(false);
    }
    ffa::done(&answer)?;
    Ok(true)
}

/// Takes the message in RX. Returns false if none was announced.
fn unpost(
    rx: &crate::rt::page::Shared<PAGE_SIZE>,
    me: u16,
    flags: u64,
    lanes: &Lanes,
) -> Check<bool> {
    if !indirect_message::is_announced(me, flags) {
        return Ok(false);
    }
    let header = Header::read(rx);
    equal(header.receiver, me)?;
    equal(header.size, 16u32)?;
    let lane = rx.u64(header.offset as usize);
    let number = rx.u64(header.offset as usize + 8);
    let of_sender = if header.sender == NWD {
        lane < pe::MAX as u64
    } else {
        lane == (pe::MAX + index_of(header.sender)) as u64
    };
    holds(of_sender, lane)?;
    lanes.advance(lane as usize, number)?;
    ffa::done(&ffa::call(id::RX_RELEASE, &[]))?;
    Ok(true)
}

// ---- the Normal world ----

// req: RXTX-01, VER-01
fn soak_setup(nwd: &Nwd) -> Check {
    equal(ffa::call(id::VERSION, &[V1_2 as u64])[0] >> 16, 1u64)?;
    let buffers = [TX.address(), RX.address(), 1];
    ffa::done(&ffa::call(id::RXTX_MAP_64, &buffers))?;
    let bitmap = [NWD as u64, nwd.pes as u64];
    ffa::done(&ffa::call(id::NOTIFICATION_BITMAP_CREATE, &bitmap))?;
    for n in 0..PARTITIONS {
        // A partition may set one notification of each PE, and each PE may set one of the
        // partition.
        let map = 0x0101_0101_0101_0101_u64 << n;
        let arguments = [route(partition(n), NWD), 0, map & 0xffff_ffff, map >> 32];
        ffa::done(&ffa::call(id::NOTIFICATION_BIND, &arguments))?;
        nwd::ask(partition(n), command!(bind), [0xff, 0, 0, 0])?;
    }
    Ok(())
}

fn partition(index: usize) -> u16 {
    SP1 + index as u16
}

/// Number of calls that all PEs made.
static MADE: AtomicU64 = AtomicU64::new(0);
/// A lock for RX and TX of the Normal world.
static TX_LOCK: Lock = Lock::new();
static RX_LOCK: Lock = Lock::new();
/// Indirect messages of partitions that were taken.
static TAKEN_HERE: Lanes = Lanes::new();
/// How often each notification of a partition was seen.
static SEEN_HERE: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

// req: MSGD-07, GEN-20, RXTX-16
fn soak(nwd: &Nwd) -> Check {
    let before = capacity()?;
    for pe in 1..nwd.pes {
        pe::start(pe, soak_here, [pe as u64, 0, 0, 0])?;
    }
    let mut outcome = soak_here([0; 4]).map(drop);
    for pe in 1..nwd.pes {
        outcome = outcome.and(pe::finish(pe).map(drop));
    }
    outcome?;
    // Take the messages that were sent and not taken yet.
    for n in 0..PARTITIONS {
        take_here()?;
        nwd::ask(partition(n), command!(take), [0; 4])?;
    }
    println!("# {} calls", MADE.load(Ordering::Relaxed));
    equal(capacity()?, before)
}

/// The state of one PE.
struct Worker {
    pe: usize,
    random: u64,
    direct: [u64; PARTITIONS],
    posted: [u64; PARTITIONS],
    notified: [u64; PARTITIONS],
    raised: [u64; PARTITIONS],
    words: u64,
    second: u64,
}

fn soak_here([pe, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let mut worker = Worker {
        pe: pe as usize,
        random: 0x9e37_79b9_7f4a_7c15 ^ pe << 7,
        direct: [0; PARTITIONS],
        posted: [0; PARTITIONS],
        notified: [0; PARTITIONS],
        raised: [0; PARTITIONS],
        words: pe << 32,
        second: 0,
    };
    let mut life = Life::new();
    while MADE.load(Ordering::Relaxed) < CALLS {
        if pe == 0 {
            life.show(|| println!("# {} calls", MADE.load(Ordering::Relaxed)));
        }
        let calls = worker.step()?;
        MADE.fetch_add(calls, Ordering::Relaxed);
    }
    Ok([0; 4])
}

impl Worker {
    fn next(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as usize % below
    }

    /// Does one thing of some kind with some partition, and returns the number of calls that
    /// succeeded.
    fn step(&mut self) -> Check<u64> {
        let n = self.next(PARTITIONS);
        match self.next(18) {
            0..5 => self.direct(n, id::DIRECT_REQ_64),
            5..8 => self.direct(n, id::DIRECT_REQ_32),
            8..10 => self.relay(n),
            10 | 11 => self.post(n),
            12 => self.ask_to_write(n),
            13 => self.notify(n),
            14 => self.ask_to_raise(n),
            15 | 16 => self.direct2(n),
            _ => self.share(n),
        }
    }

    fn direct(&mut self, n: usize, function: u32) -> Check<u64> {
        let number = self.direct[n] + 1;
        let arguments = [self.pe as u64, number, 0, 0];
        let Some([answer, ..]) = attempt(NWD, partition(n), function, command!(count), arguments)?
        else {
            return Ok(0);
        };
        self.direct[n] = number;
        equal(answer, mix(partition(n), number))?;
        Ok(1)
    }

    /// Makes a request of the second kind, which partitions answer with its complement. sp2 speaks
    /// 1.1, which does not have such requests.
    fn direct2(&mut self, n: usize) -> Check<u64> {
        if partition(n) == SP2 {
            return Ok(0);
        }
        self.second += 1;
        let [lane, number] = [self.pe as u64, self.second];
        let words = [route(NWD, partition(n)), 0, 0, lane, number];
        let answer = call(ffa::conduit(), ffa::regs(id::DIRECT_REQ2, &words));
        if answer[0] == u64::from(id::ERROR) {
            ffa::refused(&answer, error::BUSY)?;
            return Ok(0);
        }
        equal(answer[0], id::DIRECT_RESP2)?;
        equal(answer[1], route(partition(n), NWD))?;
        equal(answer[4], !lane)?;
        equal(answer[5], !number)?;
        Ok(1)
    }

    /// Asks one partition to ask another one.
    fn relay(&mut self, n: usize) -> Check<u64> {
        let other = (n + 1 + self.next(PARTITIONS - 1)) % PARTITIONS;
        let arguments = [partition(other).into(), id::DIRECT_REQ_64.into(), 0, 0];
        self.helper(n, command!(relay), arguments)
            .map(|answer| answer.map_or(0, |[asked, ..]| 1 + asked))
    }

    fn helper(&self, n: usize, command: u32, arguments: [u64; 4]) -> Check<Option<[u64; 4]>> {
        attempt(NWD, partition(n), id::DIRECT_REQ_64, command, arguments)
    }

    /// Sends an indirect message to a partition, which then takes what there is.
    fn post(&mut self, n: usize) -> Check<u64> {
        let number = self.posted[n] + 1;
        let sent = TX_LOCK.with(|| post(&TX, NWD, partition(n), self.pe, number))?;
        if sent {
            self.posted[n] = number;
        }
        let taken = self.helper(n, command!(take), [0; 4])?;
        Ok(sent as u64 + if taken.is_some() { 2 } else { 0 })
    }

    /// Asks a partition to send an indirect message, to another one or to the Normal world.
    fn ask_to_write(&mut self, n: usize) -> Check<u64> {
        let other = self.next(PARTITIONS + 1);
        let target = if other == PARTITIONS || other == n {
            NWD
        } else {
            partition(other)
        };
        let answer = self.helper(n, command!(write), [target.into(), 0, 0, 0])?;
        if target == NWD {
            take_here()?;
        }
        Ok(answer.map_or(0, |[sent, ..]| 2 + sent))
    }

    /// Sets a notification of a partition, which then fetches it.
    fn notify(&mut self, n: usize) -> Check<u64> {
        let map = 1 << self.pe;
        let set = [route(NWD, partition(n)), 0, map, 0];
        ffa::done(&ffa::call(id::NOTIFICATION_SET, &set))?;
        self.notified[n] += 1;
        // The notification must be seen before the next one is set. Another context may have taken
        // it and not counted it yet.
        let wanted = self.notified[n];
        let mut seen = 0;
        let counted = wait_until(PATIENCE_MS, || {
            match self.helper(n, command!(collect), [self.pe as u64, 0, 0, 0]) {
                Ok(Some([count, ..])) => seen = count,
                Ok(None) => {}
                Err(_) => return true,
            }
            seen >= wanted
        });
        holds(counted, wanted)?;
        equal(seen, wanted)?;
        Ok(3)
    }

    /// Asks a partition to set a notification of the Normal world.
    fn ask_to_raise(&mut self, n: usize) -> Check<u64> {
        let bit = self.pe * 8 + n;
        if self
            .helper(n, command!(raise), [bit as u64, 0, 0, 0])?
            .is_none()
        {
            return Ok(0);
        }
        self.raised[n] += 1;
        let wanted = self.raised[n];
        collect_here()?;
        // Another PE may have taken the notification and not counted it yet.
        let seen = || SEEN_HERE[bit].load(Ordering::Acquire);
        holds(wait_until(PATIENCE_MS, || seen() >= wanted), wanted)?;
        equal(seen(), wanted)?;
        Ok(3)
    }

    /// Shares a page, lets the partition change it, and takes it back.
    fn share(&mut self, n: usize) -> Check<u64> {
        self.words += 1;
        let address = page(512 + self.pe as u64);
        poke(address, self.words);
        let handle = send(n, self.words, &[(address, 1)])?;
        equal(handle[0], id::SUCCESS)?;
        let handle = handle[2] | handle[3] << 32;
        let borrowed = self.helper(n, command!(borrow), [handle, self.words, 0, 0])?;
        ffa::done(&reclaim(handle, 0))?;
        let wanted = match borrowed {
            Some([1, ..]) => !self.words,
            _ => self.words,
        };
        equal(peek(address), wanted)?;
        Ok(if borrowed.is_some() { 5 } else { 2 })
    }
}

/// Shares `ranges` with partition `n`, and returns the completion of the call.
fn send(n: usize, tag: u64, ranges: &[(u64, u32)]) -> Check<ffa::Answer> {
    let receivers: [Receiver; 1] = [receiver(partition(n), access::RW)];
    let transaction = Transaction {
        sender: NWD,
        attributes: NORMAL_WB,
        flags: 0,
        handle: 0,
        tag,
        receivers: &receivers,
        ranges,
    };
    Ok(TX_LOCK.with(|| nwd::caller().send(id::MEM_SHARE_64, &transaction)))
}

/// Takes a message of a partition, if there is one.
fn take_here() -> Check<bool> {
    const FROM_SPM: u64 = 1 << 2;
    RX_LOCK.with(|| unpost(&RX, NWD, FROM_SPM, &TAKEN_HERE))
}

/// Takes the notifications of partitions.
fn collect_here() -> Check {
    const FROM_SPS: u64 = 1 << 0;
    let got = ffa::call(id::NOTIFICATION_GET, &[NWD.into(), FROM_SPS]);
    ffa::succeeded(&got)?;
    let map = got[2] | got[3] << 32;
    for (n, seen) in SEEN_HERE.iter().enumerate() {
        seen.fetch_add(map >> n & 1, Ordering::AcqRel);
    }
    Ok(())
}

/// Returns how many shares of a hundred scattered pages the engine takes before it runs out of
/// something. Reclaims them.
fn capacity() -> Check<u64> {
    const MAX: usize = 128;
    const PIECES: usize = 100;
    let mut handles = [0; MAX];
    let mut count = 0;
    for slot in &mut handles {
        let first = 1024 + (count * PIECES * 2) as u64;
        let ranges: [(u64, u32); PIECES] =
            core::array::from_fn(|n| (page(first + 2 * n as u64), 1));
        let answer = send(0, 0, &ranges)?;
        if answer[0] == u64::from(id::ERROR) {
            ffa::refused(&answer, error::NO_MEMORY)?;
            break;
        }
        *slot = answer[2] | answer[3] << 32;
        count += 1;
    }
    for handle in &handles[..count] {
        ffa::done(&reclaim(*handle, 0))?;
    }
    if count == MAX {
        return fail(count as u64);
    }
    Ok(count as u64)
}
