//! Tests that one endpoint cannot use up what others need: slots for transactions, and pages for
//! their lists and tables.

use std::sync::Arc;

use host_tests::ffa::*;
use host_tests::manifest::Region;
use host_tests::system::NWD_PAGES;
use spmc::addr::World::Secure;
use spmc::limits::{SHARES_NORMAL_WORLD, SHARES_PARTITION};

use crate::stage::{OWN_PAGES, SP1, SP2, SP3, Stage};

const V12: Layout = Layout::V1_2;

const TRANSACTIONS: u32 = 96;

/// Makes a partition share single pages with SP2 or SP3 until a share is refused. Returns their
/// number.
fn share_all(stage: &Stage, id: u16) -> usize {
    stage.run(id, move |sp| {
        let to = if id == SP2 { SP3 } else { SP2 };
        let base = sp.base() + OWN_PAGES;
        for n in 0.. {
            let share = Transaction::share(id, to, RW, &[(base + n * 0x1000, 1)]);
            let answer = sp.memory_call(MEM_SHARE_64, &share.encode(sp.layout));
            if let Some(code) = answer.error() {
                assert_eq!(code, NO_MEMORY);
                return n as usize;
            }
        }
        unreachable!()
    })
}
// req: MEMX-11, MEMX-18
#[test]
fn nobody_takes_the_transactions_of_others() {
    let stage = Stage::of(
        |system| system.setting("memory-transactions", TRANSACTIONS),
        |spec| spec,
    );
    let nwd = stage.nwd();
    let partitions = stage.system.spmc.partitions.len();
    let common = TRANSACTIONS as usize - SHARES_NORMAL_WORLD - partitions * SHARES_PARTITION;
    assert_eq!(share_all(&stage, SP1), common + SHARES_PARTITION);
    // Each other endpoint has its whole quota.
    let share = |n: u64| Transaction::share(0, SP2, RW, &[(NWD_PAGES + n * 0x1000, 1)]);
    let mut handles = Vec::new();
    for n in 0..SHARES_NORMAL_WORLD as u64 {
        handles.push(nwd.send(MEM_SHARE_64, &share(n)));
    }
    let one_more = share(SHARES_NORMAL_WORLD as u64).encode(V12);
    nwd.memory_refused(MEM_SHARE_64, &one_more, NO_MEMORY);
    for id in [SP2, SP3] {
        assert_eq!(share_all(&stage, id), SHARES_PARTITION);
    }
    // Transactions that a VM begins and abandons use up only the quota of its Hypervisor.
    nwd.reclaim(handles[5]).success();
    assert_eq!(share_all(&stage, SP3), 0);
    nwd.send(MEM_SHARE_64, &share(5));
}

/// Returns whether a partition can retrieve `count` pages, each of which needs a table.
fn retrieves(stage: &Stage, id: u16, count: u64) -> bool {
    let nwd = stage.nwd();
    let ranges: Vec<_> = (0..count)
        .map(|n| (0x4200_0000 + n * 0x20_0000, 1))
        .collect();
    let handle = nwd.send(MEM_SHARE_64, &Transaction::share(0, id, RW, &ranges));
    let request = Transaction {
        attributes: 0,
        ..Transaction::retrieve(0, id, handle, RW)
    };
    let outcome = stage.retrieve(id, request);
    if outcome.is_ok() {
        stage.relinquish(id, handle);
    }
    nwd.reclaim(handle).success();
    outcome.is_ok()
}
// req: MEMX-11, FRAG-20
#[test]
fn what_is_announced_takes_no_pages() {
    let stage = Stage::new();
    assert!(retrieves(&stage, SP2, 30));
    let held = |id: u16| {
        let partition = &stage.system.spmc.partitions[usize::from(id - SP1)];
        let mut memory = partition.endpoint.memory.lock();
        memory.pool().held()
    };
    let before = held(SP1);
    // One call, with one range of 66,000 pages that the partition does not own.
    stage.run(SP1, |sp| {
        let mut bytes = Transaction::share(SP1, SP2, RW, &[(0x1000, 1)]).encode(sp.layout);
        let head = bytes.len() - 16;
        bytes[head - 12..head - 8].copy_from_slice(&66_000_u32.to_le_bytes());
        sp.write(Secure, sp.tx(), &bytes).unwrap();
        let answer = sp.call([MEM_SHARE_64, head as u64 + 16 * 66_000, bytes.len() as u64]);
        assert_eq!(answer.function(), MEM_FRAG_RX);
    });
    assert_eq!(held(SP1), before);
    assert!(retrieves(&stage, SP2, 30));
}

// A block is zeroed in slices, for which it must be split.
// req: MSGD-08, MEMX-11
#[test]
fn a_destroyed_partition_is_zeroed_although_there_is_no_table() {
    const HEAP: u64 = 0x0e80_0000;
    const DESTROY: u32 = 1;
    let region = |name, base, pages, attributes| Region {
        name,
        base,
        relative: false,
        pages,
        attributes,
    };
    // The partition already has many tables, for the memory that it shares with the Normal world.
    let shared = ["a", "b", "c", "d", "e", "f", "g"].into_iter().zip(0..);
    let mut regions: Vec<_> = shared
        .map(|(name, n)| region(name, 0x4800_0000 + n * 0x20_0000, 1, 8 | 3))
        .collect();
    regions.push(region("heap", HEAP, 512, 3));
    for tables in (64..96).step_by(2) {
        let stage = Stage::of(
            |builder| builder.tables(tables),
            |spec| match spec.name.as_str() {
                "sp1" => spec.property("abort-action", DESTROY).with(|spec| {
                    spec.takes_exceptions = false;
                    spec.regions = regions.clone();
                    spec.extra = Some(Arc::new(|fdt| {
                        fdt.property_null("lifecycle-support").unwrap();
                    }));
                }),
                _ => spec,
            },
        );
        let pages = || (0..512).map(|n| HEAP + n * 0x1000);
        stage.run(SP1, move |sp| {
            for page in (0..512).map(|n| HEAP + n * 0x1000) {
                assert!(sp.poke(Secure, page, 0x77));
            }
        });
        for id in [SP2, SP3] {
            let to = if id == SP2 { SP3 } else { SP2 };
            if let Err(most) = begin_endless(&stage, id, to, 200) {
                assert_eq!(begin_endless(&stage, id, to, most), Ok(()));
            }
        }
        assert_eq!(stage.kill(SP1).error(), Some(ABORTED));
        let memory = stage.system.machine.memory();
        for page in pages() {
            let mut byte = [0];
            memory.read(Secure, page, &mut byte).unwrap();
            assert_eq!(byte, [0], "{page:#x} with {tables} tables");
        }
    }
}

/// Makes a partition begin a share of a million ranges and send `pages` list pages of them. Returns
/// `Err` with the number of list pages that the partition got, if that number is smaller; the
/// transaction has then ended, and the pages are free again.
fn begin_endless(stage: &Stage, id: u16, to: u16, pages: usize) -> Result<(), usize> {
    stage.run(id, move |sp| {
        let buffer = sp.base() + OWN_PAGES;
        let bytes = Transaction::share(id, to, RW, &[(0x1000, 1)]).encode(sp.layout);
        let (head, range) = bytes.split_at(bytes.len() - 16);
        let mut head = head.to_vec();
        let count = head.len() - 12;
        head[count..count + 4].copy_from_slice(&1_000_000_u32.to_le_bytes());
        sp.write(Secure, buffer, &head).unwrap();
        let length = head.len() as u64;
        let mut answer = sp.call([MEM_SHARE_64, length + 16_000_000, length, buffer, 16]);
        let [_, low, high, ..] = answer.0;
        sp.write(Secure, buffer, &range.repeat(511)).unwrap();
        for taken in 0..pages {
            assert_eq!(answer.function(), MEM_FRAG_RX, "{answer:?}");
            answer = sp.call([MEM_FRAG_TX, low, high, 511 * 16]);
            if let Some(code) = answer.error() {
                assert_eq!(code, NO_MEMORY);
                return Err(taken);
            }
        }
        Ok(())
    })
}
// req: MEMX-11, MEMX-18, FRAG-20
#[test]
fn nobody_takes_all_pages_of_the_reserve() {
    let stage = Stage::new();
    // One page more than the limit ends the transaction and returns all its pages.
    let most = begin_endless(&stage, SP1, SP2, 200).unwrap_err();
    assert!((50..150).contains(&most), "{most}");
    assert_eq!(begin_endless(&stage, SP1, SP2, most + 1), Err(most));
    assert!(retrieves(&stage, SP2, 100));
    assert_eq!(begin_endless(&stage, SP1, SP2, most), Ok(()));
    // SP1 has used up all that it can, and the other partitions still get what they need.
    assert!(retrieves(&stage, SP2, 20));
}

// req: MEMX-11
#[test]
fn a_partition_has_its_quota_however_little_is_left_of_the_reserve() {
    let stage = Stage::new();
    for id in [SP1, SP2] {
        let most = begin_endless(&stage, id, SP3, 200).unwrap_err();
        assert_eq!(begin_endless(&stage, id, SP3, most), Ok(()));
    }
    assert!(retrieves(&stage, SP3, 5));
    assert!(!retrieves(&stage, SP3, 15));
}
