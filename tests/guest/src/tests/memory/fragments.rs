//! Descriptors in fragments (FF-A v1.0 section 12.2.2): wrong, out of order, several at a time, and
//! given up.

use crate::board::package;
use crate::ffa::error::{ABORTED, BUSY, DENIED, INVALID_PARAMETERS};
use crate::ffa::fragment_calls::Fragments;
use crate::ffa::memory_calls::{Caller, completed, reclaim, words};
use crate::ffa::memory_descriptor::{
    NORMAL_WB, Receiver, Scatter, Transaction, access, encode_constituent, layout,
};
use crate::ffa::{self, Answer, NWD, SP1, SP2, id};
use crate::nwd::{self, Nwd, Test, ask, page};
use crate::rt::check::{Check, equal, holds};
use crate::rt::page::PAGE_SIZE;
use crate::sp::{self, Command, Sp};
use crate::support::borrowing::{Borrow, asked_to_give_back, give_back, is_error, is_fine};
use crate::support::regions::{HOLES, Kind, borrowed, is_hidden_from, request, send, unsent};
use crate::support::sharing::{receiver, share};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        fragments_of_any_size,
        "A descriptor arrives in fragments of one constituent up to a page"
    ),
    test!(
        fragments_side_by_side,
        "Two descriptors arrive at the same time, with other calls in between"
    ),
    test!(
        wrong_fragments,
        "Fragments with one thing wrong in the registers; the transaction goes on"
    ),
    test!(
        fragments_that_end_it,
        "What a fragment says may end the transaction; nothing is left of it"
    ),
    test!(
        forgotten_fragments,
        "Transactions that are never finished make room for others"
    ),
    test!(
        aborted_fragments,
        "The sender aborts a transaction that is half there"
    ),
    test!(
        fetched_fragments,
        "A borrower fetches a response in fragments: wrong offsets, a full RX, one fragment twice"
    ),
    test!(
        retrieval_given_up,
        "A borrower relinquishes in the middle of a response"
    ),
    test!(
        fragments_of_partitions,
        "Partitions send their memory in fragments"
    ),
    test!(
        hypervisor_asks,
        "The Hypervisor asks by handle where memory lies"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(foreign_fragment),
    helper!(fetch),
    helper!(give_up_retrieval),
    helper!(send_in_fragments),
];

/// A list whose descriptor takes several fragments in both directions.
const LONG: Scatter = Scatter::every_second(HOLES, 600);
/// Another such list, of other pages.
const OTHER: Scatter = Scatter::every_second(HOLES + 0x200_0000, 300);

/// The receiver of most of these transactions.
const TO_SP1: [Receiver; 1] = [receiver(SP1, access::RW)];

/// Sends all fragments, of at most `limit` bytes each, and returns the handle.
#[track_caller]
fn sent_by(fragments: &mut Fragments, function: u32, head: usize, limit: usize) -> Check<u64> {
    let mut answer = fragments.first(function, head);
    let mut handle = None;
    while !fragments.is_complete() {
        let wanted = fragments.wanted(&answer)?;
        // The handle is the same for the whole transaction.
        equal(wanted, handle.unwrap_or(wanted))?;
        handle = Some(wanted);
        answer = fragments.next(wanted, limit);
    }
    let done = completed(&answer)?;
    equal(done, handle.unwrap_or(done))?;
    Ok(done)
}

/// Makes `FFA_MEM_FRAG_TX` with these words.
fn frag_tx(handle: u64, length: u64) -> Answer {
    let [low, high] = words(handle);
    ffa::call(id::MEM_FRAG_TX, &[low, high, length])
}

/// Returns the number of bytes in front of the first constituent, with one receiver.
fn head() -> usize {
    layout(nwd::caller().version).composite(1) + 16
}

// req: FRAG-07, FRAG-08, FRAG-09, FRAG-10, FRAG-12, FRAG-23, MEMD-12
fn fragments_of_any_size(_: &Nwd) -> Check {
    let owner = nwd::caller();
    let sent = unsent(&owner, Kind::Share, &TO_SP1);
    let short = Scatter { count: 20, ..LONG };
    for (list, first, limit) in [
        (&short, head(), 16),
        (&short, head() + 16, 48),
        (&short, PAGE_SIZE, PAGE_SIZE),
        (&LONG, head(), PAGE_SIZE),
        (&LONG, PAGE_SIZE, 1600),
    ] {
        let mut fragments = Fragments::new(&owner, &sent, list);
        let handle = sent_by(&mut fragments, id::MEM_SHARE_32, first, limit)?;
        borrowed(SP1, handle, list)?;
        asked_to_give_back(NWD, SP1, handle)?;
        ffa::done(&reclaim(handle, 0))?;
    }
    Ok(())
}

// req: FRAG-20, FRAG-08, FRAG-12, MEMRC-17, MEMRQ-24
fn fragments_side_by_side(_: &Nwd) -> Check {
    let owner = nwd::caller();
    let to_sp2 = [receiver(SP2, access::RW)];
    let (sent, other) = (
        unsent(&owner, Kind::Share, &TO_SP1),
        unsent(&owner, Kind::Share, &to_sp2),
    );
    let mut a = Fragments::new(&owner, &sent, &LONG);
    let mut b = Fragments::new(&owner, &other, &OTHER);
    let answer = a.first(id::MEM_SHARE_64, 1024);
    let handle_a = a.wanted(&answer)?;
    let answer = b.first(id::MEM_SHARE_32, 512);
    let handle_b = b.wanted(&answer)?;
    holds(handle_a != handle_b, handle_a)?;
    let (mut end_a, mut end_b) = (None, None);
    while end_a.is_none() || end_b.is_none() {
        if end_a.is_none() {
            let answer = a.next(handle_a, 2048);
            if a.is_complete() {
                end_a = Some(completed(&answer)?);
            } else {
                equal(a.wanted(&answer)?, handle_a)?;
            }
        }
        // Another transaction in between, with the same buffers.
        let small = share(SP2, access::RW, &[(page(45), 1)])?;
        is_fine(Borrow::new(small).by(SP2)?)?;
        give_back(SP2, small, 0, 0)?;
        ffa::done(&reclaim(small, 0))?;
        ffa::succeeded(&ffa::call(id::PARTITION_INFO_GET, &[]))?;
        ffa::done(&ffa::call(id::RX_RELEASE, &[]))?;
        if end_b.is_none() {
            // A transaction of which half is there is no region yet.
            ffa::refused(&reclaim(handle_b, 0), INVALID_PARAMETERS)?;
            is_error(Borrow::new(handle_b).by(SP2)?, INVALID_PARAMETERS)?;
            let answer = b.next(handle_b, 1024);
            if b.is_complete() {
                end_b = Some(completed(&answer)?);
            } else {
                equal(b.wanted(&answer)?, handle_b)?;
            }
        }
    }
    equal(end_a.unwrap_or(0), handle_a)?;
    equal(end_b.unwrap_or(0), handle_b)?;
    for (partition, handle, list) in [(SP1, handle_a, &LONG), (SP2, handle_b, &OTHER)] {
        borrowed(partition, handle, list)?;
        asked_to_give_back(NWD, partition, handle)?;
        ffa::done(&reclaim(handle, 0))?;
    }
    Ok(())
}

// req: FRAG-06, FRAG-13, FRAG-14, FRAG-11, GEN-30
fn wrong_fragments(_: &Nwd) -> Check {
    let owner = nwd::caller();
    let sent = unsent(&owner, Kind::Lend, &TO_SP1);
    // First fragments that are too long for TX, longer than the whole, without the composite
    // descriptor, or that do not end with a constituent.
    let total = (head() + 16 * LONG.count as usize) as u64;
    let first = head() as u64;
    for (total, length) in [
        (total, 0),
        (total, PAGE_SIZE as u64 + 16),
        (total, total),
        (first + 16, first + 32),
        (total, first - 16),
        (total, first + 8),
        (total + 16, first + 16),
        (total - 16, first + 16),
    ] {
        sent.encode_head(owner.version, LONG.count, LONG.total(), owner.tx);
        let answer = ffa::call(id::MEM_LEND_64, &[total, length]);
        ffa::refused(&answer, INVALID_PARAMETERS)?;
    }

    let mut fragments = Fragments::new(&owner, &sent, &LONG);
    let answer = fragments.first(id::MEM_LEND_64, PAGE_SIZE);
    let handle = fragments.wanted(&answer)?;
    for wrong in [
        handle + 1,
        handle | 1 << 62,
        handle | 1 << 63,
        u64::MAX,
        !handle,
    ] {
        ffa::refused(&frag_tx(wrong, 16), INVALID_PARAMETERS)?;
    }
    let left = total - fragments.offset() as u64;
    for length in [
        0,
        8,
        15,
        17,
        24,
        left + 16,
        PAGE_SIZE as u64 + 16,
        u32::MAX as u64,
    ] {
        ffa::refused(&frag_tx(handle, length), INVALID_PARAMETERS)?;
    }
    let [low, high] = words(handle);
    for w4 in [1 << 16, 1] {
        let answer = ffa::call(id::MEM_FRAG_TX, &[low, high, 16, w4]);
        ffa::refused(&answer, INVALID_PARAMETERS)?;
    }
    // The sender cannot fetch its own descriptor, and others cannot go on with it.
    let answer = owner.frag_rx(handle, fragments.offset());
    ffa::refused(&answer, INVALID_PARAMETERS)?;
    for partition in [SP1, SP2] {
        ask(partition, command!(foreign_fragment), [handle, 0, 0, 0])?;
    }

    let mut answer = fragments.next(handle, PAGE_SIZE);
    while !fragments.is_complete() {
        equal(fragments.wanted(&answer)?, handle)?;
        answer = fragments.next(handle, PAGE_SIZE);
    }
    equal(completed(&answer)?, handle)?;
    ffa::refused(&frag_tx(handle, 16), INVALID_PARAMETERS)?;
    ffa::done(&reclaim(handle, 0))?;
    ffa::refused(&frag_tx(handle, 16), INVALID_PARAMETERS)
}

/// Sends a fragment of a transaction that is not its own, as a partition.
fn foreign_fragment(_: &Sp, [handle, ..]: [u64; 4]) -> Check<[u64; 4]> {
    ffa::refused(&frag_tx(handle, 16), INVALID_PARAMETERS)?;
    Ok([0; 4])
}

// req: FRAG-17, FRAG-21, MEMD-04, MEMX-09, MEMD-02, GEN-30
fn fragments_that_end_it(_: &Nwd) -> Check {
    let owner = nwd::caller();
    let good = Scatter { count: 300, ..LONG };
    let last = good.constituent(299);
    for (address, pages, code) in [
        // Overlaps the first fragment.
        (good.constituent(0), 1, INVALID_PARAMETERS),
        // An address that is not aligned; more and fewer pages than announced.
        (last + 0x800, 1, INVALID_PARAMETERS),
        (last, 2, INVALID_PARAMETERS),
        (last, 0, INVALID_PARAMETERS),
        // Secure memory.
        (package(0), 1, DENIED),
    ] {
        for kind in [Kind::Share, Kind::Lend, Kind::Donate] {
            let permission = if kind == Kind::Donate {
                access::NOT_SPECIFIED
            } else {
                access::RW
            };
            let receivers = [receiver(SP1, permission)];
            let sent = unsent(&owner, kind, &receivers);
            let head = sent.encode_head(owner.version, 300, 300, owner.tx);
            let put = |at, n| encode_constituent(owner.tx, at, good.constituent(n), 1);
            let first = (PAGE_SIZE - head) as u32 / 16;
            for n in 0..first {
                put(head + 16 * n as usize, n);
            }
            let total = (head + 16 * 300) as u64;
            let answer = ffa::call(
                kind.function(),
                &[total, (head + 16 * first as usize) as u64],
            );
            equal(answer[0], id::MEM_FRAG_RX)?;
            let handle = answer[1] | answer[2] << 32;
            for n in first..299 {
                put(16 * (n - first) as usize, n);
            }
            let end = 16 * (299 - first) as usize;
            encode_constituent(owner.tx, end, address, pages);
            ffa::refused(&frag_tx(handle, end as u64 + 16), code)?;
            ffa::refused(&frag_tx(handle, 16), INVALID_PARAMETERS)?;
            ffa::refused(&reclaim(handle, 0), INVALID_PARAMETERS)?;
        }
    }
    // All of the memory can still be sent.
    let handle = send(&owner, Kind::Lend, &TO_SP1, &good)?;
    ffa::done(&reclaim(handle, 0))
}

// req: FRAG-20
fn forgotten_fragments(_: &Nwd) -> Check {
    let owner = nwd::caller();
    let sent = unsent(&owner, Kind::Share, &TO_SP1);
    let mut first = None;
    for _ in 0..100 {
        let mut fragments = Fragments::new(&owner, &sent, &LONG);
        let answer = fragments.first(id::MEM_SHARE_64, PAGE_SIZE);
        let handle = fragments.wanted(&answer)?;
        first.get_or_insert(handle);
    }
    ffa::refused(&frag_tx(first.unwrap_or(0), 16), INVALID_PARAMETERS)?;
    let handle = send(&owner, Kind::Share, &TO_SP1, &LONG)?;
    borrowed(SP1, handle, &LONG)?;
    asked_to_give_back(NWD, SP1, handle)?;
    ffa::done(&reclaim(handle, 0))
}

// req: FRAG-19
fn aborted_fragments(_: &Nwd) -> Check {
    let owner = nwd::caller();
    let sent = unsent(&owner, Kind::Lend, &TO_SP1);
    let mut fragments = Fragments::new(&owner, &sent, &LONG);
    let answer = fragments.first(id::MEM_LEND_64, PAGE_SIZE);
    let handle = fragments.wanted(&answer)?;
    // The call has no results.
    ffa::call(id::ERROR, &[0, ABORTED as u32 as u64]);
    let answer = fragments.next(handle, PAGE_SIZE);
    ffa::refused(&answer, INVALID_PARAMETERS)?;
    ffa::refused(&reclaim(handle, 0), INVALID_PARAMETERS)?;
    let handle = send(&owner, Kind::Lend, &TO_SP1, &LONG)?;
    ffa::done(&reclaim(handle, 0))
}

// req: FRAG-10, FRAG-15, FRAG-16, FRAG-23, MEMRQ-10, MEMRQ-15, RXTX-11
fn fetched_fragments(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        let receivers = [receiver(partition, access::RW)];
        let handle = send(&nwd::caller(), Kind::Share, &receivers, &LONG)?;
        ask(partition, command!(fetch), [handle, 0, 0, 0])?;
        ffa::refused(&reclaim(handle, 0), DENIED)?;
        asked_to_give_back(NWD, partition, handle)?;
        ffa::done(&reclaim(handle, 0))?;
    }
    Ok(())
}

/// Fetches the response about [`LONG`] as a partition, with every wrong call in between.
fn fetch(sp: &Sp, [handle, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let caller = sp.caller();
    let own = [receiver(caller.id, access::RW)];
    let request = request(NWD, Kind::Share, handle, &own);
    ffa::refused(&caller.frag_rx(handle, 0), INVALID_PARAMETERS)?;
    let answer = caller.send(id::MEM_RETRIEVE_REQ_32, &request);
    equal(answer[0], id::MEM_RETRIEVE_RESP)?;
    let (total, mut offset) = (answer[1] as usize, answer[2] as usize);
    holds(offset < total, answer[2])?;
    let head = total - 16 * LONG.count as usize;

    let mut last = None;
    while offset < total {
        ffa::refused(&caller.frag_rx(handle, offset), BUSY)?;
        ffa::done(&ffa::call(id::RX_RELEASE, &[]))?;
        for wrong in [
            offset + 16,
            offset - 32,
            offset + 8,
            total,
            total + 16,
            head + 16,
        ] {
            let answer = caller.frag_rx(handle, wrong);
            ffa::refused(&answer, INVALID_PARAMETERS)?;
        }
        for wrong in [handle + 1, handle | 1 << 63, u64::MAX] {
            let answer = caller.frag_rx(wrong, offset);
            ffa::refused(&answer, INVALID_PARAMETERS)?;
        }
        let [low, high] = words(handle);
        let answer = ffa::call(id::MEM_FRAG_RX, &[low, high, offset as u64, 1 << 16]);
        ffa::refused(&answer, INVALID_PARAMETERS)?;
        // A borrower may fetch the fragment before once more.
        if let Some(again) = last {
            let length = caller.fragment(&caller.frag_rx(handle, again), handle)?;
            equal(length as u64, (offset - again) as u64)?;
            is_part(&caller, again - head, length)?;
            ffa::done(&ffa::call(id::RX_RELEASE, &[]))?;
        }
        let length = caller.fragment(&caller.frag_rx(handle, offset), handle)?;
        is_part(&caller, offset - head, length)?;
        last = Some(offset);
        offset += length;
    }
    equal(offset as u64, total as u64)?;
    ffa::done(&ffa::call(id::RX_RELEASE, &[]))?;
    ffa::refused(&caller.frag_rx(handle, total), INVALID_PARAMETERS)?;
    Ok([0; 4])
}

/// Checks that RX holds the constituents of [`LONG`] from byte `offset` of the list on.
#[track_caller]
fn is_part(caller: &Caller, offset: usize, length: usize) -> Check {
    equal((offset % 16 + length % 16) as u64, 0u64)?;
    for at in (0..length).step_by(16) {
        equal(
            caller.rx.u64(at),
            LONG.constituent(((offset + at) / 16) as u32),
        )?;
        equal(caller.rx.u32(at + 8), LONG.pages)?;
    }
    Ok(())
}

// req: FRAG-18, MEMRL-15
fn retrieval_given_up(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        let receivers = [receiver(partition, access::RW)];
        let handle = send(&nwd::caller(), Kind::Share, &receivers, &LONG)?;
        ask(partition, command!(give_up_retrieval), [handle, 0, 0, 0])?;
        is_hidden_from(partition, &LONG)?;
        // Afterwards the partition may retrieve all of it.
        borrowed(partition, handle, &LONG)?;
        asked_to_give_back(NWD, partition, handle)?;
        ffa::done(&reclaim(handle, 0))?;
    }
    Ok(())
}

/// Reads a part of the response about [`LONG`] as a partition, and relinquishes.
fn give_up_retrieval(sp: &Sp, [handle, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let caller = sp.caller();
    let own = [receiver(caller.id, access::RW)];
    let request = request(NWD, Kind::Share, handle, &own);
    let answer = caller.send(id::MEM_RETRIEVE_REQ_32, &request);
    equal(answer[0], id::MEM_RETRIEVE_RESP)?;
    ffa::done(&ffa::call(id::RX_RELEASE, &[]))?;
    let next = answer[2] as usize;
    let length = caller.fragment(&caller.frag_rx(handle, next), handle)?;
    ffa::done(&ffa::call(id::RX_RELEASE, &[]))?;
    ffa::done(&caller.relinquish(handle, 0))?;
    let answer = caller.frag_rx(handle, next + length);
    ffa::refused(&answer, INVALID_PARAMETERS)?;
    Ok([0; 4])
}

// req: FRAG-07, FRAG-09, FRAG-11, FRAG-12, FRAG-23, MEML-02
fn fragments_of_partitions(_: &Nwd) -> Check {
    for (owner, borrower) in [(SP1, SP2), (SP2, SP1)] {
        ask(
            owner,
            command!(send_in_fragments),
            [borrower as u64, 0, 0, 0],
        )?;
    }
    Ok(())
}

/// Lends memory of its own in fragments of two constituents, as a partition.
fn send_in_fragments(sp: &Sp, [other, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let (caller, other) = (sp.caller(), other as u16);
    let list = Scatter::every_second(sp::free_memory(), 16);
    let receivers = [receiver(other, access::RW)];
    let sent = unsent(&caller, Kind::Lend, &receivers);
    let mut fragments = Fragments::new(&caller, &sent, &list);
    let head = layout(caller.version).composite(1) + 16;
    let handle = sent_by(&mut fragments, id::MEM_LEND_32, head + 32, 32)?;
    let borrow = Borrow {
        owner: caller.id,
        tag: sent.tag,
        attributes: 0,
        ..Borrow::new(handle)
    };
    let got = is_fine(borrow.asked_by(sp, other)?)?;
    equal(got.ranges, list.count)?;
    equal(got.first, list.first)?;
    asked_to_give_back(caller.id, other, handle)?;
    ffa::done(&reclaim(handle, 0))?;
    Ok([0; 4])
}

// req: MEMRQ-20, MEMRQ-21, MEMRQ-22, MEMRQ-23
fn hypervisor_asks(_: &Nwd) -> Check {
    let owner = nwd::caller();
    let ask_where = |handle| {
        let question = Transaction {
            sender: NWD,
            attributes: 0,
            flags: 0,
            handle,
            tag: 0,
            receivers: &[],
            ranges: &[],
        };
        (owner.send(id::MEM_RETRIEVE_REQ_64, &question), question)
    };
    let sent = Transaction {
        tag: 0,
        ..unsent(&owner, Kind::Share, &TO_SP1)
    };
    for list in [
        Scatter::contiguous(HOLES, 1),
        Scatter::every_second(HOLES, 16),
        LONG,
    ] {
        let handle = owner.sent_scattered(id::MEM_SHARE_64, &sent, &list)?;
        // The Hypervisor may ask again and again, whoever has the memory: nothing changes.
        for borrowed in [false, true] {
            let (answer, question) = ask_where(handle);
            let got = owner.retrieved_each(&answer, &question, |n, address, pages| {
                equal(address, list.constituent(n))?;
                equal(pages, list.pages)
            })?;
            equal(got.ranges, list.count)?;
            equal(got.pages, list.total())?;
            equal(got.attributes & NORMAL_WB, NORMAL_WB)?;
            if !borrowed {
                is_fine(Borrow::new(handle).by(SP1)?)?;
            }
        }
        ffa::refused(&reclaim(handle, 0), DENIED)?;
        asked_to_give_back(NWD, SP1, handle)?;
        ffa::done(&reclaim(handle, 0))?;
        ffa::refused(&ask_where(handle).0, INVALID_PARAMETERS)?;
    }
    Ok(())
}
