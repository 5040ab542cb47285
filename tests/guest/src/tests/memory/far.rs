//! Memory as user buffers of Linux have it: 512 pages, each in another 2 MiB, so that each takes a
//! table of its owner and one of each borrower. Only for the layout `table-memory`, whose SPMC
//! manifest gives memory for tables: enough for one borrower at a time.

use crate::ffa::error::{DENIED, NO_MEMORY};
use crate::ffa::memory_calls::reclaim;
use crate::ffa::memory_descriptor::{NORMAL_WB, Scatter, Transaction, access, flag};
use crate::ffa::{self, NWD, SP1, SP2, id};
use crate::nwd::{self, Nwd, Test, ask};
use crate::rt::check::{Check, equal};
use crate::rt::stage1::NON_SECURE_GIB;
use crate::sp::{Command, Sp};
use crate::support::borrowing::give_back;
use crate::support::regions::{Kind, borrowed, is_hidden_from, is_painted, paint, send, visited};
use crate::support::sharing::receiver;
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[test!(
    pages_far_apart,
    "512 pages, each in its own 2 MiB, are lent to two partitions, which have them one after the other"
)];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(borrow_lent)];

/// A page of each 2 MiB of the second GiB.
const FAR_APART: Scatter = Scatter {
    first: NON_SECURE_GIB + 0x5000,
    count: 512,
    pages: 1,
    distance: 512,
};

/// Retrieves memory that is lent to two partitions. Result: the error code or 0.
fn borrow_lent(sp: &Sp, [handle, first, numbers, _]: [u64; 4]) -> Check<[u64; 4]> {
    let list = Scatter::unpack([first, numbers]);
    let own = [receiver(sp.caller().id, access::RW)];
    let request = Transaction {
        sender: NWD,
        attributes: NORMAL_WB,
        flags: flag::LEND | flag::BYPASS,
        handle,
        tag: crate::support::regions::TAG,
        receivers: &own,
        ranges: &[],
    };
    let caller = sp.caller();
    let answer = caller.send(id::MEM_RETRIEVE_REQ_32, &request);
    if answer[0] == id::ERROR as u64 {
        return Ok([answer[2] as u32 as u64, 0, 0, 0]);
    }
    let got = caller.retrieved_each(&answer, &request, |n, address, pages| {
        equal(address, list.constituent(n))?;
        equal(pages, list.pages)
    })?;
    equal(got.pages, list.total())?;
    Ok([0; 4])
}

/// Lets `partition` retrieve the region, and fails unless the call ends with that error code, or
/// with 0.
#[track_caller]
fn borrows(partition: u16, handle: u64, code: i32) -> Check {
    let [first, numbers] = FAR_APART.pack();
    let [got, ..] = ask(
        partition,
        command!(borrow_lent),
        [handle, first, numbers, 0],
    )?;
    equal(got, code as u32)
}

/// Fails unless `partition` can borrow sixteen tables' worth of pages and give them back: nobody
/// else can use up its quota.
#[track_caller]
fn has_its_quota(partition: u16) -> Check {
    let list = Scatter {
        first: FAR_APART.first + 0x4000,
        count: 16,
        ..FAR_APART
    };
    paint(&list, 7)?;
    let receivers = [receiver(partition, access::RW)];
    let handle = send(&nwd::caller(), Kind::Share, &receivers, &list)?;
    borrowed(partition, handle, &list)?;
    visited(partition, &list, 7)?;
    give_back(partition, handle, 0, 0)?;
    ffa::done(&reclaim(handle, 0))?;
    is_painted(&list, 8)
}

// req: MEMX-11, MEMRQ-09, MEMO-27, MEMRC-06
fn pages_far_apart(_: &Nwd) -> Check {
    paint(&FAR_APART, 1)?;
    let receivers = [receiver(SP1, access::RW), receiver(SP2, access::RW)];
    let lend = Transaction {
        attributes: NORMAL_WB,
        ..crate::support::regions::unsent(&nwd::caller(), Kind::Lend, &receivers)
    };
    let handle = nwd::caller().sent_scattered(id::MEM_LEND_64, &lend, &FAR_APART)?;
    let others = [(SP1, SP2), (SP2, SP1)];
    for ((partition, other), seed) in others.into_iter().zip(1..) {
        borrows(partition, handle, 0)?;
        visited(partition, &FAR_APART, seed)?;
        // The pool has not enough tables for the other borrower as well, which keeps what it had.
        borrows(other, handle, NO_MEMORY)?;
        is_hidden_from(other, &FAR_APART)?;
        has_its_quota(other)?;
        ffa::refused(&reclaim(handle, 0), DENIED)?;
        give_back(partition, handle, 0, 0)?;
        is_hidden_from(partition, &FAR_APART)?;
    }
    ffa::done(&reclaim(handle, 0))?;
    is_painted(&FAR_APART, 3)
}
