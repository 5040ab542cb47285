//! A Normal world for whoever tries a partition: it finds the partitions and greets each.
//!
//! Every partition that receives direct requests gets one with [`GREETING`] in x3; any direct
//! response will do. A partition that returns [`GREETING`] in x3 says in x4 what else it knows.
//!
//! - Bit 0: it gets [`PAGE`] in x3, the handle of a shared page in x4, and in x5 the length of the
//!   text at the start of the page. It must return `PAGE` in x3 and the sum of the bytes in x4.
//! - Bit 1: it gets the notification [`BELL`], and must set `BELL` of the Normal world then.
//! - Bit 2: it gets a request with 32-bit registers, of no operation, and must answer.

use crate::ffa::memory_calls::reclaim;
use crate::ffa::{self, Answer, NWD, V1_2, error, id};
use crate::println;
use crate::rt::check::{Check, equal, holds};
use crate::rt::page::PAGE_SIZE;
use crate::rt::wait_until;
use crate::support::partition_info::{RECEIVES, info_get};
use crate::support::sharing;

use super::{RX, TX, finish, gic, page, poke, report};

/// "hello", as the bytes of a register.
pub const GREETING: u64 = u64::from_le_bytes(*b"hello\0\0\0");
/// "page", as the bytes of a register.
pub const PAGE: u64 = u64::from_le_bytes(*b"page\0\0\0\0");

/// Bits of the answer: the partition knows [`PAGE`], [`BELL`], and 32-bit registers.
const KNOWS_PAGE: u64 = 1 << 0;
const KNOWS_BELL: u64 = 1 << 1;
const KNOWS_32_BIT: u64 = 1 << 2;

/// The notification in both directions.
const BELL: u64 = 1;
/// Milliseconds after which a partition should have set its notification.
const BELL_MS: u64 = 10_000;

/// Feature id of the schedule receiver interrupt.
const SCHEDULE_RECEIVER: u64 = 2;
/// w2 of `FFA_NOTIFICATION_GET`: notifications of partitions.
const FROM_PARTITIONS: u64 = 1;

/// The text in the page; its length is a multiple of 8.
const TEXT: &[u8] = b"Greetings from the Normal world!";

/// Permissions of a borrower: may read, and not execute.
const READ_ONLY: u8 = 1;

/// The most partitions that are greeted.
const MOST: usize = 64;
/// Bytes of a descriptor of a partition.
const DESCRIPTOR: usize = 24;
/// How often a partition may be interrupted, or yield, before it has answered.
const TURNS: usize = 1000;

/// Greets all partitions.
pub fn run() {
    println!("# The Normal world looks for partitions");
    let mut found = [(0, 0); MOST];
    let count = match find(&mut found) {
        Ok(count) => count,
        Err(why) => {
            println!("TESTS 1");
            report("find_partitions", Err(why));
            return finish();
        }
    };
    println!("TESTS {}", 1 + count);
    report("find_partitions", holds(count > 0, count as u64));
    for (partition, properties) in &found[..count] {
        println!("# partition {partition:#06x}");
        let outcome = if properties & RECEIVES == 0 {
            Err(crate::rt::check::Failure::Skip(
                "its manifest lets it receive no direct request",
            ))
        } else {
            greet(*partition)
        };
        report("greet", outcome);
    }
    print_ring();
    finish();
}

/// Prints the ring of calls that an SPMC with `trace-ring` has: all lines with words that are not
/// zero.
fn print_ring() {
    let route = ffa::route(NWD, ffa::SPMC);
    let mut first = 0;
    loop {
        let answer = ffa::call(id::DIRECT_REQ_64, &[route, 0, first]);
        let [function, _, _, count, words @ ..] = answer;
        if function as u32 != id::DIRECT_RESP_64 || first >= count {
            return;
        }
        let [a, b, c, d, ..] = words;
        if a | b | c | d != 0 {
            println!("RING {first:x} {a:x} {b:x} {c:x} {d:x}");
        }
        first += 4;
    }
}

/// Notes the id and the properties of each partition, and returns how many there are.
fn find(found: &mut [(u16, u32)]) -> Check<usize> {
    let version = ffa::call(id::VERSION, &[V1_2.into()])[0];
    holds(version as u32 >= V1_2, version)?;
    let (tx, rx) = (TX.address(), RX.address());
    ffa::done(&ffa::call(id::RXTX_MAP_64, &[tx, rx, 1]))?;
    let answer = info_get([0; 4], 0);
    ffa::succeeded(&answer)?;
    let count = (answer[2] as usize)
        .min(PAGE_SIZE / DESCRIPTOR)
        .min(found.len());
    for (n, entry) in found[..count].iter_mut().enumerate() {
        *entry = (RX.u16(n * DESCRIPTOR), RX.u32(n * DESCRIPTOR + 4));
    }
    ffa::done(&ffa::call(id::RX_RELEASE, &[]))?;
    Ok(count)
}

fn greet(partition: u16) -> Check {
    let [greeting, knows, ..] = ask(partition, [GREETING, 0, 0, 0, 0])?;
    println!("# partition {partition:#06x} answers {greeting:#x}, {knows:#x}");
    if greeting != GREETING {
        return Ok(());
    }
    if knows & KNOWS_PAGE != 0 {
        show_page(partition)?;
    }
    if knows & KNOWS_BELL != 0 {
        ring(partition)?;
    }
    if knows & KNOWS_32_BIT != 0 {
        let request = ffa::call(id::DIRECT_REQ_32, &[ffa::route(NWD, partition)]);
        let is_answered = equal(go_on(request)[0], id::DIRECT_RESP_32);
        demand(partition, "answer 32-bit requests", is_answered)?;
        println!("# partition {partition:#06x} answered a 32-bit request");
    }
    Ok(())
}

/// Shares a page with a text, and demands the sum of its bytes.
fn show_page(partition: u16) -> Check {
    for (n, word) in TEXT.chunks_exact(8).enumerate() {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        poke(page(0) + 8 * n as u64, u64::from_le_bytes(bytes));
    }
    let handle = sharing::share(partition, READ_ONLY, &[(page(0), 1)])?;
    let [answer, sum, ..] = ask(partition, [PAGE, handle, TEXT.len() as u64, 0, 0])?;
    let expected: u64 = TEXT.iter().map(|byte| u64::from(*byte)).sum();
    let is_right = equal(answer, PAGE).and(equal(sum, expected));
    demand(
        partition,
        "return `page`, and the sum of the bytes",
        is_right,
    )?;
    ffa::done(&reclaim(handle, 0))?;
    println!("# partition {partition:#06x} read a shared page and gave it back");
    Ok(())
}

/// Notifies a partition, runs it as a scheduler does, and demands that it notifies in turn, in that
/// run or later.
fn ring(partition: u16) -> Check {
    let feature = ffa::call(id::FEATURES, &[SCHEDULE_RECEIVER]);
    ffa::succeeded(&feature)?;
    let interrupt = feature[2] as u32;
    let of_vm = u64::from(NWD);
    let back = ffa::route(partition, NWD);
    ffa::done(&ffa::call(id::NOTIFICATION_BITMAP_CREATE, &[of_vm, 1]))?;
    ffa::done(&ffa::call(id::NOTIFICATION_BIND, &[back, 0, BELL]))?;

    let there = ffa::route(NWD, partition);
    let is_set = ffa::done(&ffa::call(id::NOTIFICATION_SET, &[there, 0, BELL]));
    demand(partition, "bind notification 0 to the Normal world", is_set)?;
    equal(to_schedule(partition, interrupt)?, partition)?;
    go_on(ffa::call(id::RUN, &[u64::from(partition) << 16]));

    equal(to_schedule(partition, interrupt)?, NWD)?;
    let pending = ffa::call(id::NOTIFICATION_GET, &[of_vm, FROM_PARTITIONS]);
    ffa::succeeded(&pending)?;
    demand(partition, "set notification 0", equal(pending[2], BELL))?;
    ffa::done(&ffa::call(id::NOTIFICATION_UNBIND, &[back, 0, BELL]))?;
    ffa::done(&ffa::call(id::NOTIFICATION_BITMAP_DESTROY, &[of_vm]))?;
    println!("# partition {partition:#06x} was notified and notified in turn");
    Ok(())
}

/// Waits for the schedule receiver interrupt, and returns the only endpoint with notifications.
fn to_schedule(partition: u16, interrupt: u32) -> Check<u16> {
    gic::open(0, interrupt);
    let came = wait_until(BELL_MS, || gic::waits(interrupt));
    demand(
        partition,
        "set notification 0 within ten seconds",
        holds(came, BELL_MS),
    )?;
    gic::take(0, interrupt)?;
    let lists = ffa::call(id::NOTIFICATION_INFO_GET_64, &[]);
    equal(lists[0], id::SUCCESS_64)?;
    Ok(lists[3] as u16)
}

/// Says what a partition must do if `check` failed, because it did not.
fn demand(partition: u16, what: &str, check: Check) -> Check {
    if check.is_err() {
        println!("# partition {partition:#06x} must {what}");
    }
    check
}

/// Lets a partition go on as often as it is interrupted or yields, and returns what comes then.
fn go_on(mut answer: Answer) -> Answer {
    for _ in 0..TURNS {
        let function = answer[0] as u32;
        if function != id::INTERRUPT && function != id::YIELD {
            break;
        }
        answer = ffa::call(id::RUN, &[answer[1]]);
    }
    answer
}

/// Sends a direct request, lets the partition go on as often as it is interrupted, and returns x3
/// to x7 of the response.
fn ask(partition: u16, words: [u64; 5]) -> Check<[u64; 5]> {
    let [a, b, c, d, e] = words;
    let route = ffa::route(NWD, partition);
    let mut answer = go_on(ffa::call(id::DIRECT_REQ_64, &[route, 0, a, b, c, d, e]));
    if answer[0] as u32 == id::DIRECT_RESP_32 {
        // The upper halves of registers mean nothing then.
        answer = answer.map(|register| register & 0xffff_ffff);
    } else {
        if answer[0] as u32 == id::ERROR {
            let code = answer[2] as i32;
            println!(
                "# partition {partition:#06x}: FFA_ERROR {code}, {}",
                error::name(code)
            );
        }
        equal(answer[0], id::DIRECT_RESP_64)?;
    }
    let mut words = [0; 5];
    words.copy_from_slice(&answer[3..8]);
    Ok(words)
}
