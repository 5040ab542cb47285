//! The death of a partition that owns, lends and borrows memory (FF-A v1.0 section 5, v1.3
//! partition life cycle): those that it shared memory with go on.

use crate::ffa::error::ABORTED;
use crate::ffa::fragment_calls::Fragments;
use crate::ffa::memory_calls::reclaim;
use crate::ffa::memory_descriptor::{NORMAL_WB, Receiver, Scatter, Transaction, access, flag};
use crate::ffa::{self, NWD, SP1, SP2, id, route};
use crate::nwd::{self, Nwd, Test, ask, page, peek, poke};
use crate::rt::call::call;
use crate::rt::check::{Check, equal, holds};
use crate::rt::page::{PAGE_SIZE, Shared};
use crate::rt::probe;
use crate::sp::{Command, Sp, fault};
use crate::support::borrowing::{Borrow, asked_to_give_back, give_back, is_fine};
use crate::support::helper_call::request;
use crate::support::reach::{ABORT, DONE, Space, Try, reaches};
use crate::support::regions::{HOLES, Kind, borrowed, send, unsent};
use crate::support::sharing::receiver;
use crate::{command, helper, test};

/// The test of this file, after which sp2 is dead.
pub const TESTS: &[Test] = &[test!(
    death_of_a_partition,
    "sp2 dies: what it borrowed comes back, what it lent stays until it is given back, and nothing new begins"
)];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(offer), helper!(take_back), helper!(die)];

/// A page of the partition that runs this.
static OWN: Shared<PAGE_SIZE> = Shared::new();

/// Shares or lends the partition's page to another one. Results: handle and address.
fn offer(sp: &Sp, [to, lend, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let caller = sp.caller();
    OWN.write(0, &0x0ff3_u32.to_le_bytes());
    let (function, attributes) = match lend {
        0 => (id::MEM_SHARE_32, NORMAL_WB),
        _ => (id::MEM_LEND_32, 0),
    };
    let receivers: [Receiver; 1] = [receiver(to as u16, access::RW)];
    let sent = Transaction {
        sender: caller.id,
        attributes,
        flags: 0,
        handle: 0,
        tag: 0,
        receivers: &receivers,
        ranges: &[(OWN.address(), 1)],
    };
    Ok([caller.sent(function, &sent)?, OWN.address(), 0, 0])
}

/// Reclaims the partition's page, which must then hold the word in x5.
fn take_back(_: &Sp, [handle, word, ..]: [u64; 4]) -> Check<[u64; 4]> {
    ffa::done(&reclaim(handle, 0))?;
    match probe::read(OWN.address()) {
        Ok(got) => equal(got, word)?,
        Err(fault) => equal(fault.0, 0u64)?,
    }
    Ok([0; 4])
}

fn die(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    fault::die();
    Ok([0; 4])
}

/// Fails unless the retrieve request is refused, with whatever code: FF-A 1.0 names none.
#[track_caller]
fn is_refused(answer: &ffa::Answer) -> Check {
    equal(answer[0], id::ERROR)
}

// req: MEMO-35, MEMRC-13, GEN-30
fn death_of_a_partition(_: &Nwd) -> Check {
    let owner = nwd::caller();
    let to_sp2 = [receiver(SP2, access::RW)];
    // The Normal world has shared a long list and a page that is to be cleared, which sp2 has
    // retrieved; a page that sp2 has not retrieved; and half of a descriptor for sp2.
    let list = Scatter::every_second(HOLES, 300);
    let long = send(&owner, Kind::Share, &to_sp2, &list)?;
    borrowed(SP2, long, &list)?;
    let lend = |address| {
        let ranges = [(address, 1)];
        let sent = Transaction {
            tag: 0,
            ranges: &ranges,
            ..unsent(&owner, Kind::Lend, &to_sp2)
        };
        poke(address, 0x5ec7);
        owner.sent(id::MEM_LEND_64, &sent)
    };
    let cleared = lend(page(90))?;
    let take = Borrow {
        attributes: 0,
        flags: flag::LEND | flag::ZERO_AFTER,
        ..Borrow::new(cleared)
    };
    is_fine(take.by(SP2)?)?;
    let unused = lend(page(91))?;
    let sent = unsent(&owner, Kind::Share, &to_sp2);
    let other = Scatter::every_second(HOLES + 0x100_0000, 300);
    let mut half = Fragments::new(&owner, &sent, &other);
    let answer = half.first(id::MEM_SHARE_64, PAGE_SIZE);
    let half_handle = half.wanted(&answer)?;
    // sp2 borrows from sp1, too, and sp1 from sp2.
    let [of_sp1, address, ..] = ask(SP1, command!(offer), [SP2 as u64, 1, 0, 0])?;
    let borrow = |handle, owner| Borrow {
        owner,
        ..Borrow::new(handle)
    };
    let lent = Borrow {
        attributes: 0,
        ..borrow(of_sp1, SP1)
    };
    is_fine(lent.by(SP2)?)?;
    reaches(SP2, address, Space::Secure, Try::Write(0xd1ed), DONE)?;
    let [of_sp2, address, ..] = ask(SP2, command!(offer), [SP1 as u64, 0, 0, 0])?;
    is_fine(borrow(of_sp2, SP2).by(SP1)?)?;

    let last = request(id::DIRECT_REQ_64, route(NWD, SP2), command!(die), [0; 4]);
    ffa::refused(&call(ffa::conduit(), last), ABORTED)?;

    // The Normal world and sp1 can reclaim their memory.
    for handle in [long, cleared, unused] {
        ffa::done(&reclaim(handle, 0))?;
    }
    equal(peek(page(90)), 0u64)?;
    equal(peek(page(91)), 0x5ec7u64)?;
    ask(SP1, command!(take_back), [of_sp1, 0xd1ed, 0, 0])?;
    // sp1 keeps the page of sp2 until it relinquishes it, and cannot retrieve it again.
    reaches(SP1, address, Space::Secure, Try::Read, Some(0x0ff3))?;
    asked_to_give_back(NWD, SP1, of_sp2)?;
    reaches(SP1, address, Space::Secure, Try::Read, ABORT)?;
    holds(borrow(of_sp2, SP2).by(SP1)?.is_err(), of_sp2)?;

    is_refused(&half.next(half_handle, PAGE_SIZE))?;
    is_refused(&reclaim(half_handle, 0))?;
    let ranges = [(page(92), 1)];
    let sent = Transaction {
        tag: 0,
        ranges: &ranges,
        ..unsent(&owner, Kind::Share, &to_sp2)
    };
    is_refused(&owner.send(id::MEM_SHARE_64, &sent))?;
    // All pages can be sent to others.
    let to_sp1 = [receiver(SP1, access::RW)];
    for list in [list, other, Scatter::contiguous(page(90), 3)] {
        let handle = send(&owner, Kind::Share, &to_sp1, &list)?;
        borrowed(SP1, handle, &list)?;
        give_back(SP1, handle, 0, 0)?;
        ffa::done(&reclaim(handle, 0))?;
    }
    Ok(())
}
