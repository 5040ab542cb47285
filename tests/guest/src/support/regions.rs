//! Regions of many pages, in one piece or in many: one side writes a pattern to all pages, the
//! other side finds it.

use crate::ffa::memory_calls::Caller;
use crate::ffa::memory_descriptor::{NORMAL_WB, NS, Receiver, Scatter, Transaction, access, flag};
use crate::ffa::{self, NWD, id};
use crate::rt::check::{Check, equal, holds};
use crate::rt::page::PAGE_SIZE;
use crate::rt::probe;
use crate::rt::stage1::{self, Attributes, NON_SECURE_GIB};
use crate::sp::{Command, Sp};
use crate::support::sharing::receiver;
use crate::{command, helper, nwd};

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(borrow), helper!(visit), helper!(cannot_visit)];

/// The number of the helper that retrieves a region.
pub(crate) const BORROW: u32 = command!(borrow);

/// The number of the helper that finds the pattern of a seed on all pages and leaves that of the
/// next seed.
pub(crate) const VISIT: u32 = command!(visit);

/// The number of the helper that finds all pages out of reach.
pub(crate) const CANNOT_VISIT: u32 = command!(cannot_visit);

/// The type of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `FFA_MEM_SHARE`
    Share,
    /// `FFA_MEM_LEND`
    Lend,
    /// `FFA_MEM_DONATE`
    Donate,
}

/// All types of transactions.
pub(crate) const KINDS: [Kind; 3] = [Kind::Share, Kind::Lend, Kind::Donate];

impl Kind {
    /// Returns the function of the send.
    pub fn function(self) -> u32 {
        match self {
            Self::Share => id::MEM_SHARE_64,
            Self::Lend => id::MEM_LEND_64,
            Self::Donate => id::MEM_DONATE_64,
        }
    }

    /// Returns the type flag of a retrieve request and its response.
    fn flag(self) -> u32 {
        match self {
            Self::Share => flag::SHARE,
            Self::Lend => flag::LEND,
            Self::Donate => flag::DONATE,
        }
    }

    /// Returns the attributes that owner and borrower specify.
    fn attributes(self) -> u16 {
        if self == Self::Share { NORMAL_WB } else { 0 }
    }

    /// Returns the permission that the owner gives.
    pub fn granted(self) -> u8 {
        if self == Self::Donate {
            access::NOT_SPECIFIED
        } else {
            access::RW
        }
    }

    /// Returns the permission that the borrower asks for. In a share nobody says anything about
    /// execution.
    pub fn wanted(self) -> u8 {
        if self == Self::Share {
            access::RW
        } else {
            access::RW | access::XN
        }
    }

    /// Returns the kind with this number, as `as u64` gives it.
    pub fn from_number(number: u64) -> Self {
        KINDS[number as usize]
    }
}

/// Address at which regions with holes begin.
pub const HOLES: u64 = NON_SECURE_GIB + 0x400_0000;

/// Returns the word that stands at both ends of a page.
fn pattern(address: u64, seed: u32) -> u32 {
    (address >> 12) as u32 ^ seed.wrapping_mul(0x9e37_79b9)
}

/// Returns the addresses of both ends of a page.
fn ends(page: u64) -> [u64; 2] {
    [page, page + PAGE_SIZE as u64 - 4]
}

/// Writes the pattern to all pages, which this image owns or has borrowed.
#[track_caller]
pub fn paint(list: &Scatter, seed: u32) -> Check {
    for n in 0..list.total() {
        for word in ends(list.page(n)) {
            // SAFETY: the tests name only memory that this image does not use.
            let written = unsafe { probe::write(word, pattern(word, seed)) };
            holds(written.is_ok(), word)?;
        }
    }
    Ok(())
}

/// Checks the pattern of all pages.
#[track_caller]
pub fn is_painted(list: &Scatter, seed: u32) -> Check {
    for n in 0..list.total() {
        for word in ends(list.page(n)) {
            match probe::read(word) {
                Ok(got) => equal(got, pattern(word, seed))?,
                Err(fault) => return equal(fault.0, word),
            }
        }
    }
    Ok(())
}

/// Returns a few pages of the list, the first and the last among them.
fn samples(list: &Scatter) -> impl Iterator<Item = u64> + '_ {
    let last = list.total() - 1;
    [0, last / 3, last / 2, last]
        .into_iter()
        .map(|n| list.page(n))
}

/// Checks that the image reaches none of a few pages.
#[track_caller]
pub(crate) fn out_of_reach(list: &Scatter) -> Check {
    for page in samples(list) {
        match probe::read(page) {
            Ok(_) => return holds(false, page),
            Err(fault) => equal(fault.class(), probe::Fault::DATA_ABORT)?,
        }
    }
    Ok(())
}

/// Maps Secure memory while `look` runs. Non-secure memory is always mapped.
fn with_map(list: &Scatter, look: impl FnOnce() -> Check) -> Check {
    let secure = list.first < NON_SECURE_GIB;
    for n in 0..if secure { list.total() } else { 0 } {
        stage1::map(list.page(n), Attributes::Data);
    }
    let outcome = look();
    for n in 0..if secure { list.total() } else { 0 } {
        stage1::unmap(list.page(n));
    }
    outcome
}

/// Packs owner and kind of a transaction, and the seed of its pattern, into one word.
pub(crate) fn how(owner: u16, kind: Kind, seed: u32) -> u64 {
    owner as u64 | (kind as u64) << 16 | (seed as u64) << 32
}

/// Unpacks a word that [`how`] packed.
pub(crate) fn from_how(how: u64) -> (u16, Kind, u32) {
    (
        how as u16,
        Kind::from_number(how >> 16 & 0xff),
        (how >> 32) as u32,
    )
}

/// Retrieves the region with this handle, and checks that the response describes the list.
pub(crate) fn take(caller: &Caller, handle: u64, list: &Scatter, owner: u16, kind: Kind) -> Check {
    let own = [receiver(caller.id, kind.wanted())];
    let request = request(owner, kind, handle, &own);
    let answer = caller.send(id::MEM_RETRIEVE_REQ_32, &request);
    let got = caller.retrieved_each(&answer, &request, |n, address, pages| {
        equal(address, list.constituent(n))?;
        equal(pages, list.pages)
    })?;
    equal(got.ranges, list.count)?;
    equal(got.pages, list.total())?;
    equal(got.access, access::RW | access::XN)?;
    equal(got.flags, kind.flag())?;
    // The attributes of 1.0 have no NS bit.
    let ns = owner == NWD && caller.version != ffa::V1_0;
    equal(got.attributes, NORMAL_WB | if ns { NS } else { 0 })
}

/// Lets `borrower` retrieve the list, a share of the Normal world.
#[track_caller]
pub fn borrowed(borrower: u16, handle: u64, list: &Scatter) -> Check {
    let [first, numbers] = list.pack();
    let arguments = [handle, first, numbers, how(NWD, Kind::Share, 0)];
    nwd::ask(borrower, command!(borrow), arguments).map(drop)
}

/// Lets `borrower` find the pattern of the seed on all pages, and leave that of the next one.
#[track_caller]
pub fn visited(borrower: u16, list: &Scatter, seed: u32) -> Check {
    let [first, numbers] = list.pack();
    nwd::ask(borrower, command!(visit), [first, numbers, seed.into(), 0]).map(drop)
}

/// Lets `partition` check that it reaches nothing of the list.
#[track_caller]
pub fn is_hidden_from(partition: u16, list: &Scatter) -> Check {
    let [first, numbers] = list.pack();
    nwd::ask(partition, command!(cannot_visit), [first, numbers, 0, 0]).map(drop)
}

/// Retrieves the region that the arguments describe.
fn borrow(sp: &Sp, [handle, first, numbers, how]: [u64; 4]) -> Check<[u64; 4]> {
    let (owner, kind, _) = from_how(how);
    take(
        &sp.caller(),
        handle,
        &Scatter::unpack([first, numbers]),
        owner,
        kind,
    )?;
    Ok([0; 4])
}

/// Finds the pattern of the seed on all pages, and leaves that of the next seed.
fn visit(_: &Sp, [first, numbers, seed, _]: [u64; 4]) -> Check<[u64; 4]> {
    let list = Scatter::unpack([first, numbers]);
    with_map(&list, || {
        is_painted(&list, seed as u32)?;
        paint(&list, seed as u32 + 1)
    })?;
    Ok([0; 4])
}

/// Checks that this partition reaches nothing of the list.
fn cannot_visit(_: &Sp, [first, numbers, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let list = Scatter::unpack([first, numbers]);
    with_map(&list, || out_of_reach(&list))?;
    Ok([0; 4])
}

/// The tag of all transactions.
pub const TAG: u64 = 0x7a67_0000_0000_7a67;

/// Returns the transaction that `owner` sends, without its list.
pub fn unsent<'a>(owner: &Caller, kind: Kind, receivers: &'a [Receiver]) -> Transaction<'a> {
    Transaction {
        sender: owner.id,
        attributes: kind.attributes(),
        flags: 0,
        handle: 0,
        tag: TAG,
        receivers,
        ranges: &[],
    }
}

/// Returns the retrieve request for a transaction of [`unsent`].
pub fn request<'a>(
    owner: u16,
    kind: Kind,
    handle: u64,
    receivers: &'a [Receiver],
) -> Transaction<'a> {
    Transaction {
        sender: owner,
        attributes: kind.attributes(),
        flags: kind.flag(),
        handle,
        tag: TAG,
        receivers,
        ranges: &[],
    }
}

/// Sends memory of `owner`, in as few fragments as TX allows, and returns the handle.
pub fn send(owner: &Caller, kind: Kind, receivers: &[Receiver], list: &Scatter) -> Check<u64> {
    let transaction = unsent(owner, kind, receivers);
    owner.sent_scattered(kind.function(), &transaction, list)
}
