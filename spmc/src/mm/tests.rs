//! The walker against a map of pages, and the rules that the rest of the engine relies on.

extern crate std;

use core::sync::atomic::Ordering;
use std::collections::BTreeMap;
use std::vec::Vec;

use super::testing::{FakeHal, Leaves, pages};
use super::*;
use crate::addr::{Ipa, Pa, PageRange, World};
use crate::error::FfaError;
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
        .init_normal_world(hal, PagePool::all(hal), &ranges)
        .unwrap();
    space
}

/// All that a refused change must leave as it was.
fn snapshot<const IPA_BITS: u32>(
    hal: &FakeHal<IPA_BITS>,
    space: &mut AddressSpace,
) -> (Leaves, usize) {
    (
        hal.leaves(&space.root_tables(hal)),
        space.pool().available(),
    )
}

fn change(
    hal: &FakeHal,
    space: &mut AddressSpace,
    range: PageRange<Ipa>,
    change: Change,
) -> Result<(), ChangeError> {
    space.change(hal, World::Secure, [range].into_iter(), change)
}

#[test]
fn pools_split_the_supply_and_take_pages_back() {
    let hal = FakeHal::new(8);
    let at = Pages::of(&hal);
    let mut supply = PagePool::all(&hal);
    assert_eq!(supply.available(), 7);
    let mut first = supply.carve(3);
    let mut second = supply.carve(100);
    assert_eq!(
        (first.available(), second.available(), supply.available()),
        (3, 4, 0)
    );
    let taken: Vec<_> = (0..3).map(|_| first.take(at).unwrap()).collect();
    assert_eq!(first.take(at), Err(FfaError::NoMemory));
    assert!(taken.iter().all(|page| !page.is_none()));
    assert!(!taken.contains(&second.take(at).unwrap()));
    first.give_back(at, taken[1]);
    first.give_back(at, taken[0]);
    assert_eq!(
        (first.take(at), first.take(at)),
        (Ok(taken[0]), Ok(taken[1]))
    );
    assert_eq!(first.available(), 0);
}

// req: MEMX-18
#[test]
fn nobody_uses_up_the_quota_of_another() {
    let hal = FakeHal::new(16);
    let at = Pages::of(&hal);
    let mut supply = PagePool::all(&hal);
    let (mut greedy, mut other) = (supply.carve(2), supply.carve(3));
    supply.carve_reserve(&hal, 100);
    let mut taken: Vec<_> = core::iter::from_fn(|| greedy.take(at).ok()).collect();
    assert_eq!(taken.len(), 2 + 10, "its quota and the reserve");
    assert_eq!((greedy.available(), greedy.held()), (0, 12));
    let mine: Vec<_> = core::iter::from_fn(|| other.take(at).ok()).collect();
    assert_eq!(mine.len(), 3);
    assert!(!mine.iter().any(|page| taken.contains(page)));

    // What it gives back is the reserve's first.
    greedy.give_back(at, taken.pop().unwrap());
    let lent = other.take(at).unwrap();
    assert_eq!(greedy.take(at), Err(FfaError::NoMemory));
    for page in taken.drain(..) {
        greedy.give_back(at, page);
    }
    for page in mine.into_iter().chain([lent]) {
        other.give_back(at, page);
    }
    assert_eq!((greedy.available(), other.available()), (2, 3));
    let again = core::iter::from_fn(|| greedy.take(at).ok()).count();
    assert_eq!(again, 12);
}

#[test]
fn the_reserve_serves_several_at_once() {
    let hal = FakeHal::new(8);
    let mut supply = PagePool::all(&hal);
    let mut pools = [supply.carve(0), supply.carve(0), supply.carve(0)];
    supply.carve_reserve(&hal, 7);
    std::thread::scope(|scope| {
        for (n, pool) in (1..).zip(&mut pools) {
            let at = Pages::of(&hal);
            scope.spawn(move || {
                for _ in 0..5000 {
                    let taken: Vec<_> = (0..3).filter_map(|_| pool.take(at).ok()).collect();
                    for page in &taken {
                        assert_eq!(at.load(*page, 1), 0, "somebody else has it");
                        at.store(*page, 1, n);
                    }
                    for page in taken {
                        assert_eq!(at.load(page, 1), n);
                        at.store(page, 1, 0);
                        pool.give_back(at, page);
                    }
                }
            });
        }
    });
    let at = Pages::of(&hal);
    assert!(pools.iter().all(|pool| pool.held() == 0));
    assert_eq!(
        core::iter::from_fn(|| pools[0].take(at).ok()).count(),
        7,
        "none is lost"
    );
}

// req: MEMX-18, MEMD-13
#[test]
fn the_default_pools_carry_16384_scattered_pages() {
    const COUNT: u64 = 16_384;
    let hal = FakeHal::new(crate::limits::TABLES);
    let at = Pages::of(&hal);
    let mut supply = PagePool::all(&hal);
    let quotas = Quotas::of::<FakeHal>(supply.available());
    let ram = [PageRange::new(Pa::new(RAM), 0x10_0000).unwrap()];
    let mut owner = AddressSpace::EMPTY;
    owner
        .init_normal_world(&hal, supply.carve(quotas.normal_world), &ram)
        .unwrap();
    // Every partition that there can be; the last one borrows.
    let mut borrower = AddressSpace::EMPTY;
    for vmid in 1..=crate::limits::MAX_PARTITIONS as u16 {
        borrower
            .init(&hal, vmid, supply.carve(quotas.partition))
            .unwrap();
    }
    let rest = supply.available();
    supply.carve_reserve(&hal, rest);
    for (range, world) in [
        (pages(0x0e40_0000, 200), World::Secure),
        (pages(0x0900_0000, 1), World::NonSecure),
    ] {
        borrower
            .map(&hal, range, world, rw(), State::OwnerExclusive)
            .unwrap();
    }
    let (owned, known) = (owner.pool().held(), borrower.pool().held());

    // The list: 511 ranges a page.
    let list: Vec<_> = (0..COUNT.div_ceil(511))
        .map(|_| owner.pool().take(at).unwrap())
        .collect();
    let ranges = (0..COUNT).map(|n| pages(RAM + 0x1000 + n * 0x2000, 1));
    let (world, from) = owner.inspect(&hal, ranges.clone()).unwrap();
    let sent = Change {
        from,
        to: from.with_state(State::OwnerNoAccess),
    };
    let borrowed = Change {
        from: Leaf::NONE,
        to: Leaf::new(rw(), State::BorrowedExclusive),
    };
    owner.change(&hal, world, ranges.clone(), sent).unwrap();
    borrower
        .change(&hal, world, ranges.clone(), borrowed)
        .unwrap();
    assert_eq!(
        borrower.inspect(&hal, ranges.clone()),
        Some((world, borrowed.to))
    );
    let free = pages(RAM + 0x2000, 1);
    assert_eq!(borrower.inspect(&hal, [free].into_iter()), None);
    borrower
        .change(&hal, world, ranges.clone(), borrowed.inverse())
        .unwrap();
    owner.change(&hal, world, ranges, sent.inverse()).unwrap();
    for page in list {
        owner.pool().give_back(at, page);
    }
    assert_eq!(
        (owner.pool().held(), borrower.pool().held()),
        (owned, known)
    );
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
        .translate(roots.non_secure, RAM + 5 * BLOCK + 0x3000)
        .unwrap();
    assert_eq!(address, RAM + 5 * BLOCK + 0x3000);
    assert_eq!(descriptor, owned().0);
    assert_eq!(hal.translate(roots.secure, RAM), None);
    assert_eq!(hal.translate(roots.non_secure, RAM + 8 * BLOCK), None);
    assert!(space.permits(&hal, World::NonSecure, Ipa::new(RAM), Access::Write));
    assert!(!space.permits(&hal, World::NonSecure, Ipa::new(RAM), Access::Execute));
    assert!(!space.permits(&hal, World::Secure, Ipa::new(RAM), Access::Read));
    assert!(!space.permits(&hal, World::Secure, Ipa::new(1 << 40), Access::Read));
}

// req: MEMX-18, MEMRC-10, MEMRC-11
#[test]
fn a_block_is_split_and_mended() {
    let hal = FakeHal::new(16);
    let mut space = partition(&hal);
    space
        .map(
            &hal,
            pages(RAM, 1 << 18),
            World::Secure,
            rw(),
            State::OwnerExclusive,
        )
        .unwrap();
    let (tables, left) = snapshot(&hal, &mut space);
    assert_eq!(left, 16 - 3, "a block of 1 GiB needs no table");
    let page = pages(RAM + 7 * BLOCK + 0x5000, 1);
    change(&hal, &mut space, page, lend()).unwrap();
    let root = space.roots().secure;
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
    space
        .map(
            &hal,
            pages(0x10_0000, 4),
            World::Secure,
            rw(),
            State::OwnerExclusive,
        )
        .unwrap();
    assert_eq!(count(), (0, 1));
    change(&hal, &mut space, pages(0x10_1000, 2), share()).unwrap();
    assert_eq!(count().0, 0, "access is the same");
    change(&hal, &mut space, pages(0x10_1000, 2), share().inverse()).unwrap();
    change(&hal, &mut space, pages(0x10_1000, 2), lend()).unwrap();
    assert_eq!(count().0, 1);
    change(&hal, &mut space, pages(0x10_1000, 2), lend().inverse()).unwrap();
    assert_eq!(count().0, 1, "from invalid to valid");
    space
        .map(
            &hal,
            pages(0x40_0000, 512),
            World::Secure,
            rw(),
            State::OwnerExclusive,
        )
        .unwrap();
    change(&hal, &mut space, pages(0x40_3000, 1), lend()).unwrap();
    assert_eq!(count().0, 3, "break before make, and the page itself");
}

// req: MEMX-18, MEMX-11, MEMD-08
#[test]
fn a_change_that_fails_leaves_everything() {
    let hal = FakeHal::new(9);
    let mut space = partition(&hal);
    space
        .map(
            &hal,
            pages(0x40_0000, 1024),
            World::Secure,
            rw(),
            State::OwnerExclusive,
        )
        .unwrap();
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
    // Into a page that is shared, twice over the same page, beyond what is mapped, beyond what can be mapped.
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
    // Four more tables are there; eleven ranges of 2 MiB need more.
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
    space
        .map(
            &hal,
            pages(0x10_0000, 8),
            World::Secure,
            rw(),
            State::OwnerExclusive,
        )
        .unwrap();
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
    let invalid = Err(FfaError::InvalidParameters);
    for (tx, rx) in [
        (0x10_0000, 0x10_0000),
        (0x10_8000, 0x10_0000),
        (0x10_0000, 0x10_9000),
        (0x10_0000, 0x10_a000),
        (0x10_0000, RAM),
        (0x20_0000, 0x10_0000),
    ] {
        assert_eq!(
            space.lock_mailbox(&hal, pages(tx, 1), pages(rx, 1)),
            invalid,
            "{tx:#x} {rx:#x}"
        );
        assert_eq!(snapshot(&hal, &mut space), before);
    }
    let buffers = space
        .lock_mailbox(&hal, pages(0x10_0000, 2), pages(0x10_2000, 2))
        .unwrap();
    assert_eq!(buffers.world, World::Secure);
    assert_eq!(
        space.lock_mailbox(&hal, pages(0x10_4000, 2), pages(0x10_1000, 2)),
        invalid
    );
    assert_eq!(
        change(&hal, &mut space, pages(0x10_1000, 1), share()),
        Err(ChangeError::Mismatch)
    );
    space.unlock_mailbox(&hal, &buffers);
    assert_eq!(snapshot(&hal, &mut space), before);
    space
        .lock_mailbox(&hal, pages(0x10_0000, 1), pages(0x10_8000, 1))
        .unwrap();

    let hal = FakeHal::new(16);
    let mut world = normal_world(&hal);
    let buffers = world
        .lock_mailbox(&hal, pages(RAM, 1), pages(RAM + 0x1000, 1))
        .unwrap();
    assert_eq!(
        (buffers.world, buffers.tx.base().raw()),
        (World::NonSecure, RAM)
    );
    assert_eq!(
        world.lock_mailbox(&hal, pages(RAM, 1), pages(RAM + 0x2000, 1)),
        invalid
    );
    assert_eq!(
        world.lock_mailbox(&hal, pages(0x10_0000, 1), pages(RAM + 0x2000, 1)),
        invalid
    );
    world.unlock_mailbox(&hal, &buffers);
}

/// xorshift64*: the same sequence on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}

/// Random changes over 8 MiB that straddle a boundary of 1 GiB, against a map of pages; tables as hardware reads them must agree.
#[test]
fn the_walker_agrees_with_a_map() {
    walker_agrees_with_a_map(&FakeHal::new(12), RAM - 2 * BLOCK, 1500);
}

/// The same over boundaries of 512 GiB, where one table of the root ends and the next begins.
#[test]
fn the_walker_agrees_with_a_map_across_the_tables_of_a_root() {
    for boundary in 1..4 {
        let first = (boundary << TABLE_BITS) - 2 * BLOCK;
        walker_agrees_with_a_map(&FakeHal::wide(21), first, 150);
    }
}

fn walker_agrees_with_a_map<const IPA_BITS: u32>(
    hal: &FakeHal<IPA_BITS>,
    base: u64,
    rounds: usize,
) {
    const PAGES: u64 = 4 * 512;
    let leaves = [
        Leaf::NONE,
        owned(),
        owned().with_state(State::OwnerShared),
        owned().with_state(State::OwnerNoAccess),
        Leaf::new(Attributes::normal(Permissions::READ), State::BorrowedShared),
    ];
    let mut space = partition(hal);
    let empty = snapshot(hal, &mut space);
    let mut model: BTreeMap<u64, Leaf> = BTreeMap::new();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let leaf_of =
        |model: &BTreeMap<u64, Leaf>, page| model.get(&page).copied().unwrap_or(Leaf::NONE);
    let mut made = 0;
    for _ in 0..rounds {
        let mut ranges = Vec::new();
        for _ in 0..=random.below(4) / 3 {
            let aligned = random.below(3) == 0;
            let first = if aligned {
                random.below(4) * 512
            } else {
                random.below(PAGES)
            };
            let count = if aligned { 512 } else { 1 + random.below(700) }.min(PAGES - first);
            let leaf = leaf_of(&model, first);
            let uniform = (first..first + count).take_while(|page| leaf_of(&model, *page) == leaf);
            ranges.push((
                first,
                if random.below(4) == 0 {
                    count
                } else {
                    uniform.count() as u64
                },
            ));
        }
        let from = leaf_of(&model, ranges[0].0);
        let to = leaves[random.below(5) as usize];
        let before = snapshot(hal, &mut space);
        let mut after = model.clone();
        let fits = ranges.iter().all(|&(first, count)| {
            (first..first + count).all(|page| {
                let fits = leaf_of(&after, page) == from;
                after.insert(page, to);
                fits
            })
        });
        let calls = ranges
            .iter()
            .map(|&(first, count)| pages(base + first * 4096, count));
        let inspected = space.inspect(hal, calls.clone());
        let uniform = ranges.iter().all(|&(first, count)| {
            (first..first + count).all(|page| leaf_of(&model, page) == from)
        });
        assert_eq!(
            inspected,
            (uniform && from != Leaf::NONE).then_some((World::Secure, from))
        );
        match space.change(hal, World::Secure, calls, Change { from, to }) {
            Ok(()) => {
                assert!(fits || from == to);
                (model, made) = (after, made + 1);
            }
            Err(error) => {
                assert_eq!(fits, error == ChangeError::NoMemory);
                assert_eq!(snapshot(hal, &mut space), before);
            }
        }
        for page in (0..PAGES).step_by(1 + random.below(3) as usize) {
            let leaf = leaf_of(&model, page);
            let seen = hal.translate(space.roots().secure, base + page * 4096);
            assert_eq!(seen.is_some(), leaf.is_valid());
            if let Some((descriptor, address)) = seen {
                assert_eq!((descriptor & !2, address), (leaf.0, base + page * 4096));
            }
        }
    }
    assert!(made > rounds / 3, "{made}");
    for page in 0..PAGES {
        let change = Change {
            from: leaf_of(&model, page),
            to: Leaf::NONE,
        };
        space
            .change(
                hal,
                World::Secure,
                [pages(base + page * 4096, 1)].into_iter(),
                change,
            )
            .unwrap();
    }
    assert_eq!(snapshot(hal, &mut space), empty);
}

/// 1 TiB, where some boards have their memory.
const HIGH: u64 = 1 << 40;

// req: MEMO-03, MEMO-07, MEMO-16
#[test]
fn wide_ipas_are_mapped_and_unmapped_behind_the_first_table_of_a_root() {
    const TOP: u64 = (1 << 41) - 0x1000;
    let hal = FakeHal::wide(16);
    let mut space = partition(&hal);
    let empty = snapshot(&hal, &mut space);
    let regions = [
        (pages(0x2000_0000, 1), World::Secure),
        (pages(HIGH, 1), World::NonSecure),
        (pages(HIGH + (1 << 30), 1 << 18), World::NonSecure),
        (pages(TOP, 1), World::NonSecure),
    ];
    for (range, world) in regions {
        space
            .map(&hal, range, world, rw(), State::OwnerExclusive)
            .unwrap();
        assert_eq!(
            space.inspect(&hal, [range].into_iter()),
            Some((world, owned()))
        );
    }
    let roots = space.roots();
    for (range, world) in regions {
        let (root, other) = match world {
            World::Secure => (roots.secure, roots.non_secure),
            World::NonSecure => (roots.non_secure, roots.secure),
        };
        for address in [range.base().raw(), range.end().raw() - 0x1000] {
            let seen = hal.translate(root, address).map(|(_, page)| page);
            assert_eq!(seen, Some(address));
            assert_eq!(hal.translate(other, address), None);
            // What has the same index in another table of the root is another address.
            assert_eq!(hal.translate(root, address ^ 1 << TABLE_BITS), None);
        }
        let ipa = range.base();
        assert!(space.permits(&hal, world, ipa, Access::Write));
        assert!(!space.permits(&hal, world, ipa, Access::Execute));
        assert!(!space.permits(&hal, world, Ipa::new(ipa.raw() | 1 << 41), Access::Write));
    }
    for (range, world) in regions {
        let unmap = Change {
            from: owned(),
            to: Leaf::NONE,
        };
        space
            .change(&hal, world, [range].into_iter(), unmap)
            .unwrap();
    }
    assert_eq!(snapshot(&hal, &mut space), empty);
}

// req: MEMO-03, MEMX-17
#[test]
fn what_lies_above_wide_ipas_is_refused() {
    let hal = FakeHal::wide(16);
    let mut space = partition(&hal);
    let empty = snapshot(&hal, &mut space);
    for range in [
        pages(1 << 41, 1),
        pages((1 << 41) - 0x1000, 2),
        pages(1 << 42, 1),
    ] {
        let refused = space.map(&hal, range, World::NonSecure, rw(), State::OwnerExclusive);
        assert_eq!(refused, Err(FfaError::Denied));
        assert_eq!(space.inspect(&hal, [range].into_iter()), None);
    }
    assert_eq!(snapshot(&hal, &mut space), empty);

    // An S-EL0 partition has one table as root on every board.
    let mut el0 = AddressSpace::EMPTY;
    let hal = FakeHal::wide(16);
    el0.init_el0(&hal, 1, PagePool::all(&hal)).unwrap();
    let refused = el0.map(
        &hal,
        pages(HIGH, 1),
        World::NonSecure,
        rw(),
        State::OwnerExclusive,
    );
    assert_eq!(refused, Err(FfaError::Denied));
}

// req: MEMO-05, MEMO-23, MEMX-17
#[test]
fn the_normal_world_owns_memory_at_1_tib() {
    let hal = FakeHal::wide(16);
    // It ends where translation ends, whatever the manifest says.
    let ranges = [PageRange::new(Pa::new(HIGH), 1 << 29).unwrap()];
    let mut space = AddressSpace::EMPTY;
    space
        .init_normal_world(&hal, PagePool::all(&hal), &ranges)
        .unwrap();
    let before = snapshot(&hal, &mut space);
    let range = pages(HIGH + 0x5000, 3);
    let (world, from) = space.inspect(&hal, [range].into_iter()).unwrap();
    assert_eq!(
        (world, from.state()),
        (World::NonSecure, Some(State::OwnerExclusive))
    );
    let lend = Change {
        from,
        to: from.with_state(State::OwnerNoAccess),
    };
    let make =
        |space: &mut AddressSpace, change| space.change(&hal, world, [range].into_iter(), change);
    make(&mut space, lend).unwrap();
    assert_eq!(make(&mut space, lend), Err(ChangeError::Mismatch));
    let alias = pages(0x5000, 3);
    assert_eq!(space.inspect(&hal, [alias].into_iter()), None);
    make(&mut space, lend.inverse()).unwrap();
    assert_eq!(snapshot(&hal, &mut space), before);
    let last = pages((1 << 41) - 0x1000, 1);
    assert!(space.inspect(&hal, [last].into_iter()).is_some());
    for outside in [
        pages(1 << 41, 1),
        pages((1 << 41) - 0x1000, 2),
        pages(0x5000, 1),
    ] {
        assert_eq!(space.inspect(&hal, [outside].into_iter()), None);
    }
}

#[test]
fn roots_of_several_tables_are_aligned_and_waste_nothing() {
    let hal = FakeHal::wide(16);
    let at = Pages::of(&hal);
    for skipped in 0..4 {
        let mut pool = PagePool::all(&hal);
        pool.carve(skipped);
        let available = pool.available();
        let root = pool.take_root::<FakeHal<41>>(at).unwrap();
        assert_eq!(at.address(root) % (4 << 12), 0);
        assert_eq!(pool.available(), available - 4);
        let others: Vec<_> = core::iter::from_fn(|| pool.take(at).ok()).collect();
        assert_eq!(others.len(), available - 4);
        assert!((0..4).all(|n| !others.contains(&root.behind(n))));
    }
    for pages in 0..4 {
        let mut pool = PagePool::all(&hal).carve(pages);
        let refused = pool.take_root::<FakeHal<41>>(at);
        assert_eq!(refused, Err(FfaError::NoMemory));
    }
}

#[test]
fn quotas_have_room_for_roots_of_several_tables() {
    let supply = crate::limits::TABLES - 1;
    let (one, four) = (
        Quotas::of::<FakeHal>(supply),
        Quotas::of::<FakeHal<41>>(supply),
    );
    assert_eq!((one.normal_world, one.partition), (102, 10));
    // What is left is split in the same way.
    assert_eq!(four.partition, 6 + (supply - 17 * 3) / 24);
    assert_eq!(four.normal_world, 3 + (supply - 17 * 3) * 2 / 5);
    let all = four.normal_world + crate::limits::MAX_PARTITIONS * four.partition;
    assert!(all < supply);
}
