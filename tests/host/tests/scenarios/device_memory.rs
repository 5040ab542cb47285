//! Device memory: a partition that owns a device by its manifest can lend the device to one
//! partition, and can do nothing else with it.

use std::ops::Range;
use std::sync::Arc;

use host_tests::PartitionSpec;
use host_tests::ffa::*;
use host_tests::machine::{NORMAL_DEVICE, SECURE_DEVICE};
use host_tests::manifest::partition_base;
use host_tests::system::{NWD_PAGES, NWD_TX};
use spmc::addr::World::{self, NonSecure, Secure};
use spmc::hal::Stream;

use super::stage::{NONE, OWN_PAGES, READ, READ_WRITE, SP1, SP2, SP3, Stage, TYPE_LEND};

const DEVICE: u64 = SECURE_DEVICE.start;
const CLOCK: u64 = NORMAL_DEVICE.start;
/// Memory region attributes: nGnRnE, nGnRE, GRE.
const NGNRNE: u16 = 0x10;
const NGNRE: u16 = 0x14;
const GRE: u16 = 0x1c;
/// Shareability in the attributes.
const INNER: u16 = 0b11;
const ZERO: u32 = 1;
const ZERO_AFTER: u32 = 4;
/// A stream endpoint without a proxy.
const SEPID: u16 = 0x9000;
const STREAM: Stream = Stream { smmu: 0, id: 0 };

/// Gives a partition a device at `base`.
fn with_device(spec: PartitionSpec, base: u64, attributes: u32, exclusive: bool) -> PartitionSpec {
    spec.with(|spec| {
        spec.extra = Some(Arc::new(move |fdt| {
            let node = fdt.begin_node("device-regions").unwrap();
            fdt.property_string("compatible", "arm,ffa-manifest-device-regions")
                .unwrap();
            let device = fdt.begin_node("device").unwrap();
            fdt.property_u64("base-address", base).unwrap();
            fdt.property_u32("pages-count", 1).unwrap();
            fdt.property_u32("attributes", attributes).unwrap();
            if exclusive {
                fdt.property_null("exclusive-access").unwrap();
            }
            fdt.end_node(device).unwrap();
            fdt.end_node(node).unwrap();
        }));
    })
}

/// Boots a stage. `change` is applied to SP1, which has exclusive access to the device.
fn stage_with(change: impl Fn(PartitionSpec) -> PartitionSpec) -> Stage {
    let stage = Stage::of(
        |builder| {
            builder
                .device_memory(&[(NonSecure, NORMAL_DEVICE)])
                .streams(&[STREAM])
                .devices(&[(SEPID, STREAM)])
        },
        |spec| match spec.name.as_str() {
            "sp1" => change(with_device(spec, DEVICE, 3, true)),
            _ => spec.with(|spec| spec.takes_exceptions = true),
        },
    );
    // Declare memory there, so that accesses succeed.
    let mut memory = stage.system.machine.memory();
    memory.declare(Secure, SECURE_DEVICE);
    memory.declare(NonSecure, NORMAL_DEVICE);
    drop(memory);
    stage
}

fn stage() -> Stage {
    stage_with(|spec| spec)
}

/// Returns whether hardware treats the page as Device memory for a partition that has it.
fn is_device(stage: &Stage, id: u16, world: World, at: u64) -> bool {
    let partition = &stage.system.spmc.partitions[usize::from(id - SP1)];
    let roots = partition.frozen.roots;
    let root = roots.of(world).raw();
    let found = stage.system.machine.tables().walk(root, at);
    found.unwrap().device
}

fn lend(permissions: u8) -> Transaction {
    Transaction::lend(SP1, SP2, permissions, &[(DEVICE, 1)])
}

fn lent(stage: &Stage, permissions: u8) -> u64 {
    stage.run(SP1, move |sp| sp.send(MEM_LEND_64, &lend(permissions)))
}

fn request(sender: u16, handle: u64, permissions: u8) -> Transaction {
    Transaction {
        attributes: 0,
        ..Transaction::retrieve(sender, SP2, handle, permissions)
    }
}

#[track_caller]
fn reclaimed(stage: &Stage, handle: u64) {
    stage.run(SP1, move |sp| sp.reclaim(handle, 0)).success();
    assert_eq!(stage.access(SP1, Secure, DEVICE), READ_WRITE);
    assert!(is_device(stage, SP1, Secure, DEVICE), "as before");
}

// req: GEN-23, GEN-24, MEMD-38, MEMD-45, MEMD-50, MEMD-56, MEMD-57, MEMD-58, MEMRC-10, DSC-11
#[test]
fn a_partition_lends_its_device_to_another_one() {
    let stage = stage();
    assert_eq!(stage.access(SP1, Secure, DEVICE), READ_WRITE);
    assert_eq!(stage.access(SP2, Secure, DEVICE), NONE);
    for (attributes, permissions, access) in [
        (0, RW, READ_WRITE),
        (NGNRNE, RW | NX, READ_WRITE),
        (NGNRNE, RO, READ),
        // Clients of Hafnium must say inner shareable.
        (NGNRNE | INNER, RW | NX, READ_WRITE),
    ] {
        let handle = lent(&stage, RW);
        assert_eq!(stage.access(SP1, Secure, DEVICE), NONE);
        assert_eq!(stage.access(SP2, Secure, DEVICE), NONE, "not retrieved yet");
        let response = stage
            .retrieve(
                SP2,
                Transaction {
                    attributes,
                    ..request(SP1, handle, permissions)
                },
            )
            .unwrap();
        assert_eq!(response.attributes, NGNRNE);
        assert_eq!(response.flags, TYPE_LEND);
        assert_eq!(
            response.receivers[0].permissions,
            NX | permissions & 3,
            "what it got"
        );
        assert_eq!(response.constituents, [(DEVICE, 1)]);
        assert_eq!(stage.access(SP2, Secure, DEVICE), access);
        assert!(is_device(&stage, SP2, Secure, DEVICE));
        assert_eq!(stage.access(SP1, Secure, DEVICE), NONE);
        stage.run(SP1, move |sp| {
            sp.refused([MEM_RECLAIM, handle & 0xffff_ffff, handle >> 32], DENIED);
        });
        stage.relinquish(SP2, handle);
        assert_eq!(stage.access(SP2, Secure, DEVICE), NONE);
        reclaimed(&stage, handle);
    }
    // Nobody asked for zeroing.
    assert!(
        !stage
            .system
            .machine
            .journal()
            .zeroed
            .iter()
            .any(|(_, range)| range.contains(&DEVICE))
    );
    stage.system.machine.check_tlbs();
}

// req: GEN-23, MEMD-54, MEMO-10, DSC-11, DSC-14
#[test]
fn a_device_is_not_sent_in_any_other_way() {
    let stage = stage();
    let ranges = [(DEVICE, 1)];
    let own = partition_base(0) + OWN_PAGES;
    let mut to_two = Transaction::share(SP1, SP2, RW, &ranges);
    to_two.attributes = NGNRNE;
    to_two.receivers.push(Receiver::new(SP3, RO));
    let with = |attributes, transaction| Transaction {
        attributes,
        ..transaction
    };
    let cases = [
        (
            MEM_SHARE_64,
            Transaction::share(SP1, SP2, RO, &ranges),
            DENIED,
        ),
        (
            MEM_SHARE_64,
            with(NGNRNE, Transaction::share(SP1, SP2, RO, &ranges)),
            DENIED,
        ),
        (
            MEM_DONATE_64,
            Transaction::donate(SP1, SP2, &ranges),
            DENIED,
        ),
        (MEM_LEND_64, to_two, DENIED),
        // Together with memory, in either order.
        (
            MEM_LEND_64,
            Transaction::lend(SP1, SP2, RW, &[(own, 1), (DEVICE, 1)]),
            DENIED,
        ),
        (
            MEM_LEND_64,
            Transaction::lend(SP1, SP2, RW, &[(DEVICE, 1), (own, 1)]),
            DENIED,
        ),
        // With zeroing.
        (
            MEM_LEND_64,
            Transaction {
                flags: ZERO,
                ..lend(RW)
            },
            DENIED,
        ),
        // In a lend to one borrower, the borrower states the memory type.
        (MEM_LEND_64, with(NGNRNE, lend(RW)), INVALID_PARAMETERS),
        (
            MEM_LEND_64,
            with(NGNRNE | INNER, lend(RW)),
            INVALID_PARAMETERS,
        ),
        (MEM_LEND_64, with(NORMAL, lend(RW)), INVALID_PARAMETERS),
        // To a device, which could reach registers of another device.
        (
            MEM_LEND_64,
            Transaction::lend(SP1, SEPID, RW, &ranges),
            DENIED,
        ),
    ];
    for (function, transaction, code) in cases {
        stage.run(SP1, move |sp| {
            let layout = sp.layout;
            sp.memory_refused(function, &transaction.encode(layout), code);
        });
    }
    assert_eq!(stage.access(SP1, Secure, DEVICE), READ_WRITE);
    // Device memory cannot be a buffer, either.
    stage.run(SP1, |sp| {
        sp.call([RXTX_UNMAP]).success();
        let other = sp.tx();
        sp.refused([RXTX_MAP_64, DEVICE, other, 1], INVALID_PARAMETERS);
        sp.refused([RXTX_MAP_64, other, DEVICE, 1], INVALID_PARAMETERS);
        sp.map_buffers();
        sp.refused([MEM_LEND_64, 96, 96, DEVICE, 1], INVALID_PARAMETERS);
    });
}

// req: MEMD-33, MEMD-45, MEMD-53, MEMD-56, DSC-13
#[test]
fn a_device_is_not_retrieved_as_something_else() {
    let stage = stage();
    let handle = lent(&stage, RO);
    for attributes in [NORMAL, 0x24, NGNRE, GRE, NGNRE | INNER] {
        let request = Transaction {
            attributes,
            ..request(SP1, handle, RO)
        };
        stage.retrieve_refused(SP2, request, DENIED);
    }
    for permissions in [RW, RO | X] {
        stage.retrieve_refused(SP2, request(SP1, handle, permissions), DENIED);
    }
    stage.retrieve(SP2, request(SP1, handle, RO)).unwrap();
    assert_eq!(stage.access(SP2, Secure, DEVICE), READ);
    // A borrower cannot send the device on, nor use it as a buffer.
    stage.run(SP2, |sp| {
        for (function, transaction) in [
            (
                MEM_SHARE_64,
                Transaction::share(SP2, SP3, RO, &[(DEVICE, 1)]),
            ),
            (MEM_LEND_64, Transaction::lend(SP2, SP3, RO, &[(DEVICE, 1)])),
            (MEM_DONATE_64, Transaction::donate(SP2, SP3, &[(DEVICE, 1)])),
        ] {
            let layout = sp.layout;
            sp.memory_refused(function, &transaction.encode(layout), DENIED);
        }
    });
    stage.relinquish(SP2, handle);
    reclaimed(&stage, handle);
}

// req: MEMD-79, MEMRL-11, DSC-14
#[test]
fn a_device_is_zeroed_at_no_point() {
    let stage = stage();
    let handle = lent(&stage, RW);
    for flags in [ZERO, ZERO_AFTER] {
        let request = Transaction {
            flags,
            ..request(SP1, handle, RW)
        };
        stage.retrieve_refused(SP2, request, DENIED);
    }
    stage.run(SP1, move |sp| {
        sp.refused(
            [MEM_RECLAIM, handle & 0xffff_ffff, handle >> 32, ZERO.into()],
            DENIED,
        );
    });
    stage.retrieve(SP2, request(SP1, handle, RW)).unwrap();
    stage.run(SP2, move |sp| {
        let before = sp.snapshot();
        assert_eq!(sp.relinquish(handle, ZERO).error(), Some(DENIED));
        assert_eq!(before, sp.snapshot());
    });
    stage.relinquish(SP2, handle);
    reclaimed(&stage, handle);
}

// req: GEN-24, MAN-31
#[test]
fn what_the_manifest_does_not_give_cannot_be_lent() {
    // A device that its owner can only read can only be lent read-only.
    let stage = stage_with(|spec| with_device(spec, DEVICE, 1, true));
    stage.run(SP1, |sp| {
        let layout = sp.layout;
        sp.memory_refused(MEM_LEND_64, &lend(RW).encode(layout), DENIED);
    });
    let handle = lent(&stage, RO);
    stage.retrieve(SP2, request(SP1, handle, 0)).unwrap();
    assert_eq!(stage.access(SP2, Secure, DEVICE), READ);
}

// req: MEMO-12
#[test]
fn a_device_comes_back_from_a_borrower_that_dies() {
    let stage = Stage::of(
        |builder| builder,
        |spec| match spec.name.as_str() {
            "sp1" => with_device(spec, DEVICE, 3, true),
            _ => spec.with(|spec| spec.takes_exceptions = false),
        },
    );
    stage.system.machine.memory().declare(Secure, SECURE_DEVICE);
    let handle = lent(&stage, RW);
    stage.retrieve(SP2, request(SP1, handle, RW)).unwrap();
    assert_eq!(stage.kill(SP2).error(), Some(ABORTED));
    reclaimed(&stage, handle);
    // The device can be lent again.
    let again = stage.run(SP1, |sp| {
        sp.send(
            MEM_LEND_64,
            &Transaction::lend(SP1, SP3, RO, &[(DEVICE, 1)]),
        )
    });
    reclaimed(&stage, again);
}

// req: MEMO-12, MEMO-35
#[test]
fn an_owner_that_dies_has_its_device_when_it_starts_anew() {
    let stage = stage_with(|spec| {
        let device = spec.extra.clone().unwrap();
        spec.with(|spec| {
            spec.takes_exceptions = false;
            spec.extra = Some(Arc::new(move |fdt| {
                fdt.property_null("lifecycle-support").unwrap();
                device(fdt);
            }));
        })
        .property("abort-action", 2)
    });
    // A region that was not retrieved goes back at once.
    let handle = lent(&stage, RW);
    assert_eq!(stage.kill(SP1).error(), Some(ABORTED));
    assert!(stage.run(SP1, |sp| sp.poke(Secure, DEVICE, 0)));
    stage.retrieve_refused(SP2, request(SP1, handle, RW), INVALID_PARAMETERS);
    // A borrower keeps a retrieved region, and the owner does not start again until it is returned.
    let handle = lent(&stage, RW);
    stage.retrieve(SP2, request(SP1, handle, RW)).unwrap();
    assert_eq!(stage.kill(SP1).error(), Some(ABORTED));
    assert_eq!(stage.access(SP2, Secure, DEVICE), READ_WRITE);
    let nwd = stage.nwd();
    assert_eq!(nwd.request(SP1, [0; 5]).error(), Some(ABORTED));
    stage.relinquish(SP2, handle);
    assert_eq!(stage.access(SP2, Secure, DEVICE), NONE);
    stage.system.machine.check_tlbs();
}

// req: GEN-23, GEN-24, MEMD-10
#[test]
fn the_normal_world_lends_its_devices() {
    let stage = stage();
    let nwd = stage.nwd();
    let lend = |at| Transaction::lend(0, SP2, RW, &[(at, 1)]);
    let handle = nwd.send(MEM_LEND_64, &lend(CLOCK));
    nwd.memory_refused(MEM_LEND_64, &lend(CLOCK).encode(Layout::V1_2), DENIED);
    let asked = request(0, handle, RW);
    let normal = Transaction {
        attributes: NORMAL,
        ..asked.clone()
    };
    assert_eq!(stage.retrieve(SP2, normal), Err(DENIED));
    let response = stage.retrieve(SP2, asked).unwrap();
    assert_eq!(response.attributes, NGNRNE | NON_SECURE);
    assert_eq!(stage.access(SP2, NonSecure, CLOCK), READ_WRITE);
    assert!(is_device(&stage, SP2, NonSecure, CLOCK));
    assert_eq!(stage.access(SP2, NonSecure, CLOCK + 0x1000), NONE);
    stage.run(SP2, move |sp| sp.relinquish(handle, 0)).success();
    assert_eq!(stage.access(SP2, NonSecure, CLOCK), NONE);
    nwd.reclaim(handle).success();
    nwd.reclaim(nwd.send(MEM_LEND_64, &lend(CLOCK))).success();
}

// A device that a partition has, the registers of the GIC and the console are not the Normal
// world's to lend, and its devices are not sent in any other way.
// req: GEN-23, MEMD-10, RXTX-20
#[test]
fn the_normal_world_sends_devices_in_no_other_way() {
    let stage = stage_with(|spec| with_device(spec, CLOCK + 0x1000, 3 | 8, false));
    let nwd = stage.nwd();
    let mut two = Transaction::share(0, SP2, RW, &[(CLOCK, 1)]);
    two.receivers.push(Receiver::new(SP3, RW));
    let zeroed = Transaction {
        flags: 1,
        ..Transaction::lend(0, SP2, RW, &[(CLOCK, 1)])
    };
    let lend = |ranges: &[(u64, u32)]| Transaction::lend(0, SP2, RW, ranges);
    for (function, transaction) in [
        (MEM_LEND_64, two),
        (MEM_LEND_64, zeroed),
        (MEM_SHARE_64, Transaction::share(0, SP2, RW, &[(CLOCK, 1)])),
        (MEM_DONATE_64, Transaction::donate(0, SP2, &[(CLOCK, 1)])),
        // With memory, and with a device of a partition.
        (MEM_LEND_64, lend(&[(CLOCK, 1), (NWD_PAGES, 1)])),
        (MEM_LEND_64, lend(&[(CLOCK, 2)])),
        (MEM_LEND_64, lend(&[(CLOCK + 0x1000, 1)])),
        // Of the Secure world.
        (MEM_LEND_64, lend(&[(DEVICE, 1)])),
    ] {
        nwd.memory_refused(function, &transaction.encode(Layout::V1_2), DENIED);
    }
    nwd.call([RXTX_UNMAP]).success();
    nwd.refused([RXTX_MAP_64, NWD_TX, CLOCK, 1], DENIED);
    nwd.refused([RXTX_MAP_64, CLOCK, NWD_TX, 1], DENIED);
}

// req: GEN-24, MAN-31
#[test]
fn a_partition_lends_a_device_of_the_normal_world() {
    for exclusive in [true, false] {
        let stage = stage_with(|spec| with_device(spec, CLOCK, 3 | 8, exclusive));
        assert_eq!(stage.access(SP1, NonSecure, CLOCK), READ_WRITE);
        let lend = Transaction::lend(SP1, SP2, RW, &[(CLOCK, 1)]);
        let handle = stage.run(SP1, move |sp| sp.send(MEM_LEND_64, &lend));
        let response = stage.retrieve(SP2, request(SP1, handle, RW)).unwrap();
        assert_eq!(response.attributes, NGNRNE | NON_SECURE);
        assert_eq!(stage.access(SP2, NonSecure, CLOCK), READ_WRITE);
        assert!(is_device(&stage, SP2, NonSecure, CLOCK));
        assert_eq!(stage.access(SP2, NonSecure, CLOCK + 0x1000), NONE);
    }
}

// The partition asks for exclusive access, or nobody else has the device.
// req: GEN-23, DSC-11
#[test]
fn a_device_that_only_one_manifest_has_can_be_lent() {
    let shared = |spec| with_device(spec, DEVICE, 3, false);
    let stage = stage_with(shared);
    let handle = lent(&stage, RW);
    stage.retrieve(SP2, request(SP1, handle, RW)).unwrap();
    assert_eq!(stage.access(SP2, Secure, DEVICE), READ_WRITE);
    assert_eq!(stage.access(SP1, Secure, DEVICE), NONE);
    stage.relinquish(SP2, handle);
    reclaimed(&stage, handle);

    let stage = Stage::with(|spec| match spec.name.as_str() {
        "sp3" => spec,
        _ => shared(spec),
    });
    stage.system.machine.memory().declare(Secure, SECURE_DEVICE);
    for (owner, receiver) in [(SP1, SP3), (SP2, SP3)] {
        assert_eq!(stage.access(owner, Secure, DEVICE), READ_WRITE);
        let lend = Transaction::lend(owner, receiver, RW, &[(DEVICE, 1)]);
        stage.run(owner, move |sp| {
            let layout = sp.layout;
            sp.memory_refused(MEM_LEND_64, &lend.encode(layout), DENIED);
        });
    }
}

// For example, the interface of a TPM in DRAM.
// req: MAN-28, MEMO-07
#[test]
fn a_device_inside_of_the_normal_worlds_memory_is_in_no_transaction() {
    const PAGES: Range<u64> = 0x4400_0000..0x4400_2000;
    const TPM: u64 = PAGES.start;
    for (world, attributes) in [(Secure, 3), (NonSecure, 3 | 8)] {
        let stage = Stage::of(
            |builder| builder.device_memory(&[(world, PAGES)]),
            |spec| match spec.name.as_str() {
                "sp3" => spec,
                _ => with_device(spec, TPM, attributes, false),
            },
        );
        stage.system.machine.memory().declare(world, PAGES);
        let nwd = stage.nwd();
        for id in [SP1, SP2] {
            assert_eq!(stage.access(id, world, TPM), READ_WRITE);
            assert!(is_device(&stage, id, world, TPM));
            // The partitions have no access to the same address in the other world.
            let other = if world == Secure { NonSecure } else { Secure };
            assert_eq!(stage.access(id, other, TPM), NONE);
        }
        for ranges in [vec![(TPM, 1)], vec![(TPM - 0x1000, 2)]] {
            let share = Transaction::share(0, SP3, RO, &ranges);
            nwd.memory_refused(MEM_SHARE_64, &share.encode(Layout::V1_2), DENIED);
        }
        nwd.call([RXTX_UNMAP]).success();
        nwd.refused([RXTX_MAP_64, TPM, NWD_TX, 1], DENIED);
        nwd.map_buffers();
        let around = Transaction::share(0, SP3, RO, &[(TPM - 0x1000, 1), (TPM + 0x1000, 1)]);
        let handle = nwd.send(MEM_SHARE_64, &around);
        nwd.reclaim(handle).success();
    }
}

// req: GEN-23, DSC-12
#[test]
fn nobody_lends_devices_in_1_0() {
    let stage = stage_with(|spec| spec.version(0));
    stage.run(SP1, |sp| {
        let layout = sp.layout;
        sp.memory_refused(MEM_LEND_64, &lend(RW).encode(layout), DENIED);
    });
}

// req: GEN-23, GEN-24
#[test]
fn devices_are_lent_from_1_1_on() {
    let stage = stage_with(|spec| spec.version(1));
    let handle = lent(&stage, RW);
    let device = request(SP1, handle, RW);
    assert_eq!(stage.retrieve(SP2, device).unwrap().attributes, NGNRNE);
    assert_eq!(stage.access(SP2, Secure, DEVICE), READ_WRITE);
    stage.relinquish(SP2, handle);
    reclaimed(&stage, handle);
}
