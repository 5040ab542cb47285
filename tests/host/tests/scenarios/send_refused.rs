//! Sends that must be refused without any effect, one fault at a time.

use host_tests::Sp;
use host_tests::ffa::*;
use host_tests::machine::NORMAL_RAM;
use host_tests::manifest::{Region, partition_base};
use host_tests::system::{NWD_PAGES, NWD_TX};
use spmc::addr::World::Secure;

use crate::stage::{OWN_PAGES, READ_WRITE, SP1, SP2, SP3, Stage};

const V12: Layout = Layout::V1_2;

/// The name of a fault that only the Normal world can make.
const SLICING: &str = "flags: time slicing";

/// A fault in the bytes of a send: its name, the change, and the error.
type Fault = (&'static str, fn(&mut Vec<u8>), i32);

fn set(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Offsets in a descriptor of 1.2 with one receiver.
const RECEIVER: usize = 48;
const COMPOSITE: usize = 80;
const CONSTITUENT: usize = 96;

/// Faults of every kind of send with one receiver and two constituents.
#[rustfmt::skip]
const FAULTS: &[Fault] = &[
    ("attributes: NS", |b| b[2] |= 1 << 6, INVALID_PARAMETERS),
    ("attributes: bit 7", |b| b[2] |= 1 << 7, INVALID_PARAMETERS),
    ("attributes: upper byte", |b| b[3] = 1, INVALID_PARAMETERS),
    ("attributes: reserved type", |b| b[2] = 0x3f, INVALID_PARAMETERS),
    ("attributes: reserved cacheability", |b| b[2] = 0x23, INVALID_PARAMETERS),
    ("attributes: reserved shareability", |b| b[2] = 0x2d, INVALID_PARAMETERS),
    (SLICING, |b| b[4] |= 2, INVALID_PARAMETERS),
    ("flags: bit 2", |b| b[4] |= 4, INVALID_PARAMETERS),
    ("flags: type", |b| b[4] |= 8, INVALID_PARAMETERS),
    ("flags: bit 31", |b| b[7] |= 0x80, INVALID_PARAMETERS),
    ("handle", |b| b[8] = 1, INVALID_PARAMETERS),
    ("handle, upper half", |b| b[15] = 1, INVALID_PARAMETERS),
    ("receiver size 0", |b| set(b, 24, &[0; 4]), INVALID_PARAMETERS),
    ("receiver size below 16", |b| b[24] = 8, INVALID_PARAMETERS),
    ("receiver size odd", |b| b[24] = 33, INVALID_PARAMETERS),
    ("receiver size large", |b| set(b, 24, &[0xff; 4]), INVALID_PARAMETERS),
    ("no receiver", |b| b[28] = 0, INVALID_PARAMETERS),
    ("receiver count large", |b| set(b, 28, &[0xff; 4]), INVALID_PARAMETERS),
    ("receiver count beyond the end", |b| b[28] = 4, INVALID_PARAMETERS),
    ("receiver offset in the header", |b| b[32] = 32, INVALID_PARAMETERS),
    ("receiver offset misaligned", |b| b[32] = 56, INVALID_PARAMETERS),
    ("receiver offset large", |b| set(b, 32, &[0xf0, 0xff, 0xff, 0xff]), INVALID_PARAMETERS),
    ("header reserved", |b| b[36] = 1, INVALID_PARAMETERS),
    ("header reserved, end", |b| b[47] = 1, INVALID_PARAMETERS),
    ("receiver: nobody", |b| set(b, RECEIVER, &[0x09, 0x80]), INVALID_PARAMETERS),
    ("receiver: the SPMC", |b| set(b, RECEIVER, &[0x00, 0x80]), INVALID_PARAMETERS),
    ("receiver: the SPMD", |b| set(b, RECEIVER, &[0xff, 0xff]), INVALID_PARAMETERS),
    ("receiver: reserved data access", |b| b[RECEIVER + 2] |= 3, INVALID_PARAMETERS),
    ("receiver: reserved instruction access", |b| b[RECEIVER + 2] |= 0xc, INVALID_PARAMETERS),
    ("receiver: instruction access by the sender", |b| b[RECEIVER + 2] |= NX, INVALID_PARAMETERS),
    ("receiver: execution by the sender", |b| b[RECEIVER + 2] |= X, INVALID_PARAMETERS),
    ("receiver: permissions bit 4", |b| b[RECEIVER + 2] |= 0x10, INVALID_PARAMETERS),
    ("receiver: permissions bit 7", |b| b[RECEIVER + 2] |= 0x80, INVALID_PARAMETERS),
    ("receiver: flags bit 0", |b| b[RECEIVER + 3] = 1, INVALID_PARAMETERS),
    ("receiver: flags bit 7", |b| b[RECEIVER + 3] = 0x80, INVALID_PARAMETERS),
    ("receiver: reserved", |b| b[RECEIVER + 24] = 1, INVALID_PARAMETERS),
    ("composite offset 0", |b| b[RECEIVER + 4] = 0, INVALID_PARAMETERS),
    ("composite offset in the receivers", |b| b[RECEIVER + 4] = 64, INVALID_PARAMETERS),
    ("composite offset misaligned", |b| b[RECEIVER + 4] = 84, INVALID_PARAMETERS),
    ("composite offset behind", |b| b[RECEIVER + 4] = 96, INVALID_PARAMETERS),
    ("composite offset at the end", |b| b[RECEIVER + 4] = 128, INVALID_PARAMETERS),
    ("composite offset large", |b| set(b, RECEIVER + 4, &[0xf0, 0xff, 0xff, 0xff]), INVALID_PARAMETERS),
    ("page count low", |b| b[COMPOSITE] = 1, INVALID_PARAMETERS),
    ("page count high", |b| b[COMPOSITE] = 3, INVALID_PARAMETERS),
    ("no constituents", |b| b[COMPOSITE + 4] = 0, INVALID_PARAMETERS),
    ("fewer constituents than there are", |b| b[COMPOSITE + 4] = 1, INVALID_PARAMETERS),
    ("more constituents than there are", |b| b[COMPOSITE + 4] = 3, INVALID_PARAMETERS),
    ("constituents large", |b| set(b, COMPOSITE + 4, &[0xff; 4]), INVALID_PARAMETERS),
    ("composite reserved", |b| b[COMPOSITE + 8] = 1, INVALID_PARAMETERS),
    ("composite reserved, end", |b| b[COMPOSITE + 15] = 1, INVALID_PARAMETERS),
    ("address misaligned", |b| b[CONSTITUENT] = 8, INVALID_PARAMETERS),
    ("address misaligned by 2 KiB", |b| b[CONSTITUENT + 1] |= 8, INVALID_PARAMETERS),
    ("address at the end of everything", |b| set(b, CONSTITUENT, &[0, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), INVALID_PARAMETERS),
    ("address of 48 bits", |b| b[CONSTITUENT + 6] = 1, INVALID_PARAMETERS),
    ("constituent without pages", |b| { b[CONSTITUENT + 8] = 0; b[COMPOSITE] = 1; }, INVALID_PARAMETERS),
    ("page counts that only fit after wrapping", |b| { set(b, CONSTITUENT + 8, &[0xff; 4]); b[CONSTITUENT + 24] = 3; }, INVALID_PARAMETERS),
    ("constituents the same", |b| b.copy_within(CONSTITUENT..CONSTITUENT + 16, CONSTITUENT + 16), INVALID_PARAMETERS),
    ("a byte short", |b| b.truncate(127), INVALID_PARAMETERS),
    ("a constituent short", |b| b.truncate(112), INVALID_PARAMETERS),
    ("no composite", |b| b.truncate(80), INVALID_PARAMETERS),
    ("part of the header", |b| b.truncate(40), INVALID_PARAMETERS),
    ("nothing", |b| b.clear(), INVALID_PARAMETERS),
    ("a byte long", |b| b.push(0), INVALID_PARAMETERS),
    ("a constituent long", |b| b.extend([0; 16]), INVALID_PARAMETERS),
    ("memory of nobody", |b| set(b, CONSTITUENT, &0x70_0000_0000_u64.to_le_bytes()), DENIED),
    ("memory of the SPMC", |b| set(b, CONSTITUENT, &0x0e10_0000_u64.to_le_bytes()), DENIED),
    ("memory of EL3", |b| set(b, CONSTITUENT, &0x0e00_0000_u64.to_le_bytes()), DENIED),
    ("memory of another partition", |b| set(b, CONSTITUENT, &partition_base(2).to_le_bytes()), DENIED),
    ("a device", |b| set(b, CONSTITUENT, &0x0904_0000_u64.to_le_bytes()), DENIED),
    ("address 0", |b| set(b, CONSTITUENT, &[0; 8]), DENIED),
    ("the end of memory", |b| set(b, CONSTITUENT, &NORMAL_RAM.end.to_le_bytes()), DENIED),
];

/// Returns the three sends of two pages.
fn sends(sender: u16, page: u64) -> [(u64, Transaction); 3] {
    let pages = [(page, 1), (page + 0x2000, 1)];
    [
        (MEM_SHARE_64, Transaction::share(sender, SP2, RW, &pages)),
        (MEM_LEND_64, Transaction::lend(sender, SP2, RW, &pages)),
        (MEM_DONATE_64, Transaction::donate(sender, SP2, &pages)),
    ]
}

// req: MEMD-01, MEMD-02, MEMD-03, MEMD-04, MEMD-05, MEMD-06, MEMD-07, MEMD-08, MEMD-10, MEMD-17
// req: MEMD-18, MEMD-19, MEMD-21
// req: MEMD-22, MEMD-23, MEMD-24, MEMD-41, MEMD-42, MEMD-48, MEMD-49, MEMD-60, MEMD-63
// req: MEMD-67, MEMD-68, MEMD-70
// req: MEMD-71, MEMD-80, MEMD-81, MEMX-06, MEMX-09, MEMX-10, MEMX-18, MEMO-21, MEMO-06, GEN-23
// req: GEN-30, RXTX-12
// req: DSC-02, DSC-03, DSC-04, DSC-05, DSC-10
#[test]
fn sends_of_the_normal_world_with_one_fault() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    for (function, transaction) in sends(0, NWD_PAGES) {
        for (what, fault, code) in FAULTS {
            let mut bytes = transaction.encode(V12);
            fault(&mut bytes);
            let before = stage.system.snapshot();
            let answer = nwd.memory_call(function, &bytes);
            assert_eq!(answer.error(), Some(*code), "{function:#x}: {what}");
            assert_eq!(before, stage.system.snapshot(), "{function:#x}: {what}");
        }
        // Without a fault the call succeeds.
        let handle = nwd.memory_call(function, &transaction.encode(V12)).handle();
        nwd.reclaim(handle).success();
    }
}

// req: MEMD-01, MEMD-02, MEMD-03, MEMD-06, MEMD-08, MEMD-11, MEMD-17, MEMD-18, MEMD-19, MEMD-24
// req: MEMD-41, MEMD-42, MEMD-48
// req: MEMD-63, MEMD-68, MEMD-71, MEMX-06, MEMX-09, MEMX-18, GEN-23, GEN-30, DSC-02, DSC-03, DSC-04
// req: DSC-05, DSC-10
#[test]
fn sends_of_a_partition_with_one_fault() {
    let stage = Stage::with(|spec| spec.with(|sp| sp.device = sp.name == "sp1"));
    stage.run(SP1, |sp| {
        for (function, transaction) in sends(SP1, sp.base() + OWN_PAGES) {
            // A partition's call, unlike one of the Normal world, may be paused.
            let faults = FAULTS.iter().filter(|(what, ..)| *what != SLICING);
            for (what, fault, code) in faults {
                let mut bytes = transaction.encode(V12);
                fault(&mut bytes);
                let before = sp.snapshot();
                let answer = sp.memory_call(function, &bytes);
                assert_eq!(answer.error(), Some(*code), "{function:#x}: {what}");
                assert_eq!(before, sp.snapshot(), "{function:#x}: {what}");
            }
            let handle = sp.send(function, &transaction);
            sp.reclaim(handle, 0).success();
        }
    });
}

// req: MEMD-59, MEMD-67, MEMD-21, MEMD-48, MEMD-23
#[test]
fn faults_of_the_1_0_layout() {
    let stage = Stage::with(|spec| spec.version(0));
    let faults: [(usize, u8); 8] = [
        (3, 1),
        (24, 1),
        (27, 1),
        (2, 0x6f),
        (2, 0xaf),
        (28, 0),
        (40, 1),
        (36, 44),
    ];
    stage.run(SP1, move |sp| {
        let share = Transaction::share(SP1, SP2, RW, &[(sp.base() + OWN_PAGES, 1)]);
        for (at, value) in faults {
            let mut bytes = share.encode(Layout::V1_0);
            bytes[at] = value;
            sp.memory_refused(MEM_SHARE_64, &bytes, INVALID_PARAMETERS);
        }
        sp.send(MEM_SHARE_64, &share);
    });
}

// req: MEMX-01, MEMX-04, MEMX-05, MEMX-03, MEMRQ-02, MEMRQ-03
#[test]
fn registers_of_sends_and_retrieves() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    let bytes = Transaction::share(0, SP1, RW, &[(NWD_PAGES, 1)]).encode(V12);
    nwd.write(NWD_TX, &bytes);
    let length = bytes.len() as u64;
    let bad = [
        [length, length + 1, 0, 0],
        [length, 0, 0, 0],
        [0, 0, 0, 0],
        [4097, 4097, 0, 0],
        [0xffff_ffff, 0xffff_ffff, 0, 0],
        // A buffer other than TX.
        [length, length, NWD_PAGES, 1],
        [length, length, NWD_PAGES, 0],
        [length, length, 0, 1],
    ];
    for [a, b, c, d] in bad {
        for function in [
            MEM_SHARE_64,
            MEM_SHARE_32,
            MEM_LEND_64,
            MEM_DONATE_64,
            MEM_RETRIEVE_REQ_64,
        ] {
            nwd.refused([function, a, b, c, d], INVALID_PARAMETERS);
        }
        stage.run(SP1, move |sp| {
            sp.refused([MEM_RETRIEVE_REQ_64, a, b, c, d], INVALID_PARAMETERS);
        });
    }
    let high = 0xdead_beef_0000_0000;
    nwd.call([
        MEM_SHARE_32,
        high | length,
        high | length,
        high,
        high,
        high,
        high,
        high,
    ])
    .handle();
}

// req: MEMD-62, MEMX-07, MEMX-08, MEMX-16, MEMO-19, MEMO-21, MEMD-71, MEMD-72
#[test]
fn senders_and_receivers_that_may_not_be() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    let page = stage.run(SP1, |sp| sp.base() + OWN_PAGES);
    let build = |function: u64, sender, receiver, page| match function {
        MEM_SHARE_64 => Transaction::share(sender, receiver, RW, &[(page, 1)]),
        MEM_LEND_64 => Transaction::lend(sender, receiver, RW, &[(page, 1)]),
        _ => Transaction::donate(sender, receiver, &[(page, 1)]),
    };
    for function in [MEM_SHARE_64, MEM_LEND_64, MEM_DONATE_64] {
        // In the name of another endpoint.
        for sender in [SP1, SP2, 0x8000, 0xffff] {
            let bytes = build(function, sender, SP3, NWD_PAGES).encode(V12);
            nwd.memory_refused(function, &bytes, DENIED);
        }
        for receiver in [0, 1] {
            let bytes = build(function, 0, receiver, NWD_PAGES).encode(V12);
            nwd.memory_refused(function, &bytes, INVALID_PARAMETERS);
        }
        stage.run(SP1, move |sp| {
            for sender in [SP2, 0, 1, 0x8000] {
                let bytes = build(function, sender, SP3, page).encode(V12);
                sp.memory_refused(function, &bytes, DENIED);
            }
            // To the Normal world, or to itself.
            for receiver in [0, 1, 0x7fff] {
                let bytes = build(function, SP1, receiver, page).encode(V12);
                sp.memory_refused(function, &bytes, DENIED);
            }
            // This comes before what the receiver would get, and before the addresses.
            let mut nothing = build(function, SP1, 1, page);
            nothing.receivers[0].permissions = 0;
            sp.memory_refused(function, &nothing.encode(V12), DENIED);
            for (sender, receiver) in [(SP2, SP3), (1, SP3)] {
                let bytes = build(function, sender, receiver, page + 1).encode(V12);
                sp.memory_refused(function, &bytes, DENIED);
            }
            let bytes = build(function, SP1, SP1, page).encode(V12);
            sp.memory_refused(function, &bytes, INVALID_PARAMETERS);
        });
        // A VM may send like the Hypervisor.
        let handle = nwd.send(function, &build(function, 0x7ffe, SP3, NWD_PAGES));
        nwd.reclaim(handle).success();
    }
}

// req: MEMD-68, MEMD-69, MEMD-71, MEMDN-01, MEMO-14
#[test]
fn lists_of_receivers() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    let mut twice = Transaction::share(0, SP1, RW, &[(NWD_PAGES, 1)]);
    twice.receivers.push(Receiver::new(SP1, RO));
    nwd.memory_refused(MEM_SHARE_64, &twice.encode(V12), INVALID_PARAMETERS);
    twice.receivers[1] = Receiver {
        offset: Some(0),
        ..Receiver::new(SP2, RO)
    };
    nwd.memory_refused(MEM_SHARE_64, &twice.encode(V12), INVALID_PARAMETERS);
    twice.receivers[1] = Receiver {
        offset: Some(48),
        ..Receiver::new(SP2, RO)
    };
    nwd.memory_refused(MEM_SHARE_64, &twice.encode(V12), INVALID_PARAMETERS);
    let mut donate = Transaction::donate(0, SP1, &[(NWD_PAGES, 1)]);
    donate.receivers.push(Receiver::new(SP2, 0));
    nwd.memory_refused(MEM_DONATE_64, &donate.encode(V12), INVALID_PARAMETERS);
    // More receivers than there are partitions.
    let mut many = Transaction::share(0, SP1, RW, &[(NWD_PAGES, 1)]);
    many.receivers = (0..60).map(|n| Receiver::new(0x8001 + n, RO)).collect();
    nwd.memory_refused(MEM_SHARE_64, &many.encode(V12), INVALID_PARAMETERS);
}

// req: MEMD-28, MEMD-35, MEMD-52, MEMD-54, MEML-05, MEMDN-04, MEMS-05, MEMD-51
#[test]
fn what_the_sender_must_and_must_not_say() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    let refused = |function, transaction: Transaction, code| {
        nwd.memory_refused(function, &transaction.encode(V12), code);
    };
    let pages = [(NWD_PAGES, 1)];
    refused(
        MEM_SHARE_64,
        Transaction::share(0, SP1, 0, &pages),
        INVALID_PARAMETERS,
    );
    refused(
        MEM_LEND_64,
        Transaction::lend(0, SP1, 0, &pages),
        INVALID_PARAMETERS,
    );
    for permissions in [RO, RW] {
        let mut donate = Transaction::donate(0, SP1, &pages);
        donate.receivers[0].permissions = permissions;
        refused(MEM_DONATE_64, donate, INVALID_PARAMETERS);
    }
    // If there is one receiver, it chooses the attributes.
    let with = |attributes, transaction| Transaction {
        attributes,
        ..transaction
    };
    refused(
        MEM_LEND_64,
        with(NORMAL, Transaction::lend(0, SP1, RW, &pages)),
        INVALID_PARAMETERS,
    );
    refused(
        MEM_DONATE_64,
        with(NORMAL, Transaction::donate(0, SP1, &pages)),
        INVALID_PARAMETERS,
    );
    // Not a weaker memory type than the sender has itself.
    refused(
        MEM_SHARE_64,
        with(0x2e, Transaction::share(0, SP1, RW, &pages)),
        DENIED,
    );
    refused(
        MEM_SHARE_64,
        with(0, Transaction::share(0, SP1, RW, &pages)),
        DENIED,
    );
}

// req: MEMD-29, MEMD-79, MEML-07, MEMRC-05, MEMRC-10, MEMD-37, MEMD-39, MEMD-86, MEMD-11
#[test]
fn nobody_gives_more_than_it_has() {
    let region = |name, base, attributes| Region {
        name,
        base,
        relative: false,
        pages: 4,
        attributes,
    };
    let stage = Stage::with(move |spec| {
        let has_regions = spec.name == "sp1";
        spec.with(|sp| {
            if has_regions {
                sp.regions = vec![
                    region("read-only", 0x0e80_0000, 1),
                    region("data", 0x0e81_0000, 3),
                    region("normal", 0x4800_0000, 8 | 3),
                ];
            }
        })
    });
    let (read_only, data) = (0x0e80_0000, 0x0e81_0000);
    stage.run(SP1, move |sp| {
        let refused = |sp: &mut Sp, function, transaction: &Transaction, code| {
            sp.memory_refused(function, &transaction.encode(V12), code);
        };
        refused(
            sp,
            MEM_SHARE_64,
            &Transaction::share(SP1, SP2, RW, &[(read_only, 1)]),
            DENIED,
        );
        refused(
            sp,
            MEM_LEND_64,
            &Transaction::lend(SP1, SP2, RW, &[(read_only, 1)]),
            DENIED,
        );
        let mut two = Transaction::share(SP1, SP2, RO, &[(read_only, 1)]);
        two.receivers.push(Receiver::new(SP3, RW));
        refused(sp, MEM_SHARE_64, &two, DENIED);
        let zero = |transaction| Transaction {
            flags: 1,
            ..transaction
        };
        refused(
            sp,
            MEM_LEND_64,
            &zero(Transaction::lend(SP1, SP2, RO, &[(read_only, 1)])),
            DENIED,
        );
        refused(
            sp,
            MEM_DONATE_64,
            &zero(Transaction::donate(SP1, SP2, &[(read_only, 1)])),
            DENIED,
        );
        // Pages of different kinds.
        let own = sp.base() + OWN_PAGES;
        for other in [read_only, 0x4800_0000] {
            refused(
                sp,
                MEM_SHARE_64,
                &Transaction::share(SP1, SP2, RO, &[(own, 1), (other, 1)]),
                DENIED,
            );
            refused(
                sp,
                MEM_SHARE_64,
                &Transaction::share(SP1, SP2, RO, &[(other, 1), (own, 1)]),
                DENIED,
            );
        }
        refused(
            sp,
            MEM_SHARE_64,
            &Transaction::share(SP1, SP2, RO, &[(read_only, 5)]),
            DENIED,
        );
        // Pages of which the owner may execute only one are of one kind.
        for region in [[(own, 1), (data, 1)], [(data, 1), (own, 1)]] {
            let share = Transaction::share(SP1, SP2, RW, &region);
            let handle = sp.send(MEM_SHARE_64, &share);
            sp.reclaim(handle, 0).success();
        }
    });
    // Donated read-only memory stays read-only, and lent data memory is not executable.
    let handle = stage.run(SP1, move |sp| {
        sp.send(
            MEM_DONATE_64,
            &Transaction::donate(SP1, SP2, &[(read_only, 1)]),
        )
    });
    let request = |handle, permissions| Transaction {
        attributes: 0,
        ..Transaction::retrieve(SP1, SP2, handle, permissions)
    };
    stage.retrieve_refused(SP2, request(handle, RW | NX), DENIED);
    assert_eq!(
        stage.retrieve(SP2, request(handle, 0)).unwrap().receivers[0].permissions,
        RO | NX
    );
    let handle = stage.run(SP1, move |sp| {
        sp.send(MEM_LEND_64, &Transaction::lend(SP1, SP2, RO, &[(data, 2)]))
    });
    stage.retrieve_refused(SP2, request(handle, RO | X), DENIED);
    stage.run(SP1, move |sp| sp.reclaim(handle, 0)).success();
    assert_eq!(stage.access(SP1, Secure, data), READ_WRITE);
    // Read-only memory comes back as read-only.
    let handle = stage.run(SP1, move |sp| {
        sp.send(
            MEM_LEND_64,
            &Transaction::lend(SP1, SP2, RO, &[(read_only + 0x1000, 1)]),
        )
    });
    stage.run(SP1, move |sp| {
        sp.refused([MEM_RECLAIM, handle & 0xffff_ffff, handle >> 32, 1], DENIED);
        sp.reclaim(handle, 0).success();
    });
    assert_eq!(
        stage.access(SP1, Secure, read_only + 0x1000),
        [true, false, false]
    );
}

// req: MEMD-10, MEMO-07, MEMX-09
#[test]
fn the_normal_world_sends_only_its_own_memory() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    for (base, pages) in [
        (partition_base(0), 1),
        (partition_base(1) + OWN_PAGES, 4),
        (0x0e10_0000, 1),
        (0x0e00_0000, 1),
        (0x0904_0000, 1),
        (0x0900_0000, 1),
        (NORMAL_RAM.start - 0x1000, 1),
        (NORMAL_RAM.start - 0x1000, 2),
        (NORMAL_RAM.end - 0x1000, 2),
        (NORMAL_RAM.end, 1),
        (NWD_TX, 1),
        (NWD_TX - 0x1000, 2),
    ] {
        for constituents in [vec![(base, pages)], vec![(NWD_PAGES, 1), (base, pages)]] {
            let share = Transaction::share(0, SP2, RO, &constituents);
            nwd.memory_refused(MEM_SHARE_64, &share.encode(V12), DENIED);
        }
    }
}

// req: MEMD-10, MEMO-07
#[test]
fn the_normal_world_does_not_send_what_a_manifest_gives() {
    let given = NWD_PAGES + 0x8_0000;
    let region = |base, attributes| Region {
        name: "normal",
        base,
        relative: false,
        pages: 1,
        attributes,
    };
    let stage = Stage::with(move |spec| {
        let regions = match spec.name.as_str() {
            "sp1" => vec![region(given, 8 | 1)],
            "sp3" => vec![region(given + 0x2000, 8 | 3)],
            _ => Vec::new(),
        };
        spec.with(|sp| sp.regions = regions)
    });
    // A page of each manifest, and one of a manifest with one of the Normal world.
    for page in [given, given + 0x2000, given - 0x2000] {
        for (function, transaction) in sends(0, page) {
            let bytes = transaction.encode(V12);
            stage.nwd().memory_refused(function, &bytes, DENIED);
        }
    }
}

// req: MEMD-08, MEMX-18
#[test]
fn ranges_of_one_region_do_not_overlap() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    for ranges in [
        vec![(NWD_PAGES, 2), (NWD_PAGES + 0x1000, 1)],
        vec![(NWD_PAGES + 0x1000, 1), (NWD_PAGES, 2)],
        vec![(NWD_PAGES, 1), (NWD_PAGES + 0x4000, 1), (NWD_PAGES, 1)],
        vec![(0x4200_0000, 512), (0x4210_0000, 1)],
        vec![(0x4210_0000, 1), (0x4200_0000, 1024)],
        vec![(0x4200_0000, 1024), (0x4220_0000, 512)],
    ] {
        for function in [MEM_SHARE_64, MEM_LEND_64] {
            let share = if function == MEM_SHARE_64 {
                Transaction::share(0, SP1, RW, &ranges)
            } else {
                Transaction::lend(0, SP1, RW, &ranges)
            };
            nwd.memory_refused(function, &share.encode(V12), INVALID_PARAMETERS);
        }
    }
    // Adjacent ranges do not overlap, in any order.
    let neighbours = [
        (NWD_PAGES + 0x1000, 1),
        (NWD_PAGES, 1),
        (NWD_PAGES + 0x2000, 3),
    ];
    let handle = nwd.send(MEM_SHARE_64, &Transaction::share(0, SP1, RW, &neighbours));
    nwd.reclaim(handle).success();
}

// req: MEMX-18, MEMD-08, MEMX-11, GEN-30
#[test]
fn a_long_list_with_one_bad_range_leaves_nothing_behind() {
    let stage = Stage::new();
    let nwd = stage.nwd();
    let good: Vec<(u64, u32)> = (0..200).map(|n| (0x4200_0000 + n * 0x2000, 1)).collect();
    for bad in [0x4200_0000, 0x4218_e000, 0x0e10_0000, 0x4200_0008] {
        let mut ranges = good.clone();
        ranges.push((bad, 1));
        let code = if bad == 0x0e10_0000 {
            DENIED
        } else {
            INVALID_PARAMETERS
        };
        for transaction in [
            Transaction::share(0, SP1, RW, &ranges),
            Transaction::share(0, SP1, RO, &ranges),
        ] {
            nwd.memory_refused(MEM_SHARE_64, &transaction.encode(V12), code);
        }
    }
    nwd.send(MEM_SHARE_64, &Transaction::share(0, SP1, RW, &good));
}
