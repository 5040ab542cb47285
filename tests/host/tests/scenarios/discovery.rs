//! PINFO: `FFA_PARTITION_INFO_GET`, `FFA_ID_GET`, `FFA_SPM_ID_GET`.

use host_tests::ffa::*;
use host_tests::manifest::partition_base;
use host_tests::system::NWD_RX;
use host_tests::{PartitionSpec, Regs, Sp, System};
use spmc::addr::World::Secure;

const UUID_A: [u32; 4] = [0xe078_6148, 0xe311_f8e7, 0x0200_5ebc, 0x1bc5_d5a5];
const UUID_B: [u32; 4] = [1, 2, 3, 4];
const UUID_C: [u32; 4] = [5, 6, 7, 8];
const NIL: [u32; 4] = [0; 4];
/// Values of `abort-action`.
const STOP: u32 = 0;
const DESTROY: u32 = 1;

/// Returns three partitions: sp1 and sp2 share a UUID, sp2 has a second UUID, and sp3 receives no
/// requests.
fn partitions() -> [PartitionSpec; 3] {
    [
        PartitionSpec::new("sp1").with(|sp| sp.uuids = vec![UUID_A]),
        PartitionSpec::new("sp2")
            .vcpus(4)
            .with(|sp| sp.uuids = vec![UUID_B, UUID_A]),
        PartitionSpec::new("sp3").with(|sp| {
            sp.uuids = vec![UUID_C];
            sp.messaging = 2;
        }),
    ]
}

fn query(uuid: [u32; 4], flags: u64) -> [u64; 6] {
    let [a, b, c, d] = uuid.map(u64::from);
    [PARTITION_INFO_GET, a, b, c, d, flags]
}

/// Returns a descriptor of 24 bytes: id, contexts, properties, UUID.
fn descriptor(id: u16, contexts: u16, properties: u32, uuid: [u32; 4]) -> Vec<u8> {
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend(contexts.to_le_bytes());
    bytes.extend(properties.to_le_bytes());
    bytes.extend(uuid.iter().flat_map(|word| word.to_le_bytes()));
    bytes
}

const AARCH64: u32 = 1 << 8;

// req: PINFO-01, PINFO-02, PINFO-04, PINFO-06, PINFO-14, PINFO-15, RXTX-02, RXTX-13, PROP-01
// req: PROP-02, PROP-04
#[test]
fn a_nil_query_lists_every_service() {
    let system = System::boot(partitions());
    let nwd = system.nwd();
    nwd.version(V1_2);
    nwd.map_buffers();
    assert_eq!(nwd.call(query(NIL, 0)).success(), [4, 24, 0, 0, 0, 0]);
    // To the Normal world, no partition is shown as a sender of requests.
    let expected = [
        descriptor(0x8001, 1, 1 | AARCH64, UUID_A),
        descriptor(0x8002, 4, 1 | AARCH64, UUID_B),
        descriptor(0x8002, 4, 1 | AARCH64, UUID_A),
        descriptor(0x8003, 1, AARCH64, UUID_C),
    ]
    .concat();
    assert_eq!(nwd.read(NWD_RX, expected.len()), expected);
}

// req: PINFO-05, PINFO-06, PINFO-14, PINFO-04, PROP-01, PROP-02, PROP-09
#[test]
fn callers_of_1_0_get_8_bytes_and_1_1_one_descriptor_per_partition() {
    for (version, size, properties, reported) in [(V1_0, 8, 1, 0), (V1_1, 24, 1 | AARCH64, 24)] {
        let system = System::boot(partitions());
        let nwd = system.nwd();
        nwd.version(version);
        nwd.map_buffers();
        assert_eq!(nwd.call(query(NIL, 0)).success(), [3, reported, 0, 0, 0, 0]);
        let bytes = nwd.read(NWD_RX, 3 * size);
        assert_eq!(bytes[..8], descriptor(0x8001, 1, properties, NIL)[..8]);
        assert_eq!(
            bytes[size..][..8],
            descriptor(0x8002, 4, properties, NIL)[..8]
        );
        assert_eq!(
            bytes[2 * size..][..8],
            descriptor(0x8003, 1, properties & !1, NIL)[..8]
        );
        assert_eq!(
            nwd.read(NWD_RX + 3 * size as u64, 24),
            [0; 24],
            "nothing behind them"
        );
    }
}

// req: PINFO-03, PINFO-14
#[test]
fn a_query_by_uuid_lists_all_that_have_it_without_repeating_it() {
    for (version, size, properties) in [
        (V1_0, 8, 1),
        (V1_1, 24, 1 | AARCH64),
        (V1_2, 24, 1 | AARCH64),
    ] {
        let system = System::boot(partitions());
        let nwd = system.nwd();
        nwd.version(version);
        nwd.map_buffers();
        let reported = if version == V1_0 { 0 } else { size as u64 };
        let listed = |uuid, count: usize| {
            // The earlier contents of RX do not show.
            nwd.write(NWD_RX, &[0xaa; 72]);
            let answer = nwd.call(query(uuid, 0)).success();
            assert_eq!(answer, [count as u64, reported, 0, 0, 0, 0]);
            let bytes = nwd.read(NWD_RX, size * count);
            nwd.call([RX_RELEASE]).success();
            bytes
        };
        let [sp1, sp2] = [(0x8001, 1), (0x8002, 4)]
            .map(|(id, contexts)| descriptor(id, contexts, properties, NIL)[..size].to_vec());
        assert_eq!(listed(UUID_A, 2), [&sp1[..], &sp2].concat());
        assert_eq!(listed(UUID_B, 1), sp2);
        nwd.refused(query([1, 2, 3, 5], 0), INVALID_PARAMETERS);
    }
}

// req: PINFO-02, PINFO-03, PINFO-15
#[test]
fn a_partition_sees_all_partitions_with_what_they_can_exchange() {
    let system = System::boot(partitions().map(|spec| {
        spec.script(|sp| {
            let buffers = partition_base(usize::from(sp.id - 0x8001)) + 0x1_0000;
            sp.call([RXTX_MAP_64, buffers, buffers + 0x1000, 1])
                .success();
            sp.serve(move |sp, _| {
                assert_eq!(sp.call(query(NIL, 0)).success(), [4, 24, 0, 0, 0, 0]);
                let mut rx = [0; 96];
                sp.read(Secure, buffers + 0x1000, &mut rx).unwrap();
                assert_eq!(rx[..24], descriptor(0x8001, 1, 3 | AARCH64, UUID_A));
                assert_eq!(rx[72..], descriptor(0x8003, 1, 2 | AARCH64, UUID_C));
                sp.call([RX_RELEASE]).success();
                [0; 5]
            })
        })
    }));
    system.nwd().ask(0x8001, [0; 5]);
}

// req: PINFO-13
#[test]
fn counting_needs_no_buffer() {
    let system = System::boot(partitions());
    let nwd = system.nwd();
    assert_eq!(nwd.call(query(NIL, 1)).success(), [4, 0, 0, 0, 0, 0]);
    assert_eq!(nwd.call(query(UUID_A, 1)).success(), [2, 0, 0, 0, 0, 0]);
    nwd.map_buffers();
    assert_eq!(nwd.call(query(NIL, 1)).success()[0], 4);
    nwd.refused([RX_RELEASE], DENIED);
    nwd.refused(query(NIL, 2), INVALID_PARAMETERS);
    nwd.refused(query(NIL, 1 << 31), INVALID_PARAMETERS);
}

// req: PINFO-13, PROP-02
#[test]
fn counting_is_known_to_1_1() {
    let system = System::boot(partitions());
    let nwd = system.nwd();
    nwd.version(V1_1);
    assert_eq!(nwd.call(query(NIL, 1)).success(), [3, 0, 0, 0, 0, 0]);
}

// req: PINFO-13, PINFO-08
#[test]
fn counting_is_unknown_to_1_0() {
    let system = System::boot(partitions());
    let nwd = system.nwd();
    nwd.version(V1_0);
    nwd.map_buffers();
    nwd.refused(query(NIL, 1), INVALID_PARAMETERS);
}

// req: PINFO-07, PINFO-11, RXTX-15
#[test]
fn rx_must_be_there_and_empty() {
    let system = System::boot(partitions());
    let nwd = system.nwd();
    nwd.refused(query(NIL, 0), BUSY);
    nwd.map_buffers();
    nwd.call(query(NIL, 0)).success();
    let before = nwd.read(NWD_RX, 96);
    nwd.refused(query(UUID_B, 0), BUSY);
    assert_eq!(nwd.read(NWD_RX, 96), before);
    nwd.call([RX_RELEASE]).success();
    nwd.call(query(UUID_B, 0)).success();
}

// req: PINFO-08
#[test]
fn unknown_uuids_and_reserved_flags() {
    let system = System::boot(partitions());
    let nwd = system.nwd();
    nwd.map_buffers();
    nwd.refused(query([1, 2, 3, 5], 0), INVALID_PARAMETERS);
    nwd.refused(query([UUID_A[0], 0, 0, 0], 0), INVALID_PARAMETERS);
    for flags in [2, 3, 1 << 31] {
        nwd.refused(query(NIL, flags), INVALID_PARAMETERS);
    }
}

// From 1.2 on each service has its own.
// req: PINFO-06, PINFO-14, PINFO-15, PROP-03
#[test]
fn older_callers_see_what_all_services_of_a_partition_have_together() {
    let spec = PartitionSpec::new("sp1").with(|sp| {
        sp.uuids = vec![UUID_A, UUID_B];
        sp.methods = vec![3, 6];
    });
    let system = System::boot([spec]);
    let nwd = system.nwd();
    for (version, expected) in [(V1_1, vec![5]), (V1_2, vec![1, 4])] {
        nwd.version(version);
        nwd.map_buffers();
        let count = nwd.call(query(NIL, 0)).success()[0];
        let properties = |n| nwd.read(NWD_RX + 24 * n + 4, 4);
        let expected = expected.into_iter().map(|bits: u32| bits | AARCH64);
        let expected: Vec<_> = expected.map(|bits| bits.to_le_bytes().to_vec()).collect();
        let found: Vec<_> = (0..count).map(properties).collect();
        assert_eq!(found, expected, "{version:#x}");
        nwd.call([RXTX_UNMAP]).success();
    }
}

// req: PINFO-12, BOOT-11
#[test]
fn failed_partitions_are_not_listed() {
    let [sp1, sp2, sp3] = partitions();
    let fails = sp2.script(|sp| {
        sp.call([ERROR, 0, 0xffff_fffe]);
    });
    let system = System::boot([sp1, fails, sp3]);
    let nwd = system.nwd();
    nwd.map_buffers();
    assert_eq!(nwd.call(query(NIL, 1)).success()[0], 2);
    nwd.refused(query(UUID_B, 0), INVALID_PARAMETERS);
    nwd.call(query(NIL, 0)).success();
    assert_eq!(nwd.read(NWD_RX + 24, 2), 0x8003_u16.to_le_bytes());
}

// req: PINFO-12
#[test]
fn a_partition_that_stopped_is_listed_and_one_that_was_destroyed_is_not() {
    let cases = [(None, false), (Some(STOP), true), (Some(DESTROY), false)];
    for (action, is_listed) in cases {
        let [sp1, sp2, sp3] = partitions();
        let fails = match action {
            None => sp2,
            Some(action) => sp2.property("abort-action", action).with(|sp| {
                sp.extra = Some(std::sync::Arc::new(|fdt| {
                    fdt.property_null("lifecycle-support").unwrap()
                }));
            }),
        };
        let fails = fails.script(|sp| {
            sp.msg_wait();
            sp.call([ABORT_32]);
        });
        let system = System::boot([sp1, fails, sp3]);
        let nwd = system.nwd();
        nwd.map_buffers();
        let count = || {
            let by_rx = nwd.call(query(NIL, 1)).success()[0];
            let ([last, ..], _) = told(&nwd.call(by_registers(NIL, 0, 0)));
            assert_eq!(by_rx, last + 1);
            by_rx
        };
        let before = count();
        assert_eq!(nwd.request(0x8002, [0; 5]).error(), Some(ABORTED));
        assert_eq!(count() == before, is_listed, "{action:?}");
        let found = nwd.call(query(UUID_B, 1)).error().is_none();
        assert_eq!(found, is_listed, "{action:?}");
    }
}

// req: PINFO-10, BOOT-18
#[test]
fn partitions_can_look_while_they_initialise() {
    let system = System::boot([
        PartitionSpec::new("first").script(|sp| {
            let buffers = partition_base(0) + 0x1_0000;
            sp.call([RXTX_MAP_64, buffers, buffers + 0x1000, 1])
                .success();
            let count = sp.call(query(NIL, 0)).success()[0];
            sp.serve(move |_, _| [count, 0, 0, 0, 0])
        }),
        PartitionSpec::new("second"),
    ]);
    assert_eq!(system.nwd().ask(0x8001, [0; 5])[0], 2);
}

/// Returns the `FFA_PARTITION_INFO_GET_REGS` call of the Normal world.
fn by_registers(uuid: [u32; 4], start: u64, tag: u64) -> [u64; 4] {
    let [a, b, c, d] = uuid.map(u64::from);
    [
        PARTITION_INFO_GET_REGS,
        b << 32 | a,
        d << 32 | c,
        tag << 16 | start,
    ]
}

/// Returns the index of the last descriptor, the index of the last one in the registers, the tag
/// and the size of each descriptor; and the bytes of the descriptors.
#[track_caller]
fn told(answer: &Regs) -> ([u64; 4], Vec<u8>) {
    assert_eq!(answer.0[..2], [SUCCESS_64, 0], "{answer:?}");
    let fields = [0, 16, 32, 48].map(|shift| answer.0[2] >> shift & 0xffff);
    let bytes = answer.0[3..].iter().flat_map(|x| x.to_le_bytes());
    (fields, bytes.collect())
}

// req: PINFO-02, PINFO-14, PINFO-15, PREG-01, PREG-02, PREG-03, PREG-04
#[test]
fn registers_list_what_rx_lists() {
    let system = System::boot(partitions());
    let nwd = system.nwd();
    let ([last, current, tag, size], bytes) = told(&nwd.call(by_registers(NIL, 0, 0)));
    assert_eq!((last, current, size), (3, 3, 24));
    nwd.map_buffers();
    nwd.call(query(NIL, 0)).success();
    assert_eq!(bytes[..96], nwd.read(NWD_RX, 96));
    assert_eq!(bytes[96..], [0; 24]);
    // From the middle on.
    let ([last, current, ..], rest) = told(&nwd.call(by_registers(NIL, 2, tag)));
    assert_eq!((last, current), (3, 3));
    assert_eq!(rest[..48], bytes[48..96]);
    assert_eq!(rest[48..], [0; 72]);
    // By UUID.
    let ([last, current, ..], bytes) = told(&nwd.call(by_registers(UUID_A, 0, 0)));
    assert_eq!((last, current), (1, 1));
    assert_eq!(bytes[..24], descriptor(0x8001, 1, 1 | AARCH64, NIL));
    assert_eq!(bytes[24..48], descriptor(0x8002, 4, 1 | AARCH64, NIL));
}

// req: PINFO-02, PREG-02, PREG-03
#[test]
fn more_descriptors_than_registers() {
    let system =
        System::boot((0..6).map(|n| {
            PartitionSpec::new("sp").with(|sp| sp.uuids = vec![[n, 1, 1, 1], [n, 2, 2, 2]])
        }));
    // As Linux does: continue at the next one until the last.
    let nwd = system.nwd();
    let ([last, mut current, tag, _], mut all) = told(&nwd.call(by_registers(NIL, 0, 0)));
    assert_eq!((last, current), (11, 4));
    while current < last {
        let ([same, now, ..], bytes) = told(&nwd.call(by_registers(NIL, current + 1, tag)));
        let count = (now - current) as usize;
        assert!(same == last && count == 5.min((last - current) as usize));
        all.extend(&bytes[..count * 24]);
        current = now;
    }
    nwd.map_buffers();
    nwd.call(query(NIL, 0)).success();
    assert_eq!(all, nwd.read(NWD_RX, 12 * 24));
}

// req: PINFO-08, PINFO-12, PREG-05, PREG-06, PREG-07, PREG-08
#[test]
fn a_list_by_registers_is_of_one_moment() {
    let [sp1, sp2, sp3] = partitions();
    let fails = sp2.with(|sp| sp.takes_exceptions = false).script(|sp| {
        sp.msg_wait();
        sp.trap(0);
    });
    let system = System::boot([sp1, fails, sp3]);
    let nwd = system.nwd();
    let ([.., tag, _], _) = told(&nwd.call(by_registers(NIL, 0, 0)));
    nwd.refused(by_registers(NIL, 0, tag ^ 1), RETRY);
    nwd.refused(by_registers(NIL, 4, tag), INVALID_PARAMETERS);
    nwd.refused(by_registers(NIL, 1, tag ^ 1), RETRY);
    nwd.refused(by_registers([1, 2, 3, 5], 0, 0), INVALID_PARAMETERS);
    assert_eq!(nwd.request(0x8002, [0; 5]).error(), Some(ABORTED));
    nwd.refused(by_registers(NIL, 1, tag), RETRY);
    let ([last, _, now, _], bytes) = told(&nwd.call(by_registers(NIL, 0, 0)));
    assert_eq!(last, 1);
    assert_eq!(bytes[24..26], 0x8003_u16.to_le_bytes());
    nwd.refused(by_registers(NIL, 0, now), RETRY);
    assert_eq!(nwd.call(by_registers(NIL, 1, now)).error(), None);
}

// Hafnium, as a Hypervisor and as a partition, asserts that tags are zero, and continues with zero.
// req: PREG-02, PREG-06, PREG-07, PREG-12
#[test]
fn the_tag_is_zero_until_the_list_changes() {
    let lists = |sp: &mut Sp| {
        for start in 0..4 {
            let answer = sp.call(by_registers(NIL, start, 0));
            assert_eq!(told(&answer).0, [3, 3, 0, 24], "from {start}");
        }
        // Partitions of Hafnium's tests.
        sp.refused(by_registers(UUID_C, 0, 0xf), RETRY);
        sp.refused(by_registers(UUID_C, 1, 0), INVALID_PARAMETERS);
        sp.refused(by_registers(NIL, 4, 0), INVALID_PARAMETERS);
        sp.msg_wait();
    };
    let [sp1, sp2, sp3] = partitions();
    let system = System::boot([sp1, sp2, sp3.script(lists)]);
    let nwd = system.nwd();
    for start in 0..4 {
        let answer = nwd.call(by_registers(NIL, start, 0));
        assert_eq!(told(&answer).0, [3, 3, 0, 24], "from {start}");
    }
}

// A list counts as changed if it looks the same, but members have failed and come back meanwhile.
// req: PINFO-12, PREG-08
#[test]
fn a_list_is_another_one_after_a_restart() {
    let [sp1, sp2, sp3] = partitions();
    let fails = sp2
        .vcpus(1)
        .with(|sp| {
            sp.takes_exceptions = false;
            sp.extra = Some(std::sync::Arc::new(|fdt| {
                fdt.property_null("lifecycle-support").unwrap()
            }));
        })
        .property("abort-action", 2)
        .script(|sp| {
            sp.serve(|sp, _| {
                sp.trap(0);
                unreachable!()
            })
        });
    let system = System::boot([sp1, fails, sp3]);
    let nwd = system.nwd();
    let ([last, _, tag, _], before) = told(&nwd.call(by_registers(NIL, 0, 0)));
    assert_eq!(nwd.request(0x8002, [0; 5]).error(), Some(ABORTED));
    nwd.refused(by_registers(NIL, 1, tag), RETRY);
    let ([same, _, tag, _], after) = told(&nwd.call(by_registers(NIL, 0, 0)));
    assert_eq!((last, before), (same, after));
    assert_eq!(nwd.call(by_registers(NIL, 1, tag)).error(), None);
}

// req: COMP-21, PREG-10
#[test]
fn a_list_by_registers_takes_1_2() {
    for (version, there) in [(V1_0, false), (V1_1, false), (V1_2, true)] {
        let system = System::boot(partitions());
        let nwd = system.nwd();
        nwd.version(version);
        assert_eq!(nwd.call(by_registers(NIL, 0, 0)).error().is_none(), there);
        let announced = nwd.call([FEATURES, PARTITION_INFO_GET_REGS]);
        assert_eq!(announced.error().is_none(), there);
    }
}

// req: PINFO-15, PREG-04, PREG-09
#[test]
fn a_partition_gets_all_registers_of_a_list() {
    let system = System::boot(partitions().map(|spec| {
        spec.script(|sp| {
            sp.serve(move |sp, _| {
                let ([last, current, ..], bytes) = told(&sp.call(by_registers(NIL, 0, 0)));
                assert_eq!((last, current), (3, 3));
                assert_eq!(bytes[..24], descriptor(0x8001, 1, 3 | AARCH64, UUID_A));
                assert_eq!(bytes[72..96], descriptor(0x8003, 1, 2 | AARCH64, UUID_C));
                assert_eq!(bytes[96..], [0; 24]);
                [0; 5]
            })
        })
    }));
    system.nwd().ask(0x8001, [0; 5]);
}

// req: PINFO-06, PINFO-14, PINFO-15, PROP-05, PROP-08, PROP-09
#[test]
fn what_a_version_does_not_know_does_not_show() {
    for (version, shown) in [(V1_0, 1), (V1_1, 5 | AARCH64), (V1_2, 0x205 | AARCH64)] {
        let system = System::boot([PartitionSpec::new("sp1").with(|sp| sp.messaging = 0x607)]);
        let nwd = system.nwd();
        nwd.version(version);
        nwd.map_buffers();
        nwd.call(query(NIL, 0)).success();
        assert_eq!(nwd.read(NWD_RX + 4, 4), shown.to_le_bytes(), "{version:#x}");
    }
}

// Without these bits a Hypervisor does not send the messages.
// req: PINFO-06, PINFO-14, PINFO-15, PROP-07, PROP-09
#[test]
fn a_hypervisor_sees_who_wants_to_be_told_of_vms() {
    const CREATED: u32 = 1 << 6;
    const DESTROYED: u32 = 1 << 7;
    let wants = |messages| PartitionSpec::new("sp").property("vm-availability-messages", messages);
    let boot = || {
        System::boot([
            wants(0),
            wants(1).script(|sp| {
                sp.serve(|sp, _| {
                    let (_, bytes) = told(&sp.call(by_registers(NIL, 0, 0)));
                    // Partitions are not told about messages to VMs.
                    assert_eq!(bytes[76..80], (3 | AARCH64).to_le_bytes());
                    [0; 5]
                })
            }),
            wants(2),
            wants(3),
            // The messages are direct requests.
            wants(3).with(|sp| sp.messaging = 2),
        ])
    };
    for (version, size, expected) in [
        (V1_0, 8, [1, 1, 1, 1, 0]),
        (V1_1, 24, [0, CREATED, DESTROYED, CREATED | DESTROYED, 0]),
        (V1_2, 24, [0, CREATED, DESTROYED, CREATED | DESTROYED, 0]),
    ] {
        let system = boot();
        let nwd = system.nwd();
        nwd.version(version);
        nwd.map_buffers();
        nwd.call(query(NIL, 0)).success();
        for (n, expected) in (0..).zip(expected) {
            let common = match (version, n) {
                (V1_0, _) => 0,
                (_, 4) => AARCH64,
                _ => AARCH64 | 1,
            };
            let properties = nwd.read(NWD_RX + n * size + 4, 4);
            assert_eq!(
                properties,
                (expected | common).to_le_bytes(),
                "{version:#x} {n}"
            );
        }
    }
    let system = boot();
    let (_, bytes) = told(&system.nwd().call(by_registers(NIL, 0, 0)));
    let shown = 1 | AARCH64 | CREATED | DESTROYED;
    assert_eq!(bytes[76..80], shown.to_le_bytes());
    system.nwd().ask(0x8002, [0; 5]);
}

// req: PINFO-16, PINFO-17, PINFO-18, PINFO-19
#[test]
fn ids() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        assert_eq!(
            sp.call([ID_GET, 1, 2, 3]),
            Regs::new([SUCCESS_32, 0, 0x8001])
        );
        assert_eq!(sp.call([SPM_ID_GET]), Regs::new([SUCCESS_32, 0, 0x8000]));
        sp.msg_wait();
    })]);
    assert_eq!(system.nwd().call([ID_GET]), Regs::new([SUCCESS_32]));
    assert_eq!(
        system.nwd().call([SPM_ID_GET]),
        Regs::new([SUCCESS_32, 0, 0x8000])
    );
}

// No caller is told of messages that a partition does not know at its version.
// req: PINFO-06, PROP-05, PROP-06, PROP-08, PROP-10
#[test]
fn properties_are_those_that_the_partitions_own_version_has() {
    let make = |name: &str, minor: usize| {
        PartitionSpec::new(name).version(minor as u32).with(|sp| {
            sp.messaging = [0x3, 0x7, 0x607][minor];
            sp.extra = Some(std::sync::Arc::new(|fdt| {
                fdt.property_null("notification-support").unwrap();
            }));
        })
    };
    let system = System::boot([make("v10", 0), make("v11", 1), make("v12", 2)]);
    let nwd = system.nwd();
    nwd.map_buffers();
    let (indirect, notified, direct2) = (1 << 2, 1 << 3, 1 << 9);
    let count = nwd.call([PARTITION_INFO_GET]).success()[0] as usize;
    let bytes = nwd.read(host_tests::system::NWD_RX, count * 24);
    let told: Vec<u32> = bytes
        .chunks(24)
        .map(|row| u32::from_le_bytes(row[4..8].try_into().unwrap()))
        .map(|properties| properties & (indirect | notified | direct2))
        .collect();
    let later = indirect | notified;
    assert_eq!(told, [0, later, later | direct2]);
    // A request is refused accordingly.
    assert_eq!(nwd.call([DIRECT_REQ2, 0x8002]).error(), Some(DENIED));
    let set = nwd.call([NOTIFICATION_SET, 0x8001, 0, 1, 0]);
    assert_eq!(set.error(), Some(DENIED));
}
