//! RXTX: registration of buffers, and the owner of RX.

use host_tests::ffa::*;
use host_tests::machine::NORMAL_RAM;
use host_tests::manifest::{Region, partition_base};
use host_tests::system::{NWD_PAGES, NWD_RX, NWD_TX};
use host_tests::{PartitionSpec, Sp, System};
use spmc::addr::World::{NonSecure, Secure};

const OWN: u64 = partition_base(0);
const TX: u64 = OWN + 0x1_0000;
const RX: u64 = OWN + 0x1_1000;
const UNMAP: [u64; 1] = [RXTX_UNMAP];
const QUERY: [u64; 1] = [PARTITION_INFO_GET];

// req: RXTX-01, RXTX-03, RXTX-06, RXTX-18, RXTX-31, COMP-19
#[test]
fn the_normal_world_registers_a_pair_and_gives_it_back() {
    let system = System::boot([PartitionSpec::new("sp1")]);
    let nwd = system.nwd();
    assert_eq!(nwd.call([RXTX_MAP_64, NWD_TX, NWD_RX, 1]).success(), [0; 6]);
    nwd.call(QUERY).success();
    assert_eq!(nwd.read(NWD_RX, 2), 0x8001_u16.to_le_bytes());
    assert_eq!(nwd.call(UNMAP).success(), [0; 6]);
    nwd.call([RXTX_MAP_32, NWD_TX, NWD_PAGES, 2]).success();
}

// req: RXTX-03, RXTX-06, RXTX-18, RXTX-09
#[test]
fn a_partition_registers_a_pair_and_gives_it_back() {
    System::boot([PartitionSpec::new("sp1").script(|sp| {
        assert_eq!(sp.call([RXTX_MAP_64, TX, RX, 1]).success(), [0; 6]);
        sp.call(QUERY).success();
        let mut id = [0; 2];
        sp.read(Secure, RX, &mut id).unwrap();
        assert_eq!(id, 0x8001_u16.to_le_bytes());
        assert!(sp.poke(Secure, TX, 1), "the buffers stay its own memory");
        assert_eq!(sp.call(UNMAP).success(), [0; 6]);
        sp.call([RXTX_MAP_32, TX, RX, 1]).success();
        sp.msg_wait();
    })]);
}

/// Returns invalid pairs, given two pages of the caller's own.
fn bad_pairs(tx: u64, rx: u64) -> Vec<[u64; 4]> {
    let map = RXTX_MAP_64;
    vec![
        [map, tx, rx, 0],
        [map, tx, rx, 17],
        [map, tx, rx, 1 | 1 << 6],
        [map, tx, rx, 1 << 31],
        [map, tx + 8, rx, 1],
        [map, tx, rx + 0x800, 1],
        [map, tx, tx, 1],
        [map, tx, rx, 2],
        [map, rx, tx, 2],
        [map, 0, 0, 1],
    ]
}

/// Returns pairs of pages that do not belong to the caller, except for two pages that do.
fn foreign_pairs(tx: u64, rx: u64) -> Vec<[u64; 4]> {
    let map = RXTX_MAP_64;
    vec![
        [map, 0, rx, 1],
        [map, 0x0e10_0000, rx, 1],
        [map, tx, 0x0e10_0000, 1],
        [map, partition_base(1), rx, 1],
        [map, tx, partition_base(1), 1],
        [map, tx, 0x0904_0000, 1],
        [map, tx, 1 << 39, 1],
        [map, tx | 1 << 40, rx, 1],
        [map, !0xfff, rx, 16],
        [map, tx, !0xfff, 1],
        [map, tx, 1 << 48, 1],
    ]
}

// req: RXTX-07, RXTX-19, RXTX-20, RXTX-23, GEN-14, GEN-30
#[test]
fn bad_pairs_of_the_normal_world() {
    let system = System::boot([PartitionSpec::new("sp1"), PartitionSpec::new("sp2")]);
    let nwd = system.nwd();
    for call in bad_pairs(NWD_TX, NWD_RX) {
        nwd.refused(call, INVALID_PARAMETERS);
    }
    for call in foreign_pairs(NWD_TX, NWD_RX) {
        nwd.refused(call, DENIED);
    }
    nwd.refused([RXTX_MAP_64, NORMAL_RAM.end - 0x1000, NWD_RX, 2], DENIED);
    // A Hypervisor forwards a VM's call, but no VM has buffers of its own here.
    nwd.refused([RXTX_MAP_64], INVALID_PARAMETERS);
    nwd.map_buffers();
}

// req: RXTX-07, RXTX-19, RXTX-20, GEN-14, GEN-30
#[test]
fn bad_pairs_of_a_partition() {
    System::boot([
        PartitionSpec::new("sp1").script(|sp| {
            for call in bad_pairs(TX, RX) {
                sp.refused(call, INVALID_PARAMETERS);
            }
            for call in foreign_pairs(TX, RX) {
                sp.refused(call, INVALID_PARAMETERS);
            }
            sp.refused([RXTX_MAP_64, NWD_TX, NWD_RX, 1], INVALID_PARAMETERS);
            // A test of Hafnium for single partitions.
            sp.refused([RXTX_MAP_64, 0x1000, 0x2000, 1], INVALID_PARAMETERS);
            sp.call([RXTX_MAP_64, TX, RX, 1]).success();
            sp.msg_wait();
        }),
        PartitionSpec::new("sp2"),
    ]);
}

// req: RXTX-24
#[test]
fn the_32_bit_form_has_32_bit_addresses() {
    let high = 0x1_0000_0000;
    let system = System::boot([]);
    let map = [RXTX_MAP_64, high | NWD_TX, high | NWD_RX, 1];
    system.nwd().refused(map, DENIED);
    system
        .nwd()
        .call([RXTX_MAP_32, high | NWD_TX, high | NWD_RX, high | 1])
        .success();
    system.nwd().call(UNMAP).success();
}

// req: RXTX-21
#[test]
fn one_pair_at_a_time() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        sp.call([RXTX_MAP_64, TX, RX, 1]).success();
        sp.refused([RXTX_MAP_64, TX + 0x4000, RX + 0x4000, 1], DENIED);
        sp.refused([RXTX_MAP_64, TX, RX, 1], DENIED);
        sp.msg_wait();
    })]);
    let nwd = system.nwd();
    nwd.map_buffers();
    nwd.refused([RXTX_MAP_64, NWD_PAGES, NWD_PAGES + 0x1000, 1], DENIED);
}

/// Adds a pair to the memory regions of the manifest.
fn with_manifest_pair(spec: PartitionSpec, tx_attributes: u32) -> PartitionSpec {
    let region = |name, base, attributes| Region {
        name,
        base,
        relative: false,
        pages: 1,
        attributes,
    };
    spec.with(|sp| {
        sp.regions = vec![
            region("rx", 0x0e80_0000, 3),
            region("tx", 0x0e80_1000, tx_attributes),
        ];
        sp.rx_tx = Some(("rx", "tx"));
    })
}

// req: RXTX-05, RXTX-21, RXTX-25, MAN-16
#[test]
fn a_pair_in_the_manifest_is_there_at_entry() {
    let script = |sp: &mut Sp| {
        sp.refused([RXTX_MAP_64, TX, RX, 1], DENIED);
        sp.call(QUERY).success();
        assert_eq!(sp.peek(Secure, 0x0e80_0000), Some(1));
        sp.call(UNMAP).success();
        sp.call([RXTX_MAP_64, TX, RX, 1]).success();
        sp.serve(|_, _| [7; 5])
    };
    let system = System::boot([with_manifest_pair(
        PartitionSpec::new("sp1").script(script),
        3,
    )]);
    assert_eq!(system.nwd().ask(0x8001, [0; 5]), [7; 5]);
}

// req: RXTX-20, RXTX-28, MEMX-09
#[test]
fn registered_buffers_take_part_in_no_transaction() {
    let system = System::boot([
        PartitionSpec::new("sp1").script(|sp| {
            sp.call([RXTX_MAP_64, TX, RX, 1]).success();
            for page in [TX, RX] {
                let share =
                    Transaction::share(0x8001, 0x8002, RW, &[(page, 1)]).encode(Layout::V1_2);
                sp.write(Secure, TX, &share).unwrap();
                let length = share.len() as u64;
                sp.refused([MEM_SHARE_64, length, length], DENIED);
            }
            // While another pair is in use, the pages are ordinary memory again.
            sp.call(UNMAP).success();
            sp.call([RXTX_MAP_64, TX + 0x4000, RX + 0x4000, 1])
                .success();
            let share = Transaction::share(0x8001, 0x8002, RW, &[(TX, 2)]).encode(Layout::V1_2);
            sp.write(Secure, TX + 0x4000, &share).unwrap();
            let length = share.len() as u64;
            sp.call([MEM_SHARE_64, length, length]).handle();
            // A shared page cannot become a buffer.
            sp.call(UNMAP).success();
            sp.refused([RXTX_MAP_64, TX, RX, 1], INVALID_PARAMETERS);
            sp.msg_wait();
        }),
        PartitionSpec::new("sp2"),
    ]);
    let nwd = system.nwd();
    nwd.map_buffers();
    for page in [NWD_TX, NWD_RX] {
        let share = Transaction::share(0, 0x8002, RW, &[(page, 1)]).encode(Layout::V1_2);
        nwd.memory_refused(MEM_SHARE_64, &share, DENIED);
    }
}

// req: RXTX-25, RXTX-26
#[test]
fn only_the_owner_gives_a_pair_back() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        sp.refused(UNMAP, INVALID_PARAMETERS);
        sp.call([RXTX_MAP_64, TX, RX, 1]).success();
        sp.refused([RXTX_UNMAP, 0x8002_0000], INVALID_PARAMETERS);
        sp.refused([RXTX_UNMAP, 0x0001_0000], INVALID_PARAMETERS);
        sp.call([RXTX_UNMAP, 0x8001_0000]).success();
        sp.refused(UNMAP, INVALID_PARAMETERS);
        sp.msg_wait();
    })]);
    let nwd = system.nwd();
    nwd.refused(UNMAP, INVALID_PARAMETERS);
    nwd.map_buffers();
    for named in [0x8001_0000, 0x0001_0000, 0xffff_0000] {
        nwd.refused([RXTX_UNMAP, named], INVALID_PARAMETERS);
    }
    nwd.call(UNMAP).success();
    nwd.refused(UNMAP, INVALID_PARAMETERS);
}

// req: RXTX-27
#[test]
fn calls_that_need_a_buffer_fail_without() {
    let script = |sp: &mut Sp| {
        sp.refused(QUERY, BUSY);
        sp.refused([MEM_SHARE_64, 96, 96], INVALID_PARAMETERS);
        sp.refused([MEM_RETRIEVE_REQ_64, 80, 80], INVALID_PARAMETERS);
        sp.refused([MEM_RELINQUISH], INVALID_PARAMETERS);
        sp.msg_wait();
    };
    let system = System::boot([PartitionSpec::new("sp1").script(script)]);
    let nwd = system.nwd();
    nwd.refused(QUERY, BUSY);
    nwd.refused([MEM_SHARE_64, 96, 96], INVALID_PARAMETERS);
    nwd.map_buffers();
    nwd.call(QUERY).success();
    nwd.call(UNMAP).success();
    nwd.refused(QUERY, BUSY);
    nwd.refused([RX_RELEASE], DENIED);
    // RX of a new pair is empty.
    nwd.map_buffers();
    nwd.call(QUERY).success();
}

// req: RXTX-11, RXTX-14, RXTX-29, RXTX-30
#[test]
fn rx_is_released_once() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        sp.refused([RX_RELEASE], DENIED);
        sp.call([RXTX_MAP_64, TX, RX, 1]).success();
        sp.refused([RX_RELEASE], DENIED);
        sp.call(QUERY).success();
        sp.refused(QUERY, BUSY);
        assert_eq!(sp.call([RX_RELEASE]).success(), [0; 6]);
        sp.refused([RX_RELEASE], DENIED);
        sp.msg_wait();
    })]);
    let nwd = system.nwd();
    nwd.refused([RX_RELEASE], DENIED);
    nwd.map_buffers();
    nwd.call(QUERY).success();
    // No VM has buffers of its own, and an endpoint that is no VM releases its own RX.
    for id in [3, 0x8000, 0x8001, 0xffff] {
        nwd.refused([RX_RELEASE, id], INVALID_PARAMETERS);
    }
    assert_eq!(nwd.call([RX_RELEASE]).success(), [0; 6]);
    nwd.refused([RX_RELEASE], DENIED);
}

// req: RXTX-14, MSGW-02, IND-23
#[test]
fn msg_wait_releases_rx_unless_asked_to_keep_it() {
    let serve = |version: u64, keep: u64| {
        move |sp: &mut Sp| {
            sp.call([VERSION, version]);
            sp.call([RXTX_MAP_64, TX, RX, 1]).success();
            sp.call(QUERY).success();
            let mut message = sp.call([MSG_WAIT, 0, keep]);
            loop {
                let full = sp.call([RX_RELEASE]).error().is_none();
                message = sp.respond(&message, [full.into(), 0, 0, 0, 0]);
            }
        }
    };
    for (version, keep, full) in [(V1_0, 0, 0), (V1_2, 0, 0), (V1_2, 1, 1)] {
        let system = System::boot([PartitionSpec::new("sp1").script(serve(version, keep))]);
        assert_eq!(
            system.nwd().ask(0x8001, [0; 5])[0],
            full,
            "{version:#x} {keep}"
        );
    }
}

// req: RXTX-12, RXTX-17
#[test]
fn tx_comes_back_with_every_answer() {
    let system = System::boot([PartitionSpec::new("sp1")]);
    let nwd = system.nwd();
    nwd.map_buffers();
    let share = Transaction::share(0, 0x8001, RW, &[(NWD_PAGES, 1)]).encode(Layout::V1_2);
    nwd.memory_refused(MEM_SHARE_64, &share[..95], INVALID_PARAMETERS);
    let handle = nwd.memory_call(MEM_SHARE_64, &share).handle();
    nwd.memory_refused(MEM_SHARE_64, &share, DENIED);
    nwd.reclaim(handle).success();
}

// req: RXTX-22
#[test]
fn no_memory_to_record_a_pair() {
    // With so few tables, the pools run out when blocks of the Normal world must be split.
    let system = System::builder().tables(8).boot();
    let nwd = system.nwd();
    let mut outcomes = Vec::new();
    for n in 0..8 {
        let base = NORMAL_RAM.start + 0x100_0000 * n;
        let before = system.snapshot();
        let answer = nwd.call([RXTX_MAP_64, base, base + 0x20_0000, 1]);
        if answer.error() == Some(NO_MEMORY) {
            assert_eq!(before, system.snapshot());
        } else {
            answer.success();
            nwd.call(UNMAP).success();
            assert_eq!(before, system.snapshot(), "what was recorded is forgotten");
        }
        outcomes.push(answer.error());
    }
    outcomes.dedup();
    assert_eq!(
        outcomes.len(),
        1,
        "no leak from one to the next: {outcomes:?}"
    );
}

// req: MEMX-21, RXTX-15
#[test]
fn a_buffer_that_is_taken_away_ends_in_aborted() {
    let system = System::boot([PartitionSpec::new("sp1")]);
    let nwd = system.nwd();
    nwd.map_buffers();
    system
        .machine
        .memory()
        .protect(NonSecure, NWD_TX..NWD_RX + 0x1000);
    nwd.refused(QUERY, ABORTED);
    nwd.refused([MEM_SHARE_64, 96, 96], ABORTED);
    system.machine.memory().unprotect_all();
    nwd.call(QUERY).success();
}
