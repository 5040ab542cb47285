//! Memory that the SPMC manifest names and that does not answer, on a machine with less RAM. A call
//! in which the SPMC has to read or write there ends with `ABORTED` and changes nothing, and
//! everything goes on.

use crate::ffa::error::{ABORTED, DENIED};
use crate::ffa::memory_calls::reclaim;
use crate::ffa::memory_descriptor::{Transaction, access, flag};
use crate::ffa::{self, SP1, id};
use crate::nwd::{self, Nwd, Test};
use crate::rt::check::Check;
use crate::rt::stage1::NON_SECURE_GIB;
use crate::support::complement::both_answer;
use crate::support::sharing::{receiver, transaction};
use crate::test;

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
];

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
