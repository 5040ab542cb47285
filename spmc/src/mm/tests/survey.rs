//! The survey finds what was mapped, however the tables say it.

use super::wide::{each_size, el0, limit};
use super::*;

/// Returns what the survey finds.
fn survey(hal: &FakeHal, space: &AddressSpace) -> Vec<(u64, u64, Permissions)> {
    let mut found = Vec::new();
    space.survey(
        hal,
        |leaf| leaf.is_valid().then(|| leaf.attributes().permissions),
        |range, permissions| found.push((range.base().raw(), range.pages(), permissions)),
    );
    found
}

// req: NSRES-03
#[test]
fn pages_and_blocks_are_found_at_every_level() {
    let (read, write) = (Permissions::READ, Permissions::READ | Permissions::WRITE);
    for is_el0 in [false, true] {
        for hal in each_size() {
            let mut space = if is_el0 { el0(&hal) } else { partition(&hal) };
            assert_eq!(survey(&hal, &space), []);
            // Secure memory does not count.
            own(&hal, &mut space, pages(0x1000, 3));
            let top = limit(&hal).min(1 << 39) / 2;
            let regions = [
                (0x4000_0000_u64 - 0x2000, 2, read),
                // A block of 1 GiB, one of 2 MiB, and a page, which make one run.
                (0x4000_0000, 1 << 18, write),
                (0x8000_0000, 513, write),
                (0x8020_1000, 1, read),
                (0x8020_3000, 1, read),
                (top, 1, write),
                (top + 0x1000, 511, write),
            ];
            for (base, count, permissions) in regions {
                let attributes = Attributes::normal(permissions);
                let (range, state) = (pages(base, count), State::OwnerExclusive);
                space
                    .map(&hal, range, World::NonSecure, attributes, state)
                    .unwrap();
            }
            let expected = [
                (0x3fff_e000, 2, read),
                (0x4000_0000, (1 << 18) + 513, write),
                (0x8020_1000, 1, read),
                (0x8020_3000, 1, read),
                (top, 512, write),
            ];
            assert_eq!(survey(&hal, &space), expected);
        }
    }
}

// req: NSRES-04
#[test]
fn the_shadow_of_the_normal_world_tells_its_states() {
    let hal = FakeHal::new(16);
    let mut space = normal_world(&hal);
    for (first, count) in [(0, 2), (2, 1), (8, 4)] {
        let range = pages(RAM + first * 0x1000, count);
        let (_, from) = space.first_leaf(&hal, range).unwrap();
        let change = Change {
            from,
            to: from.with_state(State::OwnerShared),
        };
        space
            .change(&hal, World::NonSecure, [range].into_iter(), change)
            .unwrap();
    }
    let mut found = Vec::new();
    let shared = |leaf: Leaf| (leaf.state() == Some(State::OwnerShared)).then_some(());
    space.survey(&hal, shared, |range, ()| found.push(range));
    assert_eq!(found, [pages(RAM, 3), pages(RAM + 0x8000, 4)]);
}
