//! Retrieve requests and relinquishes that the SPMC must refuse. Each has one thing wrong, and is
//! made inside the partition.

use crate::ffa::error::{BUSY, DENIED, INVALID_PARAMETERS};
use crate::ffa::memory_calls::reclaim;
use crate::ffa::memory_descriptor::{
    NORMAL_WB, NS, Receiver, Transaction, access, encode_relinquish, flag, layout,
};
use crate::ffa::{self, NOBODY, NWD, SP1, SP2, SPMC, id};
use crate::nwd::{self, Nwd, Test, ask, page};
use crate::rt::check::{Check, equal};
use crate::sp::{Command, Sp};
use crate::support::borrowing::{Borrow, is_error};
use crate::support::reach::{ABORT, reads};
use crate::support::sharing::{receiver, share};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        retrieve_errors,
        "A borrower's wrong retrieve requests change nothing"
    ),
    test!(
        retrieve_by_another,
        "A partition cannot retrieve what was shared with another one"
    ),
    test!(
        retrieve_needs_rx,
        "A retrieve request needs an empty RX buffer"
    ),
    test!(
        relinquish_errors,
        "A borrower's wrong relinquishes change nothing"
    ),
    test!(
        reclaim_by_another,
        "A partition cannot reclaim what it does not own"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(wrong_retrieves),
    helper!(busy_retrieve),
    helper!(wrong_relinquishes),
    helper!(steal),
];

const TAG: u64 = 0x1234_5678_9abc;
const PAGE: u64 = page(40);

/// Returns the right request for a share of the Normal world with the tag of this file.
fn request<'a>(handle: u64, receivers: &'a [Receiver]) -> Transaction<'a> {
    Transaction {
        sender: NWD,
        attributes: NORMAL_WB,
        flags: flag::SHARE,
        handle,
        tag: TAG,
        receivers,
        ranges: &[],
    }
}

/// Shares the page, read-write, with this file's tag.
fn share_tagged(partition: u16) -> Check<u64> {
    let receivers = [receiver(partition, access::RW)];
    let ranges = [(PAGE, 1)];
    let sent = Transaction {
        flags: 0,
        ranges: &ranges,
        ..request(0, &receivers)
    };
    nwd::caller().sent(id::MEM_SHARE_64, &sent)
}

// req: MEMD-17, MEMD-18, MEMD-19, MEMD-25, MEMD-26, MEMD-41, MEMD-48, MEMD-53, MEMD-62, MEMD-64
// req: MEMD-66, MEMD-70, MEMD-73, MEMD-75, MEMD-86
// req: MEMD-87, MEMD-88, MEMD-89, MEMD-90, MEMD-91, MEMD-92, MEMD-94, MEMRQ-02, MEMRQ-03, MEMRQ-04
// req: MEMRQ-05, MEMRQ-06, MEMRQ-25, FRAG-02, GEN-30
fn retrieve_errors(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        let handle = share_tagged(partition)?;
        ask(partition, command!(wrong_retrieves), [handle, 0, 0, 0])?;
        reads(partition, PAGE, ABORT)?;
        ffa::done(&reclaim(handle, 0))?;
    }
    Ok(())
}

fn wrong_retrieves(sp: &Sp, [handle, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let caller = sp.caller();
    let own = [receiver(caller.id, access::RW)];
    let fine = request(handle, &own);
    let refuse = |wrong: Transaction, code| {
        ffa::refused(&caller.send(id::MEM_RETRIEVE_REQ_32, &wrong), code)
    };
    let invalid = |wrong: Transaction| refuse(wrong, INVALID_PARAMETERS);

    for wrong in [
        handle + 1,
        handle | 1 << 62,
        handle | 1 << 63,
        u64::MAX,
        !handle,
    ] {
        invalid(Transaction {
            handle: wrong,
            ..fine
        })?;
    }
    refuse(
        Transaction {
            sender: SP1,
            ..fine
        },
        DENIED,
    )?;
    invalid(Transaction {
        tag: TAG + 1,
        ..fine
    })?;
    for flags in [
        flag::LEND,
        flag::DONATE,
        flag::SHARE | flag::ZERO,
        flag::SHARE | flag::ZERO_AFTER,
        flag::SHARE | flag::HINT_4K_TIMES_2,
        flag::SHARE | flag::BYPASS,
        flag::SHARE | 1 << 11,
        flag::SHARE | 1 << 31,
    ] {
        invalid(Transaction { flags, ..fine })?;
    }
    for attributes in [NORMAL_WB | NS, NORMAL_WB | 1 << 7, 0x3f] {
        invalid(Transaction { attributes, ..fine })?;
    }
    // Outer shareable is more than the owner's inner shareable.
    refuse(
        Transaction {
            attributes: 0x2e,
            ..fine
        },
        DENIED,
    )?;

    let other = if caller.id == SP1 { SP2 } else { SP1 };
    for wrong in [
        receiver(other, access::RW),
        receiver(NWD, access::RW),
        receiver(SPMC, access::RW),
        receiver(NOBODY, access::RW),
        receiver(caller.id, access::RW | access::X),
        receiver(caller.id, access::RW | 1 << 4),
        receiver(caller.id, 3),
        Receiver { flags: 1, ..own[0] },
        Receiver { flags: 4, ..own[0] },
    ] {
        invalid(Transaction {
            receivers: &[wrong],
            ..fine
        })?;
    }
    invalid(Transaction {
        receivers: &[],
        ..fine
    })?;
    invalid(Transaction {
        receivers: &[own[0], own[0]],
        ..fine
    })?;
    let listed = Receiver {
        flags: 1,
        ..receiver(other, access::RW)
    };
    invalid(Transaction {
        receivers: &[own[0], listed],
        ..fine
    })?;

    // Addresses that the owner did not send, a buffer that is not the caller's, wrong lengths.
    let elsewhere: [&[_]; 3] = [&[(PAGE + 0x1000, 1)], &[(PAGE, 2)], &[(PAGE, 1), (PAGE, 1)]];
    for ranges in elsewhere {
        invalid(Transaction { ranges, ..fine })?;
    }
    let length = fine.encode(caller.version, caller.tx) as u64;
    for arguments in [
        [0, 0, 0, 0],
        [length - 16, length - 16, 0, 0],
        [length + 16, length + 16, 0, 0],
        [length, length + 16, 0, 0],
        [0x1010, 0x1010, 0, 0],
        [length, length, PAGE, 1],
        [length, length, 0, 1],
        [length, length, PAGE, 0],
    ] {
        let answer = ffa::call(id::MEM_RETRIEVE_REQ_64, &arguments);
        ffa::refused(&answer, INVALID_PARAMETERS)?;
    }
    let layout = layout(caller.version);
    for offset in [36, 40, 44, layout.receivers + layout.receiver_size - 8] {
        fine.encode(caller.version, caller.tx);
        caller.tx.write(offset, &[1]);
        let answer = ffa::call(id::MEM_RETRIEVE_REQ_64, &[length, length]);
        ffa::refused(&answer, INVALID_PARAMETERS)?;
    }

    // The right request succeeds.
    let answer = caller.send(id::MEM_RETRIEVE_REQ_64, &fine);
    caller.retrieved(&answer, &fine)?;
    ffa::done(&caller.relinquish(handle, 0))?;
    Ok([0; 4])
}

// req: MEMD-64, MEMRQ-06, MEMO-03, GEN-03
fn retrieve_by_another(_: &Nwd) -> Check {
    for (partition, other) in [(SP1, SP2), (SP2, SP1)] {
        let handle = share(partition, access::RW, &[(PAGE, 1)])?;
        is_error(Borrow::new(handle).by(other)?, INVALID_PARAMETERS)?;
        reads(other, PAGE, ABORT)?;
        ffa::done(&reclaim(handle, 0))?;
    }
    Ok(())
}

// req: MEMRQ-10, RXTX-11, RXTX-15, GEN-30
fn retrieve_needs_rx(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        let handle = share_tagged(partition)?;
        ask(partition, command!(busy_retrieve), [handle, 0, 0, 0])?;
        reads(partition, PAGE, ABORT)?;
        ffa::done(&reclaim(handle, 0))?;
    }
    Ok(())
}

fn busy_retrieve(sp: &Sp, [handle, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let caller = sp.caller();
    ffa::succeeded(&ffa::call(id::PARTITION_INFO_GET, &[]))?;
    let own = [receiver(caller.id, access::RW)];
    let answer = caller.send(id::MEM_RETRIEVE_REQ_32, &request(handle, &own));
    ffa::refused(&answer, BUSY)?;
    ffa::done(&ffa::call(id::RX_RELEASE, &[]))?;
    Ok([0; 4])
}

// req: MEMRL-01, MEMRL-02, MEMRL-03, MEMRL-04, MEMRL-05, MEMRL-06, MEMRL-07, MEMRL-11, MEMRL-12
// req: MEMO-30, TIME-01, GEN-30
fn relinquish_errors(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        let handle = share_tagged(partition)?;
        ask(partition, command!(wrong_relinquishes), [handle, 0, 0, 0])?;
        ffa::done(&reclaim(handle, 0))?;
    }
    Ok(())
}

fn wrong_relinquishes(sp: &Sp, [handle, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let caller = sp.caller();
    ffa::refused(&caller.relinquish(handle, 0), DENIED)?;
    let own = [receiver(caller.id, access::RW)];
    let fine = request(handle, &own);
    let answer = caller.send(id::MEM_RETRIEVE_REQ_32, &fine);
    caller.retrieved(&answer, &fine)?;

    for wrong in [handle + 1, handle | 1 << 62, handle | 1 << 63, u64::MAX] {
        ffa::refused(&caller.relinquish(wrong, 0), INVALID_PARAMETERS)?;
    }
    for flags in [flag::ZERO, 1 << 2, 1 << 31] {
        ffa::refused(&caller.relinquish(handle, flags), INVALID_PARAMETERS)?;
    }
    let other = if caller.id == SP1 { SP2 } else { SP1 };
    let lists: [&[u16]; 6] = [
        &[],
        &[other],
        &[NWD],
        &[NOBODY],
        &[caller.id, caller.id],
        &[caller.id, other],
    ];
    for list in lists {
        encode_relinquish(caller.tx, handle, 0, list);
        ffa::refused(&ffa::call(id::MEM_RELINQUISH, &[]), INVALID_PARAMETERS)?;
    }
    for count in [2041u32, u32::MAX] {
        encode_relinquish(caller.tx, handle, 0, &[caller.id]);
        caller.tx.write(12, &count.to_le_bytes());
        ffa::refused(&ffa::call(id::MEM_RELINQUISH, &[]), INVALID_PARAMETERS)?;
    }
    ffa::done(&caller.relinquish(handle, 0))?;
    ffa::refused(&caller.relinquish(handle, 0), DENIED)?;
    Ok([0; 4])
}

// req: MEMRC-03, MEMO-11
fn reclaim_by_another(_: &Nwd) -> Check {
    let handle = share(SP1, access::RW, &[(PAGE, 1)])?;
    for partition in [SP1, SP2] {
        ask(partition, command!(steal), [handle, 0, 0, 0])?;
    }
    ffa::done(&reclaim(handle, 0))?;
    equal(reclaim(handle, 0)[0], id::ERROR)
}

fn steal(_: &Sp, [handle, ..]: [u64; 4]) -> Check<[u64; 4]> {
    ffa::refused(&reclaim(handle, 0), INVALID_PARAMETERS)?;
    Ok([0; 4])
}
