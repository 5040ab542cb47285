//! Regions of which the owner may execute some pages and not others. Such a region results, for
//! example, when one of its pages was donated and came back.

use super::fragments::big;
use super::*;
use crate::mm::{Change, Leaf, Pages};

/// Address of A's pages. A may execute every second one of the first [`COUNT`] pages, and all that
/// follow.
const LAND: u64 = 0x2000_0000;
const COUNT: u64 = 300;

fn page(n: u64) -> u64 {
    LAND + n * 0x1000
}

fn executed(n: u64) -> bool {
    n.is_multiple_of(2) || n >= COUNT
}

/// Returns a machine where A has these pages and, just below them, a block that it may not execute.
fn machine() -> Machine {
    let machine = big(&VERSIONS[2..]);
    let rw = Permissions::READ | Permissions::WRITE;
    machine.give(A, LAND, 512, Permissions::all());
    machine.give(A, LAND - 0x20_0000, 512, rw);
    let mut space = machine.of(A).memory.lock();
    let leaf = |permissions| {
        let attributes = Attributes::normal(permissions);
        Leaf::new(attributes, State::OwnerExclusive)
    };
    let never = Change {
        from: leaf(Permissions::all()),
        to: leaf(rw),
    };
    let others = (0..COUNT).filter(|n| !executed(*n));
    let others: Vec<_> = others.map(|n| pages(page(n), 1)).collect();
    space
        .change(&machine.hal, World::Secure, others.into_iter(), never)
        .unwrap();
    drop(space);
    machine
}

fn regions() -> [Vec<(u64, u32)>; 5] {
    [
        vec![(LAND, 2)],
        vec![(page(1), 1), (page(0), 1)],
        vec![(LAND, 512)],
        vec![(LAND - 0x20_0000, 512), (page(COUNT), 3)],
        (0..COUNT / 4).map(|n| (page(3 * n), 1)).collect(),
    ]
}

fn lend(flags: u32, region: &[(u64, u32)]) -> Descriptor {
    Descriptor::offer(A, 0, &[(B, RW)], region).with(|d| d.flags = flags)
}

// req: MEMO-02, MEMD-46, MEMRC-10
#[test]
fn each_page_comes_back_with_the_execution_that_it_had() {
    for region in regions() {
        let machine = machine();
        let before = machine.memory();
        for (call, attributes, permissions) in [(SHARE, WB, RW), (LEND, 0, RW), (DONATE, 0, 0)] {
            let offer = Descriptor::offer(A, attributes, &[(B, permissions)], &region);
            let handle = machine.send(A, call, &offer).unwrap();
            for n in 0..4 {
                let (shared, access) = (call == SHARE, Some((true, executed(n))));
                let sent = region.iter().any(|(base, count)| {
                    (*base..base + u64::from(*count) * 0x1000).contains(&page(n))
                });
                let expected = access.filter(|_| shared || !sent);
                assert_eq!(machine.access(A, World::Secure, page(n)), expected, "{n}");
            }
            // No borrower gets a permission that the owner has for some of the pages only.
            let execute = Descriptor::request(A, handle, B, RO | X);
            let error = if call == SHARE {
                InvalidParameters
            } else {
                Denied
            };
            machine.refuses(error, || machine.retrieve(B, &execute));
            if call != DONATE {
                machine
                    .retrieve(B, &Descriptor::request(A, handle, B, RW))
                    .unwrap();
                let seen = machine.access(B, World::Secure, region[0].0);
                assert_eq!(seen, Some((true, false)));
                machine.relinquish(B, handle).unwrap();
            }
            machine.reclaim(A, handle, 0).unwrap();
            assert_eq!(machine.memory(), before);
        }
    }
}

// req: MEMO-02, MEMD-46
#[test]
fn pages_that_their_owner_may_all_execute_are_executed_as_before() {
    let machine = machine();
    let region = [(page(0), 1), (page(2), 1), (page(4), 1)];
    let handle = machine.send(A, LEND, &lend(0, &region)).unwrap();
    machine
        .retrieve(B, &Descriptor::request(A, handle, B, RO | X))
        .unwrap();
    for (at, _) in region {
        assert_eq!(machine.access(B, World::Secure, at), Some((false, true)));
    }
}

// req: MEMX-11, MEMX-18, MEMX-09
#[test]
fn what_else_is_wrong_with_a_mixed_region() {
    let machine = machine();
    let refuses = |error, region: &[(u64, u32)]| {
        machine.refuses(error, || machine.send(A, LEND, &lend(0, region)));
    };
    let twice = [(page(0), 3), (page(1), 1)];
    refuses(InvalidParameters, &twice);
    let code = LAND + 0x40_0000;
    machine.give(A, code, 1, Permissions::READ | Permissions::EXECUTE);
    refuses(Denied, &[(page(0), 3), (code, 1)]);
    refuses(Denied, &[(code, 1), (page(1), 1)]);
    refuses(Denied, &[(page(0), 3), (home(A), 1)]);
    // The memory cannot be written while it is zeroed.
    machine.put_tx(A, &lend(1, &[(page(0), 9)]).bytes(Version::V1_2));
    let length = lend(1, &[(page(0), 9)]).bytes(Version::V1_2).len() as u64;
    let before = machine.memory();
    machine.hal.read_only.store(true, Ordering::Relaxed);
    let call = SmcFrame::new([LEND as u64, length, length]);
    assert_eq!(machine.call(A, call).unwrap_err(), Aborted);
    assert_eq!(machine.memory(), before);
}

// req: MEMX-11, MEMX-09
#[test]
fn a_mixed_region_for_which_there_are_no_tables() {
    let machine = machine();
    let mut space = machine.of(A).memory.lock();
    let store = Pages::of(&machine.hal);
    let mut taken = Vec::new();
    while let Ok(page) = space.pool().take_list(store) {
        taken.push(page);
    }
    drop(space);
    // The block must be split, after the differing pages were changed.
    let region = [(page(0), 3), (LAND - 0x1000, 1)];
    machine.refuses(NoMemory, || machine.send(A, LEND, &lend(0, &region)));
}

// req: MEMO-12, MEMRL-12
#[test]
fn who_dies_leaves_each_page_as_it_was() {
    for (flags, dead) in [(0, A), (1, A), (0, B), (1, B)] {
        let machine = machine();
        let before = machine.memory();
        let handle = machine.send(A, LEND, &lend(flags, &[(LAND, 12)])).unwrap();
        machine
            .retrieve(B, &Descriptor::request(A, handle, B, RW))
            .unwrap();
        assert!(!machine.engine().bury(machine.of(dead)));
        if dead == A {
            machine.relinquish(B, handle).unwrap();
        } else {
            machine.reclaim(A, handle, 0).unwrap();
        }
        assert_eq!((machine.memory(), machine.shares.live()), (before, 0));
    }
}

// req: MEMDN-06, MEMX-18, FRAG-18
#[test]
fn a_mixed_donation() {
    let machine = machine();
    let before = machine.memory();
    let region: Vec<_> = (0..COUNT).rev().map(|n| (page(n), 1)).collect();
    let bytes = Descriptor::offer(A, 0, &[(B, 0)], &region).bytes(Version::V1_2);
    let send = || {
        let handle = machine.begin(A, 0, DONATE, &bytes, 4096);
        machine.go_on(A, 0, handle, &bytes, 4096, 4096).unwrap();
        handle
    };
    let handle = send();
    let request = Descriptor::request(A, handle, B, RW).bytes(Version::V1_2);
    let length = request.len() as u64;
    let retrieve = SmcFrame::new([function::MEM_RETRIEVE_REQ_32 as u64, length, length]);
    machine.put_tx(B, &request);
    // RX cannot be written, so nothing has happened.
    machine.hal.read_only.store(true, Ordering::Relaxed);
    machine.refuses(Aborted, || machine.call(B, retrieve));
    machine.hal.read_only.store(false, Ordering::Relaxed);
    machine.reclaim(A, handle, 0).unwrap();
    assert_eq!(machine.memory(), before);

    // The new owner gives the region back after the first fragment of the response. The record of
    // the pages that A could execute is gone then.
    let handle = send();
    let request = Descriptor::request(A, handle, B, RW).bytes(Version::V1_2);
    machine
        .call_with(B, function::MEM_RETRIEVE_REQ_32, &request)
        .unwrap();
    machine.of(B).mailbox.lock().release_rx().unwrap();
    for n in 0..COUNT {
        assert_eq!(machine.access(A, World::Secure, page(n)), None);
        assert_eq!(
            machine.access(B, World::Secure, page(n)),
            Some((true, false))
        );
    }
    machine.relinquish(B, handle).unwrap();
    machine.reclaim(A, handle, 0).unwrap();
    for n in 0..COUNT {
        assert_eq!(machine.access(B, World::Secure, page(n)), None);
        assert_eq!(
            machine.access(A, World::Secure, page(n)),
            Some((true, false))
        );
    }
    assert_eq!(machine.shares.live(), 0);
}
