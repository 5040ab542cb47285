//! GEN, COMP and STAT: conventions of registers and instances.

use host_tests::ffa::*;
use host_tests::machine::NORMAL_RAM;
use host_tests::manifest::partition_base;
use host_tests::system::NWD_PAGES;
use host_tests::{PartitionSpec, System};
use spmc::addr::World::{NonSecure, Secure};
use spmc::hal::Conduit;

// req: GEN-12, COMP-12, COMP-13, COMP-17, MSGW-25, GEN-10, STAT-01, STAT-02
#[test]
fn functions_that_do_not_exist_are_not_supported() {
    let absent = [
        MSG_POLL,
        MSG_SEND,
        NORMAL_WORLD_RESUME,
        MEM_OP_PAUSE,
        MEM_RETRIEVE_RESP,
        SUCCESS_32,
        0x8400_0092,
        0xc400_0063,
    ];
    let system = System::boot([PartitionSpec::new("sp1").script(move |sp| {
        for id in absent.into_iter().chain([INTERRUPT]) {
            sp.refused([id], NOT_SUPPORTED);
        }
        sp.msg_wait();
    })]);
    for id in absent
        .into_iter()
        .chain([MSG_WAIT, SECONDARY_EP_REGISTER_64, DIRECT_RESP_32])
        .chain([MEM_OP_RESUME])
    {
        system.nwd().refused([id], NOT_SUPPORTED);
    }
}

// req: GEN-11, GEN-12
#[test]
fn calls_outside_of_the_framework_end_as_unknown() {
    System::boot([PartitionSpec::new("sp1").script(|sp| {
        for id in [
            0x8400_0000,
            0xc400_0003,
            0x8400_005f,
            0x8400_0098,
            0x8600_ff01,
            0,
        ] {
            let answer = sp.call([id, 1, 2, 3]);
            assert_eq!(answer.0[0], u64::MAX, "{id:#x}");
            assert_eq!(answer.0[1..4], [1, 2, 3]);
        }
        sp.msg_wait();
    })]);
}

// req: GEN-06, GEN-07, COMP-15
#[test]
fn hvc_and_smc_mean_the_same() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        for call in [
            [ID_GET, 0],
            [SPM_ID_GET, 0],
            [VERSION, V1_2],
            [FEATURES, RXTX_MAP_64],
            [FEATURES, 1],
            [RX_RELEASE, 0],
        ] {
            let by_hvc = sp.call_by(Conduit::Hvc, call);
            assert_eq!(by_hvc, sp.call_by(Conduit::Smc, call));
        }
        let request = sp.call_by(Conduit::Hvc, [MSG_WAIT]);
        sp.call_by(
            Conduit::Hvc,
            [DIRECT_RESP_64, 0x8001_0000, 0, request.0[3] + 1],
        );
    })]);
    assert_eq!(system.nwd().ask(0x8001, [41, 0, 0, 0, 0])[0], 42);
}

// req: GEN-28, GEN-29, COMP-03, STAT-03
#[test]
fn upper_halves_and_unused_registers_are_ignored() {
    let high = 0xdead_beef_0000_0000;
    let system = System::boot([PartitionSpec::new("sp1").script(move |sp| {
        assert_eq!(
            sp.call([high | ID_GET, high, high, high, high, high, high, high])
                .success()[0],
            0x8001
        );
        sp.call([high | FEATURES, high | VERSION]).success();
        assert_eq!(
            sp.call([high | VERSION, high | V1_2]).0[..8],
            [V1_3, 0, 0, 0, 0, 0, 0, 0]
        );
        // 32-bit messages carry 32 bits, whatever is in the upper halves.
        let request = sp.call([MSG_WAIT, high, high, high]);
        assert_eq!(request.0[..8], [DIRECT_REQ_32, 0x8001, 0, 1, 2, 3, 4, 5]);
        sp.call([
            DIRECT_RESP_32,
            high | 0x8001_0000,
            high,
            high | 6,
            high | 7,
            high | 8,
            9,
            10,
        ]);
    })]);
    let answer = system.nwd().call([
        DIRECT_REQ_32,
        high | 0x8001,
        high,
        high | 1,
        high | 2,
        high | 3,
        4,
        5,
    ]);
    assert_eq!(
        answer.0[..8],
        [DIRECT_RESP_32, 0x8001_0000, 0, 6, 7, 8, 9, 10]
    );
    assert_eq!(system.nwd().call([high | ID_GET, high]).success(), [0; 6]);
}

// req: GEN-29, MSGD-05, MSGD-25
#[test]
fn w2_of_a_direct_message_is_a_word_in_both_widths() {
    let high = 1 << 32;
    let system = System::boot([PartitionSpec::new("sp1").script(move |sp| {
        let request = sp.msg_wait();
        assert_eq!(request.0[2], 0, "what lies above is not passed on");
        sp.call([DIRECT_RESP_64, 0x8001_0000, high, 6]);
    })]);
    let nwd = system.nwd();
    let answer = nwd.call([DIRECT_REQ_64, 0x8001, high, 5]);
    assert_eq!(answer.0[..4], [DIRECT_RESP_64, 0x8001_0000, 0, 6]);
    nwd.refused([DIRECT_REQ_64, 0x8001, 1, 5], INVALID_PARAMETERS);
}

// req: COMP-22, COMP-01
#[test]
fn the_sve_hint_is_no_part_of_the_function_id() {
    let system = System::boot([PartitionSpec::new("sp1")]);
    let nwd = system.nwd();
    nwd.call([FEATURES | 1 << 16, VERSION]).success();
    let answer = nwd.call([DIRECT_REQ_64 | 1 << 16, 0x8001, 0, 5]);
    assert_eq!(answer.0[..4], [DIRECT_RESP_64, 0x8001_0000, 0, 5]);
}

// req: GEN-03, MEMO-03
#[test]
fn a_partition_reaches_only_its_own_memory() {
    let system = System::boot([
        PartitionSpec::new("sp1").script(|sp| {
            sp.serve(|sp, _| {
                let own = partition_base(0);
                assert!(sp.poke(Secure, own + 0x8000, 0x5a));
                assert_eq!(sp.peek(Secure, own + 0x8000), Some(0x5a));
                assert!(sp.execute(Secure, own + 0x4000).is_ok());
                let foreign = [
                    (Secure, partition_base(1)),
                    (Secure, 0x0e10_0000),
                    (Secure, 0x0e00_0000),
                    (Secure, 0x0904_0000),
                    (Secure, NORMAL_RAM.start),
                    (NonSecure, NORMAL_RAM.start),
                    (NonSecure, NWD_PAGES),
                    (NonSecure, own),
                    (Secure, own - 0x1000),
                    (Secure, 1 << 39),
                    (Secure, 0xffff_ffff_f000),
                ];
                for (world, at) in foreign {
                    assert_eq!(sp.peek(world, at), None, "{world:?} {at:#x}");
                    assert!(!sp.poke(world, at, 1), "{world:?} {at:#x}");
                    assert!(sp.execute(world, at).is_err(), "{world:?} {at:#x}");
                }
                [0; 5]
            })
        }),
        PartitionSpec::new("sp2"),
    ]);
    // Each attempt was reflected to the partition, and everything continues.
    system.nwd().ask(0x8001, [0; 5]);
    assert_eq!(system.nwd().ask(0x8002, [3; 5]), [3; 5]);
}

// req: GEN-16, GEN-17, GEN-18
#[test]
fn ids_are_unique_and_secure() {
    let system = System::boot((1..=8).map(|n| {
        PartitionSpec::new(&format!("sp{n}")).script(move |sp| {
            assert_eq!(sp.call([ID_GET]).success()[0], 0x8000 + n);
            assert_eq!(sp.call([SPM_ID_GET]).success()[0], 0x8000);
            sp.serve(|sp, _| [sp.id.into(), 0, 0, 0, 0])
        })
    }));
    for id in 0x8001..=0x8008 {
        assert_eq!(system.nwd().ask(id, [0; 5])[0], id.into());
    }
    assert_eq!(system.nwd().call([ID_GET]).success()[0], 0);
}

// req: GEN-19, RUN-12, RUN-05
#[test]
fn a_up_partition_serves_every_pe() {
    let system = System::boot([PartitionSpec::new("up").script(|sp| {
        let mut served = 0;
        sp.serve(move |sp, _| {
            served += 1;
            [served, sp.pe() as u64, sp.vcpu.into(), 0, 0]
        })
    })]);
    for (served, pe) in [(1, 0), (2, 3), (3, 1), (4, 3)] {
        assert_eq!(
            system.pe(pe).ask(0x8001, [0; 5]),
            [served, pe as u64, 0, 0, 0]
        );
    }
}

// req: GEN-20, GEN-22, RUN-13, RUN-15
#[test]
fn an_mp_partition_serves_each_pe_with_the_context_pinned_there() {
    let system = System::boot([PartitionSpec::new("mp")
        .vcpus(3)
        .script(|sp| sp.serve(|sp, _| [sp.pe() as u64, sp.vcpu.into(), 0, 0, 0]))]);
    for pe in 1..3 {
        // No context can run there yet.
        system.pe(pe).refused([DIRECT_REQ_32, 0x8001], BUSY);
    }
    for pe in 1..4 {
        assert_eq!(system.turn_on(pe).function(), MSG_WAIT);
    }
    for pe in [2, 0, 1] {
        assert_eq!(
            system.pe(pe).ask(0x8001, [0; 5]),
            [pe as u64, pe as u64, 0, 0, 0]
        );
    }
    // The partition will never have a context for the fourth PE.
    system
        .pe(3)
        .refused([DIRECT_REQ_32, 0x8001], INVALID_PARAMETERS);
}

// req: STAT-04, STAT-05, STAT-06, GEN-09, MSGW-21, MSGW-24
#[test]
fn interrupts_to_and_from_the_spmd() {
    let system = System::boot([PartitionSpec::new("sp1")
        .script(|sp| sp.serve(|sp, _| [sp.interrupt().into(), 0, 0, 0, 0]))]);
    let nwd = system.nwd();
    // A Secure interrupt that no partition owns.
    assert_eq!(
        nwd.call([INTERRUPT]).0[..8],
        [NORMAL_WORLD_RESUME, 0, 0, 0, 0, 0, 0, 0]
    );
    // A Non-secure interrupt while a partition runs.
    assert_eq!(
        nwd.request(0x8001, [0; 5]).0[..8],
        [INTERRUPT, 0x8001_0000, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(
        nwd.call([RUN, 0x8001_0000]).0[..4],
        [DIRECT_RESP_64, 0x8001_0000, 0, 1]
    );
}

// req: MSGW-22
#[test]
fn the_spmd_may_refuse_to_resume_the_normal_world() {
    let system = System::boot([]);
    let nwd = system.nwd();
    nwd.call([INTERRUPT]);
    assert_eq!(
        nwd.call([ERROR, 0, DENIED as u32 as u64]).0[..8],
        [MSG_WAIT, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(nwd.call([SPM_ID_GET]).success()[0], 0x8000);
}
