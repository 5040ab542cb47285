//! Tables that a change takes out, and the way back of one that fails.

use super::*;

fn read_only() -> Leaf {
    Leaf::new(Attributes::normal(Permissions::READ), State::OwnerExclusive)
}

/// Three blocks: of the first only the last page is read-only, the second is, the third is not.
fn mixed(tables: usize) -> (FakeHal, AddressSpace) {
    let hal = FakeHal::new(tables);
    let mut space = partition(&hal);
    own(&hal, &mut space, pages(RAM, 3 * 512));
    let restrict = Change {
        from: owned(),
        to: read_only(),
    };
    for range in [pages(RAM + 511 * 4096, 1), pages(RAM + BLOCK, 512)] {
        change(&hal, &mut space, range, restrict).unwrap();
    }
    (hal, space)
}

// req: MEMX-18, MEMX-11
#[test]
fn the_way_back_needs_no_page_that_others_could_take() {
    // Notes, two roots, a table of level 2, one of level 3; then some that are free. The change
    // mends the first block, splits the second and fails at the third, so it has to split the first
    // again.
    for (free, error) in [(0, ChangeError::NoMemory), (1, ChangeError::Mismatch)] {
        let (hal, mut space) = mixed(5 + free);
        let before = snapshot(&hal, &mut space);
        assert_eq!(before.1, free);
        let ranges = [pages(RAM + 511 * 4096, 2), pages(RAM + 2 * BLOCK, 1)];
        let open = Change {
            from: read_only(),
            to: owned(),
        };
        let outcome = space.change(&hal, World::Secure, ranges.into_iter(), open);
        assert_eq!(outcome, Err(error));
        assert_eq!(snapshot(&hal, &mut space), before);
    }
}

// req: MEMX-18, MEMX-20
#[test]
fn everything_is_forgotten_with_a_table() {
    let hal = FakeHal::new(16);
    let mut space = partition(&hal);
    let all = || hal.invalidations_of_all.load(Ordering::Relaxed);
    // A page in the midst of others: its table stays, so its own leaf is all that hardware must
    // forget.
    own(&hal, &mut space, pages(RAM, 8));
    change(&hal, &mut space, pages(RAM, 4), lend()).unwrap();
    assert_eq!((hal.invalidations.load(Ordering::Relaxed), all()), (1, 0));
    // The tables go with their last pages, of which hardware knows no leaf.
    let gone = Change {
        from: lend().to,
        to: Leaf::NONE,
    };
    change(&hal, &mut space, pages(RAM, 2), gone).unwrap();
    assert_eq!((hal.invalidations.load(Ordering::Relaxed), all()), (1, 0));
    change(&hal, &mut space, pages(RAM + 0x2000, 2), gone).unwrap();
    assert_eq!(all(), 0);
    let taken = Change {
        from: owned(),
        to: Leaf::NONE,
    };
    change(&hal, &mut space, pages(RAM + 0x4000, 4), taken).unwrap();
    assert_eq!((hal.invalidations.load(Ordering::Relaxed), all()), (2, 1));
    // A table that came and went in a change that failed was there for a moment.
    let map = Change {
        from: Leaf::NONE,
        to: owned(),
    };
    let twice = [pages(RAM, 1), pages(RAM, 1)].into_iter();
    let refused = space.change(&hal, World::Secure, twice, map);
    assert_eq!(refused, Err(ChangeError::Mismatch));
    assert_eq!(all(), 2);
}
