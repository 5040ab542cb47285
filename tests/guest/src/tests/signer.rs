//! A client of the partition `signer` (`scripts/sdk/signer`): it prints keys, signatures and random
//! bytes for the host to judge, and tries what the service must refuse.

use core::arch::asm;
use core::fmt;

use crate::ffa::memory_calls::reclaim;
use crate::ffa::{self, NWD, V1_2, error, id, route};
use crate::nwd::{Nwd, RX, TX, Test, page, peek, poke};
use crate::rt::call::{Regs, call};
use crate::rt::check::{Check, equal, fail, holds};
use crate::rt::page::PAGE_SIZE;
use crate::support::partition_info::info_get;
use crate::support::sharing::share;
use crate::{println, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        signer_is_found,
        "A UUID finds the signer, which has one public key"
    ),
    test!(
        signer_signs,
        "It signs what a shared region has, always alike, and changes nothing there"
    ),
    test!(
        signer_gives_random_numbers,
        "It fills a part of a shared region with random bytes, and nothing beside it"
    ),
    test!(
        signer_refuses,
        "Requests that it cannot serve get a status, and every region comes back"
    ),
    test!(
        signer_is_measured,
        "Requests take as long as they take on QEMU"
    ),
];

const UUID: [u64; 2] = [0xdd41_b162_cc55_cf1d, 0x0084_4560_d485_b793];
/// The UUID with another last byte.
const FOREIGN: [u64; 2] = [UUID[0], UUID[1] ^ 1 << 56];

/// The operations and results of the service.
const PUBLIC_KEY: u64 = 1;
const SIGN: u64 = 2;
const RANDOM: u64 = 3;
const OK: u64 = 0;
const UNKNOWN: u64 = 1;
const NOT_SHARED: u64 = 2;
const OUTSIDE: u64 = 3;

const READ_ONLY: u8 = 1;
const READ_WRITE: u8 = 2;

/// Pages of the region that is shared, in one range.
const PAGES: usize = 2;
const WORDS: usize = PAGES * PAGE_SIZE / 8;

/// How often the partition may be interrupted before it has answered.
const TURNS: usize = 10_000;
/// Requests of each kind that are measured.
const ROUNDS: u64 = 50;

/// Hexadecimal digits of words, each in the order of memory.
struct Hex<'a>(&'a [u64]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|word| write!(f, "{:016x}", word.swap_bytes()))
    }
}

/// Returns the id of the signer.
fn signer() -> Check<u16> {
    let words = [
        UUID[0] & 0xffff_ffff,
        UUID[0] >> 32,
        UUID[1] & 0xffff_ffff,
        UUID[1] >> 32,
    ];
    let answer = info_get(words, 0);
    ffa::succeeded(&answer)?;
    equal(answer[2], 1u64)?;
    let partition = RX.u16(0);
    ffa::done(&ffa::call(id::RX_RELEASE, &[]))?;
    Ok(partition)
}

fn request(partition: u16, uuid: [u64; 2], words: [u64; 4]) -> Regs {
    let mut request = ffa::regs(id::DIRECT_REQ2, &[route(NWD, partition), uuid[0], uuid[1]]);
    request[4..8].copy_from_slice(&words);
    let mut answer = call(ffa::conduit(), request);
    for _ in 0..TURNS {
        if answer[0] as u32 != id::INTERRUPT {
            break;
        }
        answer = ffa::call(id::RUN, &[answer[1]]);
    }
    answer
}

/// Makes a request and returns the status and the eight words behind it. All others must be zero.
fn ask(partition: u16, words: [u64; 4]) -> Check<(u64, [u64; 8])> {
    let answer = request(partition, UUID, words);
    if answer[0] as u32 == id::ERROR {
        return fail(answer[2]);
    }
    equal(answer[0], id::DIRECT_RESP2)?;
    for word in &answer[13..18] {
        equal(*word, 0u64)?;
    }
    let mut results = [0; 8];
    results.copy_from_slice(&answer[5..13]);
    Ok((answer[4], results))
}

/// Makes a request that must be served.
fn served(partition: u16, words: [u64; 4]) -> Check<[u64; 8]> {
    let (status, results) = ask(partition, words)?;
    equal(status, OK)?;
    Ok(results)
}

/// Makes a request that must be refused with that status and nothing else.
fn refused(partition: u16, words: [u64; 4], want: u64) -> Check {
    let (status, results) = ask(partition, words)?;
    equal(status, want)?;
    equal(results.iter().fold(0, |all, word| all | word), 0u64)
}

/// Returns the address of a word of the region.
fn at(word: usize) -> u64 {
    page(0) + 8 * word as u64
}

/// Fills the region with words that `seed` determines.
fn prepare(seed: u64) {
    for word in 0..WORDS {
        poke(at(word), pattern(seed, word));
    }
}

fn pattern(seed: u64, word: usize) -> u64 {
    (seed ^ word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Checks that the region has what [`prepare`] wrote, but for words from `first` to `last`.
fn is_untouched(seed: u64, first: usize, last: usize) -> Check {
    for word in (0..WORDS).filter(|word| !(first..last).contains(word)) {
        equal(peek(at(word)), pattern(seed, word))?;
    }
    Ok(())
}

fn shared(partition: u16, access: u8) -> Check<u64> {
    share(partition, access, &[(page(0), PAGES as u32)])
}

fn taken_back(handle: u64) -> Check {
    ffa::done(&reclaim(handle, 0))
}

fn signer_is_found(_: &Nwd) -> Check {
    equal(ffa::call(id::VERSION, &[V1_2.into()])[0] >> 16, 1u64)?;
    let (tx, rx) = (TX.address(), RX.address());
    ffa::done(&ffa::call(id::RXTX_MAP_64, &[tx, rx, 1]))?;
    let partition = signer()?;
    let key = served(partition, [PUBLIC_KEY, 0, 0, 0])?;
    equal(key[0], served(partition, [PUBLIC_KEY, 0, 0, 0])?[0])?;
    println!("# key {}", Hex(&key));
    Ok(())
}

fn signer_signs(_: &Nwd) -> Check {
    let partition = signer()?;
    // One block, a part of one, more than the service copies at a time, and both pages.
    for (seed, first, length) in [(1, 0, 8), (2, 3, 1), (3, 5, 100), (4, 0, WORDS)] {
        prepare(seed);
        let handle = shared(partition, READ_ONLY)?;
        let sign = [SIGN, handle, 8 * first as u64, 8 * length as u64];
        let signature = served(partition, sign)?;
        let again = served(partition, sign)?;
        for (one, other) in signature.iter().zip(again) {
            equal(*one, other)?;
        }
        taken_back(handle)?;
        is_untouched(seed, 0, 0)?;
        println!("# pattern {seed} {first} {length}");
        println!("# signature {}", Hex(&signature));
    }
    Ok(())
}

fn signer_gives_random_numbers(_: &Nwd) -> Check {
    const FIRST: usize = 500;
    const LENGTH: usize = 40;
    let partition = signer()?;
    for seed in [1, 2] {
        prepare(seed);
        let handle = shared(partition, READ_WRITE)?;
        let results = served(
            partition,
            [RANDOM, handle, 8 * FIRST as u64, 8 * LENGTH as u64],
        )?;
        equal(results[0], 0u64)?;
        taken_back(handle)?;
        is_untouched(seed, FIRST, FIRST + LENGTH)?;
        let random: [u64; LENGTH] = core::array::from_fn(|word| peek(at(FIRST + word)));
        println!("# random {}", Hex(&random));
    }
    Ok(())
}

fn signer_refuses(_: &Nwd) -> Check {
    let partition = signer()?;
    let size = (PAGES * PAGE_SIZE) as u64;
    prepare(9);
    let handle = shared(partition, READ_ONLY)?;
    refused(partition, [0, handle, 0, 8], UNKNOWN)?;
    refused(partition, [RANDOM + 1, handle, 0, 8], UNKNOWN)?;
    refused(partition, [u64::MAX, handle, 0, 8], UNKNOWN)?;
    // A handle that nobody has, and the right one for more than was granted.
    refused(partition, [SIGN, handle ^ 0x100, 0, 8], NOT_SHARED)?;
    refused(partition, [SIGN, u64::MAX, 0, 8], NOT_SHARED)?;
    refused(partition, [RANDOM, handle, 0, 8], NOT_SHARED)?;
    for (offset, length) in [
        (0, size + 1),
        (size, 1),
        (size - 7, 8),
        (size + 1, 0),
        (u64::MAX, 1),
        (1, u64::MAX),
        (u64::MAX, u64::MAX),
    ] {
        refused(partition, [SIGN, handle, offset, length], OUTSIDE)?;
    }
    taken_back(handle)?;
    is_untouched(9, 0, 0)?;
    // A region that has come back, and one in two ranges.
    refused(partition, [SIGN, handle, 0, 8], NOT_SHARED)?;
    let scattered = share(partition, READ_ONLY, &[(page(0), 1), (page(2), 1)])?;
    refused(partition, [SIGN, scattered, 0, 8], NOT_SHARED)?;
    taken_back(scattered)?;
    // A service that the partition does not have.
    let foreign = request(partition, FOREIGN, [PUBLIC_KEY, 0, 0, 0]);
    ffa::refused(&foreign, error::INVALID_PARAMETERS)?;
    served(partition, [PUBLIC_KEY, 0, 0, 0]).map(drop)
}

fn signer_is_measured(_: &Nwd) -> Check {
    let partition = signer()?;
    prepare(0);
    let handle = shared(partition, READ_WRITE)?;
    for (name, operation, length) in [
        ("public key", PUBLIC_KEY, 0),
        ("signature of 64 bytes", SIGN, 64),
        ("64 random bytes", RANDOM, 64),
    ] {
        let start = now();
        for _ in 0..ROUNDS {
            served(partition, [operation, handle, 0, length])?;
        }
        let time = now() - start;
        holds(time > 0, time)?;
        println!("# rate {}: {} a second", name, ROUNDS * frequency() / time);
    }
    taken_back(handle)
}

fn now() -> u64 {
    let count: u64;
    // SAFETY: reads a counter.
    unsafe { asm!("isb", "mrs {}, cntpct_el0", out(reg) count, options(nostack)) };
    count
}

/// Returns how often a second the counter counts.
fn frequency() -> u64 {
    let frequency: u64;
    // SAFETY: reads an identification register.
    unsafe { asm!("mrs {}, cntfrq_el0", out(reg) frequency, options(nomem, nostack)) };
    frequency
}
