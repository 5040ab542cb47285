//! The walker and the inspector at the limits of tables, blocks and groups of entries.

use super::*;

fn unmap() -> Change {
    Change {
        from: owned(),
        to: Leaf::NONE,
    }
}

/// Makes a change on several ranges.
fn change_all(
    hal: &FakeHal,
    space: &mut AddressSpace,
    ranges: &[PageRange<Ipa>],
    change: Change,
) -> Result<(), ChangeError> {
    space.change(hal, World::Secure, ranges.iter().copied(), change)
}

// req: MEMO-16, MEMX-17
#[test]
fn blocks_and_tables_are_inspected_in_any_order() {
    let hal = FakeHal::new(16);
    let mut space = partition(&hal);
    for range in [
        pages(0, 4),
        pages(RAM, 2 * 512),
        pages(RAM + 2 * BLOCK, 4),
        pages(RAM + 4 * BLOCK - 0x3000, 6),
    ] {
        own(&hal, &mut space, range);
    }
    let (block, table) = (pages(RAM + BLOCK, 1), pages(RAM + 2 * BLOCK, 1));
    let known: [&[PageRange<Ipa>]; 6] = [
        &[pages(0, 1)],
        &[table, pages(0x1000, 1), table],
        &[block, table, block, pages(0x1000, 2)],
        &[pages(RAM + 0x5000, 2 * 512 - 5 + 4)],
        &[pages(RAM + BLOCK - 0x1000, 1), pages(RAM, 512)],
        &[pages(RAM + 4 * BLOCK - 0x2000, 5)],
    ];
    for ranges in known {
        let found = space.inspect(&hal, ranges.iter().copied());
        assert_eq!(found, Some((World::Secure, owned())), "{ranges:?}");
    }
    let differing: [&[PageRange<Ipa>]; 4] = [
        &[block, pages(0x4000, 1)],
        &[block, pages(0x8000_0000, 1)],
        &[table, pages(RAM + 4 * BLOCK - 0x4000, 1)],
        &[pages(RAM + 4 * BLOCK - 0x2000, 6)],
    ];
    for ranges in differing {
        let found = space.inspect(&hal, ranges.iter().copied());
        assert_eq!(found, None, "{ranges:?}");
    }
}

// req: MEMX-18, MEMX-11
#[test]
fn one_other_page_stops_a_change_wherever_it_is() {
    let hal = FakeHal::new(16);
    let mut space = partition(&hal);
    own(&hal, &mut space, pages(RAM, 40));
    for other in 0..24 {
        let page = pages(RAM + other * 0x1000, 1);
        change(&hal, &mut space, page, share()).unwrap();
        let before = snapshot(&hal, &mut space);
        for change in [lend(), unmap()] {
            let refused = change_all(&hal, &mut space, &[pages(RAM, 40)], change);
            assert_eq!(refused, Err(ChangeError::Mismatch), "{other}");
            assert_eq!(snapshot(&hal, &mut space), before, "{other}");
        }
        change(&hal, &mut space, page, share().inverse()).unwrap();
    }
}

/// Creates two blocks and some pages that their owner may execute, except for one of the blocks and
/// for the pages in `scattered`.
fn executed_here_and_there(hal: &FakeHal, scattered: &[PageRange<Ipa>]) -> AddressSpace {
    let mut space = partition(hal);
    let all = Attributes::normal(Permissions::all());
    for (range, attributes) in [
        (pages(RAM, 512), all),
        (pages(RAM + BLOCK, 512), rw()),
        (pages(RAM + 2 * BLOCK, 16), all),
    ] {
        space
            .map(hal, range, World::Secure, attributes, State::OwnerExclusive)
            .unwrap();
    }
    let never = Change {
        from: Leaf::new(all, State::OwnerExclusive),
        to: owned(),
    };
    change_all(hal, &mut space, scattered, never).unwrap();
    space
}

// req: MEMX-18, MEMX-11, MEMRC-10
#[test]
fn an_owner_gets_back_what_it_may_execute_and_what_not() {
    let single = |page: u64| pages(RAM + page * 0x1000, 1);
    let scattered = [3, 4, 7, 1024, 1026, 1028].map(single);
    let regions: [&[PageRange<Ipa>]; 6] = [
        &[pages(RAM, 2 * 512 + 16)],
        &[pages(RAM + BLOCK, 512), single(0)],
        &[single(0), single(3), single(5), single(7), single(9)],
        &[single(1025), single(1024), single(1027), single(1026)],
        &[pages(RAM + BLOCK - 0x1000, 2), pages(RAM + BLOCK * 2, 5)],
        &[pages(RAM + BLOCK + 0x5000, 9), pages(RAM + 0x2000, 6)],
    ];
    for region in regions {
        for state in [State::OwnerShared, State::OwnerNoAccess] {
            let hal = FakeHal::new(16);
            let mut space = executed_here_and_there(&hal, &scattered);
            let before = snapshot(&hal, &mut space);
            let ranges = || region.iter().copied();
            let (_, first) = space.first_leaf(&hal, region[0]).unwrap();
            let change = Change {
                from: first,
                to: first.with_state(state),
            };
            let refused = space.change(&hal, World::Secure, ranges(), change);
            assert_eq!(refused, Err(ChangeError::Mismatch));
            assert_eq!(snapshot(&hal, &mut space), before);
            assert!(space.are_alike(&hal, ranges()));
            assert_eq!(space.inspect(&hal, ranges()), None);
            // When the same page comes a second time, it is no longer in the expected state.
            let twice = ranges().chain([region[0]]);
            let refused = space.change_owned(&hal, World::Secure, twice, change);
            assert_eq!(refused, Err(ChangeError::Mismatch));
            assert_eq!(snapshot(&hal, &mut space), before);

            let made = space
                .change_owned(&hal, World::Secure, ranges(), change)
                .unwrap();
            assert_eq!(made.from, owned());
            assert_eq!(made.to, owned().with_state(state));
            space
                .change_owned(&hal, World::Secure, ranges(), made.inverse())
                .unwrap();
            assert_eq!(snapshot(&hal, &mut space), before, "{region:?} {state:?}");
        }
    }
}

// req: MEMX-18, MEMDN-06
#[test]
fn nothing_is_left_of_pages_that_an_owner_gives_away() {
    let hal = FakeHal::new(16);
    let mut space = executed_here_and_there(&hal, &[pages(RAM + 0x3000, 1)]);
    // Pages of which some are read-only are not alike.
    let read_only = Attributes::normal(Permissions::READ | Permissions::EXECUTE);
    let other = pages(RAM + 4 * BLOCK, 1);
    space
        .map(&hal, other, World::Secure, read_only, State::OwnerExclusive)
        .unwrap();
    let before = snapshot(&hal, &mut space);
    let region = [pages(RAM, 2 * 512 + 16)];
    let executed = Leaf::new(
        Attributes::normal(Permissions::all()),
        State::OwnerExclusive,
    );
    let give = |space: &mut AddressSpace, ranges: &[PageRange<Ipa>]| {
        let change = Change {
            from: executed,
            to: Leaf::NONE,
        };
        space.change_owned(&hal, World::Secure, ranges.iter().copied(), change)
    };
    let differing = [other, region[0]];
    assert!(!space.are_alike(&hal, differing.into_iter()));
    assert_eq!(give(&mut space, &differing), Err(ChangeError::Mismatch));
    assert_eq!(snapshot(&hal, &mut space), before);
    // The change fails half-way. Undoing it restores only what is certain: the pages that it had
    // changed may not be executed.
    let single = [0, 3, 1, 1].map(|page| pages(RAM + page * 0x1000, 1));
    assert_eq!(give(&mut space, &single), Err(ChangeError::Mismatch));
    let again = Change {
        from: owned(),
        to: executed,
    };
    change_all(&hal, &mut space, &[single[0], single[2]], again).unwrap();
    assert_eq!(snapshot(&hal, &mut space), before);
    let differing = [region[0], other];
    assert_eq!(give(&mut space, &differing), Err(ChangeError::Mismatch));
    let found = space.inspect(&hal, region.into_iter());
    assert_eq!(found, Some((World::Secure, owned())));
    assert_eq!(give(&mut space, &region), Ok(unmap()));
    let exact = Change {
        from: Leaf::new(read_only, State::OwnerExclusive),
        to: Leaf::NONE,
    };
    change(&hal, &mut space, other, exact).unwrap();
    let mut empty = partition(&FakeHal::new(16));
    assert_eq!(space.pool().available(), empty.pool().available());
    assert_eq!(space.first_leaf(&hal, pages(RAM + 0x3000, 1)), None);
}

// A table of level 2 covers 1 GiB: equal indexes in different tables belong to different addresses.
// req: MEMO-03, MEMX-18
#[test]
fn pages_that_lie_far_apart_have_tables_of_their_own() {
    for bit in 21..TABLE_BITS {
        let hal = FakeHal::new(16);
        let mut space = partition(&hal);
        let ranges = [pages(0x1000, 1), pages(0x1000 | 1 << bit, 1)];
        let empty = snapshot(&hal, &mut space);
        change_all(&hal, &mut space, &ranges, unmap().inverse()).unwrap();
        for range in ranges {
            let ipa = range.base().raw();
            let found = hal.translate(space.roots().of(World::Secure), ipa);
            assert_eq!(found, Some((owned().0 | 2, ipa)));
        }
        change_all(&hal, &mut space, &ranges, unmap()).unwrap();
        assert_eq!(snapshot(&hal, &mut space), empty);
    }
}

// req: MEMX-18, MEMX-11
#[test]
fn a_table_stays_for_scattered_pages_until_the_last_is_as_it_was() {
    let hal = FakeHal::new(16);
    let mut space = partition(&hal);
    own(&hal, &mut space, pages(RAM, 512));
    let before = snapshot(&hal, &mut space);
    let scattered = [0, 2, 3, 5, 511].map(|page| pages(RAM + page * 0x1000, 1));
    change_all(&hal, &mut space, &scattered, share()).unwrap();
    let (some, last) = scattered.split_at(4);
    for page in some {
        change(&hal, &mut space, *page, share().inverse()).unwrap();
    }
    let found = space.first_leaf(&hal, last[0]);
    assert_eq!(found, Some((World::Secure, share().to)));
    change_all(&hal, &mut space, last, share().inverse()).unwrap();
    assert_eq!(snapshot(&hal, &mut space), before);
}

// req: MEMX-18, MEMRC-10
#[test]
fn a_table_goes_when_all_of_its_block_is_unmapped_and_not_before() {
    let hal = FakeHal::new(16);
    let mut space = partition(&hal);
    // Because of a page in the same GiB, the table of level 2 stays.
    own(&hal, &mut space, pages(RAM + 8 * BLOCK, 1));
    let before = snapshot(&hal, &mut space);
    let halves = [pages(RAM, 256), pages(RAM + BLOCK / 2, 256)];
    own(&hal, &mut space, pages(RAM, 512));
    for half in halves {
        change(&hal, &mut space, half, unmap()).unwrap();
    }
    assert_eq!(snapshot(&hal, &mut space), before);
    // No page of the block is as it was, but one half is lent, so the table stays.
    own(&hal, &mut space, pages(RAM, 512));
    change(&hal, &mut space, halves[0], lend()).unwrap();
    change(&hal, &mut space, halves[1], unmap()).unwrap();
    let found = space.inspect(&hal, [halves[0]].into_iter());
    assert_eq!(found, Some((World::Secure, lend().to)));
    let gone = Change {
        from: lend().to,
        to: Leaf::NONE,
    };
    change(&hal, &mut space, halves[0], gone).unwrap();
    assert_eq!(snapshot(&hal, &mut space), before);
}
