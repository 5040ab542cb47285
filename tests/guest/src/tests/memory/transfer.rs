//! Memory of the Normal world: it shares, lends and donates; partitions retrieve, use and
//! relinquish; the Normal world reclaims.

use crate::board::BL33;
use crate::ffa::error::{DENIED, INVALID_PARAMETERS};
use crate::ffa::memory_calls::{Retrieved, reclaim};
use crate::ffa::memory_descriptor::{NORMAL_WB, NS, Transaction, access, flag};
use crate::ffa::{self, SP1, SP2, id};
use crate::nwd::{self, Nwd, Test, page, peek, poke};
use crate::rt::check::{Check, equal, holds};
use crate::support::borrowing::{Borrow, cannot_give_back, give_back, is_error, is_fine};
use crate::support::reach::{ABORT, DONE, Space, Try, reaches, reads};
use crate::support::sharing::{receiver, share, transaction};
use crate::{println, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        share_one_page,
        "A page is shared, retrieved, read, written, relinquished and reclaimed"
    ),
    test!(
        share_read_only,
        "A page that is shared read-only cannot be written"
    ),
    test!(
        share_again,
        "What is shared or lent cannot be sent again before it is reclaimed"
    ),
    test!(
        reclaim_needs_relinquish,
        "Memory is reclaimed only when no partition holds it"
    ),
    test!(reclaim_at_once, "What nobody retrieved can be reclaimed"),
    test!(
        lend_and_zero,
        "Lent memory is cleared when the lender or the borrower asks for it"
    ),
    test!(donate, "Donated memory does not come back"),
    test!(share_with_both, "A page is shared with both partitions"),
    test!(share_ranges, "Several ranges arrive in their order"),
    test!(share_many_pages, "2 MiB and more are shared in one go"),
    test!(handles, "Handles are not reused and end with the reclaim"),
];

/// Lends one page to `partition`.
#[track_caller]
fn lend(partition: u16, address: u64, flags: u32) -> Check<u64> {
    let receivers = [receiver(partition, access::RW)];
    let ranges = [(address, 1)];
    let lend = Transaction {
        attributes: 0,
        flags,
        ..transaction(&receivers, &ranges)
    };
    nwd::caller().sent(id::MEM_LEND_64, &lend)
}

/// Checks that a response describes one page of the Normal world.
#[track_caller]
fn is_page(got: Retrieved, address: u64, permissions: u8, flags: u32) -> Check {
    equal(got.first, address)?;
    equal(got.pages, 1u32)?;
    equal(got.ranges, 1u32)?;
    equal(got.attributes, NORMAL_WB | NS)?;
    equal(got.access, permissions)?;
    equal(got.flags, flags)
}

// req: COMP-14, GEN-13, MEMO-03, MEMO-04, MEMO-07, MEMO-09, MEMO-19, MEMO-20, MEMO-22, MEMO-24
// req: MEMO-28, MEMO-30, MEMO-32, MEMO-34, MEMO-35
// req: MEMD-01, MEMD-05, MEMD-12, MEMD-14, MEMD-16, MEMD-21, MEMD-38, MEMD-41, MEMD-57, MEMD-60
// req: MEMD-61, MEMD-65, MEMD-66, MEMD-77, MEMD-93, MEMD-94
// req: MEMX-01, MEMX-02, MEMX-12, MEMS-01, MEMS-02, MEMS-03, MEMS-05, MEMS-07, MEMRQ-01, MEMRQ-07
// req: MEMRQ-11, MEMRQ-15, MEMRQ-17, MEMRQ-18
// req: MEMRL-01, MEMRL-08, MEMRL-14, MEMRC-01, MEMRC-13, RXTX-12, RXTX-13
fn share_one_page(_: &Nwd) -> Check {
    for (n, partition) in [SP1, SP2].into_iter().enumerate() {
        let address = page(n as u64);
        poke(address, 0x1122_3344);
        reads(partition, address, ABORT)?;

        let receivers = [receiver(partition, access::RW)];
        let ranges = [(address, 1)];
        let tagged = Transaction {
            tag: 0xa5a5_0000_5a5a,
            ..transaction(&receivers, &ranges)
        };
        let handle = nwd::caller().sent(id::MEM_SHARE_64, &tagged)?;
        println!("# page {address:#x} is shared with {partition:#x}, handle {handle:#x}");
        reads(partition, address, ABORT)?;

        let borrow = Borrow {
            tag: tagged.tag,
            flags: flag::SHARE,
            ..Borrow::new(handle)
        };
        let got = is_fine(borrow.by(partition)?)?;
        is_page(got, address, access::RW | access::XN, flag::SHARE)?;
        reads(partition, address, Some(0x1122_3344))?;
        println!("# {partition:#x} retrieved it and reads 0x11223344");
        reaches(
            partition,
            address,
            Space::NonSecure,
            Try::Write(0x5566_7788),
            DONE,
        )?;
        println!(
            "# {partition:#x} writes, and the Normal world reads {:#x}",
            peek(address)
        );
        equal(peek(address), 0x5566_7788u64)?;
        // The page is not Secure memory, and not code.
        reaches(partition, address, Space::Secure, Try::Read, ABORT)?;
        reaches(partition, address, Space::NonSecure, Try::Execute, ABORT)?;

        give_back(partition, handle, 0, 0)?;
        reads(partition, address, ABORT)?;
        ffa::done(&reclaim(handle, 0))?;
        println!("# {partition:#x} relinquished it, and the Normal world reclaimed it");
        equal(peek(address), 0x5566_7788u64)?;
        ffa::refused(&reclaim(handle, 0), INVALID_PARAMETERS)?;
    }
    Ok(())
}

// req: MEMD-28, MEMD-33, MEMD-40, MEMO-02, MEMO-03
fn share_read_only(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        let address = page(2);
        poke(address, 0x77);
        let handle = share(partition, access::RO, &[(address, 1)])?;
        is_error(Borrow::new(handle).by(partition)?, DENIED)?;
        // A borrower that specifies nothing gets what the lender gave.
        for wanted in [access::RO, access::NOT_SPECIFIED] {
            let got = is_fine(
                Borrow {
                    access: wanted,
                    ..Borrow::new(handle)
                }
                .by(partition)?,
            )?;
            is_page(got, address, access::RO | access::XN, flag::SHARE)?;
            reads(partition, address, Some(0x77))?;
            reaches(partition, address, Space::NonSecure, Try::Write(1), ABORT)?;
            reaches(partition, address, Space::NonSecure, Try::Execute, ABORT)?;
            equal(peek(address), 0x77u64)?;
            give_back(partition, handle, 0, 0)?;
        }
        ffa::done(&reclaim(handle, 0))?;
    }
    Ok(())
}

// req: MEMO-08, MEMO-10, MEMO-15, MEMO-27, MEMO-28, MEMX-09, MEMX-17, MEMX-19, MEMS-04, GEN-30
fn share_again(_: &Nwd) -> Check {
    let first = page(3);
    let both = [(first, 2)];
    let refuse = |function, ranges: &[(u64, u32)], partition| {
        let receivers = [receiver(partition, access::RW)];
        let attributes = if function == id::MEM_SHARE_64 {
            NORMAL_WB
        } else {
            0
        };
        let again = Transaction {
            attributes,
            ..transaction(&receivers, ranges)
        };
        ffa::refused(&nwd::caller().send(function, &again), DENIED)
    };
    for lent in [false, true] {
        let handle = if lent {
            lend(SP1, first, 0)?
        } else {
            share(SP1, access::RW, &[(first, 1)])?
        };
        for partition in [SP1, SP2] {
            refuse(id::MEM_SHARE_64, &[(first, 1)], partition)?;
            refuse(id::MEM_LEND_64, &[(first, 1)], partition)?;
            // A range of which a part is lent.
            refuse(id::MEM_SHARE_64, &both, partition)?;
            refuse(
                id::MEM_SHARE_64,
                &[(first + 0x1000, 1), (first, 1)],
                partition,
            )?;
        }
        // The refused call did not touch the other page.
        let other = share(SP2, access::RW, &[(first + 0x1000, 1)])?;
        ffa::done(&reclaim(other, 0))?;
        ffa::done(&reclaim(handle, 0))?;
    }
    let again = share(SP2, access::RW, &both)?;
    ffa::done(&reclaim(again, 0))
}

// req: MEMO-15, MEMO-30, MEMO-33, MEMO-34, MEMRC-02, MEMRC-06, MEMRC-07, MEMRQ-12, MEMRQ-13
// req: MEMRL-07, MEMRC-13, FEAT-07
fn reclaim_needs_relinquish(_: &Nwd) -> Check {
    let address = page(5);
    let handle = share(SP1, access::RW, &[(address, 1)])?;
    give_back(SP1, handle, 0, DENIED)?;
    for _ in 0..2 {
        is_fine(Borrow::new(handle).by(SP1)?)?;
        // A borrower can retrieve once at a time, as FFA_FEATURES says.
        is_error(Borrow::new(handle).by(SP1)?, DENIED)?;
        ffa::refused(&reclaim(handle, 0), DENIED)?;
        poke(address, 0x99);
        reads(SP1, address, Some(0x99))?;
        give_back(SP1, handle, 0, 0)?;
        give_back(SP1, handle, 0, DENIED)?;
    }
    ffa::done(&reclaim(handle, 0))?;
    is_error(Borrow::new(handle).by(SP1)?, INVALID_PARAMETERS)?;
    give_back(SP1, handle, 0, INVALID_PARAMETERS)
}

// req: MEMO-26, MEMO-29, MEMRC-13, MEMRC-14, MEMDN-05, MEMDN-03, MEML-01, MEML-03
fn reclaim_at_once(_: &Nwd) -> Check {
    let ranges = [(page(6), 1)];
    for (function, attributes, permission) in [
        (id::MEM_SHARE_32, NORMAL_WB, access::RW),
        (id::MEM_SHARE_64, NORMAL_WB, access::RO),
        (id::MEM_LEND_32, 0, access::RW),
        (id::MEM_LEND_64, 0, access::RO),
        (id::MEM_DONATE_32, 0, access::NOT_SPECIFIED),
        (id::MEM_DONATE_64, 0, access::NOT_SPECIFIED),
    ] {
        let receivers = [receiver(SP2, permission)];
        let send = Transaction {
            attributes,
            ..transaction(&receivers, &ranges)
        };
        let handle = nwd::caller().sent(function, &send)?;
        ffa::done(&reclaim(handle, 0))?;
        is_error(
            Borrow {
                attributes: 0,
                ..Borrow::new(handle)
            }
            .by(SP2)?,
            INVALID_PARAMETERS,
        )?;
    }
    Ok(())
}

// req: MEMO-27, MEMD-38, MEMD-44, MEMD-46, MEMD-57, MEMD-82, MEMD-84, MEMD-85, MEMD-88, MEMD-89
// req: MEMD-93, MEML-05, MEMRQ-11, MEMRL-11, MEMRL-13
// req: MEMRC-09, MEMO-35
fn lend_and_zero(_: &Nwd) -> Check {
    let address = page(7);
    let lent = Borrow {
        attributes: 0,
        flags: flag::LEND,
        ..Borrow::new(0)
    };
    let write = || reaches(SP1, address, Space::NonSecure, Try::Write(0x33), DONE);

    // Nobody asks for the page to be cleared. The borrower may leave the instruction permission
    // open or say XN.
    for wanted in [access::RW, access::RW | access::XN] {
        poke(address, 0x1234);
        let handle = lend(SP1, address, 0)?;
        is_error(
            Borrow {
                handle,
                flags: flag::LEND | flag::ZERO,
                ..lent
            }
            .by(SP1)?,
            DENIED,
        )?;
        let got = is_fine(
            Borrow {
                handle,
                access: wanted,
                ..lent
            }
            .by(SP1)?,
        )?;
        is_page(got, address, access::RW | access::XN, flag::LEND)?;
        reads(SP1, address, Some(0x1234))?;
        write()?;
        give_back(SP1, handle, 0, 0)?;
        ffa::done(&reclaim(handle, 0))?;
        equal(peek(address), 0x33u64)?;
    }

    // The SPMC clears the page before the borrower gets it.
    poke(address, 0x1234);
    let handle = lend(SP1, address, flag::ZERO)?;
    equal(peek(address), 0u64)?;
    let zeroed = Borrow {
        handle,
        flags: flag::LEND | flag::ZERO,
        ..lent
    };
    is_page(
        is_fine(zeroed.by(SP1)?)?,
        address,
        access::RW | access::XN,
        flag::LEND | flag::ZERO,
    )?;
    reads(SP1, address, Some(0))?;
    write()?;
    // The SPMC clears the page when the borrower relinquishes it.
    give_back(SP1, handle, flag::ZERO, 0)?;
    equal(peek(address), 0u64)?;
    ffa::done(&reclaim(handle, 0))?;

    // The borrower asks for the clearing in its retrieve request, and withdraws that in its
    // relinquish.
    let handle = lend(SP1, address, 0)?;
    let promise = Borrow {
        handle,
        flags: flag::LEND | flag::ZERO_AFTER,
        ..lent
    };
    is_fine(promise.by(SP1)?)?;
    write()?;
    give_back(SP1, handle, 0, 0)?;
    equal(peek(address), 0x33u64)?;
    ffa::done(&reclaim(handle, 0))?;

    // The SPMC clears the page when the lender reclaims it.
    let handle = lend(SP1, address, 0)?;
    is_fine(Borrow { handle, ..lent }.by(SP1)?)?;
    write()?;
    give_back(SP1, handle, 0, 0)?;
    equal(peek(address), 0x33u64)?;
    ffa::done(&reclaim(handle, flag::ZERO as u64))?;
    equal(peek(address), 0u64)
}

// req: MEMO-05, MEMO-11, MEMO-25, MEMO-26, MEMO-31, MEMDN-01, MEMDN-04, MEMDN-06, MEMDN-07
// req: MEMDN-08, MEMD-35, MEMD-56, MEMRL-16, MEMRQ-11
fn donate(_: &Nwd) -> Check {
    // A donated page does not come back.
    let address = page(8);
    let receivers = [receiver(SP1, access::NOT_SPECIFIED)];
    let ranges = [(address, 1)];
    let donation = Transaction {
        attributes: 0,
        ..transaction(&receivers, &ranges)
    };
    poke(address, 0x4444);
    let handle = nwd::caller().sent(id::MEM_DONATE_64, &donation)?;
    let take = Borrow {
        attributes: 0,
        flags: flag::DONATE,
        access: access::RW | access::XN,
        ..Borrow::new(handle)
    };
    is_page(
        is_fine(take.by(SP1)?)?,
        address,
        access::RW | access::XN,
        flag::DONATE,
    )?;
    reads(SP1, address, Some(0x4444))?;
    println!("# {SP1:#x} owns page {address:#x} now");

    ffa::refused(&reclaim(handle, 0), INVALID_PARAMETERS)?;
    ffa::refused(&nwd::caller().send(id::MEM_DONATE_64, &donation), DENIED)?;
    let again = take.by(SP1)?;
    holds(again.is_err(), 0u64)?;
    cannot_give_back(SP1, handle)?;
    reads(SP1, address, Some(0x4444))
}

// req: MEMO-14, MEMO-17, MEMD-27, MEMD-34, MEMD-41, MEMD-69, MEMD-73, MEMD-90, MEMRC-06, MEMRC-07
// req: MEML-06, MEMRQ-06
fn share_with_both(_: &Nwd) -> Check {
    let address = page(9);
    poke(address, 0);
    let receivers = [receiver(SP1, access::RW), receiver(SP2, access::RW)];
    let ranges = [(address, 1)];
    let sent = transaction(&receivers, &ranges);
    for function in [id::MEM_SHARE_64, id::MEM_LEND_64] {
        let handle = nwd::caller().sent(function, &sent)?;
        // A borrower that names itself alone names another set of borrowers than the owner, unless
        // it asks the SPMC not to compare.
        is_error(Borrow::new(handle).by(SP1)?, INVALID_PARAMETERS)?;
        is_fine(
            Borrow {
                other: SP2,
                ..Borrow::new(handle)
            }
            .by(SP1)?,
        )?;
        is_fine(
            Borrow {
                flags: flag::BYPASS,
                ..Borrow::new(handle)
            }
            .by(SP2)?,
        )?;
        reaches(SP1, address, Space::NonSecure, Try::Write(0xabcd), DONE)?;
        reads(SP2, address, Some(0xabcd))?;
        give_back(SP1, handle, 0, 0)?;
        reads(SP1, address, ABORT)?;
        reads(SP2, address, Some(0xabcd))?;
        ffa::refused(&reclaim(handle, 0), DENIED)?;
        give_back(SP2, handle, 0, 0)?;
        ffa::done(&reclaim(handle, 0))?;
    }
    Ok(())
}

// req: MEMD-01, MEMD-02, MEMD-03, MEMD-05, MEMD-08, MEMRQ-07, MEMO-06
fn share_ranges(_: &Nwd) -> Check {
    // The ranges are not in the order of addresses, and one is longer than a page.
    let ranges = [(page(14), 1), (page(10), 2), (page(13), 1)];
    for (n, (address, _)) in ranges.iter().enumerate() {
        poke(*address, n as u64 + 1);
    }
    let handle = share(SP2, access::RW, &ranges)?;
    let got = is_fine(Borrow::new(handle).by(SP2)?)?;
    equal(got.pages, 4u32)?;
    equal(got.first, page(14))?;
    for (n, (address, _)) in ranges.iter().enumerate() {
        reads(SP2, *address, Some(n as u32 + 1))?;
    }
    reads(SP2, page(11), Some(peek(page(11)) as u32))?;
    reads(SP2, page(12), ABORT)?;
    give_back(SP2, handle, 0, 0)?;
    for (address, _) in ranges {
        reads(SP2, address, ABORT)?;
    }
    ffa::done(&reclaim(handle, 0))
}

// req: MEMD-01, MEMD-06, MEMRQ-07, MEMX-20
fn share_many_pages(_: &Nwd) -> Check {
    // Regions that are aligned to a block, and that cross the ends of blocks.
    for (offset, pages) in [(0x220_0000, 512), (0x22f_f000, 1026), (0x240_0000, 4096)] {
        let address = BL33 + offset;
        let last = address + (pages as u64 - 1) * 0x1000;
        poke(address, 0x51);
        poke(last, 0x52);
        let handle = share(SP1, access::RW, &[(address, pages)])?;
        let got = is_fine(Borrow::new(handle).by(SP1)?)?;
        equal(got.pages, pages)?;
        reads(SP1, address, Some(0x51))?;
        reads(SP1, last, Some(0x52))?;
        reads(SP1, address - 0x1000, ABORT)?;
        reads(SP1, last + 0x1000, ABORT)?;
        give_back(SP1, handle, 0, 0)?;
        reads(SP1, address, ABORT)?;
        reads(SP1, last, ABORT)?;
        ffa::done(&reclaim(handle, 0))?;
    }
    Ok(())
}

// req: MEMD-12, MEMD-13, MEMD-15, MEMRC-03, MEMRC-13
fn handles(_: &Nwd) -> Check {
    let mut seen = [0; 8];
    for n in 0..seen.len() {
        let handle = share(SP1, access::RW, &[(page(15), 1)])?;
        holds(!seen[..n].contains(&handle), handle)?;
        seen[n] = handle;
        ffa::done(&reclaim(handle, 0))?;
    }
    // Several regions are shared at a time.
    let mut live = [0; 4];
    for n in 0..live.len() {
        let handle = share(SP1, access::RW, &[(page(16 + n as u64), 1)])?;
        holds(
            !live[..n].contains(&handle) && !seen.contains(&handle),
            handle,
        )?;
        live[n] = handle;
    }
    for old in seen {
        ffa::refused(&reclaim(old, 0), INVALID_PARAMETERS)?;
    }
    for handle in live {
        ffa::done(&reclaim(handle, 0))?;
    }
    Ok(())
}
