//! Every type of transaction with 1, 16, 512 and 4,096 pages, in one piece and with every second
//! page. What one side writes to any page the other side reads, and pages in between stay out of
//! reach. Long lists travel in fragments.

use crate::ffa::memory_calls::{Caller, reclaim};
use crate::ffa::memory_descriptor::Scatter;
use crate::ffa::{self, NWD, SP1, SP2};
use crate::nwd::{self, Nwd, Test};
use crate::rt::check::Check;
use crate::rt::page::PAGE_SIZE;
use crate::rt::stage1::{self, Attributes, NON_SECURE_GIB};
use crate::sp::{self, Command, Sp};
use crate::support::borrowing::asked_to_give_back;
use crate::support::helper_call::ask_from;
use crate::support::regions::{
    BORROW, CANNOT_VISIT, HOLES, KINDS, Kind, VISIT, from_how, how, is_painted, out_of_reach,
    paint, send, take,
};
use crate::support::sharing::receiver;
use crate::{command, helper, test};

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

/// The test for the layout in which sp2 has enough memory.
pub const OF_PARTITIONS: &[Test] = &[test!(
    large_memory_of_a_partition,
    "Up to 1,024 pages of sp2 are shared, lent and donated to sp1"
)];

/// Tests that leave many pages with partitions, or take nearly all tables, and therefore come last.
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
pub const HELPERS: &[Command] = &[helper!(own_life), helper!(pass_on)];

/// Address of memory that comes back, in the second GiB, which partitions map.
const PIECE: u64 = NON_SECURE_GIB;
/// Address of memory that is donated and does not come back, and the distance between two
/// donations.
const DONATED: u64 = NON_SECURE_GIB + 0x1000_0000;
const DONATION: u64 = 0x100_0000;

/// Returns the pages between the constituents of a list.
fn gaps(list: &Scatter) -> Option<Scatter> {
    let free = list.distance - list.pages;
    (free > 0).then(|| Scatter {
        first: list.first + list.pages as u64 * PAGE_SIZE as u64,
        pages: free,
        ..*list
    })
}

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

    /// Checks that the borrower reaches nothing of `list`.
    #[track_caller]
    fn is_hidden(&self, list: &Scatter) -> Check {
        let [first, numbers] = list.pack();
        self.ask(CANNOT_VISIT, [first, numbers, 0, 0])?;
        Ok(())
    }

    /// Checks that the owner, if it is a partition, reaches nothing while somebody else has
    /// exclusive access. Nothing hides memory from the Normal world.
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

    /// Sends the memory, lets the borrower use all of it, and takes it back unless it is donated.
    fn run(&self, seed: u32) -> Check {
        let [first, numbers] = self.list.pack();
        paint(&self.list, seed)?;
        let handle = self.send()?;
        self.is_hidden(&self.list)?;
        self.is_hidden_from_owner()?;
        let how = how(self.owner.id, self.kind, seed);
        self.ask(BORROW, [handle, first, numbers, how])?;
        self.ask(VISIT, [first, numbers, seed as u64, 0])?;
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

/// Runs the life of each kind of transaction of the Normal world with both partitions. Donations
/// begin at `donated`, which moves on.
fn lives(list: Scatter, donated: &mut u64) -> Check {
    lives_at(list, donated, DONATION)
}

/// Like [`lives`], with this distance between two donations.
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

/// Returns the address of page number `page` behind the image of the partition.
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
        // Pages that were donated and came back are not executable any more. They lie below
        // UNTOUCHED, so that the pages of the large regions are of one kind.
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

/// Runs the life of a transaction with memory of the partition that runs this. The borrower donates
/// donated memory back.
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

/// Sends memory that was donated to this partition. Result: the handle.
fn pass_on(sp: &Sp, [first, numbers, how, _]: [u64; 4]) -> Check<[u64; 4]> {
    let (to, kind, _) = from_how(how);
    let receivers = [receiver(to, kind.granted())];
    let list = Scatter::unpack([first, numbers]);
    let handle = send(&sp.caller(), kind, &receivers, &list)?;
    Ok([handle, 0, 0, 0])
}
