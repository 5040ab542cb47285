//! Another image takes the place of sp3 while the system runs (FF-A v1.3, live activation). TF-A
//! 2.12 has no service for that, so the Normal world sends the messages of one.
//!
//! sp3 counts what it serves, and clients number what they ask for: a request that is lost, or
//! served twice, is a gap in the sequence of its client. The images differ in their names.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::board;
use crate::ffa::error::{ABORTED, BUSY, DENIED, INVALID_PARAMETERS, NOT_SUPPORTED, RETRY};
use crate::ffa::memory_calls::reclaim;
use crate::ffa::memory_descriptor::access;
use crate::ffa::{self, NOBODY, NWD, SP2, SP3, SPMC, id, route};
use crate::nwd::source::{GPIO_INTERRUPT, Source};
use crate::nwd::{Nwd, Test, ask, page, pe, peek, poke};
use crate::rt::call::{Regs, call};
use crate::rt::check::{Check, equal, fail, holds};
use crate::rt::page::PAGE_SIZE;
use crate::rt::stage1::{self, Attributes};
use crate::rt::{PATIENCE_MS, exception_level, wait_until};
use crate::sp::{self, Command, Identity, Sp, fault};
use crate::support::borrowing::{Borrow, give_back, is_fine};
use crate::support::helper_call::{self, request};
use crate::support::interrupt_handler::{comes_to, let_through};
use crate::support::sharing::share;
use crate::{command, helper, test};

/// The tests of this file for the layout `live`. From the fifth one on, sp3 runs the second image.
pub const TESTS: &[Test] = &[
    test!(
        refused_activations,
        "sp3 goes on after each live activation that is refused"
    ),
    test!(
        stop_refused,
        "sp3 refuses to stop for another image, and goes on"
    ),
    test!(
        death_in_the_stop,
        "sp3 fails when it is to stop, and starts anew"
    ),
    test!(
        death_of_the_new_image,
        "The new image of sp3 fails, and the old one starts anew"
    ),
    test!(
        activations_under_load,
        "sp3 is replaced again and again, and no request is lost"
    ),
    test!(
        what_a_new_image_finds,
        "Shared memory and notifications outlive the image of sp3"
    ),
    test!(
        interrupt_meanwhile,
        "An interrupt that comes while sp3 is replaced is handled by the new image"
    ),
];

/// The tests for a partition at S-EL0.
pub const AT_S_EL0: &[Test] = &[
    test!(
        activations_under_load,
        "sp3 at S-EL0 is replaced again and again, and no request is lost"
    ),
    test!(
        what_a_new_image_finds,
        "Shared memory and notifications outlive the image of sp3 at S-EL0"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(begin),
    helper!(count),
    helper!(relay),
    helper!(prepare_stop),
    helper!(bind),
    helper!(notified),
    helper!(add),
];

/// The number of the helper [`begin`].
pub const BEGIN: u32 = command!(begin);

/// w2 of the messages. The answer to each has the next number.
mod message {
    pub const STOP: u64 = 0x8000_000a;
    pub const START: u64 = 0x8000_000c;
    pub const FINISH: u64 = 0x8000_000e;
}

/// The region of the live state, as the manifest of sp3 has it.
const STATE: u64 = board::package(4) + 0x8_0000;
/// Packages that BL2 has loaded: another image; one that fails when it takes over; one with another
/// manifest; the beginning of one.
const NEXT: u64 = board::package(5);
const DIES: u64 = board::package(6);
const OTHER: u64 = board::package(7);
const CUT: u64 = board::package(8);
/// Pages of each place.
const PAGES: u64 = 0x40;

/// The number of clients that sp3 tells apart.
const CLIENTS: usize = 16;

/// The last number of each client.
static LAST: [AtomicU64; CLIENTS] = [const { AtomicU64::new(0) }; CLIENTS];
/// The number of requests that all images in a row have served.
static SERVED: AtomicU64 = AtomicU64::new(0);
/// The number of images in a row that took over from another one.
static TAKEOVERS: AtomicU64 = AtomicU64::new(0);
/// The code with which sp3 refuses to stop, or [`DIE`].
static AT_STOP: AtomicU64 = AtomicU64::new(0);
/// In [`AT_STOP`]: sp3 fails.
const DIE: u64 = 1;

/// The names of images that hand their state over, and of those that have none to hand over.
const WITH_STATE: &str = "live image ";
const WITHOUT_STATE: &str = "stateless image ";

/// Returns the number of the image, if it is one of these.
fn image(identity: &Identity) -> Option<u64> {
    let mut names = [WITH_STATE, WITHOUT_STATE].into_iter();
    let number = names.find_map(|name| identity.name.strip_prefix(name))?;
    Some((number.as_bytes()[0] - b'0').into())
}

/// Returns whether the image hands its state over.
fn has_state(identity: &Identity) -> bool {
    identity.name.starts_with(WITH_STATE)
}

/// Maps a page in stage 1, which a partition at S-EL0 does not have.
fn map(address: u64, attributes: Attributes) {
    if exception_level() == 1 {
        stage1::map(address, attributes);
    }
}

/// Returns the words that the live state consists of, each with its copy in the region.
fn state() -> impl Iterator<Item = (&'static AtomicU64, &'static AtomicU64)> {
    let words = LAST.iter().chain([&SERVED, &TAKEOVERS]);
    words.enumerate().map(|(n, word)| {
        // SAFETY: the region is mapped, and nothing else uses it.
        (word, unsafe { &*(STATE as *const AtomicU64).add(n) })
    })
}

/// Takes over the state of the image before this one, if there was one.
pub fn during_initialisation(identity: &Identity) {
    let Some(image) = image(identity) else {
        return;
    };
    if has_state(identity) {
        map(STATE, Attributes::Data);
    }
    if sp::ENTRY[1].load(Ordering::Relaxed) != 1 {
        return;
    }
    if image == 3 {
        fault::die();
    }
    if has_state(identity) {
        for (word, copy) in state() {
            word.store(copy.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
    TAKEOVERS.fetch_add(1, Ordering::Relaxed);
}

/// Returns whether a request is the message that another image is to take over.
pub fn is_stop(request: &Regs) -> bool {
    request[2] == message::STOP
}

/// Leaves the state to the next image, or refuses to stop. Returns the next message, if any comes.
pub fn stop(identity: &Identity, request: &Regs) -> Regs {
    let mut code = AT_STOP.swap(0, Ordering::Relaxed);
    if code == DIE {
        fault::die();
    }
    if request[1] != route(SPMC, identity.id) || request[3..8] != [1, 0, 0, 0, 0] {
        code = INVALID_PARAMETERS as u32 as u64;
    }
    let (mut base, mut size) = (0, 0);
    if code == 0 && has_state(identity) {
        for (word, copy) in state() {
            copy.store(word.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        (base, size) = (STATE, PAGE_SIZE as u64);
    }
    let back = route(identity.id, SPMC);
    ffa::call(
        id::DIRECT_RESP_32,
        &[back, message::STOP + 1, code, base, size],
    )
}

/// Forgets all that was served. Returns the number of the image, and the register that says whether
/// it took over.
fn begin(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    for word in LAST.iter().chain([&SERVED, &TAKEOVERS]) {
        word.store(0, Ordering::Relaxed);
    }
    let register = sp::ENTRY[1].load(Ordering::Relaxed);
    Ok([image(sp.identity).unwrap_or(0), register, 0, 0])
}

/// Serves request number x5 of client x4. Results: the image, all that was served, and the number
/// of images that took over.
fn count(sp: &Sp, [client, number, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let last = &LAST[client as usize];
    equal(number, last.load(Ordering::Relaxed) + 1)?;
    last.store(number, Ordering::Relaxed);
    let served = SERVED.fetch_add(1, Ordering::Relaxed) + 1;
    let takeovers = TAKEOVERS.load(Ordering::Relaxed);
    Ok([image(sp.identity).unwrap_or(0), served, takeovers, 0])
}

/// Makes a request of a client until sp3 is not busy. Returns the results, and behind them how
/// often sp3 was busy.
fn served(me: u16, client: u64, number: u64) -> Check<[u64; 4]> {
    served_by(me, SP3, client, number)
}

/// As [`served`], by another partition than sp3.
pub fn served_by(me: u16, partition: u16, client: u64, number: u64) -> Check<[u64; 4]> {
    let message = request(
        id::DIRECT_REQ_64,
        route(me, partition),
        command!(count),
        [client, number, 0, 0],
    );
    let mut busy = 0;
    let mut answer = [0; 18];
    let is_over = wait_until(PATIENCE_MS, || {
        answer = call(ffa::conduit(), message);
        let is_busy = answer[0] == id::ERROR as u64 && answer[2] as i32 == BUSY;
        busy += u64::from(is_busy);
        !is_busy
    });
    if !is_over {
        return fail(busy);
    }
    let [image, served, takeovers, _] = helper_call::answer(me, partition, &answer)?;
    Ok([image, served, takeovers, busy])
}

/// Makes requests x5 to x5 + x6 - 1 of client x4 from a partition. Result: how often sp3 was busy.
fn relay(sp: &Sp, [client, first, requests, _]: [u64; 4]) -> Check<[u64; 4]> {
    let mut busy = 0;
    for number in first..first + requests {
        busy += served(sp.identity.id, client, number)?[3];
    }
    Ok([busy, 0, 0, 0])
}

fn prepare_stop(_: &Sp, [code, ..]: [u64; 4]) -> Check<[u64; 4]> {
    AT_STOP.store(code, Ordering::Relaxed);
    Ok([0; 4])
}

/// Sends a message of the service for live activation, and returns the status in its answer.
#[track_caller]
fn service(message: u64, [partition, address, pages]: [u64; 3]) -> Check<i32> {
    let to_spmc = route(NWD, SPMC);
    let message_words = [to_spmc, message, partition, address, pages, 0, 0];
    let answer = ffa::call(id::DIRECT_REQ_64, &message_words);
    equal(answer[0], id::DIRECT_RESP_32)?;
    equal(answer[1], route(SPMC, NWD))?;
    equal(answer[2], message + 1)?;
    holds(answer[4..8] == [0; 4], answer[4])?;
    Ok(answer[3] as i32)
}

/// Has the package at `address` loaded for sp3, once that has no work.
#[track_caller]
fn start(address: u64) -> Check<i32> {
    start_of(SP3, address)
}

/// Has the package at `address` loaded for a partition, once that has no work.
#[track_caller]
pub fn start_of(partition: u16, address: u64) -> Check<i32> {
    let mut status = Ok(RETRY);
    wait_until(PATIENCE_MS, || {
        status = service(message::START, [partition.into(), address, PAGES]);
        !matches!(status, Ok(RETRY))
    });
    status
}

#[track_caller]
fn finish() -> Check<i32> {
    finish_of(SP3)
}

/// Has the image that is loaded for a partition take over.
#[track_caller]
pub fn finish_of(partition: u16) -> Check<i32> {
    service(message::FINISH, [partition.into(), 0, 0])
}

/// Has the second image loaded for sp3.
#[track_caller]
pub fn start_next() -> Check {
    has_status(start(NEXT)?, 0)
}

/// Has the image that is loaded take over.
#[track_caller]
pub fn finish_next() -> Check {
    has_status(finish()?, 0)
}

/// Fails unless a status is that code.
#[track_caller]
pub fn has_status(status: i32, code: i32) -> Check {
    equal(status as u32, code as u32)
}

/// Fails unless sp3 began anew, with the first image.
fn began_anew() -> Check {
    let [image, register, ..] = ask(SP3, command!(begin), [0; 4])?;
    equal(image, 1u64)?;
    equal(register, 0u64)?;
    let [_, all, takeovers, _] = served(NWD, 0, 1)?;
    equal(all, 1u64)?;
    equal(takeovers, 0u64)
}

// req: LIVE-01, LIVE-03, LIVE-04, LIVE-07
fn refused_activations(_: &Nwd) -> Check {
    ask(SP3, command!(begin), [0; 4])?;
    let mut number = 0;
    let own = board::package(2);
    for (partition, address, pages, code) in [
        (NOBODY, NEXT, PAGES, INVALID_PARAMETERS),
        (SP2, NEXT, PAGES, NOT_SUPPORTED),
        (SP3, 0, PAGES, INVALID_PARAMETERS),
        (SP3, NEXT + 8, PAGES, INVALID_PARAMETERS),
        (SP3, NEXT, 0, INVALID_PARAMETERS),
        (SP3, NEXT, u64::MAX, INVALID_PARAMETERS),
        (SP3, NEXT, 1 << 52, INVALID_PARAMETERS),
        (SP3, page(90), PAGES, INVALID_PARAMETERS),
        (SP3, board::SPMC, PAGES, INVALID_PARAMETERS),
        (SP3, board::PARTITIONS, PAGES, INVALID_PARAMETERS),
        (SP3, own, PAGES, INVALID_PARAMETERS),
        (SP3, STATE, 1, INVALID_PARAMETERS),
        (SP3, board::EL3[0], 1, INVALID_PARAMETERS),
        // Nothing, the beginning of a package, less than a package, and one that brings another
        // manifest.
        (SP3, CUT + PAGES * 0x1000, PAGES, INVALID_PARAMETERS),
        (SP3, CUT, PAGES, INVALID_PARAMETERS),
        (SP3, NEXT, 4, INVALID_PARAMETERS),
        (SP3, OTHER, PAGES, INVALID_PARAMETERS),
    ] {
        let status = service(message::START, [partition.into(), address, pages])?;
        has_status(status, code)?;
        has_status(finish()?, DENIED)?;
        number += 1;
        let [image, ..] = served(NWD, 0, number)?;
        equal(image, 1u64)?;
    }
    // Nobody else can send such a message, nor can anybody receive it.
    for route in [route(NWD, SP3), route(1, SPMC)] {
        let words = [route, message::START, SP3.into(), NEXT, PAGES, 0, 0];
        ffa::refused(&ffa::call(id::DIRECT_REQ_64, &words), INVALID_PARAMETERS)?;
    }
    let [_, all, takeovers, _] = served(NWD, 0, number + 1)?;
    equal(all, number + 1)?;
    equal(takeovers, 0u64)
}

// req: LIVE-07, LIVE-12
fn stop_refused(_: &Nwd) -> Check {
    ask(SP3, command!(begin), [0; 4])?;
    served(NWD, 0, 1)?;
    for (number, code) in [(2, BUSY), (3, ABORTED), (4, DENIED)] {
        ask(SP3, command!(prepare_stop), [code as u32 as u64, 0, 0, 0])?;
        has_status(start(NEXT)?, code)?;
        has_status(finish()?, DENIED)?;
        let [image, all, ..] = served(NWD, 0, number)?;
        equal(image, 1u64)?;
        equal(all, number)?;
    }
    Ok(())
}

// req: LIVE-11
fn death_in_the_stop(_: &Nwd) -> Check {
    ask(SP3, command!(prepare_stop), [DIE, 0, 0, 0])?;
    has_status(start(NEXT)?, ABORTED)?;
    has_status(finish()?, DENIED)?;
    began_anew()
}

// req: LIVE-07, LIVE-08
fn death_of_the_new_image(_: &Nwd) -> Check {
    has_status(start(DIES)?, 0)?;
    has_status(finish()?, ABORTED)?;
    has_status(finish()?, DENIED)?;
    began_anew()
}

/// Set while clients go on.
static GO: AtomicBool = AtomicBool::new(false);

/// Makes requests on one PE, by a client of the Normal world and by one that is a partition.
/// Results: the number of both together, and how often sp3 was busy.
fn clients_here([pe, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let (mut number, mut busy) = (0, 0);
    while GO.load(Ordering::Acquire) {
        number += 1;
        busy += served(NWD, 2 * pe, number)?[3];
        busy += ask(SP2, command!(relay), [2 * pe + 1, number, 1, 0])?[0];
    }
    Ok([2 * number, busy, 0, 0])
}

/// How often sp3 is replaced under load.
const ROUNDS: u64 = 16;

// req: LIVE-02, LIVE-03, LIVE-05, LIVE-11, LIVE-13
fn activations_under_load(nwd: &Nwd) -> Check {
    ask(SP3, command!(begin), [0; 4])?;
    GO.store(true, Ordering::Release);
    for pe in 1..nwd.pes {
        pe::start(pe, clients_here, [pe as u64, 0, 0, 0])?;
    }
    let mut number = 0;
    let outcome = (1..=ROUNDS).try_for_each(|round| replace_once(round, &mut number));
    GO.store(false, Ordering::Release);
    let (mut all, mut busy) = (number, 0);
    for pe in 1..nwd.pes {
        let [requests, here, ..] = pe::finish(pe)?;
        // Each PE came through.
        holds(requests > 2, requests)?;
        all += requests;
        busy += here;
    }
    outcome?;
    let [image, served, takeovers, _] = served(NWD, 0, number + 1)?;
    equal(image, 2u64)?;
    equal(served, all + 1)?;
    equal(takeovers, ROUNDS)?;
    crate::println!("# {ROUNDS} images, {all} requests served, {busy} times busy");
    Ok(())
}

/// Replaces sp3 between requests of this PE, which are in sequence before, and after.
fn replace_once(round: u64, number: &mut u64) -> Check {
    for _ in 0..32 {
        *number += 1;
        let [_, _, takeovers, _] = served(NWD, 0, *number)?;
        equal(takeovers, round - 1)?;
    }
    start_next()?;
    // Nobody is served until the new image runs, which a second start cannot bring forward.
    let message = request(id::DIRECT_REQ_64, route(NWD, SP3), command!(begin), [0; 4]);
    ffa::refused(&call(ffa::conduit(), message), BUSY)?;
    ffa::refused(&ffa::call(id::RUN, &[u64::from(SP3) << 16]), BUSY)?;
    let again = [SP3.into(), NEXT, PAGES];
    has_status(service(message::START, again)?, DENIED)?;
    finish_next()?;
    *number += 1;
    let [image, _, takeovers, _] = served(NWD, 0, *number)?;
    equal(image, 2u64)?;
    equal(takeovers, round)
}

const NOTIFICATION: u64 = 1 << 5;

/// Lets the Normal world notify sp3.
fn bind(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let pair = route(NWD, sp.identity.id);
    ffa::done(&ffa::call(
        id::NOTIFICATION_BIND,
        &[pair, 0, NOTIFICATION, 0],
    ))?;
    Ok([0; 4])
}

/// Returns the notifications of the Normal world.
fn notified(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let answer = ffa::call(id::NOTIFICATION_GET, &[sp.identity.id.into(), 1 << 1]);
    equal(answer[0], id::SUCCESS)?;
    Ok([answer[4], answer[5], 0, 0])
}

/// Adds x5 to the word at x4 in Non-secure memory.
fn add(_: &Sp, [address, what, ..]: [u64; 4]) -> Check<[u64; 4]> {
    map(address, Attributes::NonSecure);
    poke(address, peek(address) + what);
    if exception_level() == 1 {
        stage1::unmap(address);
    }
    Ok([0; 4])
}

// req: LIVE-06
fn what_a_new_image_finds(_: &Nwd) -> Check {
    let address = page(91);
    poke(address, 1);
    let handle = share(SP3, access::RW, &[(address, 1)])?;
    is_fine(Borrow::new(handle).by(SP3)?)?;
    ask(SP3, command!(add), [address, 2, 0, 0])?;
    ask(SP3, command!(bind), [0; 4])?;
    let set = [route(NWD, SP3), 0, NOTIFICATION, 0];
    ffa::done(&ffa::call(id::NOTIFICATION_SET, &set))?;

    start_next()?;
    ffa::refused(&reclaim(handle, 0), DENIED)?;
    finish_next()?;

    ask(SP3, command!(add), [address, 4, 0, 0])?;
    equal(peek(address), 7u64)?;
    let [bits, ..] = ask(SP3, command!(notified), [0; 4])?;
    equal(bits, NOTIFICATION)?;
    give_back(SP3, handle, 0, 0)?;
    ffa::done(&reclaim(handle, 0))
}

// req: LIVE-06
fn interrupt_meanwhile(_: &Nwd) -> Check {
    start_next()?;
    finish_next()?;
    let_through(SP3, GPIO_INTERRUPT)?;
    for count in 1..=2 {
        Source::Gpio.raise();
        comes_to(SP3, count)?;
    }
    start_next()?;
    Source::Gpio.raise();
    finish_next()?;
    // The new image counts from zero. It has the interrupt enabled, though it did not ask for it.
    comes_to(SP3, 1)?;
    Source::Gpio.raise();
    comes_to(SP3, 2)
}
