//! Tests what the rest of the engine relies on: a change is made as a whole or not at all, blocks
//! are split and merged again, and the Normal world needs few tables.

extern crate std;

mod map;
mod pool;
mod reach;
mod retired;
mod survey;
mod walk;
mod wide;

use core::sync::atomic::Ordering;
use std::vec::Vec;

use super::pool::PageIndex;
use super::testing::{EL2_ENTRY, FakeHal, Leaves, pages};
use super::*;
use crate::addr::{Ipa, Pa, PageRange, World};
use crate::error::FfaError;
use crate::geometry::TABLE_BITS;
use crate::hal::{Access, Hal};
use crate::manifest::config::Permissions;

const RAM: u64 = 0x4000_0000;
const BLOCK: u64 = 0x20_0000;

fn rw() -> Attributes {
    Attributes::normal(Permissions::READ | Permissions::WRITE)
}

fn owned() -> Leaf {
    Leaf::new(rw(), State::OwnerExclusive)
}

fn share() -> Change {
    Change {
        from: owned(),
        to: owned().with_state(State::OwnerShared),
    }
}

fn lend() -> Change {
    Change {
        from: owned(),
        to: owned().with_state(State::OwnerNoAccess),
    }
}

fn partition<H: Hal>(hal: &H) -> AddressSpace {
    let mut space = AddressSpace::EMPTY;
    space.init(hal, 1, PagePool::all(hal)).unwrap();
    space
}

fn normal_world(hal: &FakeHal) -> AddressSpace {
    let ranges = [PageRange::new(Pa::new(RAM), 0x10_0000).unwrap()];
    let mut space = AddressSpace::EMPTY;
    space
        .init_normal_world(hal, PagePool::all(hal), ranges.to_vec())
        .unwrap();
    space
}

/// Returns the state that a refused change must leave as it was.
fn snapshot(hal: &FakeHal, space: &mut AddressSpace) -> (Leaves, usize) {
    (
        hal.leaves(&space.root_tables(hal)),
        space.pool().available(),
    )
}

/// Gives the partition Secure memory, as boot does.
fn own(hal: &FakeHal, space: &mut AddressSpace, range: PageRange<Ipa>) {
    space
        .map(hal, range, World::Secure, rw(), State::OwnerExclusive)
        .unwrap();
}

fn change(
    hal: &FakeHal,
    space: &mut AddressSpace,
    range: PageRange<Ipa>,
    change: Change,
) -> Result<(), ChangeError> {
    space.change(hal, World::Secure, [range].into_iter(), change)
}

// req: MEMO-03, MEMO-07
#[test]
fn large_ranges_are_mapped_by_blocks_in_the_right_ipa_space() {
    let hal = FakeHal::new(16);
    let mut space = partition(&hal);
    let before = space.pool().available();
    space
        .map(
            &hal,
            pages(RAM, 8 * 512),
            World::NonSecure,
            rw(),
            State::OwnerExclusive,
        )
        .unwrap();
    assert_eq!(space.pool().available(), before - 1, "one level 2 table");
    let roots = space.roots();
    let (descriptor, address) = hal
        .translate(roots.of(World::NonSecure), RAM + 5 * BLOCK + 0x3000)
        .unwrap();
    assert_eq!(address, RAM + 5 * BLOCK + 0x3000);
    assert_eq!(descriptor, owned().0);
    assert_eq!(hal.translate(roots.of(World::Secure), RAM), None);
    assert_eq!(
        hal.translate(roots.of(World::NonSecure), RAM + 8 * BLOCK),
        None
    );
    assert!(space.permits(&hal, World::NonSecure, Ipa::new(RAM), Access::Write));
    assert!(!space.permits(&hal, World::NonSecure, Ipa::new(RAM), Access::Execute));
    assert!(!space.permits(&hal, World::Secure, Ipa::new(RAM), Access::Read));
    assert!(!space.permits(&hal, World::Secure, Ipa::new(1 << 40), Access::Read));
    // Addresses beyond what stage 2 translates are never permitted, even if the same address
    // without the upper bits is mapped.
    let above = Ipa::new(RAM | 1 << 39);
    assert!(!space.permits(&hal, World::NonSecure, above, Access::Read));
}

// req: MEMO-07, MEMO-08
#[test]
fn what_was_lent_is_not_permitted_whatever_the_owner_may_do_with_it() {
    let hal = FakeHal::new(16);
    let mut space = partition(&hal);
    own(&hal, &mut space, pages(RAM, 8));
    change(&hal, &mut space, pages(RAM, 1), lend()).unwrap();
    for (page, access) in [(0, false), (1, true)] {
        let ipa = Ipa::new(RAM + page * 4096);
        let permits = space.permits(&hal, World::Secure, ipa, Access::Write);
        assert_eq!(permits, access, "{page}");
    }
    // Hardware never walks the tables that say who owns Normal memory.
    let hal = FakeHal::new(16);
    let space = normal_world(&hal);
    assert!(!space.permits(&hal, World::NonSecure, Ipa::new(RAM), Access::Read));
}

// req: MEMX-18, MEMRC-10, MEMRC-11
#[test]
fn a_block_is_split_and_mended() {
    let hal = FakeHal::new(16);
    let mut space = partition(&hal);
    own(&hal, &mut space, pages(RAM, 1 << 18));
    let (tables, left) = snapshot(&hal, &mut space);
    assert_eq!(left, 16 - 3, "a block of 1 GiB needs no table");
    let page = pages(RAM + 7 * BLOCK + 0x5000, 1);
    change(&hal, &mut space, page, lend()).unwrap();
    let root = space.roots().of(World::Secure);
    assert_eq!(hal.translate(root, page.base().raw()), None);
    for neighbour in [
        page.base().raw() - 0x1000,
        page.end().raw(),
        RAM,
        RAM + 8 * BLOCK,
    ] {
        assert_eq!(
            hal.translate(root, neighbour),
            Some((
                owned().0
                    | if neighbour > RAM + 7 * BLOCK && neighbour < RAM + 8 * BLOCK {
                        2
                    } else {
                        0
                    },
                neighbour
            ))
        );
    }
    change(&hal, &mut space, page, lend().inverse()).unwrap();
    assert_eq!(snapshot(&hal, &mut space), (tables, left));
}

// req: MEMX-18, MEMX-20
#[test]
fn tlb_maintenance_only_where_hardware_can_tell() {
    let hal = FakeHal::new(16);
    let mut space = partition(&hal);
    let count = || {
        (
            hal.invalidations.load(Ordering::Relaxed),
            hal.publications.load(Ordering::Relaxed),
        )
    };
    own(&hal, &mut space, pages(0x10_0000, 4));
    assert_eq!(count(), (0, 1));
    change(&hal, &mut space, pages(0x10_1000, 2), share()).unwrap();
    assert_eq!(count().0, 0, "access is the same");
    change(&hal, &mut space, pages(0x10_1000, 2), share().inverse()).unwrap();
    change(&hal, &mut space, pages(0x10_1000, 2), lend()).unwrap();
    assert_eq!(count().0, 1);
    change(&hal, &mut space, pages(0x10_1000, 2), lend().inverse()).unwrap();
    assert_eq!(count().0, 1, "from invalid to valid");
    own(&hal, &mut space, pages(0x40_0000, 512));
    change(&hal, &mut space, pages(0x40_3000, 1), lend()).unwrap();
    assert_eq!(count().0, 3, "break before make, and the page itself");
}

// req: MEMX-18, MEMX-11, MEMD-08
#[test]
fn a_change_that_fails_leaves_everything() {
    let hal = FakeHal::new(9);
    let mut space = partition(&hal);
    own(&hal, &mut space, pages(0x40_0000, 1024));
    change(&hal, &mut space, pages(0x60_9000, 1), share()).unwrap();
    let (tables, left) = snapshot(&hal, &mut space);
    assert_eq!(left, 9 - 1 - 4);
    let refused = |space: &mut AddressSpace, ranges: &[PageRange<Ipa>], change, error| {
        assert_eq!(
            space.change(&hal, World::Secure, ranges.iter().copied(), change),
            Err(error)
        );
        assert_eq!(snapshot(&hal, space), (tables.clone(), left));
    };
    // In turn: a range with a page that is shared, the same page twice (in two ways), pages beyond
    // what is mapped, and pages beyond what can be mapped.
    refused(
        &mut space,
        &[pages(0x40_1000, 1023)],
        lend(),
        ChangeError::Mismatch,
    );
    refused(
        &mut space,
        &[pages(0x40_1000, 3), pages(0x40_3000, 1)],
        lend(),
        ChangeError::Mismatch,
    );
    refused(
        &mut space,
        &[pages(0x40_0000, 512), pages(0x5f_f000, 2)],
        share(),
        ChangeError::Mismatch,
    );
    refused(
        &mut space,
        &[pages(0x40_1000, 1), pages(0x80_0000, 1)],
        share(),
        ChangeError::Mismatch,
    );
    refused(
        &mut space,
        &[pages(0x40_1000, 1), pages(1 << 39, 1)],
        share(),
        ChangeError::Mismatch,
    );
    // There are four more tables; eleven ranges in 2 MiB regions of their own need more.
    let many: Vec<_> = (0..11).map(|n| pages(0x8000_0000 + n * BLOCK, 1)).collect();
    let map = Change {
        from: Leaf::NONE,
        to: owned(),
    };
    refused(&mut space, &many, map, ChangeError::NoMemory);
}

// req: MEMO-05, MEMO-23, MEMX-17, MEMD-10
#[test]
fn the_normal_world_needs_tables_only_for_what_is_not_its_own_alone() {
    let hal = FakeHal::new(16);
    let mut space = normal_world(&hal);
    let left = space.pool().available();
    let range = pages(RAM + 0x5000, 3);
    let (world, leaf) = space.inspect(&hal, [range].into_iter()).unwrap();
    assert_eq!(
        (world, leaf.state()),
        (World::NonSecure, Some(State::OwnerExclusive))
    );
    assert!(!leaf.is_valid());
    let lend = Change {
        from: leaf,
        to: leaf.with_state(State::OwnerNoAccess),
    };
    space
        .change(&hal, world, [range].into_iter(), lend)
        .unwrap();
    assert_eq!(space.pool().available(), left - 2);
    let state = |space: &AddressSpace, page| {
        space
            .inspect(&hal, [pages(page, 1)].into_iter())
            .map(|(_, leaf)| leaf.state().unwrap())
    };
    assert_eq!(state(&space, RAM + 0x6000), Some(State::OwnerNoAccess));
    assert_eq!(state(&space, RAM + 0x8000), Some(State::OwnerExclusive));
    assert_eq!(
        space.inspect(&hal, [pages(RAM + 0x4000, 2)].into_iter()),
        None
    );
    assert_eq!(state(&space, RAM - 0x1000), None, "not its memory");
    assert_eq!(
        space.change(&hal, World::Secure, [range].into_iter(), lend),
        Err(ChangeError::Mismatch)
    );
    space
        .change(&hal, world, [range].into_iter(), lend.inverse())
        .unwrap();
    assert_eq!(space.pool().available(), left);
    assert_eq!(
        hal.invalidations.load(Ordering::Relaxed) + hal.publications.load(Ordering::Relaxed),
        0
    );
    space.fix(&hal, pages(RAM, 512)).unwrap();
    assert_eq!(state(&space, RAM), Some(State::Fixed));
}

// req: RXTX-19, RXTX-20, RXTX-28
#[test]
fn mailboxes_take_own_memory_and_give_it_back() {
    let hal = FakeHal::new(16);
    let mut space = partition(&hal);
    own(&hal, &mut space, pages(0x10_0000, 8));
    let read_only = Attributes::normal(Permissions::READ);
    space
        .map(
            &hal,
            pages(0x10_8000, 1),
            World::Secure,
            read_only,
            State::OwnerExclusive,
        )
        .unwrap();
    let device = Attributes::device(Permissions::READ | Permissions::WRITE);
    space
        .map(
            &hal,
            pages(0x10_9000, 1),
            World::Secure,
            device,
            State::OwnerExclusive,
        )
        .unwrap();
    space
        .map(
            &hal,
            pages(RAM, 1),
            World::NonSecure,
            rw(),
            State::OwnerExclusive,
        )
        .unwrap();
    let before = snapshot(&hal, &mut space);
    let denied = Err(FfaError::Denied);
    assert_eq!(
        space.lock_mailbox(
            &hal,
            BufferPages {
                tx: pages(0x10_0000, 1),
                rx: pages(0x10_0000, 1)
            }
        ),
        Err(FfaError::InvalidParameters)
    );
    for (tx, rx) in [
        (0x10_8000, 0x10_0000),
        (0x10_0000, 0x10_9000),
        (0x10_0000, 0x10_a000),
        (0x10_0000, RAM),
        (0x20_0000, 0x10_0000),
    ] {
        assert_eq!(
            space.lock_mailbox(
                &hal,
                BufferPages {
                    tx: pages(tx, 1),
                    rx: pages(rx, 1)
                }
            ),
            denied,
            "{tx:#x} {rx:#x}"
        );
        assert_eq!(snapshot(&hal, &mut space), before);
    }
    let buffers = space
        .lock_mailbox(
            &hal,
            BufferPages {
                tx: pages(0x10_0000, 2),
                rx: pages(0x10_2000, 2),
            },
        )
        .unwrap();
    assert_eq!(buffers.world, World::Secure);
    assert_eq!(
        space.lock_mailbox(
            &hal,
            BufferPages {
                tx: pages(0x10_4000, 2),
                rx: pages(0x10_1000, 2)
            }
        ),
        denied
    );
    assert_eq!(
        change(&hal, &mut space, pages(0x10_1000, 1), share()),
        Err(ChangeError::Mismatch)
    );
    space.unlock_mailbox(&hal, &buffers);
    assert_eq!(snapshot(&hal, &mut space), before);
    space
        .lock_mailbox(
            &hal,
            BufferPages {
                tx: pages(0x10_0000, 1),
                rx: pages(0x10_8000, 1),
            },
        )
        .unwrap();

    let hal = FakeHal::new(16);
    let mut world = normal_world(&hal);
    let buffers = world
        .lock_mailbox(
            &hal,
            BufferPages {
                tx: pages(RAM, 1),
                rx: pages(RAM + 0x1000, 1),
            },
        )
        .unwrap();
    assert_eq!(
        (buffers.world, buffers.tx.base().raw()),
        (World::NonSecure, RAM)
    );
    assert_eq!(
        world.lock_mailbox(
            &hal,
            BufferPages {
                tx: pages(RAM, 1),
                rx: pages(RAM + 0x2000, 1)
            }
        ),
        denied
    );
    assert_eq!(
        world.lock_mailbox(
            &hal,
            BufferPages {
                tx: pages(0x10_0000, 1),
                rx: pages(RAM + 0x2000, 1)
            }
        ),
        denied
    );
    world.unlock_mailbox(&hal, &buffers);
}

// req: RXTX-20, RXTX-28
#[test]
fn a_mailbox_that_needs_a_table_too_many_is_not_set_up_at_all() {
    // The five pages are the notes, two roots, a table of level 2 and one of level 3. None is left
    // to split the block with.
    let hal = FakeHal::new(5);
    let mut space = partition(&hal);
    own(&hal, &mut space, pages(RAM, 512));
    own(&hal, &mut space, pages(RAM + BLOCK, 8));
    let before = snapshot(&hal, &mut space);
    assert_eq!(before.1, 0);
    let (in_block, in_table) = (pages(RAM, 1), pages(RAM + BLOCK, 1));
    for (tx, rx) in [(in_block, in_table), (in_table, in_block)] {
        let refused = space.lock_mailbox(&hal, BufferPages { tx, rx });
        assert_eq!(refused, Err(FfaError::NoMemory));
        assert_eq!(snapshot(&hal, &mut space), before);
    }
}

// req: RXTX-28, MEMRC-10
#[test]
fn a_page_that_is_no_mailbox_is_not_given_back_as_one() {
    let hal = FakeHal::new(16);
    let mut space = partition(&hal);
    own(&hal, &mut space, pages(RAM, 8));
    let before = snapshot(&hal, &mut space);
    let buffers = space
        .lock_mailbox(
            &hal,
            BufferPages {
                tx: pages(RAM, 2),
                rx: pages(RAM + 0x2000, 1),
            },
        )
        .unwrap();
    let lend_buffer = Change {
        from: owned().with_state(State::Mailbox),
        to: lend().to,
    };
    let page = pages(RAM + 0x1000, 1);
    change(&hal, &mut space, page, lend_buffer).unwrap();
    space.unlock_mailbox(&hal, &buffers);
    let found = space.first_leaf(&hal, page);
    assert_eq!(found, Some((World::Secure, lend().to)));
    change(&hal, &mut space, page, lend().inverse()).unwrap();
    assert_eq!(snapshot(&hal, &mut space), before);
}

// req: MEMX-20
#[test]
fn every_change_can_be_told_from_the_one_before() {
    let hal = FakeHal::new(16);
    let mut space = partition(&hal);
    let mut seen = Vec::from([space.changes()]);
    own(&hal, &mut space, pages(RAM, 8));
    seen.push(space.changes());
    for change in [share(), share().inverse(), lend()] {
        space
            .change(&hal, World::Secure, [pages(RAM, 1)].into_iter(), change)
            .unwrap();
        seen.push(space.changes());
    }
    // A change that fails has changed tables, too, and changed them back.
    let refused = change(&hal, &mut space, pages(RAM + 0x1000, 8), lend());
    assert_eq!(refused, Err(ChangeError::Mismatch));
    seen.push(space.changes());
    for (at, count) in seen.iter().enumerate() {
        assert!(!seen[..at].contains(count), "{seen:?}");
    }
}
