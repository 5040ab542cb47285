//! VER: `FFA_VERSION`.

use host_tests::ffa::{self, FEATURES, ID_GET, V1_0, V1_1, V1_2, V1_3, VERSION};
use host_tests::{PartitionSpec, System};

const REFUSED: u64 = 0xffff_ffff;

// req: VER-01, VER-02, VER-03, VER-12
#[test]
fn a_partition_gets_the_version_in_w0_and_nothing_else() {
    let sp = PartitionSpec::new("sp1").script(|sp| {
        let answer = sp.call([VERSION, V1_2]);
        assert_eq!(answer.0[..8], [V1_3, 0, 0, 0, 0, 0, 0, 0]);
        let answer = sp.call([VERSION, 0x8000_0000 | V1_1]);
        assert_eq!(answer.0[..8], [REFUSED, 0, 0, 0, 0, 0, 0, 0]);
        let request = sp.msg_wait();
        // Also while a request is served.
        let answer = sp.call([VERSION, V1_2]);
        sp.respond(&request, [answer.0[0], 0, 0, 0, 0]);
    });
    assert_eq!(System::boot([sp]).nwd().ask(0x8001, [0; 5])[0], V1_3);
}

// req: VER-04, VER-05, VER-06, VER-07, VER-08
#[test]
fn compatible_newer_older_and_malformed_versions() {
    let system = System::boot([]);
    let nwd = system.nwd();
    for asked in [V1_0, V1_1, V1_2, V1_3, 0x1_ffff, 0x2_0000, 0x7fff_0000] {
        assert_eq!(nwd.version(asked), V1_2, "{asked:#x}");
    }
    for asked in [0, 9, 0xffff, 0x8001_0000, 0x8001_0002, 0xffff_ffff] {
        assert_eq!(nwd.version(asked), REFUSED, "{asked:#x}");
    }
}

// req: VER-09
#[test]
fn each_endpoint_has_its_own_version() {
    // The maximum buffer size distinguishes the versions: it is reported from 1.2 on.
    let speaks = |version: u64| {
        move |sp: &mut host_tests::Sp| {
            sp.call([VERSION, version]);
            sp.serve(|sp, _| {
                [
                    sp.call([FEATURES, ffa::RXTX_MAP_64]).success()[0] >> 16,
                    0,
                    0,
                    0,
                    0,
                ]
            })
        }
    };
    let system = System::boot([
        PartitionSpec::new("old").script(speaks(V1_0)),
        PartitionSpec::new("new").script(speaks(V1_2)),
        // Makes other calls before it negotiates: the version of its manifest applies.
        PartitionSpec::new("silent").version(1).script(|sp| {
            sp.serve(|sp, _| {
                [
                    sp.call([FEATURES, ffa::RXTX_MAP_64]).success()[0] >> 16,
                    0,
                    0,
                    0,
                    0,
                ]
            })
        }),
    ]);
    let nwd = system.nwd();
    assert_eq!(nwd.version(V1_1), V1_2);
    assert_eq!(nwd.ask(0x8001, [0; 5])[0], 0);
    assert_ne!(nwd.ask(0x8002, [0; 5])[0], 0);
    assert_eq!(nwd.ask(0x8003, [0; 5])[0], 0);
    assert_eq!(nwd.call([FEATURES, ffa::RXTX_MAP_64]).success()[0], 0);
}

// req: VER-13
#[test]
fn the_version_is_fixed_by_the_first_other_call() {
    let sp = PartitionSpec::new("sp1").script(|sp| {
        assert_eq!(sp.call([VERSION, V1_1]).0[0], V1_3);
        assert_eq!(sp.call([VERSION, V1_2]).0[0], V1_3);
        assert_eq!(sp.call([VERSION, V1_1]).0[0], V1_3);
        sp.call([ID_GET]);
        assert_eq!(sp.call([VERSION, V1_1]).0[0], V1_3);
        assert_eq!(sp.call([VERSION, V1_2]).0[0], REFUSED);
        assert_eq!(sp.call([VERSION, V1_0]).0[0], REFUSED);
        sp.msg_wait();
    });
    let system = System::boot([sp]);
    let nwd = system.nwd();
    assert_eq!(nwd.version(V1_0), V1_2);
    assert_eq!(nwd.version(V1_1), V1_2);
    nwd.call([FEATURES, VERSION]).success();
    assert_eq!(nwd.version(V1_1), V1_2);
    assert_eq!(nwd.version(V1_2), REFUSED);
    assert_eq!(
        nwd.call([FEATURES, ffa::RXTX_MAP_64]).success()[0],
        0,
        "still 1.1"
    );
}

// req: VER-13
#[test]
fn a_list_by_registers_fixes_the_version() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        sp.call([ffa::PARTITION_INFO_GET_REGS]);
        assert_eq!(sp.call([VERSION, V1_1]).0[0], REFUSED);
        sp.msg_wait();
    })]);
    let nwd = system.nwd();
    assert_eq!(nwd.version(V1_2), V1_2);
    nwd.call([ffa::PARTITION_INFO_GET_REGS]);
    assert_eq!(nwd.version(V1_1), REFUSED);
}

// req: VER-14
#[test]
fn the_version_of_the_normal_world_comes_as_a_framework_message() {
    let system = System::boot([]);
    let answer = system
        .nwd()
        .call([ffa::DIRECT_REQ_32, 0xffff_8000, 0x8000_0008, V1_1]);
    let expected = [
        ffa::DIRECT_RESP_32,
        0x8000_ffff,
        0x8000_0009,
        V1_2,
        0,
        0,
        0,
        0,
    ];
    assert_eq!(answer.0[..8], expected);
}

// req: VER-16
#[test]
fn events_of_the_spmd_do_not_end_negotiation() {
    let system = System::boot([]);
    let nwd = system.nwd();
    assert_eq!(nwd.version(V1_0), V1_2);
    assert_eq!(
        nwd.call([ffa::INTERRUPT]).function(),
        ffa::NORMAL_WORLD_RESUME
    );
    nwd.call([ffa::DIRECT_REQ_32, 0xffff_8000, 0x8000_0000, 0x8400_0002]);
    assert_eq!(nwd.version(V1_2), V1_2);
    assert_ne!(
        nwd.call([FEATURES, ffa::RXTX_MAP_64]).success()[0],
        0,
        "now 1.2"
    );
}

// req: VER-16
#[test]
fn giving_up_the_buffers_lets_the_next_boot_stage_negotiate() {
    let system = System::boot([]);
    let nwd = system.nwd();
    assert_eq!(nwd.version(V1_0), V1_2);
    nwd.map_buffers();
    assert_eq!(nwd.version(V1_2), REFUSED);
    nwd.call([ffa::RXTX_UNMAP]).success();
    assert_eq!(nwd.version(V1_2), V1_2);
    assert_ne!(
        nwd.call([FEATURES, ffa::RXTX_MAP_64]).success()[0],
        0,
        "now 1.2"
    );
}

// The calls of U-Boot at 1.0, and then of Linux at 1.2, in one boot and with one id.
// req: VER-09, VER-16, PINFO-05, PINFO-14, RXTX-26
#[test]
fn a_boot_loader_at_1_0_hands_over_to_a_kernel_at_1_2() {
    let system = System::boot([PartitionSpec::new("sp1").with(|sp| sp.messaging = 0x607)]);
    let nwd = system.nwd();
    // The boot loader: the version twice, id, features, buffers, partitions, a message.
    for _ in 0..2 {
        assert_eq!(nwd.version(V1_0), V1_2);
    }
    nwd.call([ID_GET]).success();
    assert_eq!(nwd.call([FEATURES, ffa::RXTX_MAP_64]).success()[0], 0);
    nwd.map_buffers();
    assert_eq!(nwd.call([ffa::PARTITION_INFO_GET]).success()[..2], [1, 0]);
    nwd.call([ffa::RX_RELEASE]).success();
    nwd.ask(0x8001, [0xaaaa; 5]);
    assert_eq!(nwd.version(V1_2), REFUSED, "it has not left yet");
    nwd.call([ffa::RXTX_UNMAP]).success();
    // The kernel.
    assert_eq!(nwd.version(V1_2), V1_2);
    assert_eq!(
        nwd.call([FEATURES, ffa::RXTX_MAP_64]).success()[0],
        16 << 16
    );
    for function in [
        ffa::DIRECT_REQ2,
        ffa::PARTITION_INFO_GET_REGS,
        ffa::MSG_SEND2,
    ] {
        nwd.call([FEATURES, function]).success();
    }
    nwd.map_buffers();
    assert_eq!(nwd.version(V1_0), REFUSED);
    let list = nwd.call([ffa::PARTITION_INFO_GET_REGS]);
    assert_eq!(list.0[0], ffa::SUCCESS_64);
    assert_eq!(nwd.call([ffa::PARTITION_INFO_GET]).success()[..2], [1, 24]);
    nwd.call([ffa::RX_RELEASE]).success();
    // The kernel restarts by itself: kexec.
    nwd.call([ffa::RXTX_UNMAP]).success();
    assert_eq!(nwd.version(V1_2), V1_2);
    nwd.map_buffers();
}

// req: VER-13, VER-16
#[test]
fn only_the_normal_worlds_own_buffers_open_negotiation() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        sp.map_buffers();
        sp.call([ffa::RXTX_UNMAP]).success();
        assert_eq!(sp.call([VERSION, V1_0]).0[0], REFUSED);
        sp.msg_wait();
    })]);
    let nwd = system.nwd();
    assert_eq!(nwd.version(V1_1), V1_2);
    // There are no buffers to unmap.
    nwd.refused([ffa::RXTX_UNMAP], ffa::INVALID_PARAMETERS);
    assert_eq!(nwd.version(V1_2), REFUSED);
}

// req: VER-13
#[test]
fn any_call_of_a_partition_fixes_its_version() {
    use host_tests::ffa::{CONSOLE_LOG_32, MEM_PERM_GET_64, MEM_PERM_SET_64};
    use host_tests::ffa::{PARTITION_INFO_GET, SECONDARY_EP_REGISTER_64};
    let calls = [
        SECONDARY_EP_REGISTER_64,
        CONSOLE_LOG_32,
        MEM_PERM_GET_64,
        MEM_PERM_SET_64,
        PARTITION_INFO_GET,
        ffa::DIRECT_REQ_64,
        ffa::DIRECT_RESP_64,
        ffa::DIRECT_REQ2,
        ffa::RUN,
    ];
    let fixes = |call: u64| {
        PartitionSpec::new("sp").script(move |sp| {
            assert_eq!(sp.call([VERSION, V1_1]).0[0], V1_3);
            assert_eq!(sp.call([VERSION, V1_2]).0[0], V1_3);
            // The result does not matter.
            sp.call([call]);
            assert_eq!(sp.call([VERSION, V1_1]).0[0], REFUSED, "{call:#x}");
            sp.serve(|_, request| request.payload())
        })
    };
    for call in calls {
        assert_eq!(
            System::boot([fixes(call)]).nwd().ask(0x8001, [1; 5]),
            [1; 5]
        );
    }
}

// req: VER-14, FWK-03
#[test]
fn a_framework_message_is_for_the_spmc() {
    let system = System::boot([PartitionSpec::new("sp1")]);
    for destination in [0x8001, 0x8009, 0, 0xffff] {
        let message = [
            ffa::DIRECT_REQ_32,
            0xffff_0000 | destination,
            0x8000_0008,
            V1_1,
        ];
        system.nwd().refused(message, ffa::INVALID_PARAMETERS);
    }
}

// req: VER-13
#[test]
fn any_call_of_the_normal_world_fixes_its_version() {
    for call in [
        ffa::DIRECT_REQ_64,
        ffa::DIRECT_REQ2,
        ffa::RUN,
        ffa::FEATURES,
    ] {
        let system = System::boot([PartitionSpec::new("sp1")]);
        let nwd = system.nwd();
        assert_eq!(nwd.version(V1_1), V1_2);
        assert_eq!(nwd.version(V1_2), V1_2);
        // The result does not matter.
        nwd.call([call]);
        assert_eq!(nwd.version(V1_1), REFUSED, "{call:#x}");
    }
}

// req: VER-14, FWK-02
#[test]
fn what_is_no_framework_message_is_none() {
    let system = System::boot([PartitionSpec::new("sp1")]);
    for w2 in [0, 8, 0x7fff_ffff] {
        let message = [ffa::DIRECT_REQ_32, 0xffff_8000, w2, V1_1];
        system.nwd().refused(message, ffa::INVALID_PARAMETERS);
    }
    let unknown = [ffa::DIRECT_REQ_32, 0xffff_8000, 0x8000_00ff, V1_1];
    system.nwd().refused(unknown, ffa::NOT_SUPPORTED);
}
