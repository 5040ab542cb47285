//! Every transaction type with 1, 16, 512 and 4,096 pages, in one piece and with every second page:
//! what one side writes the other side reads, through all pages, and what lies between stays out of
//! reach. Long lists travel in fragments.

use crate::ffa::memory_calls::{Caller, reclaim};
use crate::ffa::memory_descriptor::{NORMAL_WB, NS, Receiver, Scatter, Transaction, access, flag};
use crate::ffa::{self, NWD, SP1, SP2, id};
use crate::nwd::{self, Nwd, Test};
use crate::rt::check::{Check, equal, holds};
use crate::rt::page::PAGE_SIZE;
use crate::rt::probe;
use crate::rt::stage1::{self, Attributes, NON_SECURE_GIB};
use crate::sp::{self, Command, Sp};
use crate::support::helper_call::ask_from;
use crate::{command, helper, test};

use super::{asked_to_give_back, receiver};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        pieces,
        "1, 16, 512 and 4,096 pages in one piece are shared, lent and donated"
    ),
    test!(
        short_lists,
        "16 and 200 separate pages are shared, lent and donated"
    ),
    test!(
        long_lists,
        "512 separate pages are shared, lent and donated, in fragments"
    ),
    test!(
        pieces_between_partitions,
        "Up to 64 pages of a partition are shared, lent and donated to the other one"
    ),
];

/// Where sp2 has memory enough.
pub const OF_PARTITIONS: &[Test] = &[test!(
    large_memory_of_a_partition,
    "Up to 1,024 pages of sp2 are shared, lent and donated to sp1"
)];

/// Tests that leave many pages with partitions, or take nearly all tables: last.
pub const LARGE: &[Test] = &[
    test!(
        longest_list,
        "16,384 separate pages are shared with each partition"
    ),
    test!(
        longer_lists,
        "4,096 separate pages are shared, lent and donated"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(borrow),
    helper!(visit),
    helper!(cannot_visit),
    helper!(own_life),
    helper!(pass_on),
];

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

const KINDS: [Kind; 3] = [Kind::Share, Kind::Lend, Kind::Donate];

impl Kind {
    /// The call that sends.
    pub fn function(self) -> u32 {
        match self {
            Self::Share => id::MEM_SHARE_64,
            Self::Lend => id::MEM_LEND_64,
            Self::Donate => id::MEM_DONATE_64,
        }
    }

    /// The type flag of a retrieve request and its response.
    fn flag(self) -> u32 {
        match self {
            Self::Share => flag::SHARE,
            Self::Lend => flag::LEND,
            Self::Donate => flag::DONATE,
        }
    }

    /// Attributes that the owner, and here the borrower too, gives.
    fn attributes(self) -> u16 {
        if self == Self::Share { NORMAL_WB } else { 0 }
    }

    /// Permission that the owner gives.
    pub fn granted(self) -> u8 {
        if self == Self::Donate {
            access::NOT_SPECIFIED
        } else {
            access::RW
        }
    }

    /// Permission that the borrower asks for: in a share nobody says anything about execution.
    pub fn wanted(self) -> u8 {
        if self == Self::Share {
            access::RW
        } else {
            access::RW | access::XN
        }
    }

    /// The kind with this number, as `as u64` gives it.
    pub fn from_number(number: u64) -> Self {
        KINDS[number as usize]
    }
}

/// Memory in the second GiB, all of it mapped by the partitions: what comes back.
const PIECE: u64 = NON_SECURE_GIB;
/// The same, for memory with holes.
pub const HOLES: u64 = NON_SECURE_GIB + 0x400_0000;
/// Memory that is donated and does not come back, and the distance between two donations.
const DONATED: u64 = NON_SECURE_GIB + 0x1000_0000;
const DONATION: u64 = 0x100_0000;

/// The word that stands at both ends of a page.
fn pattern(address: u64, seed: u32) -> u32 {
    (address >> 12) as u32 ^ seed.wrapping_mul(0x9e37_79b9)
}

/// Both ends of a page.
fn ends(page: u64) -> [u64; 2] {
    [page, page + PAGE_SIZE as u64 - 4]
}

/// Fills all pages of this image's own memory, or of memory that it has now.
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

/// Checks all pages.
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

/// A few pages of the list, the first and the last among them.
fn samples(list: &Scatter) -> impl Iterator<Item = u64> + '_ {
    let last = list.total() - 1;
    [0, last / 3, last / 2, last]
        .into_iter()
        .map(|n| list.page(n))
}

/// Checks that the image reaches none of a few pages.
#[track_caller]
fn out_of_reach(list: &Scatter) -> Check {
    for page in samples(list) {
        match probe::read(page) {
            Ok(_) => return holds(false, page),
            Err(fault) => equal(fault.class(), probe::Fault::DATA_ABORT)?,
        }
    }
    Ok(())
}

/// The pages that the list leaves out, from behind its first constituent on.
fn gaps(list: &Scatter) -> Option<Scatter> {
    let free = list.distance - list.pages;
    (free > 0).then(|| Scatter {
        first: list.first + list.pages as u64 * PAGE_SIZE as u64,
        pages: free,
        ..*list
    })
}

/// Maps Secure memory of somebody else while it is looked at; Non-secure memory is always mapped.
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

/// Owner and kind of a transaction, and the seed of its pattern, in one word.
fn how(owner: u16, kind: Kind, seed: u32) -> u64 {
    owner as u64 | (kind as u64) << 16 | (seed as u64) << 32
}

fn from_how(how: u64) -> (u16, Kind, u32) {
    (
        how as u16,
        Kind::from_number(how >> 16 & 0xff),
        (how >> 32) as u32,
    )
}

/// Retrieves the memory with this handle that the list describes.
fn take(caller: &Caller, handle: u64, list: &Scatter, owner: u16, kind: Kind) -> Check {
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
    // 1.0 has no place for the NS bit.
    let ns = owner == NWD && caller.version != ffa::V1_0;
    equal(got.attributes, NORMAL_WB | if ns { NS } else { 0 })
}

/// Lets `borrower` retrieve what the list describes, a share of the Normal world.
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

/// Lets `partition` see that it reaches nothing of the list.
#[track_caller]
pub fn is_hidden_from(partition: u16, list: &Scatter) -> Check {
    let [first, numbers] = list.pack();
    nwd::ask(partition, command!(cannot_visit), [first, numbers, 0, 0]).map(drop)
}

/// A partition: retrieves what is described by the arguments.
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

/// A partition: finds the pattern of the seed on all pages, and leaves that of the next one.
fn visit(_: &Sp, [first, numbers, seed, _]: [u64; 4]) -> Check<[u64; 4]> {
    let list = Scatter::unpack([first, numbers]);
    with_map(&list, || {
        is_painted(&list, seed as u32)?;
        paint(&list, seed as u32 + 1)
    })?;
    Ok([0; 4])
}

/// A partition: reaches nothing of it.
fn cannot_visit(_: &Sp, [first, numbers, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let list = Scatter::unpack([first, numbers]);
    with_map(&list, || out_of_reach(&list))?;
    Ok([0; 4])
}

/// The tag of all transactions.
pub const TAG: u64 = 0x7a67_0000_0000_7a67;

/// A transaction from its send to its end, as its owner goes through it.
struct Life {
    owner: Caller,
    borrower: u16,
    kind: Kind,
    list: Scatter,
}

impl Life {
    fn ask(&self, command: u32, arguments: [u64; 4]) -> Check<[u64; 4]> {
        ask_from(self.owner.id, self.borrower, command, arguments)
    }

    /// The borrower reaches nothing of `list`.
    #[track_caller]
    fn is_hidden(&self, list: &Scatter) -> Check {
        let [first, numbers] = list.pack();
        self.ask(command!(cannot_visit), [first, numbers, 0, 0])?;
        Ok(())
    }

    /// Checks what the owner itself reaches while somebody else has exclusive access: stage 2 hides
    /// the memory from partitions; nothing hides it from the Normal world.
    #[track_caller]
    fn is_hidden_from_owner(&self) -> Check {
        if self.kind == Kind::Share || self.owner.id == NWD {
            return Ok(());
        }
        out_of_reach(&self.list)
    }

    fn send(&self) -> Check<u64> {
        let receivers = [receiver(self.borrower, self.kind.granted())];
        send(&self.owner, self.kind, &receivers, &self.list)
    }

    /// Sends, lets the borrower use all of it, and takes it back; a donation stays.
    fn run(&self, seed: u32) -> Check {
        let [first, numbers] = self.list.pack();
        paint(&self.list, seed)?;
        let handle = self.send()?;
        self.is_hidden(&self.list)?;
        self.is_hidden_from_owner()?;
        let how = how(self.owner.id, self.kind, seed);
        self.ask(command!(borrow), [handle, first, numbers, how])?;
        self.ask(command!(visit), [first, numbers, seed as u64, 0])?;
        self.is_hidden_from_owner()?;
        if let Some(gaps) = gaps(&self.list) {
            self.is_hidden(&gaps)?;
        }
        if self.kind == Kind::Donate {
            return ffa::refused(&reclaim(handle, 0), ffa::error::INVALID_PARAMETERS);
        }

        ffa::refused(&reclaim(handle, 0), ffa::error::DENIED)?;
        asked_to_give_back(self.owner.id, self.borrower, handle)?;
        self.is_hidden(&self.list)?;
        self.is_hidden_from_owner()?;
        ffa::done(&reclaim(handle, 0))?;
        is_painted(&self.list, seed + 1)
    }
}

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

/// The request of `borrower` for it.
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

/// Sends memory of `owner`, in as few fragments as TX allows; the handle.
pub fn send(owner: &Caller, kind: Kind, receivers: &[Receiver], list: &Scatter) -> Check<u64> {
    let transaction = unsent(owner, kind, receivers);
    owner.sent_scattered(kind.function(), &transaction, list)
}

/// The Normal world goes through the life of each kind of transaction with both partitions.
/// Donations lie at `donated` and move it on.
fn lives(list: Scatter, donated: &mut u64) -> Check {
    lives_at(list, donated, DONATION)
}

/// The same, with this distance between two donations.
fn lives_at(list: Scatter, donated: &mut u64, distance: u64) -> Check {
    for (n, kind) in KINDS.into_iter().enumerate() {
        for borrower in [SP1, SP2] {
            let mut list = list;
            if kind == Kind::Donate {
                list.first = *donated;
                *donated += distance;
            }
            let life = Life {
                owner: nwd::caller(),
                borrower,
                kind,
                list,
            };
            life.run(list.total() + n as u32 * 2)?;
        }
    }
    Ok(())
}

// req: MEMO-03, MEMO-09, MEMO-25, MEMO-27, MEMO-28, MEMD-01, MEMD-05, MEMD-06, MEMD-34, MEMD-35
// req: MEMD-60, MEMDN-06, MEML-08, MEMRC-07, MEMRL-14
// req: MEMRQ-07, MEMRQ-17, MEMRQ-18, MEMS-07, MEMX-20
fn pieces(_: &Nwd) -> Check {
    let mut donated = DONATED;
    for pages in [1, 16, 512, 4096] {
        lives(Scatter::contiguous(PIECE, pages), &mut donated)?;
    }
    Ok(())
}

// req: MEMO-03, MEMD-01, MEMD-03, MEMD-05, MEMRQ-07, MEMRQ-17, MEMRQ-18, MEMRL-14, MEMX-20
fn short_lists(_: &Nwd) -> Check {
    let mut donated = DONATED + 8 * DONATION;
    for pages in [16, 200] {
        lives(Scatter::every_second(HOLES, pages), &mut donated)?;
    }
    Ok(())
}

// req: FRAG-06, FRAG-07, FRAG-08, FRAG-09, FRAG-10, FRAG-11, FRAG-12, FRAG-15, FRAG-21, FRAG-23
// req: MEMD-01, MEMD-05, MEMRQ-07, MEMRQ-15, MEMRQ-17
// req: MEMRQ-18, MEMX-20, MEMRL-14
fn long_lists(_: &Nwd) -> Check {
    lives(
        Scatter::every_second(HOLES, 512),
        &mut (DONATED + 12 * DONATION),
    )
}

// req: FRAG-06, FRAG-12, FRAG-15, FRAG-21, MEMRQ-15
fn longer_lists(_: &Nwd) -> Check {
    // A donation covers twice as much as the others.
    let mut donated = DONATED + 14 * DONATION;
    lives_at(
        Scatter::every_second(HOLES, 4096),
        &mut donated,
        2 * DONATION,
    )
}

// req: FRAG-06, FRAG-12, FRAG-15, FRAG-21, MEMRQ-15
fn longest_list(_: &Nwd) -> Check {
    for borrower in [SP1, SP2] {
        let life = Life {
            owner: nwd::caller(),
            borrower,
            kind: Kind::Share,
            list: Scatter::every_second(HOLES, 16_384),
        };
        life.run(borrower.into())?;
    }
    Ok(())
}

/// Memory of a partition behind its image, from this page on.
fn own_memory(page: u64) -> u64 {
    sp::free_memory() + page * PAGE_SIZE as u64
}

// req: MEMO-05, MEMO-09, MEMO-11, MEMO-27, MEMO-28, MEMO-31, MEMD-09, MEMDN-02, MEMDN-06, MEML-02
// req: MEMRC-10, MEMRC-11, MEMRL-14, MEMX-20
fn pieces_between_partitions(_: &Nwd) -> Check {
    for (owner, borrower) in [(SP1, SP2), (SP2, SP1)] {
        let live = |kind, list: Scatter, page| {
            let [_, numbers] = list.pack();
            let how = how(borrower, kind, list.total());
            nwd::ask(owner, command!(own_life), [numbers, how, page, 0])
        };
        for kind in [Kind::Share, Kind::Lend] {
            for list in [
                Scatter::contiguous(0, 1),
                Scatter::contiguous(0, 16),
                Scatter::contiguous(0, 64),
                Scatter::every_second(0, 16),
                Scatter::every_second(0, 30),
            ] {
                live(kind, list, 0)?;
            }
        }
        // What was donated back cannot be executed any more. It is below UNTOUCHED, so that the
        // large regions are of one kind.
        live(Kind::Donate, Scatter::contiguous(0, 1), 60)?;
        live(Kind::Donate, Scatter::contiguous(0, 8), 61)?;
        live(Kind::Donate, Scatter::every_second(0, 8), 69)?;
    }
    Ok(())
}

/// The first page behind the image of a partition that `pieces_between_partitions` leaves alone.
const UNTOUCHED: u64 = 128;

// req: MEMO-05, MEMO-31, MEMDN-02, MEML-02, MEMRC-10, MEMRC-11, FRAG-09, FRAG-12, FRAG-15
fn large_memory_of_a_partition(_: &Nwd) -> Check {
    for (kind, list, page) in [
        (Kind::Share, Scatter::contiguous(0, 1024), UNTOUCHED),
        (Kind::Lend, Scatter::contiguous(0, 1024), UNTOUCHED),
        (Kind::Share, Scatter::every_second(0, 512), UNTOUCHED),
        (Kind::Lend, Scatter::every_second(0, 512), UNTOUCHED),
        (Kind::Donate, Scatter::contiguous(0, 512), UNTOUCHED + 1024),
        (
            Kind::Donate,
            Scatter::every_second(0, 512),
            UNTOUCHED + 1536,
        ),
    ] {
        let [_, numbers] = list.pack();
        let how = how(SP1, kind, list.total());
        nwd::ask(SP2, command!(own_life), [numbers, how, page, 0])?;
    }
    Ok(())
}

/// A partition: goes through the life of a transaction with memory of its own. What it donates is
/// donated back.
fn own_life(sp: &Sp, [numbers, how_, page, _]: [u64; 4]) -> Check<[u64; 4]> {
    let (borrower, kind, seed) = from_how(how_);
    let list = Scatter::unpack([own_memory(page), numbers]);
    for n in 0..list.total() {
        stage1::map(list.page(n), Attributes::Data);
    }
    let life = Life {
        owner: sp.caller(),
        borrower,
        kind,
        list,
    };
    life.run(seed)?;
    if kind == Kind::Donate {
        let me = life.owner.id;
        let arguments = [list.first, numbers, how(me, kind, 0), 0];
        let [handle, ..] = life.ask(command!(pass_on), arguments)?;
        life.is_hidden(&list)?;
        out_of_reach(&list)?;
        take(&life.owner, handle, &list, borrower, kind)?;
        is_painted(&list, seed + 1)?;
    }
    Ok([0; 4])
}

/// A partition: sends memory that was donated to it; result: the handle.
fn pass_on(sp: &Sp, [first, numbers, how, _]: [u64; 4]) -> Check<[u64; 4]> {
    let (to, kind, _) = from_how(how);
    let receivers = [receiver(to, kind.granted())];
    let list = Scatter::unpack([first, numbers]);
    let handle = send(&sp.caller(), kind, &receivers, &list)?;
    Ok([handle, 0, 0, 0])
}
