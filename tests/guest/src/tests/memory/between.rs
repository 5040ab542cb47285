//! Memory that one partition sends to another: stage 2 takes the owner's access away while the
//! memory is lent.

use crate::board::{SECURE_UART, SPMC, package};
use crate::ffa::error::{DENIED, INVALID_PARAMETERS};
use crate::ffa::memory_calls::reclaim;
use crate::ffa::memory_descriptor::{NORMAL_WB, Receiver, Transaction, access, flag};
use crate::ffa::{self, NOBODY, NWD, SP1, SP2, id};
use crate::nwd::{Nwd, Test, ask, page};
use crate::rt::check::{Check, equal, holds};
use crate::rt::page::{PAGE_SIZE, Shared};
use crate::rt::probe;
use crate::sp::{self, Command, Sp};
use crate::support::borrowing::{Borrow, asked_to_give_back, give_back, is_error, is_fine};
use crate::support::reach::{ABORT, DONE, Try, reaches_from};
use crate::support::sharing::{receiver, share};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        share_between_partitions,
        "A partition shares a page of its own with the other one"
    ),
    test!(
        lend_between_partitions,
        "A partition lends a page: it cannot reach it until it is reclaimed"
    ),
    test!(
        donate_between_partitions,
        "A partition gives a page to the other one, which gives it back"
    ),
    test!(
        partition_send_errors,
        "A partition cannot send what is not its own, nor to the Normal world"
    ),
    test!(
        borrower_cannot_send,
        "A borrower cannot send on what it borrowed"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(share_own),
    helper!(lend_own),
    helper!(donate_own),
    helper!(donate_back),
    helper!(bad_sends),
    helper!(send_on),
];

/// Two pages of the partition that runs this.
static OWN: Shared<{ 2 * PAGE_SIZE }> = Shared::new();

fn transaction<'a>(
    sp: &Sp,
    attributes: u16,
    receivers: &'a [Receiver],
    ranges: &'a [(u64, u32)],
) -> Transaction<'a> {
    let sender = sp.identity.id;
    Transaction {
        sender,
        attributes,
        flags: 0,
        handle: 0,
        tag: 0,
        receivers,
        ranges,
    }
}

fn both_ways(command: u32) -> Check {
    for (owner, borrower) in [(SP1, SP2), (SP2, SP1)] {
        ask(owner, command, [borrower as u64, 0, 0, 0])?;
    }
    Ok(())
}

fn own_page() -> u64 {
    OWN.address()
}

#[track_caller]
fn owner_reads(value: u32) -> Check {
    match probe::read(own_page()) {
        Ok(got) => equal(got, value),
        Err(fault) => equal(fault.0, 0u64),
    }
}

#[track_caller]
fn owner_faults() -> Check {
    match probe::read(own_page()) {
        Ok(got) => holds(false, got),
        Err(fault) => equal(fault.class(), probe::Fault::DATA_ABORT),
    }
}

// req: MEMO-09, MEMO-19, MEMO-20, MEMO-28, MEMD-09, MEMD-11, MEMD-13, MEMD-94, MEMS-02, MEMRC-11
// req: MEMRL-14, GEN-01, GEN-13, RXTX-28
fn share_between_partitions(_: &Nwd) -> Check {
    both_ways(command!(share_own))
}

fn share_own(sp: &Sp, [other, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let other = other as u16;
    OWN.write(0, &0x1111_u32.to_le_bytes());
    let receivers = [receiver(other, access::RW)];
    let ranges = [(own_page(), 1)];
    let sent = transaction(sp, NORMAL_WB, &receivers, &ranges);
    reaches_from(sp, other, own_page(), Try::Read, ABORT)?;
    let handle = sp.caller().sent(id::MEM_SHARE_32, &sent)?;
    ffa::refused(&sp.caller().send(id::MEM_SHARE_32, &sent), DENIED)?;
    reaches_from(sp, other, own_page(), Try::Read, ABORT)?;

    let borrow = Borrow {
        owner: sp.identity.id,
        ..Borrow::new(handle)
    };
    let got = is_fine(borrow.asked_by(sp, other)?)?;
    equal(got.first, own_page())?;
    // Secure memory has no NS bit.
    equal(got.attributes, NORMAL_WB)?;
    equal(got.access, access::RW | access::XN)?;
    reaches_from(sp, other, own_page(), Try::Read, Some(0x1111))?;
    reaches_from(sp, other, own_page(), Try::Write(0x2222), DONE)?;
    reaches_from(sp, other, own_page(), Try::Execute, ABORT)?;
    owner_reads(0x2222)?;
    ffa::refused(&reclaim(handle, 0), DENIED)?;
    asked_to_give_back(sp.identity.id, other, handle)?;
    reaches_from(sp, other, own_page(), Try::Read, ABORT)?;
    ffa::done(&reclaim(handle, 0))?;
    owner_reads(0x2222)?;
    Ok([0; 4])
}

// req: MEMO-05, MEMO-09, MEMO-16, MEMO-17, MEMO-27, MEMO-35, MEMD-39, MEMD-47, MEMD-58, MEML-02
// req: MEML-08, MEMRC-10, MEMRC-14, MEMX-20
fn lend_between_partitions(_: &Nwd) -> Check {
    both_ways(command!(lend_own))
}

fn lend_own(sp: &Sp, [other, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let other = other as u16;
    OWN.write(0, &0x3333_u32.to_le_bytes());
    let receivers = [receiver(other, access::RW)];
    let ranges = [(own_page(), 1)];
    let sent = transaction(sp, 0, &receivers, &ranges);

    // A region that nobody retrieved can be reclaimed at once.
    let handle = sp.caller().sent(id::MEM_LEND_64, &sent)?;
    owner_faults()?;
    ffa::done(&reclaim(handle, 0))?;
    owner_reads(0x3333)?;

    let handle = sp.caller().sent(id::MEM_LEND_64, &sent)?;
    owner_faults()?;
    let borrow = Borrow {
        owner: sp.identity.id,
        attributes: 0,
        flags: flag::LEND,
        access: access::RW | access::XN,
        ..Borrow::new(handle)
    };
    is_fine(borrow.asked_by(sp, other)?)?;
    owner_faults()?;
    reaches_from(sp, other, own_page(), Try::Read, Some(0x3333))?;
    reaches_from(sp, other, own_page(), Try::Write(0x4444), DONE)?;
    asked_to_give_back(sp.identity.id, other, handle)?;
    // The owner has no access before the reclaim.
    owner_faults()?;
    ffa::done(&reclaim(handle, 0))?;
    owner_reads(0x4444)?;
    // The owner can read, write and execute as before.
    // SAFETY: the page holds nothing that this image uses.
    holds(unsafe { probe::write(own_page(), 0x5555) }.is_ok(), 0u64)?;
    owner_reads(0x5555)?;
    Ok([0; 4])
}

// req: MEMO-11, MEMO-25, MEMO-31, MEMDN-02, MEMDN-06, MEMRQ-11, MEMD-44
fn donate_between_partitions(_: &Nwd) -> Check {
    both_ways(command!(donate_own))
}

fn donate_own(sp: &Sp, [other, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let (me, other) = (sp.identity.id, other as u16);
    OWN.write(0, &0x6666_u32.to_le_bytes());
    let receivers = [receiver(other, access::NOT_SPECIFIED)];
    let ranges = [(own_page(), 1)];
    let handle = sp
        .caller()
        .sent(id::MEM_DONATE_32, &transaction(sp, 0, &receivers, &ranges))?;
    owner_faults()?;
    let take = |handle, owner| Borrow {
        owner,
        attributes: 0,
        flags: flag::DONATE,
        access: access::RW | access::XN,
        ..Borrow::new(handle)
    };
    is_fine(take(handle, me).asked_by(sp, other)?)?;
    owner_faults()?;
    ffa::refused(&reclaim(handle, 0), INVALID_PARAMETERS)?;
    reaches_from(sp, other, own_page(), Try::Read, Some(0x6666))?;

    let [back, ..] = sp.ask(other, command!(donate_back), [own_page(), me as u64, 0, 0])?;
    reaches_from(sp, other, own_page(), Try::Read, ABORT)?;
    let own = [receiver(me, access::RW | access::XN)];
    let request = Transaction {
        sender: other,
        flags: flag::DONATE,
        handle: back,
        ranges: &[],
        ..transaction(sp, 0, &own, &[])
    };
    let answer = sp.caller().send(id::MEM_RETRIEVE_REQ_32, &request);
    sp.caller().retrieved(&answer, &request)?;
    owner_reads(0x6666)?;
    Ok([0; 4])
}

/// Donates the page in x4 to the partition in x5. Result: the handle.
fn donate_back(sp: &Sp, [address, to, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let receivers = [receiver(to as u16, access::NOT_SPECIFIED)];
    let ranges = [(address, 1)];
    let handle = sp
        .caller()
        .sent(id::MEM_DONATE_32, &transaction(sp, 0, &receivers, &ranges))?;
    Ok([handle, 0, 0, 0])
}

// req: GEN-23, MEMD-11, MEMD-71, MEMO-10, MEMO-19, MEMX-07, MEMX-08, MEMX-09, RXTX-20, MEMX-18
fn partition_send_errors(_: &Nwd) -> Check {
    for (partition, other, memory) in [(SP1, SP2, package(1)), (SP2, SP1, package(0))] {
        ask(partition, command!(bad_sends), [other as u64, memory, 0, 0])?;
    }
    Ok(())
}

fn bad_sends(sp: &Sp, [other, other_memory, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let (me, other) = (sp.identity.id, other as u16);
    let caller = sp.caller();
    let receivers = [receiver(other, access::RW)];
    let own = [(own_page(), 1)];
    let share = |sent: Transaction| caller.send(id::MEM_SHARE_64, &sent);

    // Memory that is not this partition's own: that of the other partition, of the SPMC, a device,
    // buffers that the SPMC uses, and memory of the Normal world.
    for address in [
        other_memory,
        SPMC,
        SECURE_UART,
        sp::TX.address(),
        sp::RX.address(),
        page(50),
    ] {
        let ranges = [(address, 1)];
        ffa::refused(
            &share(transaction(sp, NORMAL_WB, &receivers, &ranges)),
            DENIED,
        )?;
        let ranges = [(own_page(), 1), (address, 1)];
        ffa::refused(
            &share(transaction(sp, NORMAL_WB, &receivers, &ranges)),
            DENIED,
        )?;
    }
    let to_normal_world = [receiver(NWD, access::RW)];
    ffa::refused(
        &share(transaction(sp, NORMAL_WB, &to_normal_world, &own)),
        DENIED,
    )?;
    for nobody in [me, NOBODY, ffa::SPMC] {
        let receivers = [receiver(nobody, access::RW)];
        let answer = share(transaction(sp, NORMAL_WB, &receivers, &own));
        ffa::refused(&answer, INVALID_PARAMETERS)?;
    }
    for sender in [other, NWD] {
        let wrong = Transaction {
            sender,
            ..transaction(sp, NORMAL_WB, &receivers, &own)
        };
        ffa::refused(&share(wrong), DENIED)?;
    }
    let handle = caller.sent(
        id::MEM_SHARE_64,
        &transaction(sp, NORMAL_WB, &receivers, &own),
    )?;
    ffa::done(&reclaim(handle, 0))?;
    Ok([0; 4])
}

// req: MEMO-04, MEMO-10, MEMO-11, MEMX-09
fn borrower_cannot_send(_: &Nwd) -> Check {
    let address = page(41);
    let handle = share(SP1, access::RW, &[(address, 1)])?;
    is_fine(Borrow::new(handle).by(SP1)?)?;
    ask(SP1, command!(send_on), [address, SP2 as u64, 0, 0])?;
    give_back(SP1, handle, 0, 0)?;
    ffa::done(&reclaim(handle, 0))?;
    is_error(Borrow::new(handle).by(SP2)?, INVALID_PARAMETERS)
}

fn send_on(sp: &Sp, [address, to, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let ranges = [(address, 1)];
    for (function, attributes, permission) in [
        (id::MEM_SHARE_64, NORMAL_WB, access::RW),
        (id::MEM_LEND_64, 0, access::RW),
        (id::MEM_DONATE_64, 0, access::NOT_SPECIFIED),
    ] {
        let receivers = [receiver(to as u16, permission)];
        let sent = transaction(sp, attributes, &receivers, &ranges);
        ffa::refused(&sp.caller().send(function, &sent), DENIED)?;
    }
    Ok([0; 4])
}
