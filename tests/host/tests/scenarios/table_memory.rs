//! Memory that the SPMC manifest gives for translation tables: how much more fits, and that nobody
//! else can use that memory.

use host_tests::ffa::*;
use host_tests::manifest::{Region, partition_base};
use host_tests::{PartitionSpec, System};

use crate::stage::{SP1, SP2, SP3, Stage};

const V12: Layout = Layout::V1_2;

/// Secure memory behind all partitions, 4 MiB.
const TABLE_MEMORY: std::ops::Range<u64> = 0x0e80_0000..0x0ec0_0000;

/// Returns `count` pages, each in a block of 2 MiB of its own.
fn scattered(count: u64) -> Vec<(u64, u32)> {
    let page = |n| 0x4020_0000 + n * 0x20_1000;
    (0..count).map(|n| (page(n), 1)).collect()
}

/// Shares such pages with SP1 and SP2, through a buffer of the Normal world. Returns the handle.
fn share(stage: &Stage, count: u64) -> u64 {
    let mut share = Transaction::share(0, SP1, RW, &scattered(count));
    share.receivers.push(Receiver::new(SP2, RW));
    let bytes = share.encode(V12);
    let pages = (bytes.len() as u64).div_ceil(0x1000);
    let nwd = stage.nwd();
    nwd.write(0x4010_0000 + 0x8000, &bytes);
    let length = bytes.len() as u64;
    nwd.call([MEM_SHARE_64, length, length, 0x4010_0000 + 0x8000, pages])
        .handle()
}

fn retrieve(stage: &Stage, id: u16, handle: u64) -> Option<i32> {
    let request = Transaction {
        flags: 1 << 10,
        ..Transaction::retrieve(0, id, handle, RW)
    };
    stage.retrieve(id, request).err()
}
// req: MEMX-11, MEMRQ-09
#[test]
fn what_is_scattered_fits_with_more_memory_for_tables() {
    for (given, count, fits) in [(false, 100, true), (false, 120, false), (true, 250, true)] {
        let configure = |builder: host_tests::system::Builder| match given {
            true => builder.table_memory(TABLE_MEMORY),
            false => builder,
        };
        let stage = Stage::of(configure, |spec| spec);
        let before = stage.system.snapshot();
        let handle = share(&stage, count);
        for id in [SP1, SP2] {
            // Without the additional memory, only one of them has room.
            let answer = retrieve(&stage, id, handle);
            if fits && (given || id == SP1) {
                assert_eq!(answer, None, "{count} by {id:#x}");
            } else {
                assert_eq!(answer, Some(NO_MEMORY), "{count} by {id:#x}");
            }
        }
        // Whatever these two have, others have their own quota.
        let small = Transaction::share(0, SP3, RW, &[(0x4100_0000, 1), (0x4100_2000, 1)]);
        let own = stage.nwd().send(MEM_SHARE_64, &small);
        stage
            .retrieve(SP3, Transaction::retrieve(0, SP3, own, RW))
            .unwrap();
        stage.relinquish(SP3, own);
        stage.nwd().reclaim(own).success();

        for id in [SP1, SP2] {
            if fits && (given || id == SP1) {
                stage.relinquish(id, handle);
            }
        }
        stage.nwd().reclaim(handle).success();
        assert_eq!(before, stage.system.snapshot(), "every table came back");
    }
}
// req: MAN-28
#[test]
fn nobody_is_given_the_memory_of_tables() {
    let region = |base| Region {
        name: "region",
        base,
        relative: false,
        pages: 2,
        attributes: 3,
    };
    let answers = |base: u64| {
        let mut spec = PartitionSpec::new("sp1");
        spec.regions.push(region(base));
        let system = System::builder()
            .table_memory(TABLE_MEMORY)
            .sp(spec)
            .sp(PartitionSpec::new("sp2"))
            .boot();
        assert_eq!(system.nwd().ask(SP2, [2; 5]), [2; 5]);
        let answer = system.nwd().request(SP1, [0; 5]);
        answer.error().is_none()
    };
    assert!(answers(TABLE_MEMORY.end));
    assert!(answers(TABLE_MEMORY.start - 0x2000));
    assert!(!answers(TABLE_MEMORY.start - 0x1000));
    assert!(!answers(TABLE_MEMORY.end - 0x1000));
}
// req: MAN-28
#[test]
fn a_package_in_the_memory_of_tables_is_no_system() {
    let base = partition_base(1);
    let system = System::builder()
        .table_memory(base..base + 0x1000)
        .sp(PartitionSpec::new("sp1"))
        .sp(PartitionSpec::new("sp2"))
        .boot();
    assert_eq!(system.boot_answer().error(), Some(INVALID_PARAMETERS));
}
