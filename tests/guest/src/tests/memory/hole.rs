//! Memory that the SPMC manifest names and that does not answer, on a machine with less RAM. A call
//! in which the SPMC has to read or write there ends with `ABORTED` and changes nothing, and
//! everything goes on.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::ffa::error::{ABORTED, DENIED};
use crate::ffa::memory_calls::reclaim;
use crate::ffa::memory_descriptor::{Transaction, access, flag};
use crate::ffa::{self, SP1, SP2, id};
use crate::nwd::{self, Nwd, Test, ask, page, pe};
use crate::rt::check::{Check, equal, holds};
use crate::rt::stage1::{self, Attributes, NON_SECURE_GIB};
use crate::rt::{PATIENCE_MS, probe, wait_until};
use crate::sp::{Command, Sp};
use crate::support::borrowing::{Borrow, give_back, is_fine};
use crate::support::complement::both_answer;
use crate::support::sharing::{receiver, share, transaction};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        buffers_in_a_hole,
        "RX and TX where no memory answers: calls that need them are ABORTED"
    ),
    test!(
        memory_in_a_hole,
        "Memory that does not answer is not zeroed, and can be taken back"
    ),
    test!(
        tables_in_a_hole,
        "A partition's own tables lead to where no memory answers: it gets aborts",
        pes = 2
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(turn_table), helper!(write_meanwhile)];

/// Address of memory that is Non-secure in the manifest, and lies behind the end of RAM.
const HOLE: u64 = NON_SECURE_GIB + 0x1000_0000;

// req: MEMX-03, MEMX-21
fn buffers_in_a_hole(_: &Nwd) -> Check {
    ffa::done(&ffa::call(id::RXTX_UNMAP, &[]))?;
    ffa::done(&ffa::call(id::RXTX_MAP_64, &[HOLE, HOLE + 0x1000, 1]))?;
    // The SPMC cannot write to RX.
    ffa::refused(&ffa::call(id::PARTITION_INFO_GET, &[]), ABORTED)?;
    // RX stays the SPMC's.
    ffa::refused(&ffa::call(id::RX_RELEASE, &[]), DENIED)?;
    // The SPMC cannot read TX.
    ffa::refused(&ffa::call(id::MEM_SHARE_64, &[112, 112]), ABORTED)?;
    ffa::refused(&ffa::call(id::MSG_SEND2, &[]), ABORTED)?;
    both_answer([1, 0, 0, 0])?;
    ffa::done(&ffa::call(id::RXTX_UNMAP, &[]))?;
    let own = [nwd::TX.address(), nwd::RX.address(), 1];
    ffa::done(&ffa::call(id::RXTX_MAP_64, &own))
}

// req: MEMX-21, MEMD-84
fn memory_in_a_hole(_: &Nwd) -> Check {
    let receivers = [receiver(SP1, access::RW)];
    let ranges = [(HOLE, 1), (HOLE + 0x4000, 2)];
    let lend = Transaction {
        attributes: 0,
        ..transaction(&receivers, &ranges)
    };
    let zeroed = Transaction {
        attributes: 0,
        flags: flag::ZERO,
        ..transaction(&receivers, &ranges)
    };
    let caller = nwd::caller();
    ffa::refused(&caller.send(id::MEM_LEND_64, &zeroed), ABORTED)?;
    let handle = caller.sent(id::MEM_LEND_64, &lend)?;
    ffa::refused(&reclaim(handle, flag::ZERO.into()), ABORTED)?;
    ffa::done(&reclaim(handle, 0))?;
    // All of the memory is the Normal world's again, and can be lent again.
    let handle = caller.sent(id::MEM_LEND_64, &lend)?;
    ffa::done(&reclaim(handle, 0))?;
    both_answer([1, 0, 0, 0]).map(drop)
}

/// How often sp2 writes while another PE changes its tables.
const WRITES: u64 = 2000;

// req: MEMX-21
fn tables_in_a_hole(_: &Nwd) -> Check {
    let address = page(80);
    let read_only = share(SP2, access::RO, &[(address, 1)])?;
    let hole = share(SP2, access::RW, &[(HOLE, 1)])?;
    let borrow = Borrow {
        access: access::RO,
        ..Borrow::new(read_only)
    };
    is_fine(borrow.by(SP2)?)?;
    is_fine(Borrow::new(hole).by(SP2)?)?;
    let turn = |arguments| ask(SP2, command!(turn_table), arguments);
    pe::start(1, turn, [address, 0, 0, 0])?;
    let written = ask(SP2, command!(write_meanwhile), [address, 0, 0, 0]);
    pe::finish(1)?;
    equal(written?[0], WRITES)?;
    for handle in [read_only, hole] {
        give_back(SP2, handle, 0, 0)?;
        ffa::done(&reclaim(handle, 0))?;
    }
    both_answer([2, 0, 0, 0]).map(drop)
}

/// Set while the table turns.
static TURNS: AtomicBool = AtomicBool::new(false);

/// Maps a Non-secure page, and lets the table with its mapping lie in the hole in every other
/// moment, until the other PE has made its writes.
fn turn_table(_: &Sp, [address, ..]: [u64; 4]) -> Check<[u64; 4]> {
    stage1::map(address, Attributes::NonSecure);
    let entry = stage1::last_table_entry(address);
    let table = entry.load(Ordering::Relaxed);
    TURNS.store(true, Ordering::Release);
    while TURNS.load(Ordering::Acquire) {
        for descriptor in [stage1::non_secure_table(HOLE), table] {
            entry.store(descriptor, Ordering::SeqCst);
            (0..50).for_each(|_| core::hint::spin_loop());
        }
    }
    stage1::unmap(address);
    Ok([0; 4])
}

/// Writes to a page that may be read only. Result: how many of the writes ended with an abort.
fn write_meanwhile(_: &Sp, [address, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let turns = || TURNS.load(Ordering::Acquire);
    holds(wait_until(PATIENCE_MS, turns), address)?;
    // SAFETY: the page is no memory of this image, and cannot be written.
    let write = |_: &u64| unsafe { probe::write(address, 0) }.is_err();
    let aborts = (0..WRITES).filter(write).count();
    TURNS.store(false, Ordering::Release);
    Ok([aborts as u64, 0, 0, 0])
}
