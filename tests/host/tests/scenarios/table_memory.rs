//! Pages for translation tables: what fits without any setting of the SPMC manifest, how much more
//! fits with memory that it gives, and that nobody else can use that memory.

use host_tests::ffa::*;
use host_tests::manifest::{Region, partition_base};
use host_tests::{PartitionSpec, Regs, System};
use spmc::addr::World;

use crate::stage::{NONE, READ_WRITE, SP1, SP2, SP3, Stage};

const V12: Layout = Layout::V1_2;

/// Secure memory behind all partitions, 4 MiB.
const TABLE_MEMORY: std::ops::Range<u64> = 0x0e80_0000..0x0ec0_0000;

/// A buffer of the Normal world for descriptors.
const BUFFER: u64 = 0x4010_8000;

/// Returns `count` pages, each in a block of 2 MiB of its own.
fn scattered(count: u64) -> Vec<(u64, u32)> {
    let page = |n| 0x4020_0000 + n * 0x20_1000;
    (0..count).map(|n| (page(n), 1)).collect()
}

/// Sends memory from the Normal world, by a descriptor in a buffer other than TX.
fn send_by_buffer(stage: &Stage, function: u64, transaction: &Transaction) -> Regs {
    let bytes = transaction.encode(V12);
    let length = bytes.len() as u64;
    let nwd = stage.nwd();
    nwd.write(BUFFER, &bytes);
    nwd.call([function, length, length, BUFFER, length.div_ceil(0x1000)])
}

/// Shares such pages with SP1 and SP2. Returns the handle.
fn share(stage: &Stage, count: u64) -> u64 {
    let mut share = Transaction::share(0, SP1, RW, &scattered(count));
    share.receivers.push(Receiver::new(SP2, RW));
    send_by_buffer(stage, MEM_SHARE_64, &share).handle()
}

/// Memory of the Normal world for 512 regions of 2 MiB with gaps of 2 MiB.
const LARGE: std::ops::Range<u64> = 0x8_8000_0000..0x9_0000_0000;

/// Lets SP1 retrieve a region with several fragments. Returns the constituents.
fn retrieve_whole(stage: &Stage, request: Transaction) -> Vec<(u64, u32)> {
    stage.run(SP1, move |sp| {
        let mut answer = sp.memory_call(MEM_RETRIEVE_REQ_64, &request.encode(V12));
        let total = answer.0[1];
        let mut length = answer.0[2];
        let mut bytes = Vec::new();
        loop {
            let mut fragment = vec![0; length as usize];
            sp.read(World::Secure, sp.tx() + 0x1000, &mut fragment)
                .expect("its own RX");
            sp.call([RX_RELEASE]).success();
            bytes.extend(fragment);
            if bytes.len() as u64 == total {
                return Transaction::decode(&bytes, V12).constituents;
            }
            let [low, high] = [request.handle & 0xffff_ffff, request.handle >> 32];
            answer = sp.call([MEM_FRAG_RX, low, high, bytes.len() as u64]);
            assert_eq!(answer.0[0], MEM_FRAG_TX, "{answer:?}");
            length = answer.0[3];
        }
    })
}

// req: MEMX-12, FRAG-09
#[test]
fn regions_of_2_mib_fit_in_any_number_without_a_setting() {
    let stage = Stage::of(|builder| builder.normal_memory(&[LARGE]), |spec| spec);
    let before = stage.system.snapshot();
    let regions: Vec<(u64, u32)> = (0..512)
        .map(|n| (LARGE.start + n * 0x40_0000, 512))
        .collect();
    for (function, transaction) in [
        (MEM_SHARE_64, Transaction::share(0, SP1, RW, &regions)),
        (MEM_LEND_64, Transaction::lend(0, SP1, RW, &regions)),
    ] {
        let handle = send_by_buffer(&stage, function, &transaction).handle();
        let request = Transaction::retrieve(0, SP1, handle, RW);
        assert_eq!(retrieve_whole(&stage, request), regions);
        for address in [LARGE.start, LARGE.end - 0x20_1000] {
            assert_eq!(stage.access(SP1, World::NonSecure, address), READ_WRITE);
        }
        for address in [LARGE.start + 0x20_0000, LARGE.end - 0x1000] {
            assert_eq!(stage.access(SP1, World::NonSecure, address), NONE);
        }
        stage.relinquish(SP1, handle);
        stage.nwd().reclaim(handle).success();
        assert_eq!(before, stage.system.snapshot(), "every table came back");
    }
}

// req: MEMX-11, MEMX-18
#[test]
fn pages_far_apart_are_refused_and_change_nothing() {
    // Not quite what one borrower gets without a setting.
    const MOST: u64 = 90;
    let stage = Stage::of(|builder| builder.normal_memory(&[LARGE]), |spec| spec);
    let nwd = stage.nwd();
    let page = |n| (LARGE.start + n * 0x40_0000 + 0x5000, 1);
    let pages = |count| (0..count).map(page).collect::<Vec<(u64, u32)>>();
    let before = stage.system.snapshot();
    // Again and again: what a refused send takes comes back.
    for _ in 0..20 {
        let share = Transaction::share(0, SP1, RW, &pages(512));
        let answer = send_by_buffer(&stage, MEM_SHARE_64, &share);
        assert_eq!(answer.error(), Some(NO_MEMORY));
        assert_eq!(before, stage.system.snapshot());
    }
    let share = Transaction::share(0, SP1, RW, &pages(MOST));
    let handle = nwd.send(MEM_SHARE_64, &share);
    let request = Transaction::retrieve(0, SP1, handle, RW);
    assert_eq!(retrieve_whole(&stage, request), pages(MOST));
    stage.relinquish(SP1, handle);
    nwd.reclaim(handle).success();
    assert_eq!(before, stage.system.snapshot(), "every table came back");
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
