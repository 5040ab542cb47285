//! IPAs of more than 39 bits: roots of several tables.

use super::*;

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
            World::Secure => (roots.of(World::Secure), roots.of(World::NonSecure)),
            World::NonSecure => (roots.of(World::NonSecure), roots.of(World::Secure)),
        };
        for address in [range.base().raw(), range.end().raw() - 0x1000] {
            let seen = hal.translate(root, address).map(|(_, page)| page);
            assert_eq!(seen, Some(address));
            assert_eq!(hal.translate(other, address), None);
            // An equal index in another table of the root belongs to another address.
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

// req: MEMO-03, MEMX-18
#[test]
fn one_change_reaches_all_tables_of_a_root_in_any_order() {
    let hal = FakeHal::wide(24);
    let mut space = partition(&hal);
    let empty = snapshot(&hal, &mut space);
    let ranges = [1, 2, 3, 0].map(|table| pages(table << TABLE_BITS | RAM, 1));
    let map = Change {
        from: Leaf::NONE,
        to: owned(),
    };
    let make = |space: &mut AddressSpace, change| {
        space.change(&hal, World::Secure, ranges.into_iter(), change)
    };
    make(&mut space, map).unwrap();
    for range in ranges {
        let ipa = range.base().raw();
        let found = hal.translate(space.roots().of(World::Secure), ipa);
        assert_eq!(found, Some((owned().0 | 2, ipa)));
    }
    make(&mut space, map.inverse()).unwrap();
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

    // An S-EL0 partition has a root of one table on every board.
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
    // The memory ends where translation ends, whatever the manifest says.
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

// req: MEMO-03, MEMX-17
#[test]
fn addresses_that_cannot_be_translated_have_no_leaf() {
    let hal = FakeHal::new(16);
    let mut space = partition(&hal);
    own(&hal, &mut space, pages(RAM, 1));
    let leaf = |address| space.first_leaf(&hal, pages(address, 1));
    assert_eq!(leaf(RAM), Some((World::Secure, owned())));
    for bit in TABLE_BITS..48 {
        assert_eq!(leaf(RAM | 1 << bit), None);
    }
    // An S-EL0 partition has only one table as root. The tables behind it have other uses.
    let hal = FakeHal::wide(16);
    let mut el0 = AddressSpace::EMPTY;
    el0.init_el0(&hal, 1, PagePool::all(&hal)).unwrap();
    el0.map(
        &hal,
        pages(RAM, 512),
        World::Secure,
        rw(),
        State::OwnerExclusive,
    )
    .unwrap();
    assert!(el0.first_leaf(&hal, pages(RAM, 1)).is_some());
    for table in 1..4 {
        let behind = pages(table << TABLE_BITS, 1);
        assert_eq!(el0.first_leaf(&hal, behind), None);
    }
}
