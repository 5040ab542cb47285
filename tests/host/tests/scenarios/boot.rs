//! BOOT: first run of partitions, boot information, failures, secondary PEs.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use host_tests::ffa::*;
use host_tests::machine::{NORMAL_RAM, SECURE_RAM, SPMC_IMAGE};
use host_tests::manifest::{ENTRY, PARTITION_SIZE, Region, partition_base, spmc_manifest};
use host_tests::{Nwd, PartitionSpec, Sp, System};
use spmc::addr::World::{NonSecure, Secure};

use crate::log_lines::logged;

// req: BOOT-01, BOOT-03, BOOT-10, BOOT-16
#[test]
fn partitions_are_entered_at_their_entry_point_and_then_wait() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        assert_eq!(sp.entry, partition_base(0) + ENTRY);
        assert_eq!((sp.vcpu, sp.pe()), (0, 0));
        assert_eq!(sp.regs, [0; 31]);
        sp.serve(|_, _| [1; 5])
    })]);
    assert_eq!(system.boot_answer().0[..8], [MSG_WAIT, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(system.nwd().ask(0x8001, [0; 5]), [1; 5]);
}
#[test]
fn pes_that_there_is_no_room_for_cost_no_partition() {
    // A link has room for 512.
    let count = 520;
    let system = System::builder()
        .sp(PartitionSpec::new("mp").vcpus(count))
        .sp(PartitionSpec::new("up"))
        .pes(count as usize)
        .boot();
    assert_eq!(system.boot_answer().function(), MSG_WAIT);
    for pe in [0, 1, 511] {
        if pe > 0 {
            assert_eq!(system.turn_on(pe).function(), MSG_WAIT);
        }
        for partition in [0x8001, 0x8002] {
            assert_eq!(system.pe(pe).ask(partition, [7; 5]), [7; 5]);
        }
    }
}

// Contexts take memory, and a partition may have as many as its manifest says only if as many PEs
// can run them.
// req: MAN-08
#[test]
fn contexts_of_pes_that_do_not_exist_take_no_memory() {
    for (pes, contexts) in [(4, 8), (8, 8), (12, 12)] {
        let spec = PartitionSpec::new("mp").vcpus(500);
        let system = System::builder().sp(spec).pes(pes).boot();
        assert_eq!(system.spmc.partitions[0].vcpus.len(), contexts);
        assert_eq!(system.nwd().ask(0x8001, [7; 5]), [7; 5]);
    }
}

// req: BOOT-02
#[test]
fn the_image_is_clean_before_it_runs() {
    let system = System::boot([PartitionSpec::new("sp1")]);
    let base = partition_base(0);
    let journal = system.machine.journal();
    let covered = journal.cleaned.iter().any(|(world, range)| {
        *world == Secure && range.start <= base && base + ENTRY + 0x1000 <= range.end
    });
    assert!(covered, "{:x?}", journal.cleaned);
}

// req: BOOT-10, MAN-15, GEN-27
#[test]
fn boot_order() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let partition = |name: &str, order| {
        let log = Arc::clone(&log);
        PartitionSpec::new(name)
            .with(|sp| sp.boot_order = order)
            .script(move |sp| {
                log.lock().unwrap().push(sp.id);
                sp.serve(|_, _| [0; 5])
            })
    };
    System::boot([
        partition("last", None),
        partition("third", Some(7)),
        partition("first", Some(0)),
        partition("second", Some(3)),
    ]);
    assert_eq!(*log.lock().unwrap(), [0x8003, 0x8004, 0x8002, 0x8001]);
}

// req: BOOT-05, BOOT-06, BOOT-08, BOOT-12, BOOT-13, BOOT-14, BOOT-15, MAN-40, PMAN-16
#[test]
fn boot_information() {
    // The version is the partition's own.
    for (register, minor) in [(0, 2), (1, 1), (2, 2), (3, 1)] {
        let spec = PartitionSpec::new("sp1")
            .version(minor)
            .vcpus(2)
            .with(|sp| sp.boot_register = Some(register));
        let manifest = spec.manifest();
        let system = System::boot([spec.script(move |sp| {
            if sp.vcpu != 0 {
                // Only the first context gets boot information.
                assert_eq!(sp.regs[register as usize], 0);
                sp.msg_wait();
                return;
            }
            let at = sp.regs[register as usize];
            assert!(at.is_multiple_of(0x1000) && at >= partition_base(0));
            let mut blob = [0; 64];
            sp.read(Secure, at, &mut blob).unwrap();
            let u32_at = |n: usize| u32::from_le_bytes(blob[n..n + 4].try_into().unwrap());
            let u64_at = |n: usize| u64::from_le_bytes(blob[n..n + 8].try_into().unwrap());
            assert_eq!(u32_at(0), 0xffa);
            assert_eq!(u32_at(4), 0x1_0000 | minor);
            assert_eq!(
                (u32_at(12), u32_at(16)),
                (32, 1),
                "one descriptor of 32 bytes"
            );
            let array = u32_at(20) as usize;
            assert_eq!((array % 8, u64_at(24)), (0, 0));
            assert!(u32_at(8) as usize >= array + 32);
            assert_eq!(blob[array + 16], 0, "an FDT");
            assert_eq!(blob[array + 18..array + 20], [0, 0], "string name, address");
            let (size, address) = (u32_at(array + 20) as usize, u64_at(array + 24));
            let mut found = vec![0; size];
            sp.read(Secure, address, &mut found).unwrap();
            assert_eq!(found, manifest);
            sp.serve(|_, _| [2; 5])
        })]);
        assert_eq!(system.nwd().ask(0x8001, [0; 5]), [2; 5]);
        system.turn_on(1);
    }
}

#[test]
fn the_log_names_the_error_of_an_initialisation() {
    // What is no error of FF-A is a number.
    for (code, name) in [(0xffff_fffd, "NO_MEMORY"), (5, "5")] {
        let lines = logged(|| {
            System::boot([PartitionSpec::new("sp1").script(move |sp| {
                sp.call([ERROR, 0, code]);
                unreachable!("it ended");
            })]);
        });
        let line = format!("sp1: initialisation failed with FFA_ERROR {name}");
        assert!(lines.contains(&line), "{lines:?}");
    }
}

// req: BOOT-11, MSGD-08, MAN-01
#[test]
fn a_partition_that_fails_to_initialise_never_runs_again() {
    let fails: [fn(&mut Sp); 4] = [
        |sp| {
            sp.call([ERROR, 0, 0xffff_fffd]);
        },
        |sp| {
            sp.peek(Secure, 0);
        },
        |sp| {
            sp.trap(0x6200_0000);
        },
        |sp| sp.hang(),
    ];
    for (n, fail) in fails.into_iter().enumerate() {
        let system = System::boot([
            PartitionSpec::new("sp1")
                .with(|sp| sp.takes_exceptions = false)
                .script(move |sp| {
                    fail(sp);
                    unreachable!("failure {n}");
                }),
            PartitionSpec::new("sp2"),
        ]);
        assert_eq!(system.boot_answer().function(), MSG_WAIT);
        let nwd = system.nwd();
        nwd.refused([DIRECT_REQ_32, 0x8001], ABORTED);
        nwd.refused([RUN, 0x8001_0000], ABORTED);
        assert_eq!(nwd.ask(0x8002, [9; 5]), [9; 5]);
    }
}

// req: BOOT-11
#[test]
fn initialisation_has_a_time_limit_and_messages_have_none() {
    let system = System::boot([PartitionSpec::new("sp1")]);
    assert!(matches!(system.machine.journal().watchdogs[..], [limit] if limit > 0));
    system.nwd().ask(0x8001, [0; 5]);
    assert_eq!(system.machine.journal().watchdogs.len(), 1);
}

// req: BOOT-18, MODEL-01, MODEL-02
#[test]
fn what_a_partition_may_call_while_it_initialises() {
    let system = System::boot([
        PartitionSpec::new("sp1")
            .with(|sp| sp.boot_order = Some(0))
            .script(|sp| {
                let buffers = partition_base(0) + 0x1_0000;
                sp.call([VERSION, V1_2]);
                sp.call([FEATURES, VERSION]).success();
                sp.call([ID_GET]).success();
                sp.call([SPM_ID_GET]).success();
                sp.call([RXTX_MAP_64, buffers, buffers + 0x1000, 1])
                    .success();
                sp.call([PARTITION_INFO_GET]).success();
                sp.call([RX_RELEASE]).success();
                sp.call([RXTX_UNMAP]).success();
                sp.refused([DIRECT_RESP_64, 0x8001_0000], DENIED);
                sp.refused([RUN, 0x8002_0000], DENIED);
                // sp2 is not initialised yet.
                sp.refused([DIRECT_REQ_64, 0x8001_8002], BUSY);
                sp.serve(|_, request| request.payload())
            }),
        PartitionSpec::new("sp2")
            .with(|sp| sp.boot_order = Some(1))
            .script(|sp| {
                let answer = sp.call([DIRECT_REQ_64, 0x8002_8001, 0, 6]);
                assert_eq!((answer.function(), answer.0[3]), (DIRECT_RESP_64, 6));
                // Interrupts wait until all partitions are initialised.
                assert!(!sp.interrupt());
                sp.serve(|_, _| [3; 5])
            }),
    ]);
    assert_eq!(system.nwd().ask(0x8002, [0; 5]), [3; 5]);
}

// The value in x0 would be taken for boot information.
// req: BOOT-03, SEC-06
#[test]
fn registers_are_zero_at_entry_but_for_the_pe() {
    let entered = |sp: &mut host_tests::Sp| {
        for (n, register) in sp.regs.iter().enumerate() {
            let expected = if n == 4 { sp.pe() as u64 } else { 0 };
            assert_eq!(*register, expected, "x{n}");
        }
        sp.serve(|_, request| request.payload());
    };
    let system = System::boot([
        PartitionSpec::new("up").script(entered),
        PartitionSpec::new("mp").vcpus(4).script(entered),
    ]);
    system.turn_on(1);
    assert_eq!(system.nwd().ask(0x8001, [1; 5]), [1; 5]);
    assert_eq!(system.pe(1).ask(0x8002, [2; 5]), [2; 5]);
}

// req: BOOT-09, BOOT-17, SEC-01, SEC-02, SEC-03, SEC-04, SEC-05, SEC-06
#[test]
fn secondary_contexts_start_where_the_partition_said() {
    let system = System::boot([
        PartitionSpec::new("plain").vcpus(3).script(|sp| {
            assert_eq!(sp.entry, partition_base(0) + ENTRY);
            assert_eq!(usize::from(sp.vcpu), sp.pe());
            assert_eq!(sp.regs[4], sp.pe() as u64);
            sp.serve(|sp, _| [sp.vcpu.into(), 0, 0, 0, 0])
        }),
        PartitionSpec::new("registers").vcpus(3).script(|sp| {
            let base = partition_base(1);
            if sp.vcpu == 0 {
                // Outside of the partition's memory, misaligned, or before the image.
                for bad in [0, base - 4, base + PARTITION_SIZE, base + 2, 1 << 40, !3] {
                    sp.refused([SECONDARY_EP_REGISTER_64, bad], INVALID_PARAMETERS);
                }
                for entry in [base, base + PARTITION_SIZE - 4] {
                    sp.call([SECONDARY_EP_REGISTER_64, entry]).success();
                }
                // The last call wins.
                sp.call([SECONDARY_EP_REGISTER_64, base + 0x6000]).success();
            } else {
                assert_eq!(sp.entry, base + 0x6000);
                // The second context initialises, too, but not during the boot of the system.
                sp.refused([SECONDARY_EP_REGISTER_64, base + 0x7000], DENIED);
            }
            sp.serve(|sp, _| {
                sp.refused([SECONDARY_EP_REGISTER_64, base + 0x7000], DENIED);
                [sp.vcpu.into(), 0, 0, 0, 0]
            })
        }),
        PartitionSpec::new("up").script(|sp| {
            sp.refused(
                [SECONDARY_EP_REGISTER_64, partition_base(2) + 0x5000],
                NOT_SUPPORTED,
            );
            sp.serve(|_, _| [0; 5])
        }),
    ]);
    for pe in [2, 1] {
        assert_eq!(system.turn_on(pe).0[..8], [MSG_WAIT, 0, 0, 0, 0, 0, 0, 0]);
        for id in [0x8001, 0x8002] {
            assert_eq!(system.pe(pe).ask(id, [0; 5])[0], pe as u64);
        }
        system.pe(pe).ask(0x8003, [0; 5]);
    }
}

// The partition has initialised, although others have not.
// req: BOOT-09, SEC-04
#[test]
fn entry_points_are_for_contexts_that_initialise() {
    let system = System::boot([
        PartitionSpec::new("first")
            .vcpus(2)
            .with(|sp| sp.boot_order = Some(0))
            .script(|sp| {
                sp.serve(|sp, request| {
                    let entry = sp.base() + 0x5000;
                    sp.refused([SECONDARY_EP_REGISTER_64, entry], DENIED);
                    request.payload()
                })
            }),
        PartitionSpec::new("second").script(|sp| {
            let answer = sp.call([DIRECT_REQ_64, 0x8002_8001, 0, 6]);
            assert_eq!(answer.payload()[0], 6);
            sp.serve(|_, request| request.payload())
        }),
    ]);
    assert_eq!(system.nwd().ask(0x8002, [1; 5]), [1; 5]);
}

/// Sends PSCI_CPU_OFF from the SPMD.
fn power_off(pe: Nwd<'_>) {
    let answer = pe.call([DIRECT_REQ_32, 0xffff_8000, 0x8000_0000, 0x8400_0002]);
    assert_eq!(answer.0[..4], [DIRECT_RESP_32, 0x8000_ffff, 0x8000_0002, 0]);
}

// req: BOOT-17, BOOT-09, FWK-14
#[test]
fn contexts_start_anew_when_their_pe_was_off() {
    let system = System::boot([PartitionSpec::new("mp").vcpus(2).script(counts)]);
    system.turn_on(1);
    let pe = system.pe(1);
    assert_eq!(pe.ask(0x8001, [0; 5])[0], 1);
    assert_eq!(pe.ask(0x8001, [0; 5])[0], 2);
    power_off(pe);
    pe.refused([DIRECT_REQ_32, 0x8001], BUSY);
    system.turn_on(1);
    assert_eq!(pe.ask(0x8001, [0; 5])[0], 1);
}

/// Counts the requests to a partition.
fn counts(sp: &mut Sp) {
    let mut served = 0;
    sp.serve(move |_, _| {
        served += 1;
        [served, 0, 0, 0, 0]
    })
}
// req: GEN-19, BOOT-17
#[test]
fn a_up_partition_outlives_every_pe_but_one() {
    let system = System::boot([
        PartitionSpec::new("up").script(counts),
        PartitionSpec::new("mp").vcpus(4).script(counts),
    ]);
    for pe in 1..4 {
        system.turn_on(pe);
    }
    for pe in 0..4 {
        assert_eq!(system.pe(pe).ask(0x8002, [0; 5])[0], 1);
    }
    assert_eq!(system.nwd().ask(0x8001, [0; 5])[0], 1);
    // The boot PE, too.
    for pe in 0..3 {
        power_off(system.pe(pe));
    }
    assert_eq!(system.pe(3).ask(0x8001, [0; 5])[0], 2);
    for pe in 0..3 {
        assert_eq!(system.turn_on(pe).function(), MSG_WAIT);
    }
    for (pe, served) in [(0, 1), (1, 1), (2, 1), (3, 2)] {
        assert_eq!(system.pe(pe).ask(0x8001, [0; 5])[0], 3 + pe as u64);
        assert_eq!(system.pe(pe).ask(0x8002, [0; 5])[0], served);
    }
}

/// Returns the SPMC manifest of a system with one partition, in which `range` is all memory of the
/// Normal world.
fn manifest_with_ns_memory(range: Range<u64>) -> Vec<u8> {
    let bytes = |range: Range<u64>| {
        let size = range.end - range.start;
        [range.start.to_be_bytes(), size.to_be_bytes()].concat()
    };
    let mut dtb = spmc_manifest(&[PartitionSpec::new("sp1")], 1);
    let reg = bytes(NORMAL_RAM);
    let at = dtb.windows(16).position(|window| window == reg).unwrap();
    dtb[at..at + 16].copy_from_slice(&bytes(range));
    dtb
}
// req: BOOT-16
#[test]
fn an_unusable_manifest_is_told_to_the_spmd() {
    for dtb in [
        // Memory of the SPMC that is also the Normal world's.
        manifest_with_ns_memory(SPMC_IMAGE.end - 0x1000..SPMC_IMAGE.end),
        // Memory of partitions that is also the Normal world's.
        manifest_with_ns_memory(SECURE_RAM.end - 0x1000..SECURE_RAM.end),
        Vec::new(),
        vec![0; 64],
        PartitionSpec::new("sp1").manifest(),
    ] {
        let system = System::builder()
            .sp(PartitionSpec::new("sp1"))
            .spmc_manifest(dtb)
            .boot();
        assert_eq!(system.boot_answer().error(), Some(INVALID_PARAMETERS));
    }
}

// req: MAN-01, BOOT-11
#[test]
fn a_partition_with_a_bad_manifest_or_package_is_left_out() {
    let good = || PartitionSpec::new("sp2");
    let broken = [
        PartitionSpec::new("sp1").with(|sp| sp.version = 0x2_0000),
        PartitionSpec::new("sp1").with(|sp| sp.package = Some(b"SPKG".to_vec())),
        PartitionSpec::new("sp1").with(|sp| sp.package = Some(vec![0; 0x2000])),
        PartitionSpec::new("sp1").with(|sp| {
            let mut package = sp.package();
            package.truncate(0x1100);
            package.resize(0x5000, 0);
            sp.package = Some(package);
        }),
        PartitionSpec::new("sp1").with(|sp| {
            let base = partition_base(1);
            sp.regions = vec![Region {
                name: "theirs",
                base,
                relative: false,
                pages: 1,
                attributes: 3,
            }];
        }),
    ];
    for (n, bad) in broken.into_iter().enumerate() {
        let bad = bad.script(|_| unreachable!("it must not start"));
        let system = System::boot([bad, good()]);
        let nwd = system.nwd();
        assert_eq!(nwd.ask(0x8002, [5; 5]), [5; 5], "{n}");
        assert!(nwd.request(0x8001, [0; 5]).error().is_some(), "{n}");
        assert_eq!(
            nwd.call([PARTITION_INFO_GET, 0, 0, 0, 0, 1]).success()[0],
            1,
            "{n}"
        );
    }
}

// req: GEN-03, GEN-13, GEN-23, GEN-24, MEMO-05, MEMO-07, MAN-22, MAN-26, MEMX-09
#[test]
fn regions_of_the_manifest() {
    let system = System::boot([
        PartitionSpec::new("sp1")
            .with(|sp| {
                let region = |name, base, attributes| Region {
                    name,
                    base,
                    relative: false,
                    pages: 2,
                    attributes,
                };
                sp.regions = vec![
                    region("read", 0x0e80_0000, 1),
                    region("write", 0x0e81_0000, 3),
                    region("run", 0x0e82_0000, 5),
                    region("normal", 0x4800_0000, 8 | 3),
                    Region {
                        relative: true,
                        ..region("inside", 0x2_0000, 1)
                    },
                ];
                sp.device = true;
                // The package lies where the SPMC manifest says, whatever the partition's own
                // manifest says.
                sp.extra = Some(Arc::new(|fdt| {
                    fdt.property_u64("load-address", 0x0e80_0000).unwrap();
                }));
            })
            .script(|sp| {
                sp.serve(|sp, _| {
                    let inside = partition_base(0) + 0x2_0000;
                    for (world, at, write, execute) in [
                        (Secure, 0x0e80_0000, false, false),
                        (Secure, 0x0e81_0000, true, false),
                        (Secure, 0x0e82_0000, false, true),
                        (NonSecure, 0x4800_1000, true, false),
                        (Secure, inside, false, false),
                        (Secure, inside + 0x2000, true, true),
                    ] {
                        assert!(sp.peek(world, at).is_some(), "{at:#x}");
                        assert_eq!(sp.poke(world, at, 1), write, "{at:#x}");
                        assert_eq!(sp.execute(world, at).is_ok(), execute, "{at:#x}");
                    }
                    assert_eq!(sp.peek(Secure, 0x4800_0000), None);
                    assert_eq!(sp.peek(NonSecure, 0x0e80_0000), None);
                    assert_eq!(sp.peek(Secure, 0x0e81_2000), None);
                    assert!(sp.execute(Secure, 0x0904_0000).is_err());
                    // Neither devices nor Non-secure regions can be sent on.
                    let buffers = partition_base(0) + 0x1_0000;
                    sp.call([RXTX_MAP_64, buffers, buffers + 0x1000, 1])
                        .success();
                    for page in [0x0904_0000, 0x4800_0000] {
                        let share = Transaction::share(0x8001, 0x8002, RO, &[(page, 1)])
                            .encode(Layout::V1_2);
                        sp.write(Secure, buffers, &share).unwrap();
                        let length = share.len() as u64;
                        sp.refused([MEM_SHARE_64, length, length], DENIED);
                    }
                    [0; 5]
                })
            }),
        PartitionSpec::new("sp2"),
    ]);
    let nwd = system.nwd();
    nwd.ask(0x8001, [0; 5]);
    nwd.map_buffers();
    let share = Transaction::share(0, 0x8002, RW, &[(0x4800_0000, 1)]).encode(Layout::V1_2);
    nwd.memory_refused(MEM_SHARE_64, &share, DENIED);
}
