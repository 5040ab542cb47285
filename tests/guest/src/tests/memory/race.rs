//! Transactions on all PEs at the same time: their steps meet in the SPMC, but each moves pages of
//! its own.

use crate::ffa::error::DENIED;
use crate::ffa::memory_calls::reclaim;
use crate::ffa::memory_descriptor::{NORMAL_WB, Transaction, access};
use crate::ffa::{self, NWD, SP2, id};
use crate::nwd::{self, Nwd, Test, ask, page, pe, peek, poke};
use crate::rt::check::{Check, equal};
use crate::rt::lock::Lock;
use crate::sp::{Command, Sp};
use crate::support::sharing::receiver;
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        transactions_on_all_pes,
        "All PEs share, lend and reclaim memory at the same time",
        pes = 2
    ),
    test!(
        one_page_on_all_pes,
        "All PEs share the same page: one of them may",
        pes = 2
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(take), helper!(give)];

const ROUNDS: u64 = 100;

/// A lock for TX and RX of this image.
static BUFFERS: Lock = Lock::new();

fn on_all(nwd: &Nwd, job: pe::Job) -> Check {
    for pe in 1..nwd.pes {
        pe::start(pe, job, [pe as u64, 0, 0, 0])?;
    }
    let mut outcome = job([0; 4]).map(drop);
    for pe in 1..nwd.pes {
        outcome = outcome.and(pe::finish(pe).map(drop));
    }
    outcome
}

/// Sends a page to sp2.
fn send(address: u64, lend: bool) -> ffa::Answer {
    let receivers = [receiver(SP2, access::RW)];
    let ranges = [(address, 1)];
    let (function, attributes) = if lend {
        (id::MEM_LEND_64, 0)
    } else {
        (id::MEM_SHARE_64, NORMAL_WB)
    };
    let sent = Transaction {
        sender: NWD,
        attributes,
        flags: 0,
        handle: 0,
        tag: 0,
        receivers: &receivers,
        ranges: &ranges,
    };
    BUFFERS.with(|| nwd::caller().send(function, &sent))
}

// req: GEN-20, MEMO-03, MEMD-12, MEMRC-06, RXTX-16
fn transactions_on_all_pes(nwd: &Nwd) -> Check {
    on_all(nwd, |[pe, ..]| {
        for n in 0..ROUNDS {
            let address = page(100 + 2 * pe + n % 2);
            let lend = n % 3 == 0;
            poke(address, n);
            let answer = send(address, lend);
            ffa::succeeded(&answer)?;
            let handle = answer[2] | answer[3] << 32;
            ask(SP2, command!(take), [handle, lend as u64, address, n])?;
            ffa::refused(&reclaim(handle, 0), DENIED)?;
            ask(SP2, command!(give), [handle, 0, 0, 0])?;
            ffa::done(&reclaim(handle, 0))?;
            equal(peek(address), n + 1)?;
        }
        Ok([0; 4])
    })
}

/// Retrieves a page in sp2, finds a word there and adds one to it.
fn take(sp: &Sp, [handle, lend, address, word]: [u64; 4]) -> Check<[u64; 4]> {
    use crate::rt::stage1::{self, Attributes};
    let caller = sp.caller();
    let own = [receiver(caller.id, access::RW)];
    let request = Transaction {
        sender: NWD,
        attributes: if lend == 0 { NORMAL_WB } else { 0 },
        flags: 0,
        handle,
        tag: 0,
        receivers: &own,
        ranges: &[],
    };
    BUFFERS.with(|| {
        let answer = caller.send(id::MEM_RETRIEVE_REQ_32, &request);
        caller.retrieved(&answer, &request)
    })?;
    stage1::map(address, Attributes::NonSecure);
    equal(peek(address), word)?;
    poke(address, word + 1);
    stage1::unmap(address);
    Ok([0; 4])
}

/// Relinquishes the page in sp2.
fn give(sp: &Sp, [handle, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let answer = BUFFERS.with(|| sp.caller().relinquish(handle, 0));
    ffa::done(&answer)?;
    Ok([0; 4])
}

// req: MEMX-09, MEMO-03, GEN-20
fn one_page_on_all_pes(nwd: &Nwd) -> Check {
    on_all(nwd, |_| {
        for _ in 0..ROUNDS {
            let answer = send(page(120), true);
            if answer[0] == id::ERROR as u64 {
                ffa::refused(&answer, DENIED)?;
            } else {
                let handle = answer[2] | answer[3] << 32;
                ffa::done(&reclaim(handle, 0))?;
            }
        }
        Ok([0; 4])
    })?;
    let answer = send(page(120), true);
    ffa::succeeded(&answer)?;
    ffa::done(&reclaim(answer[2] | answer[3] << 32, 0))
}
