//! FEAT and COMP: `FFA_FEATURES`, and which functions exist for which caller.

use host_tests::ffa::*;
use host_tests::{PartitionSpec, Regs, System};

/// Functions that exist for both kinds of callers and have no properties.
const EVERYWHERE: [u64; 19] = [
    ERROR,
    SUCCESS_32,
    INTERRUPT,
    VERSION,
    FEATURES,
    RX_RELEASE,
    RXTX_UNMAP,
    PARTITION_INFO_GET,
    ID_GET,
    SPM_ID_GET,
    DIRECT_REQ_32,
    DIRECT_REQ_64,
    DIRECT_RESP_32,
    DIRECT_RESP_64,
    MEM_RETRIEVE_RESP,
    MEM_RELINQUISH,
    MEM_RECLAIM,
    MSG_SEND2,
    PARTITION_INFO_GET_REGS,
];

/// Functions that exist for no caller: not at these instances, or not at these versions.
const NOWHERE: [u64; 12] = [
    MSG_POLL,
    MSG_SEND,
    NORMAL_WORLD_RESUME,
    MEM_PERM_GET_64,
    0x8400_005f,
    0x8400_0098,
    0x8400_0092,
    0xc400_0063,
    0x8400_008b,
    0x8400_0000,
    0x8000_0060,
    0xffff_ffff,
];

/// Returns whether FFA_YIELD, FFA_MSG_WAIT or FFA_RUN was refused.
fn refused(answer: Regs) -> bool {
    answer.error() == Some(NOT_SUPPORTED)
}

// req: FEAT-01, FEAT-02, FEAT-03, FEAT-08, FEAT-10, COMP-05, COMP-07, COMP-08, COMP-14, COMP-20
// req: SEC-05, PERM-08
#[test]
fn what_the_normal_world_can_call() {
    let system = System::boot([]);
    let nwd = system.nwd();
    for id in EVERYWHERE.into_iter().chain([RUN, RX_ACQUIRE, MSG_WAIT]) {
        assert_eq!(nwd.call([FEATURES, id]).success(), [0; 6], "{id:#x}");
    }
    for id in NOWHERE
        .into_iter()
        .chain([RXTX_MAP_32, SECONDARY_EP_REGISTER_64])
        .chain([CONSOLE_LOG_32, CONSOLE_LOG_64])
        .chain([MEM_OP_PAUSE, MEM_OP_RESUME])
    {
        assert!(refused(nwd.call([FEATURES, id])), "{id:#x}");
    }
}

// A client that knows that RETRIEVE_REQ needs bit 1 of w2 sets the bit for all functions.
// req: FEAT-01, FEAT-08
#[test]
fn a_query_with_a_property_is_answered_as_without() {
    let system = System::boot([PartitionSpec::new("sp").vcpus(2)]);
    let nwd = system.nwd();
    let memory = [
        MEM_DONATE_32,
        MEM_DONATE_64,
        MEM_LEND_32,
        MEM_LEND_64,
        MEM_SHARE_32,
        MEM_SHARE_64,
        MEM_RETRIEVE_REQ_32,
        MEM_RETRIEVE_REQ_64,
    ];
    let notifications = [
        NOTIFICATION_BITMAP_CREATE,
        NOTIFICATION_BITMAP_DESTROY,
        NOTIFICATION_BIND,
        NOTIFICATION_UNBIND,
        NOTIFICATION_SET,
        NOTIFICATION_INFO_GET_64,
    ];
    let others = [RUN, MSG_WAIT, RXTX_MAP_64];
    for id in EVERYWHERE
        .into_iter()
        .chain(memory)
        .chain(notifications)
        .chain(others)
    {
        assert_eq!(nwd.call([FEATURES, id, 2]).error(), None, "{id:#x}");
    }
    for id in NOWHERE.into_iter().chain([RXTX_MAP_32, 0xffff]) {
        assert!(refused(nwd.call([FEATURES, id, 2])), "{id:#x}");
    }
}

// req: FEAT-01, FEAT-02, FEAT-08, COMP-05, COMP-07, COMP-10, COMP-21, SEC-05
#[test]
fn what_a_partition_can_call() {
    let query = |sp: &mut host_tests::Sp| {
        for id in EVERYWHERE
            .into_iter()
            .chain([MSG_WAIT, RUN, YIELD])
            .chain([CONSOLE_LOG_32, CONSOLE_LOG_64])
            .chain([MEM_OP_PAUSE, MEM_OP_RESUME])
            .chain([NOTIFICATION_BITMAP_CREATE, NOTIFICATION_BITMAP_DESTROY])
            .chain([NOTIFICATION_INFO_GET_32, NOTIFICATION_INFO_GET_64])
        {
            assert_eq!(sp.call([FEATURES, id]).success(), [0; 6], "{id:#x}");
        }
        let maximum = sp.call([FEATURES, RXTX_MAP_64]).success();
        assert_eq!(maximum, [16 << 16, 0, 0, 0, 0, 0]);
        // Cactus and the tests of Hafnium expect that 32-bit FFA_RXTX_MAP is not reported.
        for id in NOWHERE
            .into_iter()
            .chain([RX_ACQUIRE, RXTX_MAP_32, ABORT_32, ABORT_64])
        {
            sp.refused([FEATURES, id], NOT_SUPPORTED);
        }
        // Only a partition with more than one context can have secondary contexts.
        let secondary = sp.call([FEATURES, SECONDARY_EP_REGISTER_64]);
        let is_refused = refused(secondary);
        assert!(is_refused || secondary.success() == [0; 6]);
        sp.serve(move |_, _| [is_refused.into(), 0, 0, 0, 0]);
    };
    let system = System::boot([
        PartitionSpec::new("up").script(query),
        PartitionSpec::new("mp").vcpus(4).script(query),
    ]);
    assert_eq!(system.nwd().ask(0x8001, [0; 5])[0], 1);
    assert_eq!(system.nwd().ask(0x8002, [0; 5])[0], 0);
}

// req: COMP-18, COMP-21, FEAT-08
#[test]
fn run_exists_for_partitions_from_1_1_on() {
    let script = |sp: &mut host_tests::Sp| {
        let run = sp.call([FEATURES, RUN]);
        sp.serve(move |_, _| [refused(run).into(), 0, 0, 0, 0]);
    };
    let system = System::boot([
        PartitionSpec::new("old").version(0).script(script),
        PartitionSpec::new("new").version(1).script(script),
    ]);
    assert_eq!(system.nwd().ask(0x8001, [0; 5])[0], 1);
    assert_eq!(system.nwd().ask(0x8002, [0; 5])[0], 0);
}

// req: COMP-21, FEAT-08, FEAT-11, NTF-42, VMB-11
#[test]
fn what_the_normal_world_has_of_each_version() {
    const NOTIFICATIONS: [u64; 8] = [
        NOTIFICATION_BITMAP_CREATE,
        NOTIFICATION_BITMAP_DESTROY,
        NOTIFICATION_BIND,
        NOTIFICATION_UNBIND,
        NOTIFICATION_SET,
        NOTIFICATION_GET,
        NOTIFICATION_INFO_GET_32,
        NOTIFICATION_INFO_GET_64,
    ];
    for (version, has_1_1) in [(V1_0, false), (V1_1, true), (V1_2, true)] {
        let system = System::boot([PartitionSpec::new("sp1")]);
        let nwd = system.nwd();
        nwd.version(version);
        assert_eq!(nwd.call([FEATURES, RUN]).success(), [0; 6]);
        for id in NOTIFICATIONS.into_iter().chain([RX_ACQUIRE, MSG_SEND2]) {
            let answer = nwd.call([FEATURES, id]);
            assert!(refused(answer) || answer.success() == [0; 6]);
            assert_eq!(refused(answer), !has_1_1, "{id:#x} {version:#x}");
            // A function that exists can be called, although these registers make the call fail.
            let is_there = nwd.call([id, 0x8001_8001]).error() != Some(NOT_SUPPORTED);
            assert_eq!(is_there, has_1_1, "{id:#x} {version:#x}");
        }
        // The schedule receiver interrupt.
        let answer = nwd.call([FEATURES, 2]);
        if has_1_1 {
            assert_eq!(answer.success(), [8, 0, 0, 0, 0, 0]);
        } else {
            assert!(refused(answer));
        }
    }
}

// req: FEAT-03, FEAT-04, FEAT-05, FEAT-17, GEN-15
#[test]
fn buffer_size_and_alignment() {
    for (version, pages, maximum) in [
        (V1_0, 16, 0),
        (V1_1, 16, 0),
        (V1_2, 16, 16),
        (V1_2, 5, 5),
        (V1_2, 1, 1),
    ] {
        let system = System::builder().setting("rxtx-pages", pages).boot();
        let nwd = system.nwd();
        nwd.version(version);
        assert_eq!(
            nwd.call([FEATURES, RXTX_MAP_64]).success(),
            [maximum << 16, 0, 0, 0, 0, 0]
        );
        assert!(refused(nwd.call([FEATURES, RXTX_MAP_32])), "C13");
        // The SPMC keeps to the maximum that it states.
        if maximum != 0 {
            let pages = maximum;
            nwd.refused(
                [RXTX_MAP_64, 0x4080_0000, 0x4090_0000, pages + 1],
                INVALID_PARAMETERS,
            );
            nwd.call([RXTX_MAP_64, 0x4080_0000, 0x4090_0000, pages])
                .success();
        }
    }
}

// req: FEAT-06, FEAT-07, FEAT-13, FRAG-01
#[test]
fn properties_of_memory_calls() {
    for version in [V1_0, V1_1, V1_2] {
        let system = System::boot([PartitionSpec::new("sp1")
            .version(version as u32 & 3)
            .script(move |sp| {
                for id in [
                    MEM_DONATE_64,
                    MEM_LEND_64,
                    MEM_SHARE_64,
                    MEM_DONATE_32,
                    MEM_LEND_32,
                    MEM_SHARE_32,
                ] {
                    // Dynamically allocated buffers, and nothing else; from 1.2 on, nothing at all.
                    let buffer = u64::from(version != V1_2);
                    assert_eq!(sp.call([FEATURES, id]).success(), [buffer, 0, 0, 0, 0, 0]);
                }
                let ns_bit = 1 << 1;
                // From 1.1 on, a caller that does not understand the NS bit cannot retrieve.
                let unasked = sp.call([FEATURES, MEM_RETRIEVE_REQ_32]);
                if version == V1_0 {
                    assert_eq!(unasked.success()[0], 1);
                } else {
                    assert!(refused(unasked));
                }
                for id in [MEM_RETRIEVE_REQ_32, MEM_RETRIEVE_REQ_64] {
                    // w3 = 0: one retrieval at a time.
                    assert_eq!(
                        sp.call([FEATURES, id, ns_bit]).success(),
                        [ns_bit | 1, 0, 0, 0, 0, 0]
                    );
                }
                sp.msg_wait();
            })]);
        // A Hypervisor may retrieve: bit 2, even if it does not understand the NS bit.
        let nwd = system.nwd();
        nwd.version(version);
        let unasked = nwd.call([FEATURES, MEM_RETRIEVE_REQ_64]).success();
        assert_eq!(unasked.map(|word| word & !2), [4 | 1, 0, 0, 0, 0, 0]);
        assert_eq!(
            nwd.call([FEATURES, MEM_RETRIEVE_REQ_32, 2]).success()[0] & 4,
            4
        );
    }
}

// req: FEAT-09
#[test]
fn support_of_fragments_and_time_slices_is_told_by_their_functions() {
    let system = System::boot([]);
    let nwd = system.nwd();
    for id in [MEM_FRAG_RX, MEM_FRAG_TX, MEM_OP_PAUSE, MEM_OP_RESUME] {
        let announced = nwd.call([FEATURES, id]).error().is_none();
        let there = nwd.call([id]).error() != Some(NOT_SUPPORTED);
        assert_eq!(announced, there, "{id:#x}");
    }
    assert!(
        refused(nwd.call([FEATURES, MEM_OP_PAUSE])),
        "time slicing is refused"
    );
}

// req: FEAT-02, FEAT-11, FEAT-12, FEAT-14
#[test]
fn feature_ids_that_are_not_supported() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        // The managed exit interrupt is reported whatever the manifest says. Partitions have no
        // schedule receiver interrupt. Other ids are unknown.
        assert_eq!(sp.call([FEATURES, 3]).success(), [4, 0, 0, 0, 0, 0]);
        // A feature id takes no input properties.
        sp.refused([FEATURES, 3, 1], NOT_SUPPORTED);
        // The partition gets no notifications, so it has no interrupt for them.
        for id in [0, 1, 2, 4, 5, 0xff, 0x100, 0x7fff_ffff] {
            sp.refused([FEATURES, id], NOT_SUPPORTED);
        }
        sp.msg_wait();
    })]);
    // The interrupts of partitions are not reported to the Normal world.
    for id in [0, 1, 3, 4, 5, 0xff, 0x102, 0x7fff_ffff] {
        assert!(refused(system.nwd().call([FEATURES, id])), "{id:#x}");
    }
}

// Clients leave old values in the registers after w1. Only RETRIEVE_REQ has input properties.
// req: FEAT-14
#[test]
fn what_a_function_does_not_take_as_input_is_ignored() {
    let system = System::boot([]);
    let nwd = system.nwd();
    for function in [VERSION, RXTX_MAP_64, MEM_SHARE_64, DIRECT_REQ2] {
        let expected = nwd.call([FEATURES, function]);
        expected.success();
        for junk in [1, 2, 0xffff_ffff] {
            let call = [FEATURES, function, junk, junk, junk, junk, junk, junk];
            assert_eq!(nwd.call(call), expected, "{function:#x} {junk:#x}");
        }
    }
    let [retrieve, ..] = nwd.call([FEATURES, MEM_RETRIEVE_REQ_64, 2]).success();
    let junk = [FEATURES, MEM_RETRIEVE_REQ_64, 0xffff_fffe, 7, 7, 7, 7, 7];
    assert_eq!(nwd.call(junk).success()[0], retrieve);
    nwd.call([FEATURES, 2]).success();
    assert!(refused(nwd.call([FEATURES, 2, 1])), "a feature id");
}

// req: FEAT-12, ME-08
#[test]
fn managed_exit_exists_from_1_1_on() {
    let managed = |name: &str, minor: u32| {
        let spec = PartitionSpec::new(name).version(minor);
        spec.with(|spec| spec.ns_interrupts = 1).script(|sp| {
            let feature = sp.call([FEATURES, 3]);
            sp.serve(move |_, _| [refused(feature).into(), 0, 0, 0, 0]);
        })
    };
    let system = System::boot([managed("old", 0), managed("new", 1), managed("newer", 2)]);
    let nwd = system.nwd();
    let is_refused = [0x8001, 0x8002, 0x8003].map(|id| nwd.ask(id, [0; 5])[0]);
    assert_eq!(is_refused, [1, 0, 0]);
}

// req: FEAT-11, NTF-42
#[test]
fn the_notification_pending_interrupt_exists_from_1_1_on() {
    let told = |name: &str, minor: u32| {
        let spec = super::notification::caller(name).version(minor);
        spec.script(|sp| {
            let feature = sp.call([FEATURES, 1]);
            let is_refused = refused(feature);
            assert!(is_refused || feature.success() == [5, 0, 0, 0, 0, 0]);
            sp.serve(move |_, _| [is_refused.into(), 0, 0, 0, 0]);
        })
    };
    let system = System::boot([told("old", 0), told("new", 1), told("newer", 2)]);
    let nwd = system.nwd();
    let is_refused = [0x8001, 0x8002, 0x8003].map(|id| nwd.ask(id, [0; 5])[0]);
    assert_eq!(is_refused, [1, 0, 0]);
}
