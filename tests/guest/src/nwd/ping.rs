//! A Normal world for whoever tries a partition: it finds the partitions and greets each.
//!
//! Every partition that receives direct requests gets one with [`GREETING`] in x3; any direct
//! response will do. A partition that returns [`GREETING`] in x3 and 1 in x4 is then tried in
//! a second way: it gets [`PAGE`] in x3, the handle of a shared page in x4, and in x5 the length of
//! the text at the start of the page. It must return `PAGE` in x3 and the sum of the bytes in x4.

use crate::ffa::memory_calls::reclaim;
use crate::ffa::{self, NWD, V1_2, id};
use crate::println;
use crate::rt::check::{Check, equal, holds};
use crate::rt::page::PAGE_SIZE;
use crate::support::partition_info::{RECEIVES, info_get};
use crate::support::sharing;

use super::{RX, TX, finish, page, poke, report};

/// "hello", as the bytes of a register.
pub const GREETING: u64 = u64::from_le_bytes(*b"hello\0\0\0");
/// "page", as the bytes of a register.
pub const PAGE: u64 = u64::from_le_bytes(*b"page\0\0\0\0");

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
    finish();
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
    let [greeting, reads, ..] = ask(partition, [GREETING, 0, 0, 0, 0])?;
    println!("# partition {partition:#06x} answers {greeting:#x}, {reads:#x}");
    if greeting != GREETING || reads != 1 {
        return Ok(());
    }
    for (n, word) in TEXT.chunks_exact(8).enumerate() {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        poke(page(0) + 8 * n as u64, u64::from_le_bytes(bytes));
    }
    let handle = sharing::share(partition, READ_ONLY, &[(page(0), 1)])?;
    let [answer, sum, ..] = ask(partition, [PAGE, handle, TEXT.len() as u64, 0, 0])?;
    equal(answer, PAGE)?;
    equal(sum, TEXT.iter().map(|byte| u64::from(*byte)).sum::<u64>())?;
    ffa::done(&reclaim(handle, 0))?;
    println!("# partition {partition:#06x} read a shared page and gave it back");
    Ok(())
}

/// Sends a direct request, lets the partition go on as often as it is interrupted, and returns x3
/// to x7 of the response.
fn ask(partition: u16, words: [u64; 5]) -> Check<[u64; 5]> {
    let [a, b, c, d, e] = words;
    let route = ffa::route(NWD, partition);
    let mut answer = ffa::call(id::DIRECT_REQ_64, &[route, 0, a, b, c, d, e]);
    for _ in 0..TURNS {
        let function = answer[0] as u32;
        if function != id::INTERRUPT && function != id::YIELD {
            break;
        }
        answer = ffa::call(id::RUN, &[answer[1]]);
    }
    if answer[0] as u32 == id::DIRECT_RESP_32 {
        // The upper halves of registers mean nothing then.
        answer = answer.map(|register| register & 0xffff_ffff);
    } else {
        if answer[0] as u32 == id::ERROR {
            println!(
                "# partition {partition:#06x}: FFA_ERROR {}",
                answer[2] as i32
            );
        }
        equal(answer[0], id::DIRECT_RESP_64)?;
    }
    let mut words = [0; 5];
    words.copy_from_slice(&answer[3..8]);
    Ok(words)
}
