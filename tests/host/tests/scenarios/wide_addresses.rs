//! Addresses of up to 48 bits: memory of the Normal world and devices wherever the SPMC manifest
//! says, and manifests with addresses that no PE has.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use host_tests::ffa::*;
use host_tests::manifest::Region;
use host_tests::{PartitionSpec, System};
use spmc::addr::World::{NonSecure, Secure};
use spmc::geometry::Geometry;

use crate::s_el0::{READ_WRITE as EL0_READ_WRITE, el0, map_buffers, set};
use crate::stage::{NONE, OWN_PAGES, READ_WRITE, SP1, SP2, Stage};

/// Memory where TF-A's manifest for the FVP has it, and devices where large servers have them.
const MEMORY: Range<u64> = 0x8800_8000_0000..0x8801_0000_0000;
const DEVICE: Range<u64> = 0x1000_0000_0000..0x1000_0000_1000;

/// Memory below the end of addresses of `bits` bits.
fn up_to(bits: u32) -> Range<u64> {
    (1 << bits) - 0x10_0000..1 << bits
}

fn geometry(system: &System) -> Geometry {
    system.machine.geometry()
}

/// Gives a partition the device, for itself.
fn with_device(spec: PartitionSpec) -> PartitionSpec {
    spec.with(|spec| {
        spec.extra = Some(Arc::new(|fdt| {
            let node = fdt.begin_node("device-regions").unwrap();
            fdt.property_string("compatible", "arm,ffa-manifest-device-regions")
                .unwrap();
            let device = fdt.begin_node("device").unwrap();
            fdt.property_u64("base-address", DEVICE.start).unwrap();
            fdt.property_u32("pages-count", 1).unwrap();
            fdt.property_u32("attributes", 3).unwrap();
            fdt.property_null("exclusive-access").unwrap();
            fdt.end_node(device).unwrap();
            fdt.end_node(node).unwrap();
        }));
    })
}

/// Goes through the life of a page of the Normal world: shared, lent and donated to SP1.
fn give_and_take(stage: &Stage, page: u64) {
    let nwd = stage.nwd();
    let before = stage.system.snapshot();
    for (function, transaction) in [
        (MEM_SHARE_64, Transaction::share(0, SP1, RW, &[(page, 1)])),
        (MEM_LEND_64, Transaction::lend(0, SP1, RW, &[(page, 1)])),
    ] {
        nwd.write(page, b"from the Normal world");
        let handle = nwd.send(function, &transaction);
        assert_eq!(stage.access(SP1, NonSecure, page), NONE);
        let request = Transaction::retrieve(0, SP1, handle, RW);
        let response = stage.retrieve(SP1, request).unwrap();
        assert_eq!(response.constituents, [(page, 1)]);
        assert_eq!(stage.access(SP1, NonSecure, page), READ_WRITE);
        let seen = stage.run(SP1, move |sp| {
            let mut text = [0; 21];
            sp.read(NonSecure, page, &mut text).unwrap();
            text
        });
        assert_eq!(&seen, b"from the Normal world");
        stage.relinquish(SP1, handle);
        nwd.reclaim(handle).success();
        assert_eq!(stage.access(SP1, NonSecure, page), NONE);
        assert_eq!(before, stage.system.snapshot(), "all is as it was");
    }
    let donation = Transaction::donate(0, SP1, &[(page + 0x1000, 1)]);
    let handle = nwd.send(MEM_DONATE_64, &donation);
    let request = Transaction::retrieve(0, SP1, handle, 0);
    stage.retrieve(SP1, request).unwrap();
    assert_eq!(stage.access(SP1, NonSecure, page + 0x1000), READ_WRITE);
    // It is the partition's now, which can lend it, and the Normal world's no more.
    let lend = Transaction::lend(SP1, SP2, RW, &[(page + 0x1000, 1)]);
    let handle = stage.run(SP1, move |sp| sp.send(MEM_LEND_64, &lend));
    let request = Transaction::retrieve(SP1, SP2, handle, RW);
    stage.retrieve(SP2, request).unwrap();
    assert_eq!(stage.access(SP2, NonSecure, page + 0x1000), READ_WRITE);
    stage.relinquish(SP2, handle);
    stage.run(SP1, move |sp| sp.reclaim(handle, 0)).success();
    let again = Transaction::share(0, SP1, RW, &[(page + 0x1000, 1)]);
    nwd.memory_refused(MEM_SHARE_64, &again.encode(Layout::V1_2), DENIED);
}

// req: MEMO-03, MEMO-05, MEMO-07, MEMS-01, MEML-01, MEMDN-01, MEMRQ-01, MEMRL-01, MEMRC-01
#[test]
fn memory_anywhere_is_shared_lent_donated_and_reclaimed() {
    for memory in [
        up_to(39),
        up_to(40),
        up_to(41),
        up_to(42),
        up_to(44),
        up_to(48),
        MEMORY,
    ] {
        let (first, last) = (memory.start, memory.end - 0x2000);
        let stage = Stage::of(|builder| builder.normal_memory(&[memory]), |spec| spec);
        for page in [first, last] {
            give_and_take(&stage, page);
        }
        // The pages beside the memory are nobody's.
        for page in [first - 0x1000, last + 0x2000] {
            let error = if page < 1 << 48 {
                DENIED
            } else {
                INVALID_PARAMETERS
            };
            let share = Transaction::share(0, SP1, RW, &[(page, 1)]);
            let bytes = share.encode(Layout::V1_2);
            stage.nwd().memory_refused(MEM_SHARE_64, &bytes, error);
        }
    }
}

// req: MEMO-03, GEN-23, GEN-24, MEMD-57
#[test]
fn a_device_far_up_is_its_partitions_which_can_lend_it() {
    let stage = Stage::of(
        |builder| {
            builder
                .normal_memory(&[MEMORY])
                .device_memory(&[(Secure, DEVICE)])
        },
        |spec| match spec.name.as_str() {
            "sp1" => with_device(spec),
            _ => spec,
        },
    );
    stage.system.machine.memory().declare(Secure, DEVICE);
    let at = DEVICE.start;
    assert_eq!(stage.access(SP1, Secure, at), READ_WRITE);
    assert_eq!(stage.access(SP2, Secure, at), NONE);
    let lend = Transaction::lend(SP1, SP2, RW, &[(at, 1)]);
    let handle = stage.run(SP1, move |sp| sp.send(MEM_LEND_64, &lend));
    assert_eq!(stage.access(SP1, Secure, at), NONE);
    let request = Transaction {
        attributes: 0,
        ..Transaction::retrieve(SP1, SP2, handle, RW)
    };
    stage.retrieve(SP2, request).unwrap();
    assert_eq!(stage.access(SP2, Secure, at), READ_WRITE);
    stage.relinquish(SP2, handle);
    stage.run(SP1, move |sp| sp.reclaim(handle, 0)).success();
    assert_eq!(stage.access(SP1, Secure, at), READ_WRITE);
}

// req: MEMO-03, MEMO-07, SEL0-08, MEMRQ-01, MEMRL-01
#[test]
fn an_s_el0_partition_borrows_and_lends_far_up() {
    let region = Region {
        name: "far",
        base: MEMORY.start,
        relative: false,
        pages: 2,
        attributes: 0b1011,
    };
    let borrower = el0("sp1", |sp| {
        map_buffers(sp);
        let own = sp.base() + OWN_PAGES;
        set(sp, own, 1, EL0_READ_WRITE);
        assert!(sp.poke(NonSecure, MEMORY.start, 1));
        assert!(sp.poke(NonSecure, MEMORY.start + 0x1fff, 1));
        sp.serve(|sp, request| {
            let [handle, page, is_el2s, ..] = request.payload();
            let retrieved = sp.retrieve(&Transaction::retrieve(0, sp.id, handle, RW));
            if is_el2s != 0 {
                assert_eq!(retrieved, Err(DENIED));
                return [0; 5];
            }
            retrieved.unwrap();
            assert_eq!(sp.peek(NonSecure, page), Some(0x5a));
            assert!(sp.poke(NonSecure, page, 0xa5));
            assert!(sp.peek(Secure, sp.base()).is_some());
            sp.relinquish(handle, 0).success();
            [0; 5]
        })
    });
    let borrower = borrower.with(|spec| spec.regions.push(region));
    let system = System::builder()
        .normal_memory(&[MEMORY, up_to(40), up_to(39)])
        .sp(borrower)
        .boot();
    assert_eq!(geometry(&system).bits(), 48);
    let nwd = system.nwd();
    nwd.map_buffers();
    for memory in [MEMORY, up_to(40)] {
        for page in [memory.start + 0x4000, memory.end - 0x1000] {
            nwd.write(page, &[0x5a]);
            let share = Transaction::share(0, SP1, RW, &[(page, 1)]);
            let handle = nwd.send(MEM_SHARE_64, &share);
            nwd.ask(SP1, [handle, page, 0, 0, 0]);
            assert_eq!(nwd.read(page, 1), [0xa5]);
            nwd.reclaim(handle).success();
        }
    }
    // The last GiB below 512 GiB is EL2's in the map of such a partition, wherever walks start.
    let page = up_to(39).start;
    let share = Transaction::share(0, SP1, RW, &[(page, 1)]);
    let handle = nwd.send(MEM_SHARE_64, &share);
    nwd.ask(SP1, [handle, page, 1, 0, 0]);
    nwd.reclaim(handle).success();
}

// req: MEMO-03
#[test]
fn the_manifest_says_how_many_bits_addresses_have() {
    let boot = |memory: Range<u64>, bits: u32| {
        System::builder()
            .normal_memory(&[memory])
            .prepare(move |machine| machine.address_bits.store(bits, Relaxed))
            .boot()
    };
    for bits in 39..=48_u32 {
        for physical in [bits, 48] {
            let system = boot(up_to(bits), physical);
            assert_eq!(system.boot_answer().function(), MSG_WAIT);
            let chosen = geometry(&system);
            assert_eq!(Some(chosen), Geometry::choose(bits, physical));
            assert!(chosen.bits() >= bits && chosen.bits() <= physical);
        }
        let end = 1 << bits;
        if bits < 48 {
            // One page more needs one bit more, which the PEs have or not.
            let more = end - 0x1000..end + 0x1000;
            let system = boot(more.clone(), 48);
            assert!(geometry(&system).limit() > end);
            let system = boot(more, bits);
            assert_eq!(system.boot_answer().error(), Some(INVALID_PARAMETERS));
        }
    }
    // What lies low needs no more than one table, whatever the PEs have.
    let system = boot(up_to(39), 48);
    assert_eq!(geometry(&system), Geometry::SMALL);
}
