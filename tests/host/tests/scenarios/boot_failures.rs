//! BOOT: packages for which the system has too few resources, and memory that does not answer. The
//! consequences are limited to that partition.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use host_tests::ffa::*;
use host_tests::hal::FakeContext;
use host_tests::machine::SECURE_DEVICE;
use host_tests::manifest::{ENTRY, Region, partition_base};
use host_tests::smmu::DmaFault;
use host_tests::system::Builder;
use host_tests::{PartitionSpec, Sp, System};
use spmc::addr::World::{NonSecure, Secure};
use spmc::hal::{Access, Stream};
use spmc::partition::Partition;
use spmc::vector_length::VectorLength;

use super::streams::device;

const SP1: u16 = 0x8001;
const SP2: u16 = 0x8002;

/// Fails in a request with 1 in x3.
fn serve(sp: &mut Sp) {
    sp.serve(|sp, request| {
        if request.0[3] == 1 {
            sp.trap(0);
        }
        request.payload()
    })
}

/// Returns a partition that starts again when it fails.
fn restarts(name: &str) -> PartitionSpec {
    PartitionSpec::new(name)
        .with(|sp| {
            sp.takes_exceptions = false;
            sp.extra = Some(Arc::new(|fdt| {
                fdt.property_null("lifecycle-support").unwrap();
            }));
        })
        .property("abort-action", 2)
        .script(serve)
}

/// Replaces the package by one of version 1, in which the manifest follows the header directly.
fn first_version(mut spec: PartitionSpec) -> PartitionSpec {
    const HEADER: usize = 24;
    let manifest = spec.manifest();
    let mut package = spec.package();
    package[4..8].copy_from_slice(&1_u32.to_le_bytes());
    package[8..12].copy_from_slice(&(HEADER as u32).to_le_bytes());
    package[HEADER..ENTRY as usize].fill(0);
    package[HEADER..][..manifest.len()].copy_from_slice(&manifest);
    spec.package = Some(package);
    spec
}

/// Returns whether a partition exists. If so, all calls agree on that; otherwise none knows of it.
#[track_caller]
fn is_there(system: &System, id: u16) -> bool {
    let nwd = system.nwd();
    let is_there = nwd.request(id, [7; 5]).error().is_none();
    let told = nwd.call([PARTITION_INFO_GET, 0, 0, 0, 0, 1]);
    let count = told.error().map_or_else(|| told.success()[0], |_| 0);
    let others = (SP1..SP1 + 3).filter(|other| *other != id);
    let others = others.filter(|other| nwd.request(*other, [7; 5]).error().is_none());
    assert_eq!(count, others.count() as u64 + u64::from(is_there));
    is_there
}

// req: BOOT-05, BOOT-12
#[test]
fn a_manifest_that_lies_where_boot_information_comes_is_moved() {
    let spec = PartitionSpec::new("sp1").with(|sp| sp.boot_register = Some(1));
    let manifest = spec.manifest();
    let system = System::boot([first_version(spec).script(move |sp| {
        let mut blob = [0; 64];
        sp.read(Secure, sp.regs[1], &mut blob).unwrap();
        let address = u64::from_le_bytes(blob[56..].try_into().unwrap());
        assert!(address >= sp.base() + 64);
        let mut found = vec![0; manifest.len()];
        sp.read(Secure, address, &mut found).unwrap();
        assert_eq!(found, manifest);
        serve(sp);
    })]);
    assert!(is_there(&system, SP1));
}

// FF-A v1.0 section 3.5.2.
// req: BOOT-08, BOOT-04
#[test]
fn boot_information_of_1_0_is_name_value_and_size() {
    let spec = PartitionSpec::new("sp1").version(0);
    let spec = spec.with(|sp| sp.boot_register = Some(0));
    let manifest = spec.manifest();
    let system = System::boot([spec.script(move |sp| {
        let mut blob = [0; 64];
        sp.read(Secure, sp.regs[0], &mut blob).unwrap();
        assert_eq!(blob[..4], *b"FF-A");
        assert_eq!(blob[4..8], 1_u32.to_le_bytes());
        assert_eq!(blob[8..24], *b"TYPE_DT\0\0\0\0\0\0\0\0\0");
        let word = |n: usize| u64::from_le_bytes(blob[n..n + 8].try_into().unwrap());
        let mut found = vec![0; word(32) as usize];
        sp.read(Secure, word(24), &mut found).unwrap();
        assert_eq!(found, manifest);
        assert_eq!(blob[40..], [0; 24], "nothing behind it");
        serve(sp);
    })]);
    assert!(is_there(&system, SP1));
}

// A register without the node that says for what it is used.
// req: BOOT-03, PMAN-16
#[test]
fn boot_information_is_for_those_who_ask_for_it() {
    let spec = PartitionSpec::new("sp1").property("gp-register-num", 1);
    let system = System::boot([spec.script(|sp| {
        assert_eq!(sp.regs, [0; 31]);
        assert_eq!(sp.peek(Secure, sp.base()), Some(b'S'), "SPKG");
        serve(sp);
    })]);
    assert!(is_there(&system, SP1));
}

// req: MAN-01, BOOT-11
#[test]
fn a_package_of_which_one_access_fails_is_left_out() {
    let boots = |others| {
        let package = partition_base(1)..partition_base(2);
        let spec = restarts("sp2").with(|sp| sp.boot_register = Some(1));
        let system = System::builder()
            .sp(restarts("sp1").with(|sp| sp.boot_register = Some(1)))
            .sp(first_version(spec))
            .prepare(move |machine| machine.fail_access(package, others))
            .boot();
        assert_eq!(system.boot_answer().function(), MSG_WAIT);
        assert!(is_there(&system, SP1));
        let boots = is_there(&system, SP2);
        assert_eq!(boots, system.machine.is_incident_ahead(), "{others}");
        boots
    };
    let accesses = (0..).take_while(|others| !boots(*others)).count();
    // Header and manifest, five pages to and from, the manifest moved, boot information.
    assert!((15..25).contains(&accesses), "{accesses}");
}

// req: MSGD-08
#[test]
fn a_partition_is_not_restarted_if_its_memory_does_not_answer() {
    let restarts = |others| {
        let own = partition_base(0)..partition_base(1);
        let spec = restarts("sp1").with(|sp| sp.boot_register = Some(1));
        let system = System::boot([spec, PartitionSpec::new("sp2")]);
        system.machine.fail_access(own, others);
        let nwd = system.nwd();
        assert_eq!(nwd.request(SP1, [1; 5]).error(), Some(ABORTED));
        let answers = |id| nwd.request(id, [7; 5]).error().is_none();
        let restarts = answers(SP1);
        assert_eq!(restarts, system.machine.is_incident_ahead(), "{others}");
        assert!(answers(SP2));
        // If it is not restarted, it stays stopped, and is listed.
        let count = nwd.call([PARTITION_INFO_GET, 0, 0, 0, 0, 1]).success()[0];
        assert_eq!(count, 2);
        restarts
    };
    // 251 pages are zeroed. Then the partition is loaded as at boot.
    assert!([0, 100, 250].into_iter().all(|others| !restarts(others)));
    assert!((251..).take_while(|others| !restarts(*others)).count() > 10);
}

// req: SEL0-01, BOOT-11
#[test]
fn a_system_that_cannot_confine_s_el0_has_no_partition_there() {
    let builder = System::builder()
        .sp(PartitionSpec::new("sp1").s_el0())
        .sp(PartitionSpec::new("sp2"));
    let system = builder
        .prepare(|machine| machine.confines_s_el0.store(false, Relaxed))
        .boot();
    assert!(!is_there(&system, SP1) && is_there(&system, SP2));
}

/// Boots a machine with vectors of that many bits, sp1 with `wanted` for each of two contexts, and
/// sp2. Returns whether sp1 is there.
fn has_vectors(bits: u32, wanted: u32) -> bool {
    let spec = PartitionSpec::new("sp1").vcpus(2);
    let builder = System::builder()
        .sp(spec.property("sve-vector-length", wanted))
        .sp(PartitionSpec::new("sp2"));
    let system = builder
        .prepare(move |machine| machine.vector_bits.store(bits, Relaxed))
        .boot();
    assert!(is_there(&system, SP2));
    let length = |partition: &Partition<FakeContext>| {
        let lengths = partition
            .vcpus
            .iter()
            .map(|slot| slot.claim().unwrap().context.vectors);
        lengths.collect::<Vec<_>>()
    };
    let lengths: Vec<_> = system.spmc.partitions.iter().map(length).collect();
    let [others @ .., last] = &lengths[..] else {
        panic!("sp2 is there");
    };
    assert_eq!(last, &[None]);
    assert!(
        others
            .iter()
            .all(|own| *own == [VectorLength::from_bits(wanted); 2])
    );
    is_there(&system, SP1)
}

// req: BOOT-11
#[test]
fn a_partition_has_the_vectors_that_it_asks_for_or_does_not_start() {
    for (bits, wanted, is_there) in [
        (0, 0, true),
        (256, 0, true),
        (256, 128, true),
        (256, 256, true),
        (256, 512, false),
        (0, 128, false),
        (2048, 512, true),
        // There is no memory for so many registers.
        (2048, 2048, false),
        (2048, 192, false),
    ] {
        assert_eq!(has_vectors(bits, wanted), is_there, "{wanted} of {bits}");
    }
}

// The machine checks that no two endpoints have one VMID.
// req: STRM-01
#[test]
fn all_partitions_and_stream_endpoints_have_translations_of_their_own() {
    let devices: Vec<_> = (0..12)
        .map(|n| {
            let stream = Stream {
                smmu: 3,
                id: u32::from(n),
            };
            (0x9000 + n, stream)
        })
        .collect();
    let streams: Vec<_> = devices.iter().map(|(_, stream)| *stream).collect();
    let builder = System::builder().streams(&streams).devices(&devices);
    let specs = (0..8).map(|n| PartitionSpec::new(&format!("sp{n}")));
    let system = specs.fold(builder, Builder::sp).boot();
    for id in (SP1..).take(8) {
        assert_eq!(system.nwd().ask(id, [1; 5]), [1; 5]);
    }
    for stream in streams {
        let dma = system
            .machine
            .dma(stream, NonSecure, 0x4000_0000, Access::Read);
        assert!(matches!(dma, Err(DmaFault::Stage2(_))), "{dma:?}");
    }
}

const STREAM: Stream = Stream { smmu: 1, id: 7 };
const DEVICE: u64 = SECURE_DEVICE.start;

/// Returns memory of the partition at `index`, for a system with few tables: pages that it shares
/// with the Normal world and one of its own, each of which needs a table.
fn scattered(index: u64) -> [Region; 4] {
    let region = |name, base, attributes| Region {
        name,
        base: base + index * 0x20_0000,
        relative: false,
        pages: 1,
        attributes,
    };
    [
        region("a", 0x4800_0000, 8 | 3),
        region("b", 0x4a00_0000, 8 | 3),
        region("c", 0x4c00_0000, 8 | 3),
        region("d", 0x0e80_0000, 3),
    ]
}

/// Returns a partition that accesses all its memory before it serves. The first one has a device.
fn wide(index: u64, endpoint: Option<u16>) -> PartitionSpec {
    let spec = PartitionSpec::new(&format!("sp{}", index + 1));
    let spec = match index {
        0 => device(spec, STREAM.smmu, &[STREAM.id], endpoint),
        _ => spec,
    };
    spec.with(|sp| sp.regions = scattered(index).to_vec())
        .script(move |sp| {
            for region in scattered(index) {
                let world = [Secure, NonSecure][usize::from(region.attributes & 8 != 0)];
                assert!(sp.poke(world, region.base, 1), "{region:?}");
            }
            serve(sp);
        })
}

// req: BOOT-11, MAN-26, MEMX-11, STRM-01
#[test]
fn a_partition_has_all_that_its_manifest_names_or_is_not_there() {
    let mut seen = BTreeSet::new();
    for (tables, endpoint) in (2..60).flat_map(|tables| [(tables, None), (tables, Some(0x8100))]) {
        let builder = System::builder().tables(tables).streams(&[STREAM]);
        let system = (0..3)
            .fold(builder, |builder, n| builder.sp(wide(n, endpoint)))
            .boot();
        let there = [0, 1, 2].map(|index| is_there(&system, SP1 + index));
        let dma = system.machine.dma(STREAM, Secure, DEVICE, Access::Read);
        if there[0] {
            let reaches = endpoint.is_none();
            assert_eq!(dma.ok(), reaches.then_some(DEVICE), "{tables}");
        } else {
            assert_eq!(dma, Err(DmaFault::Blocked), "{tables}");
        }
        if there[0] {
            let nwd = system.nwd();
            nwd.map_buffers();
            for index in (0..3).filter(|index| there[*index]) {
                for region in &scattered(index as u64)[..3] {
                    let share = Transaction::share(0, SP1, RW, &[(region.base, 1)]);
                    nwd.memory_refused(MEM_SHARE_64, &share.encode(Layout::V1_2), DENIED);
                }
            }
        }
        seen.insert(there);
    }
    // The first partitions take what there is.
    let expected = [0, 1, 2, 3].map(|count| [0, 1, 2].map(|index| index < count));
    assert_eq!(seen, BTreeSet::from(expected));
}
