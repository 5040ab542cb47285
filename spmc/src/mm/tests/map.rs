//! Random changes, compared with a map of pages, and with the tables as hardware reads them.

use std::collections::BTreeMap;

use super::*;

/// xorshift64*, which gives the same sequence on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}

/// Random changes over 8 MiB around a boundary of 1 GiB.
#[test]
fn the_walker_agrees_with_a_map() {
    walker_agrees_with_a_map(&FakeHal::new(12), RAM - 2 * BLOCK, 1500);
}

/// Random changes around boundaries of 512 GiB, where one table of the root ends and the next
/// begins.
#[test]
fn the_walker_agrees_with_a_map_across_the_tables_of_a_root() {
    for boundary in 1..4 {
        let first = (boundary << TABLE_BITS) - 2 * BLOCK;
        walker_agrees_with_a_map(&FakeHal::wide(21), first, 150);
    }
}

/// Random changes around boundaries of tables of level 1, in walks of four levels.
#[test]
fn the_walker_agrees_with_a_map_in_four_levels() {
    for boundary in [1, 16, 273] {
        let first = (boundary << TABLE_BITS) - 2 * BLOCK;
        walker_agrees_with_a_map(&FakeHal::of_bits(48, 48, 21), first, 150);
    }
}

fn walker_agrees_with_a_map(hal: &FakeHal, base: u64, rounds: usize) {
    const PAGES: u64 = 4 * 512;
    let executed = Leaf::new(
        Attributes::normal(Permissions::all()),
        State::OwnerExclusive,
    );
    let leaves = [
        Leaf::NONE,
        owned(),
        owned().with_state(State::OwnerShared),
        owned().with_state(State::OwnerNoAccess),
        Leaf::new(Attributes::normal(Permissions::READ), State::BorrowedShared),
        executed,
        executed.with_state(State::OwnerShared),
        executed.with_state(State::OwnerNoAccess),
    ];
    let mut space = partition(hal);
    let empty = snapshot(hal, &mut space);
    let mut model: BTreeMap<u64, Leaf> = BTreeMap::new();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let leaf_of =
        |model: &BTreeMap<u64, Leaf>, page| model.get(&page).copied().unwrap_or(Leaf::NONE);
    let mut made = 0;
    let mut mixed_and_made = 0;
    for _ in 0..rounds {
        // Some changes concern an owner's pages and keep, for each page, whether the owner may
        // execute it.
        let keeps = random.below(3) == 0;
        let fits = |leaf: Leaf, from: Leaf| {
            leaf == from || keeps && leaf.execute_never() == from.execute_never()
        };
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
            let uniform =
                (first..first + count).take_while(|page| fits(leaf_of(&model, *page), leaf));
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
        // A page without a leaf has no permission to keep, so such a change does not unmap.
        let first = usize::from(keeps);
        let to = leaves[first + random.below((leaves.len() - first) as u64) as usize];
        let before = snapshot(hal, &mut space);
        let mut after = model.clone();
        let mut mixed = false;
        let fit = ranges.iter().all(|&(first, count)| {
            (first..first + count).all(|page| {
                let leaf = leaf_of(&after, page);
                mixed |= leaf != from;
                after.insert(page, Leaf(to.0 ^ leaf.0 ^ from.0));
                fits(leaf, from)
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
        let change = Change { from, to };
        let outcome = if keeps {
            let alike = space.are_alike(hal, calls.clone());
            let first_is_known = from != Leaf::NONE;
            let all_fit = ranges.iter().all(|&(first, count)| {
                (first..first + count).all(|page| fits(leaf_of(&model, page), from))
            });
            assert_eq!(alike, first_is_known && all_fit);
            space.change_owned(hal, World::Secure, calls, change)
        } else {
            let outcome = space.change(hal, World::Secure, calls, change);
            outcome.map(|()| change)
        };
        match outcome {
            Ok(least) => {
                assert!(fit || from == to);
                let never = |leaf: Leaf| if mixed { leaf.execute_never() } else { leaf };
                assert_eq!((least.from, least.to), (never(from), never(to)));
                mixed_and_made += usize::from(mixed);
                (model, made) = (after, made + 1);
            }
            Err(error) => {
                assert_eq!(fit, error == ChangeError::NoMemory);
                assert_eq!(snapshot(hal, &mut space), before);
            }
        }
        for page in (0..PAGES).step_by(1 + random.below(3) as usize) {
            let leaf = leaf_of(&model, page);
            let seen = hal.translate(space.roots().of(World::Secure), base + page * 4096);
            assert_eq!(seen.is_some(), leaf.is_valid());
            if let Some((descriptor, address)) = seen {
                assert_eq!((descriptor & !2, address), (leaf.0, base + page * 4096));
            }
        }
    }
    assert!(made > rounds / 3, "{made}");
    assert!(mixed_and_made > rounds / 100, "{mixed_and_made}");
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
