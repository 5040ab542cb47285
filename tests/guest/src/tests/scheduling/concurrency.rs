//! All PEs at once: nothing dead-locks, no endpoint gets what is another's, and memory that is
//! taken away is gone on every PE.

use crate::ffa::error::BUSY;
use crate::ffa::memory_calls::reclaim;
use crate::ffa::memory_descriptor::{Transaction, access};
use crate::ffa::{self, NWD, SP1, SP2, id, route};
use crate::nwd::{Nwd, Test, ask, page, pe, poke};
use crate::rt::call::call;
use crate::rt::check::{Check, equal, holds};
use crate::rt::page::{PAGE_SIZE, Shared};
use crate::rt::probe;
use crate::rt::stage1::{self, Attributes};
use crate::sp::{Command, Sp};
use crate::support::borrowing::{Borrow, give_back, is_fine};
use crate::support::complement::COMPLEMENT;
use crate::support::helper_call::{self, request};
use crate::support::sharing::{receiver, share};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        storm,
        "All PEs ask both partitions and the SPMC at the same time",
        pes = 2
    ),
    test!(
        relinquish_on_all_pes,
        "What sp2 relinquished on one PE is gone on the others",
        pes = 2
    ),
    test!(
        lend_on_all_pes,
        "What sp2 lent on one PE is gone on the others",
        pes = 2
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(complement_of_other),
    helper!(open_window),
    helper!(look_through_window),
    helper!(lend_page),
    helper!(look_at_page),
    helper!(take_page_back),
];

const ROUNDS: u64 = 300;

/// Asks the partition in x4. Results: the error code or 0, and the answer.
fn complement_of_other(sp: &Sp, [other, word, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let (code, answer) = try_complement(sp.identity.id, other as u16, word)?;
    Ok([code, answer, 0, 0])
}

/// Asks `partition` and returns the error code or 0, and the answer. Any error but `BUSY` fails the
/// test.
fn try_complement(me: u16, partition: u16, word: u64) -> Check<(u64, u64)> {
    let message = request(
        id::DIRECT_REQ_64,
        route(me, partition),
        COMPLEMENT,
        [word, 0, 0, 0],
    );
    let answer = call(ffa::conduit(), message);
    if answer[0] == id::ERROR as u64 {
        ffa::refused(&answer, BUSY)?;
        return Ok((answer[2], 0));
    }
    let [answer, ..] = helper_call::answer(me, partition, &answer)?;
    Ok((0, answer))
}

// req: GEN-20, RUN-16, RUN-24, RXTX-16, MSGD-07, GEN-30
fn storm(nwd: &Nwd) -> Check {
    for pe in 1..nwd.pes {
        pe::start(pe, storm_here, [pe as u64, 0, 0, 0])?;
    }
    let here = storm_here([0; 4]);
    let mut outcome = here.map(drop);
    for pe in 1..nwd.pes {
        outcome = outcome.and(pe::finish(pe).map(drop));
    }
    outcome
}

/// Makes calls on one PE of a storm. sp2 always answers; sp1 may be busy, also when sp2 asks it; RX
/// belongs to one PE at a time.
fn storm_here([pe, ..]: [u64; 4]) -> Check<[u64; 4]> {
    for n in 0..ROUNDS {
        let word = pe << 32 | n;
        let [answer, ..] = ask(SP2, COMPLEMENT, [word, 0, 0, 0])?;
        equal(answer, !word)?;
        let (code, answer) = try_complement(NWD, SP1, word)?;
        holds(code != 0 || answer == !word, answer)?;
        let arguments = [SP1 as u64, word, 0, 0];
        let [code, answer, ..] = ask(SP2, command!(complement_of_other), arguments)?;
        holds(code != 0 || answer == !word, answer)?;

        let info = ffa::call(id::PARTITION_INFO_GET, &[]);
        if info[0] == id::ERROR as u64 {
            ffa::refused(&info, BUSY)?;
        } else {
            ffa::done(&ffa::call(id::RX_RELEASE, &[]))?;
        }
    }
    Ok([0; 4])
}

// req: MEMRL-14, MEMX-20, MEMO-03
fn relinquish_on_all_pes(nwd: &Nwd) -> Check {
    let address = page(80);
    poke(address, 0x80);
    let handle = share(SP2, access::RW, &[(address, 1)])?;
    is_fine(Borrow::new(handle).by(SP2)?)?;
    ask(SP2, command!(open_window), [address, 1, 0, 0])?;
    let look = |[address, wanted, ..]: [u64; 4]| {
        ask(SP2, command!(look_through_window), [address, wanted, 0, 0])
    };
    for pe in 0..nwd.pes {
        pe::run_on(pe, look, [address, 0x80, 0, 0])?;
    }
    give_back(SP2, handle, 0, 0)?;
    for pe in 0..nwd.pes {
        pe::run_on(pe, look, [address, GONE, 0, 0])?;
    }
    ask(SP2, command!(open_window), [address, 0, 0, 0])?;
    ffa::done(&reclaim(handle, 0))
}

const GONE: u64 = u64::MAX;

/// Maps a Non-secure page in stage 1, or unmaps it. While it is mapped, the TLB may keep the
/// translation when stage 2 changes.
fn open_window(_: &Sp, [address, open, ..]: [u64; 4]) -> Check<[u64; 4]> {
    if open == 1 {
        stage1::map(address, Attributes::NonSecure);
    } else {
        stage1::unmap(address);
    }
    Ok([0; 4])
}

/// Fails unless the word at `address` is `wanted`, or cannot be read where the memory is to be
/// gone.
fn look_through_window(_: &Sp, [address, wanted, ..]: [u64; 4]) -> Check<[u64; 4]> {
    equal(probe::read(address).map_or(GONE, u64::from), wanted)?;
    Ok([0; 4])
}

// req: MEML-02, MEML-08, MEMX-20, MEMRC-10
fn lend_on_all_pes(nwd: &Nwd) -> Check {
    let look = |[wanted, ..]: [u64; 4]| ask(SP2, command!(look_at_page), [wanted, 0, 0, 0]);
    for pe in 0..nwd.pes {
        pe::run_on(pe, look, [0, 0, 0, 0])?;
    }
    let [handle, ..] = ask(SP2, command!(lend_page), [0; 4])?;
    for pe in 0..nwd.pes {
        pe::run_on(pe, look, [GONE, 0, 0, 0])?;
    }
    ask(SP2, command!(take_page_back), [handle, 0, 0, 0])?;
    for pe in 0..nwd.pes {
        pe::run_on(pe, look, [0, 0, 0, 0])?;
    }
    Ok(())
}

/// A page of the partition, always mapped in its stage 1.
static PAGE: Shared<PAGE_SIZE> = Shared::new();

/// Lends the page to sp1. Result: the handle.
fn lend_page(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let receivers = [receiver(SP1, access::RW)];
    let lend = Transaction {
        sender: sp.identity.id,
        attributes: 0,
        flags: 0,
        handle: 0,
        tag: 0,
        receivers: &receivers,
        ranges: &[(PAGE.address(), 1)],
    };
    Ok([sp.caller().sent(id::MEM_LEND_64, &lend)?, 0, 0, 0])
}

fn look_at_page(_: &Sp, [wanted, ..]: [u64; 4]) -> Check<[u64; 4]> {
    equal(probe::read(PAGE.address()).map_or(GONE, u64::from), wanted)?;
    Ok([0; 4])
}

fn take_page_back(_: &Sp, [handle, ..]: [u64; 4]) -> Check<[u64; 4]> {
    ffa::done(&reclaim(handle, 0))?;
    Ok([0; 4])
}
