//! Addresses of more than 39 bits: roots of several tables, and walks of four levels.

use super::*;
use crate::manifest::config::Branches;

/// The bits that are needed, and those that a physical address has: one root table, four and eight
/// of them, and walks from level 0 on.
const SIZES: [(u32, u32); 7] = [
    (39, 48),
    (41, 48),
    (42, 42),
    (42, 44),
    (43, 48),
    (44, 44),
    (48, 48),
];

/// More tables than any of the tests needs.
const TABLES: usize = 80;

/// Returns hardware of each size.
pub(super) fn each_size() -> impl Iterator<Item = FakeHal> {
    SIZES
        .into_iter()
        .map(|(needed, physical)| FakeHal::of_bits(needed, physical, TABLES))
}

pub(super) fn limit(hal: &FakeHal) -> u64 {
    hal.geometry().limit()
}

pub(super) fn el0(hal: &FakeHal) -> AddressSpace {
    let mut space = AddressSpace::EMPTY;
    space
        .init_el0(hal, 1, PagePool::all(hal), Branches::Anywhere)
        .unwrap();
    space
}

fn map() -> Change {
    Change {
        from: Leaf::NONE,
        to: owned(),
    }
}

// req: MEMO-03, MEMO-07, MEMO-16
#[test]
fn pages_of_every_part_of_the_address_space_are_mapped_and_unmapped() {
    for hal in each_size() {
        let top = limit(&hal);
        let mut space = partition(&hal);
        let empty = snapshot(&hal, &mut space);
        let regions = [
            (pages(0x2000_0000, 1), World::Secure),
            (pages(top / 2, 1), World::NonSecure),
            (pages(top / 2 + (1 << 30), 1 << 18), World::NonSecure),
            (pages(top - 0x1000, 1), World::NonSecure),
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
                World::Secure => (roots.of(World::Secure), roots.of(World::NonSecure)),
                World::NonSecure => (roots.of(World::NonSecure), roots.of(World::Secure)),
            };
            for address in [range.base().raw(), range.end().raw() - 0x1000] {
                let seen = hal.translate(root, address).map(|(_, page)| page);
                assert_eq!(seen, Some(address));
                assert_eq!(hal.translate(other, address), None);
                // An equal index in another table belongs to another address.
                for bit in TABLE_BITS..hal.geometry().bits() {
                    assert_eq!(hal.translate(root, address ^ 1 << bit), None);
                }
            }
            let ipa = range.base();
            assert!(space.permits(&hal, world, ipa, Access::Write));
            assert!(!space.permits(&hal, world, ipa, Access::Execute));
            assert!(!space.permits(&hal, world, Ipa::new(ipa.raw() | top), Access::Write));
        }
        for (range, world) in regions {
            space
                .change(&hal, world, [range].into_iter(), map().inverse())
                .unwrap();
        }
        assert_eq!(snapshot(&hal, &mut space), empty);
    }
}

// req: MEMO-03, MEMX-18
#[test]
fn one_change_reaches_all_tables_in_any_order() {
    for hal in each_size() {
        let mut space = partition(&hal);
        let empty = snapshot(&hal, &mut space);
        let count = limit(&hal) >> TABLE_BITS;
        let ranges = [1, 2, 3, 0, 255, 256, 511, 510]
            .map(|table| pages(((table % count) << TABLE_BITS) | RAM | table << 13, 1));
        let make = |space: &mut AddressSpace, ranges: &[PageRange<Ipa>], change| {
            space.change(&hal, World::Secure, ranges.iter().copied(), change)
        };
        make(&mut space, &ranges, map()).unwrap();
        for range in ranges {
            let ipa = range.base().raw();
            let found = hal.translate(space.roots().of(World::Secure), ipa);
            assert_eq!(found, Some((owned().0 | 2, ipa)));
        }
        // A page that differs stops the change wherever it is, and all is as before.
        let before = snapshot(&hal, &mut space);
        for wrong in 0..ranges.len() {
            let mut ranges = ranges;
            ranges[wrong] = pages(ranges[wrong].base().raw() + BLOCK, 1);
            let refused = make(&mut space, &ranges, map().inverse());
            assert_eq!(refused, Err(ChangeError::Mismatch));
            assert_eq!(snapshot(&hal, &mut space), before);
        }
        make(&mut space, &ranges, map().inverse()).unwrap();
        assert_eq!(snapshot(&hal, &mut space), empty);
    }
}

// A descriptor of level 0 is never a block.
// req: MEMO-03, MEMX-18
#[test]
fn a_range_of_more_than_a_table_of_level_1_is_mapped_by_blocks_of_1_gib() {
    for hal in each_size().filter(|hal| hal.geometry().bits() > TABLE_BITS) {
        let mut space = partition(&hal);
        let empty = snapshot(&hal, &mut space);
        let range = pages((1 << TABLE_BITS) - (1 << 30), (1 << 27) + (1 << 18));
        space
            .map(&hal, range, World::Secure, rw(), State::OwnerExclusive)
            .unwrap();
        let inspected = space.inspect(&hal, [range].into_iter());
        assert_eq!(inspected, Some((World::Secure, owned())));
        let root = space.roots().of(World::Secure);
        for address in [
            range.base().raw(),
            1 << TABLE_BITS,
            range.end().raw() - 0x1000,
        ] {
            assert_eq!(hal.translate(root, address), Some((owned().0, address)));
        }
        let outside = pages(range.base().raw(), range.pages() + 1);
        assert_eq!(space.inspect(&hal, [outside].into_iter()), None);
        let unmap = map().inverse();
        space
            .change(&hal, World::Secure, [range].into_iter(), unmap)
            .unwrap();
        assert_eq!(snapshot(&hal, &mut space), empty);
    }
}

// req: MEMO-03, MEMX-17
#[test]
fn what_lies_above_the_limit_is_refused() {
    for make in [partition, el0] {
        for hal in each_size() {
            let mut space = make(&hal);
            let top = if space.roots().is_stage1() {
                hal.geometry().stage1().limit()
            } else {
                limit(&hal)
            };
            let empty = snapshot(&hal, &mut space);
            let above = [(top, 1), (top - 0x1000, 2), (top << 1, 1)]
                .into_iter()
                .filter_map(|(base, count)| PageRange::new(Ipa::new(base), count));
            for range in above {
                let refused = space.map(&hal, range, World::NonSecure, rw(), State::OwnerExclusive);
                assert_eq!(refused, Err(FfaError::Denied));
                assert_eq!(space.inspect(&hal, [range].into_iter()), None);
            }
            assert_eq!(snapshot(&hal, &mut space), empty);
        }
    }
}

// req: MEMO-05, MEMO-23, MEMX-17
#[test]
fn the_normal_world_owns_memory_up_to_the_limit() {
    for hal in each_size() {
        let (start, top) = (limit(&hal) / 2, limit(&hal));
        // The memory ends where translation ends, whatever the manifest says.
        let count = ((top - start) >> 12) + 1;
        let ranges = [PageRange::new(Pa::new(start - 0x1000), count).unwrap()];
        let mut space = AddressSpace::EMPTY;
        space
            .init_normal_world(&hal, PagePool::all(&hal), ranges.to_vec())
            .unwrap();
        let before = snapshot(&hal, &mut space);
        let range = pages(start + 0x5000, 3);
        let (world, from) = space.inspect(&hal, [range].into_iter()).unwrap();
        assert_eq!(
            (world, from.state()),
            (World::NonSecure, Some(State::OwnerExclusive))
        );
        let lend = Change {
            from,
            to: from.with_state(State::OwnerNoAccess),
        };
        let make = |space: &mut AddressSpace, change| {
            space.change(&hal, world, [range].into_iter(), change)
        };
        make(&mut space, lend).unwrap();
        assert_eq!(make(&mut space, lend), Err(ChangeError::Mismatch));
        let alias = pages(0x5000, 3);
        assert_eq!(space.inspect(&hal, [alias].into_iter()), None);
        make(&mut space, lend.inverse()).unwrap();
        assert_eq!(snapshot(&hal, &mut space), before);
        let last = pages(top - 0x1000, 1);
        assert!(space.inspect(&hal, [last].into_iter()).is_some());
        let outside = [
            (top, 1),
            (top - 0x1000, 2),
            (0x5000, 1),
            (start - 0x2000, 2),
        ]
        .into_iter()
        .filter_map(|(base, count)| PageRange::new(Ipa::new(base), count));
        for outside in outside {
            assert_eq!(space.inspect(&hal, [outside].into_iter()), None);
        }
    }
}

// req: MEMO-03, MEMX-17
#[test]
fn addresses_that_cannot_be_translated_have_no_leaf() {
    for make in [partition, el0] {
        for hal in each_size() {
            let mut space = make(&hal);
            own(&hal, &mut space, pages(RAM, 1));
            let leaf = |address| space.first_leaf(&hal, pages(address, 1));
            assert_eq!(leaf(RAM), Some((World::Secure, owned())));
            for bit in TABLE_BITS..48 {
                assert_eq!(leaf(RAM | 1 << bit), None);
            }
        }
    }
}

// req: MEMO-03, MEMO-07, MEMX-17, MEMX-18
#[test]
fn an_s_el0_partition_has_all_addresses_but_those_of_el2() {
    const EL2: u64 = (1 << TABLE_BITS) - (1 << 30);
    for hal in each_size().filter(|hal| hal.geometry().bits() > TABLE_BITS) {
        let mut space = el0(&hal);
        let root = space.roots().of(World::Secure);
        let el2 = || {
            let found = hal.translate_el0(root, EL2);
            assert_eq!(found, Some((EL2_ENTRY & 0xfff, 1 << 30)));
        };
        el2();
        let empty = snapshot(&hal, &mut space);
        for range in [
            pages(EL2, 1),
            pages(EL2 - 0x1000, 2),
            pages((1 << TABLE_BITS) - 0x1000, 1),
            pages((1 << TABLE_BITS) - 0x1000, 2),
            pages(EL2 - 0x1000, 2 + (1 << 18)),
        ] {
            let refused = space.map(&hal, range, World::Secure, rw(), State::OwnerExclusive);
            assert_eq!(refused, Err(FfaError::Denied));
            assert_eq!(space.first_leaf(&hal, pages(EL2, 1)), None);
            let ipa = Ipa::new(EL2);
            assert!(!space.permits(&hal, World::Secure, ipa, Access::Read));
            assert_eq!(snapshot(&hal, &mut space), empty);
        }
        let top = limit(&hal);
        let ranges = [
            pages(EL2 - 0x1000, 1),
            pages(1 << TABLE_BITS, 1),
            pages(RAM, 512),
            pages(top - 0x1000, 1),
            pages((1 << TABLE_BITS) + BLOCK, 3),
        ];
        let make = |space: &mut AddressSpace, change| {
            space.change(&hal, World::NonSecure, ranges.into_iter(), change)
        };
        make(&mut space, map()).unwrap();
        for range in ranges {
            let ipa = range.base();
            let found = hal.translate_el0(root, ipa.raw()).map(|(_, page)| page);
            assert_eq!(found, Some(ipa.raw()));
            assert!(space.permits(&hal, World::NonSecure, ipa, Access::Write));
            let inspected = space.inspect(&hal, [range].into_iter());
            assert_eq!(inspected, Some((World::NonSecure, owned())));
        }
        el2();
        make(&mut space, map().inverse()).unwrap();
        // The table that leads to EL2 stays.
        el2();
        assert_eq!(snapshot(&hal, &mut space), empty);
    }
}

#[test]
fn a_pool_without_room_for_the_tables_of_level_1_makes_no_space() {
    let hal = FakeHal::of_bits(48, 48, TABLES);
    let mut supply = PagePool::all(&hal);
    let mut space = AddressSpace::EMPTY;
    let one = supply.carve(1);
    assert_eq!(
        space.init_el0(&hal, 1, one, Branches::Anywhere),
        Err(FfaError::NoMemory)
    );
    let two = supply.carve(2);
    assert_eq!(space.init_el0(&hal, 1, two, Branches::Anywhere), Ok(()));
    assert_eq!(space.pool().available(), 0);
}
