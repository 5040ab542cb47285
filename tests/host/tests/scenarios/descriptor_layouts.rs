//! From 1.1 on, the header of a descriptor states the size of the receivers, 16 or 32 bytes, at any
//! version.

use host_tests::ffa::*;
use host_tests::system::NWD_PAGES;
use host_tests::{PartitionSpec, Sp, System};

const LAYOUTS: [Layout; 2] = [Layout::V1_1, Layout::V1_2];
const WORDS: [u64; 2] = [0x1122_3344_5566_7788, 0x99aa_bbcc_ddee_ff00];

/// Retrieves the handle in x3 in the layout that x4 selects, 16 or 32. Answers with the
/// IMPLEMENTATION DEFINED value and the number of constituents that it read.
fn borrower(name: &str, minor: u32) -> PartitionSpec {
    PartitionSpec::new(name).version(minor).script(|sp| {
        sp.map_buffers();
        sp.serve(|sp, request| {
            let [handle, size, first, second, _] = request.payload();
            sp.layout = if size == 16 {
                Layout::V1_1
            } else {
                Layout::V1_2
            };
            let mut retrieve = Transaction::retrieve(0, sp.id, handle, RW);
            retrieve.receivers[0].implementation_defined = [first, second];
            let told = read(sp, &retrieve);
            sp.relinquish(handle, 0).success();
            let [first, second] = told.receivers[0].implementation_defined;
            [told.constituents.len() as u64, first, second, 0, 0]
        })
    })
}

/// Retrieves with as many fragments as are needed.
fn read(sp: &mut Sp, request: &Transaction) -> Transaction {
    let answer = sp.memory_call(MEM_RETRIEVE_REQ_64, &request.encode(sp.layout));
    assert_eq!(answer.function(), MEM_RETRIEVE_RESP, "{answer:?}");
    let (total, mut length) = (answer.0[1], answer.0[2]);
    let mut bytes = Vec::new();
    loop {
        let mut more = vec![0; length as usize];
        sp.read(spmc::addr::World::Secure, sp.tx() + 0x1000, &mut more)
            .unwrap();
        bytes.extend(more);
        sp.call([RX_RELEASE]).success();
        if bytes.len() as u64 == total {
            return Transaction::decode(&bytes, sp.layout);
        }
        let (low, high) = (request.handle & 0xffff_ffff, request.handle >> 32);
        let next = sp.call([MEM_FRAG_RX, low, high, bytes.len() as u64]);
        assert_eq!(next.0[..3], [MEM_FRAG_TX, low, high]);
        length = next.0[3];
    }
}

// req: MEMD-60, MEMD-70, DSC-01, DSC-06
#[test]
fn every_version_from_1_1_on_reads_and_is_told_in_the_layout_that_it_uses() {
    for (minor, version) in [(1, V1_1), (2, V1_2)] {
        for layout in LAYOUTS {
            let system = System::boot([borrower("sp1", minor)]);
            let nwd = system.nwd();
            nwd.version(version);
            nwd.map_buffers();
            for size in [16, 32] {
                for pages in [1, 230] {
                    let ranges: Vec<_> = (0..pages).map(|n| (NWD_PAGES + n * 0x2000, 1)).collect();
                    let share = Transaction::share(0, 0x8001, RW, &ranges).encode(layout);
                    let handle = nwd.memory_call(MEM_SHARE_64, &share).handle();
                    let told = nwd.ask(0x8001, [handle, size, 0, 0, 0]);
                    assert_eq!(told[..3], [pages, 0, 0], "{version:#x} {layout:?} {size}");
                    nwd.reclaim(handle).success();
                }
            }
        }
    }
}

// req: MEMD-70, DSC-06, DSC-07, DSC-08, DSC-09
#[test]
fn the_implementation_defined_value_goes_where_there_is_a_place_for_it() {
    let system = System::boot([borrower("sp1", 2)]);
    let nwd = system.nwd();
    nwd.map_buffers();
    let mut share = Transaction::share(0, 0x8001, RW, &[(NWD_PAGES, 1)]);
    share.receivers[0].implementation_defined = WORDS;
    let handle = nwd.send(MEM_SHARE_64, &share);
    let [first, second] = WORDS;
    let told = nwd.ask(0x8001, [handle, 32, first, second, 0]);
    assert_eq!(told[..3], [1, first, second]);
    assert_eq!(nwd.ask(0x8001, [handle, 16, 0, 0, 0])[..3], [1, 0, 0]);
    nwd.reclaim(handle).success();
    // A sender whose layout has no place for the value has given zero.
    let handle = nwd
        .memory_call(MEM_SHARE_64, &share.encode(Layout::V1_1))
        .handle();
    assert_eq!(nwd.ask(0x8001, [handle, 32, 0, 0, 0])[..3], [1, 0, 0]);
}
