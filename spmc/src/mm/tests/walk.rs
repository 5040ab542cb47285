//! The walker and the inspector at the edges of tables, blocks and groups of entries.

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

// A table of level 2 is for 1 GiB: the same entries of another are for other addresses.
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
            let found = hal.translate(space.roots().secure, ipa);
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
    // A page of the same GiB: the table of level 2 stays.
    own(&hal, &mut space, pages(RAM + 8 * BLOCK, 1));
    let before = snapshot(&hal, &mut space);
    let halves = [pages(RAM, 256), pages(RAM + BLOCK / 2, 256)];
    own(&hal, &mut space, pages(RAM, 512));
    for half in halves {
        change(&hal, &mut space, half, unmap()).unwrap();
    }
    assert_eq!(snapshot(&hal, &mut space), before);
    // No page of the block is as it was, but one half is lent.
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
