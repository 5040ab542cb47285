//! The addresses that an endpoint can know, up to the last page before each limit.

use super::*;
use crate::manifest::config::Branches;

/// Creates two runs of memory with a hole between them. The second run consists of two pieces and
/// is listed first.
fn in_pieces(hal: &FakeHal) -> AddressSpace {
    let piece = |base, count| PageRange::new(Pa::new(base), count).unwrap();
    let ranges = [
        piece(RAM + 0x10_0000, 8),
        piece(RAM + 0x10_8000, 8),
        piece(RAM, 8),
    ];
    let mut space = AddressSpace::EMPTY;
    space
        .init_normal_world(hal, PagePool::all(hal), ranges.to_vec())
        .unwrap();
    space
}

// req: MEMO-05, MEMO-23, MEMX-17
#[test]
fn memory_in_pieces_is_known_page_by_page() {
    let hal = FakeHal::new(16);
    let mut space = in_pieces(&hal);
    let before = snapshot(&hal, &mut space);
    let (low, hole, high) = (RAM, RAM + 0x8000, RAM + 0x10_0000);
    let known: [&[PageRange<Ipa>]; 5] = [
        &[pages(low, 8)],
        &[pages(high, 16)],
        &[pages(high + 0x7000, 2)],
        &[pages(high, 1), pages(low, 1), pages(high + 0xf000, 1)],
        &[pages(low + 0x7000, 1), pages(high + 0x8000, 8)],
    ];
    let unknown: [&[PageRange<Ipa>]; 7] = [
        &[pages(hole, 1)],
        &[pages(low + 0x7000, 2)],
        &[pages(low, 1), pages(hole, 1)],
        &[pages(low, 1), pages(high - 0x1000, 1), pages(high, 1)],
        &[pages(high, 1), pages(high - 0x1000, 2)],
        &[pages(high, 17)],
        &[pages(low, 1), pages(low - 0x1000, 1)],
    ];
    let cases = known.map(|ranges| (ranges, true)).into_iter();
    for (ranges, is_known) in cases.chain(unknown.map(|ranges| (ranges, false))) {
        let ranges = ranges.iter().copied();
        let found = space.inspect(&hal, ranges.clone());
        assert_eq!(found.is_some(), is_known, "{ranges:?}");
        let (_, from) = space.first_leaf(&hal, pages(low, 1)).unwrap();
        let lend = Change {
            from,
            to: from.with_state(State::OwnerNoAccess),
        };
        let lent = space.change(&hal, World::NonSecure, ranges.clone(), lend);
        assert_eq!(lent.is_ok(), is_known, "{ranges:?}");
        if is_known {
            space
                .change(&hal, World::NonSecure, ranges, lend.inverse())
                .unwrap();
        }
        assert_eq!(snapshot(&hal, &mut space), before);
    }
}

// req: MEMO-03, MEMX-17
#[test]
fn the_first_page_is_not_seen_again_behind_the_last() {
    let hal = FakeHal::new(16);
    let mut space = partition(&hal);
    own(&hal, &mut space, pages(0, 1));
    for (ipa, is_known) in [(0, true), (1 << TABLE_BITS, false)] {
        let page = pages(ipa, 1);
        assert_eq!(space.first_leaf(&hal, page).is_some(), is_known);
        assert_eq!(space.inspect(&hal, [page].into_iter()).is_some(), is_known);
        let permits = space.permits(&hal, World::Secure, page.base(), Access::Read);
        assert_eq!(permits, is_known);
    }
}

// The SPMC itself also runs under the tables of an S-EL0 partition.
// req: MEMO-03, MEMX-17
#[test]
fn the_last_entry_of_an_s_el0_partition_is_el2s() {
    const EL2: u64 = (1 << TABLE_BITS) - (1 << 30);
    let hal = FakeHal::new(16);
    let mut space = AddressSpace::EMPTY;
    space
        .init_el0(&hal, 1, PagePool::all(&hal), Branches::Anywhere)
        .unwrap();
    let root = space.roots().of(World::Secure);
    assert_eq!(hal.translate(root, EL2), Some((EL2_ENTRY & 0xfff, 1 << 30)));
    assert_eq!(hal.translate(root, EL2 - 0x1000), None);
    let before = snapshot(&hal, &mut space);
    for range in [pages(EL2, 1), pages(EL2 - 0x1000, 2)] {
        let refused = space.map(&hal, range, World::Secure, rw(), State::OwnerExclusive);
        assert_eq!(refused, Err(FfaError::Denied));
        assert_eq!(space.first_leaf(&hal, range), None);
        assert_eq!(snapshot(&hal, &mut space), before);
    }
    own(&hal, &mut space, pages(EL2 - 0x1000, 1));
}
