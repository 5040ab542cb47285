//! Tables that a change takes out, and the undoing of a change that fails.

use super::*;

fn read_only() -> Leaf {
    Leaf::new(Attributes::normal(Permissions::READ), State::OwnerExclusive)
}

/// Creates three blocks. In the first, only the last page is read-only. All of the second is
/// read-only, and nothing of the third.
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
    // Five pages are the notes, two roots, a table of level 2 and one of level 3; `free` more are
    // free. The change merges the first block, splits the second and fails at the third, so that
    // the first must be split again.
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
    // The table of these pages stays because other pages are in it, so hardware has to forget only
    // their own leaves.
    own(&hal, &mut space, pages(RAM, 8));
    change(&hal, &mut space, pages(RAM, 4), lend()).unwrap();
    assert_eq!((hal.invalidations.load(Ordering::Relaxed), all()), (1, 0));
    // Hardware has no leaf of the pages that were lent, so nothing is invalidated when these are
    // unmapped. The tables go with the last pages of all.
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
    // A table that a failed change added and removed existed for a moment.
    let map = Change {
        from: Leaf::NONE,
        to: owned(),
    };
    let twice = [pages(RAM, 1), pages(RAM, 1)].into_iter();
    let refused = space.change(&hal, World::Secure, twice, map);
    assert_eq!(refused, Err(ChangeError::Mismatch));
    assert_eq!(all(), 2);
}

// Arm ARM D8.17.1: between a block and the table that replaces it, or the other way round, the
// entry must be invalid and the TLB invalidated.
// req: MEMX-18, MEMX-20
#[test]
fn a_block_and_its_table_replace_each_other_by_way_of_nothing() {
    let hal = FakeHal::new(16);
    let mut space = partition(&hal);
    own(&hal, &mut space, pages(RAM, 512));
    let secure = space.roots().of(World::Secure);
    *hal.watched.lock().unwrap() = Some((secure, RAM + 0x5000));
    let all = || hal.invalidations_of_all.load(Ordering::Relaxed);
    let before = all();
    change(&hal, &mut space, pages(RAM, 1), share()).unwrap();
    assert_eq!(all(), before + 1, "split");
    change(&hal, &mut space, pages(RAM, 1), share().inverse()).unwrap();
    assert_eq!(all(), before + 2, "mended");
    assert_eq!(hal.mapped_meanwhile.load(Ordering::Relaxed), 0);
    assert!(hal.translate(secure, RAM + 0x5000).is_some());
}

// The tables that a change takes out, and takes back when it is undone, share one invalidation.
// req: MEMX-18, TIME-04
#[test]
fn one_invalidation_is_enough_for_all_that_is_used_anew() {
    const BLOCKS: u64 = 4;
    let hal = FakeHal::new(16);
    let mut space = partition(&hal);
    own(&hal, &mut space, pages(RAM, (BLOCKS + 1) * 512));
    let ends = (0..BLOCKS).map(|n| pages(RAM + n * BLOCK, 1));
    space
        .change(&hal, World::Secure, ends.clone(), lend())
        .unwrap();
    let before = snapshot(&hal, &mut space);
    let all = || hal.invalidations_of_all.load(Ordering::Relaxed);
    let start = all();
    let ranges = ends.chain([pages(RAM + BLOCKS * BLOCK, 1)]);
    let refused = space.change(&hal, World::Secure, ranges, lend().inverse());
    assert_eq!(refused, Err(ChangeError::Mismatch));
    assert_eq!(snapshot(&hal, &mut space), before);
    // Each block needs one invalidation when its table goes, and one when a table replaces the
    // block again.
    let exchanges = 2 * BLOCKS as usize;
    assert!(all() - start <= exchanges + 1, "{}", all() - start);
}

// req: MEMX-18, MEMX-20
#[test]
fn a_table_of_nothing_that_comes_back_is_forgotten_first() {
    // The five pages are the notes, two roots, a table of level 2 and one of level 3. To undo the
    // change, only the table that it took out is available.
    let hal = FakeHal::new(5);
    let mut space = partition(&hal);
    own(&hal, &mut space, pages(RAM, 1));
    let before = snapshot(&hal, &mut space);
    assert_eq!(before.1, 0);
    let all = || hal.invalidations_of_all.load(Ordering::Relaxed);
    let start = all();
    let ranges = [pages(RAM, 1), pages(RAM + BLOCK, 1)];
    let unmap = Change {
        from: owned(),
        to: Leaf::NONE,
    };
    let refused = space.change(&hal, World::Secure, ranges.into_iter(), unmap);
    assert_eq!(refused, Err(ChangeError::Mismatch));
    assert_eq!(snapshot(&hal, &mut space), before);
    assert!(all() > start);
}

// req: MEMX-18, MEMX-20
#[test]
fn leaves_of_all_ranges_are_forgotten() {
    let hal = FakeHal::new(16);
    let mut space = partition(&hal);
    own(&hal, &mut space, pages(RAM, 64));
    let scattered = |count| (0..count).map(|n| pages(RAM + n * 0x2000, 1));
    let all = || hal.invalidations_of_all.load(Ordering::Relaxed);
    for (count, everything) in [(1, 0), (2, 0), (16, 0), (17, 1)] {
        let (start, ranges) = (all(), scattered(count));
        space
            .change(&hal, World::Secure, ranges.clone(), lend())
            .unwrap();
        assert_eq!(all() - start, everything, "{count}");
        if everything == 0 {
            let named: Vec<_> = ranges.clone().map(|it| (World::Secure, it)).collect();
            assert_eq!(*hal.invalidated.lock().unwrap(), named);
        }
        space
            .change(&hal, World::Secure, ranges, lend().inverse())
            .unwrap();
    }
}

// A PE may have used a page that was mapped only for a moment.
// req: MEMX-18, MEMX-20
#[test]
fn what_a_change_that_failed_had_mapped_is_forgotten() {
    let hal = FakeHal::new(16);
    let mut space = partition(&hal);
    own(&hal, &mut space, pages(RAM, 8));
    let count = || hal.invalidations.load(Ordering::Relaxed);
    let start = count();
    let ranges = [pages(RAM + 0x8000, 1), pages(RAM, 1)];
    let map = Change {
        from: Leaf::NONE,
        to: owned(),
    };
    let refused = space.change(&hal, World::Secure, ranges.into_iter(), map);
    assert_eq!(refused, Err(ChangeError::Mismatch));
    assert_eq!(count(), start + 1);
    let named = ranges.map(|range| (World::Secure, range));
    assert_eq!(*hal.invalidated.lock().unwrap(), named);
}
