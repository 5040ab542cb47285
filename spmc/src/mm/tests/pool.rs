//! Pools of table pages: quotas, the reserve, and roots of several tables.

use super::*;
use crate::geometry::Geometry;

/// Pages of a supply as boards have it.
const TABLES: usize = 256;

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
    let taken: Vec<_> = (0..3).map(|_| first.take_list(at).unwrap()).collect();
    assert_eq!(first.take_list(at), Err(FfaError::NoMemory));
    assert!(taken.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(!taken.contains(&second.take_list(at).unwrap()));
    first.give_back_list(at, taken[1]);
    first.give_back_list(at, taken[0]);
    assert_eq!(
        (first.take_list(at), first.take_list(at)),
        (Ok(taken[0]), Ok(taken[1]))
    );
    assert_eq!(first.available(), 0);
}

// req: MEMX-18
#[test]
fn nobody_uses_up_the_quota_of_another_nor_the_reserve() {
    let hal = FakeHal::new(16);
    let at = Pages::of(&hal);
    let mut supply = PagePool::all(&hal);
    let (mut greedy, mut other) = (supply.carve(2), supply.carve(3));
    supply.carve_reserve(&hal, 100);
    let mut taken: Vec<_> = core::iter::from_fn(|| greedy.take_list(at).ok()).collect();
    assert_eq!(taken.len(), 2 + 9, "its quota and most of the reserve");
    assert_eq!((greedy.available(), greedy.held()), (0, 11));
    let mine: Vec<_> = core::iter::from_fn(|| other.take_list(at).ok()).collect();
    assert_eq!(mine.len(), 3 + 1);
    assert!(!mine.iter().any(|page| taken.contains(page)));

    // A page that the partition gives back goes to the reserve first.
    greedy.give_back_list(at, taken.pop().unwrap());
    let lent = other.take_list(at).unwrap();
    assert_eq!(greedy.take_list(at), Err(FfaError::NoMemory));
    for page in taken.drain(..) {
        greedy.give_back_list(at, page);
    }
    for page in mine.into_iter().chain([lent]) {
        other.give_back_list(at, page);
    }
    assert_eq!((greedy.available(), other.available()), (2, 3));
    let again = core::iter::from_fn(|| greedy.take_list(at).ok()).count();
    assert_eq!(again, 11);
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
                    let taken: Vec<_> = (0..3).filter_map(|_| pool.take_list(at).ok()).collect();
                    for page in &taken {
                        let word = &page.words(at)[1];
                        assert_eq!(word.swap(n, Ordering::Relaxed), 0, "somebody else has it");
                    }
                    for page in taken {
                        assert_eq!(page.words(at)[1].swap(0, Ordering::Relaxed), n);
                        pool.give_back_list(at, page);
                    }
                }
            });
        }
    });
    let at = Pages::of(&hal);
    assert!(pools.iter().all(|pool| pool.held() == 0));
    let mut rest = |n: usize| core::iter::from_fn(|| pools[n].take_list(at).ok()).count();
    assert_eq!((rest(0), rest(1)), (6, 1), "none is lost");
}

// req: MEMX-18, MEMD-13
#[test]
fn the_default_pools_carry_16384_scattered_pages() {
    const COUNT: u64 = 16_384;
    let hal = FakeHal::new(TABLES);
    let at = Pages::of(&hal);
    let mut supply = PagePool::all(&hal);
    let quotas = Quotas::of(Geometry::SMALL, supply.available(), 8);
    let ram = [PageRange::new(Pa::new(RAM), 0x10_0000).unwrap()];
    let mut owner = AddressSpace::EMPTY;
    owner
        .init_normal_world(&hal, supply.carve(quotas.normal_world), ram.to_vec())
        .unwrap();
    // There are as many partitions as possible; the last one is the borrower.
    let mut borrower = AddressSpace::EMPTY;
    for vmid in 1..=8_u16 {
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

    // The list of ranges has 511 ranges a page.
    let list: Vec<_> = (0..COUNT.div_ceil(511))
        .map(|_| owner.pool().take_list(at).unwrap())
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
        owner.pool().give_back_list(at, page);
    }
    assert_eq!(
        (owner.pool().held(), borrower.pool().held()),
        (owned, known)
    );
}

#[test]
fn notes_are_no_pages() {
    let hal = FakeHal::new(300);
    let at = Pages::of(&hal);
    for word in [0, 1] {
        let page = PageIndex::from_word(word);
        assert!(at.entries(page).is_none() && at.words(page).is_empty());
        assert_eq!(ListPage::from_word(at, word), None);
        at.store(page, 8, 7);
        assert_eq!(at.load(page, 8), 0);
    }
    assert_eq!(hal.words(), []);
    let first = PagePool::all(&hal).take_table(at).unwrap();
    assert_eq!(first, PageIndex::from_word(2));
    at.store(first, 8, 7);
    assert_eq!((at.load(first, 8), hal.words()), (7, [(2, 8, 7)].into()));
    let behind = PageIndex::from_word(300);
    assert!(at.entries(behind).is_none());
    assert_eq!(ListPage::from_word(at, 300), None);
    at.store(behind, 8, 7);
}

#[test]
fn roots_of_several_tables_are_aligned_and_waste_nothing() {
    let hal = FakeHal::wide(16);
    let at = Pages::of(&hal);
    for skipped in 0..4 {
        let mut pool = PagePool::all(&hal);
        pool.carve(skipped);
        let available = pool.available();
        let root = pool.take_root(at, 4).unwrap();
        assert_eq!(at.address(root) % (4 << 12), 0);
        assert_eq!(pool.available(), available - 4);
        let others: Vec<_> = core::iter::from_fn(|| pool.take_table(at).ok()).collect();
        assert_eq!(others.len(), available - 4);
        assert!((0..4).all(|n| !others.contains(&root.behind(n))));
    }
    for pages in 0..4 {
        let mut pool = PagePool::all(&hal).carve(pages);
        let refused = pool.take_root(at, 4);
        assert_eq!(refused, Err(FfaError::NoMemory));
    }
}

#[test]
fn roots_of_several_tables_are_the_first_that_fit_into_one_piece_of_the_supply() {
    // The tables lie in two halves of 8 to 12 pages, both of which begin at an aligned address.
    for (tables, used, root) in [
        (16, 1, 4),
        (16, 4, 4),
        (16, 5, 8),
        (18, 5, 9),
        (20, 5, 10),
        (22, 5, 11),
        (24, 5, 8),
    ] {
        let hal = FakeHal::wide(tables);
        let at = Pages::of(&hal);
        let mut supply = PagePool::all(&hal);
        supply.carve(used - 1);
        // The pool ends with the last table of the root.
        let mut pool = supply.carve(root + 4 - used);
        let taken = pool.take_root(at, 4);
        assert_eq!(taken, Ok(PageIndex::from_word(root as u64)), "{tables}");
        assert_eq!(pool.available(), root - used);
    }
}

#[test]
fn a_search_for_a_root_stays_in_its_pool() {
    let hal = FakeHal::wide(16);
    let at = Pages::of(&hal);
    let mut supply = PagePool::all(&hal);
    supply.carve(4);
    let mut pool = supply.carve(2);
    let refused = pool.take_root(at, 4);
    assert_eq!(refused, Err(FfaError::NoMemory));
    let mut own: Vec<_> = core::iter::from_fn(|| pool.take_table(at).ok()).collect();
    own.sort_by_key(|page| page.to_word());
    assert_eq!(own, [5, 6].map(PageIndex::from_word));
}

#[test]
fn quotas_have_room_for_roots_of_several_tables() {
    let supply = TABLES - 1;
    let (one, four) = (
        Quotas::of(Geometry::SMALL, supply, 8),
        Quotas::of(FakeHal::wide(2).geometry(), supply, 8),
    );
    assert_eq!((one.normal_world, one.partition), (102, 10));
    assert_eq!(Quotas::of(Geometry::SMALL, 24 * 25, 8).partition, 25);
    // The rest of the supply is divided in the same proportion.
    assert_eq!(four.partition, 6 + (supply - 17 * 3) / 24);
    assert_eq!(four.normal_world, 3 + (supply - 17 * 3) * 2 / 5);
    let all = four.normal_world + 8 * four.partition;
    assert!(all < supply);
}
