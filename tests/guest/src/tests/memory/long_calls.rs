//! Calls that zero a large region: handlers of Secure interrupts do not wait for the end of such a
//! call.

use crate::ffa::memory_calls::reclaim;
use crate::ffa::memory_descriptor::{Scatter, access, flag};
use crate::ffa::{self, SP1, SP2};
use crate::nwd::{self, Nwd, Test, ask, pe, peek, poke};
use crate::rt::check::{Check, equal, fail, holds};
use crate::rt::page::PAGE_SIZE;
use crate::rt::stage1::NON_SECURE_GIB;
use crate::rt::{PATIENCE_MS, counter, wait_until};
use crate::support::interrupt_handler::{ARM, CAME};
use crate::support::regions::{Kind, unsent};
use crate::support::secure_uart::SAY;
use crate::support::sharing::receiver;
use crate::test;

/// The tests of this file.
pub const TESTS: &[Test] = &[test!(
    interrupt_within_a_long_call,
    "sp1 handles its interrupt while a call zeroes 48 MiB for the Normal world",
    pes = 2
)];

/// Number of pages of the region, which ends below the memory that a manifest of the layout
/// `drop-in` gives to sp1.
const PAGES: u32 = 0x3000;

/// The region: memory that nothing else uses between tests.
const REGION: Scatter = Scatter::contiguous(NON_SECURE_GIB, PAGES);

/// Number of tries, as the other PE may be late.
const ATTEMPTS: u64 = 50;

/// The last page of the region.
const LAST: u64 = NON_SECURE_GIB + (PAGES as u64 - 1) * PAGE_SIZE as u64;

/// Lets sp2 raise the interrupt on another PE while the region is being zeroed. Returns the last
/// time at which something was left to be zeroed after that.
fn raise_meanwhile(_: [u64; 4]) -> Check<[u64; 4]> {
    holds(wait_until(PATIENCE_MS, || peek(REGION.first) == 0), 0u64)?;
    ask(SP2, SAY, [0; 4])?;
    let mut unfinished = 0;
    let is_zero = || {
        let now = counter();
        if peek(LAST) != 0 {
            unfinished = now;
        }
        peek(LAST) == 0
    };
    holds(wait_until(PATIENCE_MS, is_zero), 0u64)?;
    Ok([unfinished, 0, 0, 0])
}

// The interrupt is raised when the call has begun, and handled before the last page is zeroed.
// req: INT-04, INT-07, MEMO-19
fn interrupt_within_a_long_call(_: &Nwd) -> Check {
    let owner = nwd::caller();
    let receivers = [receiver(SP2, access::RW)];
    let mut transaction = unsent(&owner, Kind::Lend, &receivers);
    transaction.flags = flag::ZERO;
    for _ in 0..ATTEMPTS {
        poke(REGION.first, 1);
        poke(LAST, 1);
        ask(SP1, ARM, [0; 4])?;
        pe::start(1, raise_meanwhile, [0; 4])?;
        let handle = owner.sent_scattered(Kind::Lend.function(), &transaction, &REGION)?;
        let [unfinished, ..] = pe::finish(1)?;
        ffa::done(&reclaim(handle, 0))?;
        let [count, _, when, _] = ask(SP1, CAME, [0; 4])?;
        equal(count, 1u64)?;
        if when < unfinished {
            return Ok(());
        }
    }
    fail(ATTEMPTS)
}
