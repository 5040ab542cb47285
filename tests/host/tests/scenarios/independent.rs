//! STRM: independent devices, which have access to a region from the send to the reclaim.

use host_tests::ffa::*;
use host_tests::smmu::DmaFault;
use host_tests::system::{NWD_PAGES, NWD_TX};
use host_tests::{PartitionSpec, System};
use spmc::addr::World::NonSecure;
use spmc::hal::{Access, FaultKind, Stream};
use spmc::limits::SLICE_PAGES;

use super::stage::{SP1, SP2, Stage};
use super::streams::{device, dma, reads, relinquish_for};

/// Two independent devices.
const DEVICE: u16 = 0x9000;
const DEVICE2: u16 = 0x9001;
const DEVICES: [(u16, Stream); 2] = [
    (DEVICE, Stream { smmu: 3, id: 0 }),
    (DEVICE2, Stream { smmu: 3, id: 1 }),
];

fn with_devices(known: &[Stream]) -> Stage {
    Stage::of(
        |builder| builder.streams(known).devices(&DEVICES),
        |spec| spec,
    )
}

fn known() -> [Stream; 2] {
    DEVICES.map(|(_, stream)| stream)
}

// req: STRM-04, STRM-11, STRM-13, MEMD-32, MEMX-13, MEMRC-08
#[test]
fn an_independent_device_has_what_is_sent_to_it_until_it_is_reclaimed() {
    let stage = with_devices(&known());
    let nwd = stage.nwd();
    let [stream, other] = known();
    assert!(
        !reads(&stage, stream, NWD_PAGES),
        "attached, without access"
    );
    for (function, transaction) in [
        (
            MEM_SHARE_64,
            Transaction::share(0, DEVICE, RO, &[(NWD_PAGES, 1)]),
        ),
        (
            MEM_LEND_64,
            Transaction::lend(0, DEVICE, RO, &[(NWD_PAGES, 1)]),
        ),
    ] {
        let handle = nwd.send(function, &transaction);
        assert!(reads(&stage, stream, NWD_PAGES));
        assert!(!reads(&stage, stream, NWD_PAGES + 0x1000));
        assert!(!reads(&stage, other, NWD_PAGES));
        let write = dma(&stage, stream, NonSecure, NWD_PAGES, Access::Write);
        assert_eq!(write, Err(DmaFault::Stage2(FaultKind::Permission)));
        // An independent device has no proxy.
        let request = Transaction {
            attributes: 0,
            ..Transaction::retrieve(0, DEVICE, handle, RO)
        };
        stage.retrieve_refused(SP1, request, INVALID_PARAMETERS);
        let answer = relinquish_for(&stage, SP1, DEVICE, handle);
        assert_eq!(answer.error(), Some(INVALID_PARAMETERS));
        nwd.reclaim(handle).success();
        assert!(!reads(&stage, stream, NWD_PAGES), "the SMMU forgot it");
    }
    stage.system.machine.check_tlbs();
}

// req: STRM-11, STRM-13
#[test]
fn an_independent_device_borrows_together_with_others() {
    let stage = with_devices(&known());
    let nwd = stage.nwd();
    let mut lend = Transaction::share(0, DEVICE, RW, &[(NWD_PAGES, 1)]);
    lend.receivers.push(Receiver::new(DEVICE2, RO));
    lend.receivers.push(Receiver::new(SP1, RW));
    let handle = nwd.send(MEM_LEND_64, &lend);
    assert!(
        known()
            .iter()
            .all(|stream| reads(&stage, *stream, NWD_PAGES))
    );
    let mut request = Transaction::retrieve(0, SP1, handle, RW);
    request.flags = 1 << 10 | 4;
    stage.retrieve(SP1, request).unwrap();
    nwd.refused([MEM_RECLAIM, handle & 0xffff_ffff, handle >> 32, 0], DENIED);
    assert!(
        reads(&stage, known()[0], NWD_PAGES),
        "a refused reclaim takes nothing"
    );
    nwd.write(NWD_PAGES, &[0xaa; 4]);
    stage.run(SP1, move |sp| sp.relinquish(handle, 1)).success();
    assert_eq!(nwd.read(NWD_PAGES, 4), [0xaa; 4], "devices still use it");
    nwd.reclaim(handle).success();
    assert_eq!(nwd.read(NWD_PAGES, 4), [0; 4], "as SP1 wanted");
    assert!(
        !known()
            .iter()
            .any(|stream| reads(&stage, *stream, NWD_PAGES))
    );
}

/// Returns whether an independent device accesses the page as Device memory.
fn is_device(stage: &Stage, id: u16, at: u64) -> bool {
    let streams = &stage.system.spmc.streams;
    let stream = streams.iter().find(|stream| stream.endpoint.id().0 == id);
    let roots = stream.unwrap().endpoint.memory.lock().roots();
    let tables = stage.system.machine.tables();
    tables.walk(roots.of(NonSecure).raw(), at).unwrap().device
}

// req: STRM-12, MEMD-32, MEMD-43, MEMD-55
#[test]
fn access_of_an_independent_device_is_its_senders_to_choose() {
    const DEVICE_MEMORY: u16 = 0x10;
    const OUTER: u16 = 0x2e;
    let stage = with_devices(&known());
    let nwd = stage.nwd();
    let [stream, _] = known();
    for permissions in [RO, RW, RO | NX, RW | NX] {
        for (attributes, device) in [(0, false), (NORMAL, false), (DEVICE_MEMORY, true)] {
            let lend = Transaction {
                attributes,
                ..Transaction::lend(0, DEVICE, permissions, &[(NWD_PAGES, 1)])
            };
            let handle = nwd.send(MEM_LEND_64, &lend);
            assert_eq!(is_device(&stage, DEVICE, NWD_PAGES), device);
            for (access, can) in [
                (Access::Read, true),
                (Access::Write, permissions & 3 == RW),
                (Access::Execute, false),
            ] {
                let found = dma(&stage, stream, NonSecure, NWD_PAGES, access);
                assert_eq!(found.is_ok(), can, "{access:?} with {permissions:#x}");
            }
            nwd.reclaim(handle).success();
        }
    }
    for (permissions, attributes) in [(RO | X, 0), (RO, OUTER)] {
        let lend = Transaction {
            attributes,
            ..Transaction::lend(0, DEVICE, permissions, &[(NWD_PAGES, 1)])
        };
        nwd.memory_refused(MEM_LEND_64, &lend.encode(Layout::V1_2), DENIED);
    }
}

// req: STRM-11, STRM-12, MEMD-36, MEMD-43, MEMD-55
#[test]
fn what_cannot_be_sent_to_an_independent_device_changes_nothing() {
    let stage = with_devices(&known());
    let nwd = stage.nwd();
    let donate = Transaction {
        receivers: vec![Receiver::new(DEVICE, RW)],
        ..Transaction::donate(0, DEVICE, &[(NWD_PAGES, 1)])
    };
    for permissions in [RO, RW, RW | NX] {
        let donate = Transaction {
            receivers: vec![Receiver::new(DEVICE, permissions)],
            ..donate.clone()
        };
        nwd.memory_refused(MEM_DONATE_64, &donate.encode(Layout::V1_2), DENIED);
    }
    let unsaid = Transaction::lend(0, DEVICE, 0, &[(NWD_PAGES, 1)]);
    let unsaid = unsaid.encode(Layout::of(0x1_0002));
    nwd.memory_refused(MEM_LEND_64, &unsaid, INVALID_PARAMETERS);

    // More tables than there are: the second device gets none, so the first one loses its access,
    // and the owner keeps everything.
    let scattered: Vec<(u64, u32)> = (0..85).map(|n| (0x4020_0000 + n * 0x20_0000, 1)).collect();
    let mut share = Transaction::share(0, DEVICE, RO, &scattered);
    share.receivers.push(Receiver::new(DEVICE2, RO));
    let large = share.encode(Layout::of(0x1_0002));
    nwd.memory_refused(MEM_SHARE_64, &large, NO_MEMORY);
    assert!(!reads(&stage, known()[0], 0x4020_0000));
    share.receivers.pop();
    let handle = nwd.send(MEM_SHARE_64, &share);
    nwd.reclaim(handle).success();
}

// req: STRM-04, STRM-10
#[test]
fn an_independent_device_without_a_place_is_not_there() {
    let there = |system: &System, id| {
        let share = Transaction::share(0, id, RO, &[(NWD_PAGES, 1)]);
        system.nwd().map_buffers();
        let answer = system
            .nwd()
            .memory_call(MEM_SHARE_64, &share.encode(Layout::of(0x1_0002)));
        answer.error().is_none()
    };
    let boot = |known: &[Stream], devices: &[(u16, Stream)], first: PartitionSpec| {
        System::builder()
            .streams(known)
            .devices(devices)
            .sp(first)
            .boot()
    };
    let all = known();
    let system = boot(&all, &DEVICES, PartitionSpec::new("sp1"));
    assert!(there(&system, DEVICE));
    // No SMMU knows the stream of the device.
    let system = boot(&all[1..], &DEVICES, PartitionSpec::new("sp1"));
    assert!(!there(&system, DEVICE));
    // Another endpoint has the device's id, or its stream.
    for device in [
        (0x8001, all[1]),
        (DEVICE, all[1]),
        (DEVICE2, all[0]),
        (5, all[1]),
    ] {
        let system = boot(&all, &[DEVICES[0], device], PartitionSpec::new("sp1"));
        assert!(there(&system, DEVICE));
        assert_eq!(
            system.spmc.streams.iter().filter(|s| s.is_there()).count(),
            1
        );
    }
    // A partition is not started if it asks for the memory of a device.
    for first in [
        device(PartitionSpec::new("sp1"), 3, &[0], None),
        device(PartitionSpec::new("sp1"), 3, &[1], Some(DEVICE)),
    ] {
        let system = boot(&all, &DEVICES[..1], first);
        assert!(system.nwd().request(SP1, [0; 5]).error().is_some());
        assert!(there(&system, DEVICE));
    }
}

// A device that was left out gives its place to the next one, which has the same VMID.
// req: STRM-10, STRM-14
#[test]
fn no_stream_of_a_device_that_is_left_out_stays_attached() {
    let [first, last] = known();
    let unknown = Stream { smmu: 3, id: 2 };
    let stage = Stage::of(
        |builder| {
            builder
                .streams(&[first, last])
                .device(DEVICE, &[first, unknown])
                .device(DEVICE2, &[last])
        },
        |spec| spec,
    );
    let share = Transaction::share(0, DEVICE2, RO, &[(NWD_PAGES, 1)]);
    let handle = stage.nwd().send(MEM_SHARE_64, &share);
    assert!(reads(&stage, last, NWD_PAGES));
    let blocked = dma(&stage, first, NonSecure, NWD_PAGES, Access::Read);
    assert_eq!(blocked, Err(DmaFault::Blocked));
    stage.nwd().reclaim(handle).success();
}

// A device has no access before the whole region is zeroed, however long that takes.
// req: STRM-11, STRM-13, TIME-03
#[test]
fn an_independent_device_waits_until_a_paused_lend_is_zeroed() {
    const ZEROED_AND_SLICED: u32 = 3;
    let stage = with_devices(&known());
    let nwd = stage.nwd();
    let [stream, _] = known();
    let ranges = [(0x4200_0000, 600)];
    let gift = nwd.send(MEM_DONATE_64, &Transaction::donate(0, SP1, &ranges));
    let accept = Transaction {
        attributes: 0,
        ..Transaction::retrieve(0, SP1, gift, RW)
    };
    stage.retrieve(SP1, accept).unwrap();
    let (low, high) = stage.run(SP1, move |sp| {
        let lend = Transaction {
            flags: ZEROED_AND_SLICED,
            ..Transaction::lend(SP1, DEVICE, RW, &ranges)
        };
        let paused = sp.memory_call(MEM_LEND_64, &lend.encode(sp.layout));
        assert_eq!(paused.function(), MEM_OP_PAUSE, "{paused:?}");
        (paused.0[1], paused.0[2])
    });
    let mut answer = MEM_OP_PAUSE;
    while answer == MEM_OP_PAUSE {
        assert!(!reads(&stage, stream, 0x4200_0000));
        answer = stage.run(SP1, move |sp| {
            sp.call([MEM_OP_RESUME, low, high]).function()
        });
    }
    assert_eq!(answer, SUCCESS_32);
    assert!(reads(&stage, stream, 0x4200_0000));
    stage
        .run(SP1, move |sp| sp.reclaim(low | high << 32, 0))
        .success();
    assert!(!reads(&stage, stream, 0x4200_0000));
}

// If a partition asked for zeroing while a device had the region, the reclaim zeroes it, in slices
// like every other zeroing.
// req: MEMRL-12, STRM-11, TIME-02
#[test]
fn a_reclaim_zeroes_in_slices_what_was_left_with_a_device() {
    const PAGES: u64 = 600;
    const SLICED: u64 = 2;
    let stage = with_devices(&known());
    let nwd = stage.nwd();
    let ranges = [(0x4200_0000, PAGES as u32)];
    let gift = nwd.send(MEM_DONATE_64, &Transaction::donate(0, SP1, &ranges));
    let accept = Transaction {
        attributes: 0,
        ..Transaction::retrieve(0, SP1, gift, RW)
    };
    stage.retrieve(SP1, accept).unwrap();
    let handle = stage.run(SP1, move |sp| {
        let mut lend = Transaction::share(SP1, DEVICE, RW, &ranges);
        lend.receivers.push(Receiver::new(SP2, RW));
        sp.send(MEM_LEND_64, &lend)
    });
    let mut request = Transaction::retrieve(SP1, SP2, handle, RW);
    request.flags = 1 << 10;
    stage.retrieve(SP2, request).unwrap();
    let zeroed = || stage.system.machine.journal().pages_zeroed();
    zeroed();
    stage.run(SP2, move |sp| sp.relinquish(handle, 1)).success();
    assert_eq!(zeroed(), 0);
    let answer = stage.run(SP1, move |sp| sp.reclaim(handle, SLICED));
    assert_eq!((answer.function(), zeroed()), (MEM_OP_PAUSE, SLICE_PAGES));
    let words = [MEM_OP_RESUME, handle & 0xffff_ffff, handle >> 32];
    for left in [SLICE_PAGES, PAGES - 2 * SLICE_PAGES] {
        stage.run(SP1, move |sp| sp.call(words));
        assert_eq!(zeroed(), left);
    }
    assert_eq!(stage.system.spmc.shares.live(), 0);
}

// When everything is zeroed, there are no tables for the device: the owner has its memory again.
// req: STRM-13, MEMX-11, MEMX-18
#[test]
fn a_device_without_tables_ends_a_lend_that_was_paused() {
    const PAGES: u32 = 4;
    let stage = with_devices(&known());
    let nwd = stage.nwd();
    let scattered: Vec<(u64, u32)> = (0..85)
        .map(|n| (0x4020_0000 + n * 0x20_0000, PAGES))
        .collect();
    let mut lend = Transaction::share(0, DEVICE, RO, &scattered);
    lend.receivers.push(Receiver::new(DEVICE2, RO));
    lend.flags = 1;
    stage.system.machine.journal().pages_zeroed();
    nwd.memory_refused(MEM_LEND_64, &lend.encode(Layout::V1_2), NO_MEMORY);
    let zeroed = stage.system.machine.journal().pages_zeroed();
    assert!(zeroed > SLICE_PAGES, "{zeroed} pages, without a pause");
    assert_eq!(stage.system.spmc.shares.live(), 0);
    assert!(!reads(&stage, known()[0], 0x4020_0000));
    lend.receivers.pop();
    lend.attributes = 0;
    nwd.reclaim(nwd.send(MEM_LEND_64, &lend)).success();
}

// In fragments, too: a transaction that the last fragment cannot complete is over.
// req: STRM-13, FRAG-14, MEMX-11
#[test]
fn a_device_without_tables_ends_a_transaction_in_fragments() {
    let stage = with_devices(&known());
    let nwd = stage.nwd();
    let scattered: Vec<(u64, u32)> = (0..85).map(|n| (0x4020_0000 + n * 0x20_0000, 1)).collect();
    let mut share = Transaction::share(0, DEVICE, RO, &scattered);
    share.receivers.push(Receiver::new(DEVICE2, RO));
    let bytes = share.encode(Layout::V1_2);
    let (total, first) = (bytes.len() as u64, bytes.len() - 16);
    nwd.write(NWD_TX, &bytes[..first]);
    let asked = nwd.call([MEM_SHARE_64, total, first as u64]);
    assert_eq!(asked.function(), MEM_FRAG_RX, "{asked:?}");
    nwd.write(NWD_TX, &bytes[first..]);
    let last = [MEM_FRAG_TX, asked.0[1], asked.0[2], 16, 0];
    assert_eq!(nwd.call(last).error(), Some(NO_MEMORY));
    assert_eq!(stage.system.spmc.shares.live(), 0);
    nwd.refused(last, INVALID_PARAMETERS);
    share.receivers.pop();
    let handle = nwd.send(MEM_SHARE_64, &share);
    nwd.reclaim(handle).success();
}
