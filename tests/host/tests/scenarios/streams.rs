//! STRM: DMA of partitions' devices, and stream endpoints with partitions as proxies. Independent
//! devices are in `independent`.

use host_tests::ffa::*;
use host_tests::machine::SECURE_DEVICE;
use host_tests::manifest::partition_base;
use host_tests::smmu::DmaFault;
use host_tests::system::NWD_PAGES;
use host_tests::{PartitionSpec, Sp, System};
use spmc::addr::World::{self, NonSecure, Secure};
use spmc::hal::{Access, FaultKind, Stream};

use super::interrupts::{ENABLE, LINE};
use super::stage::{SP1, SP2, SP3, Stage};

/// The stream endpoint of SP1, with two streams.
const SEPID: u16 = 0x8100;
const FIRST: Stream = Stream { smmu: 1, id: 7 };
const SECOND: Stream = Stream { smmu: 1, id: 8 };
/// A stream of SP2 itself.
const OWN: Stream = Stream { smmu: 2, id: 7 };
/// A stream that no manifest names.
const OTHER: Stream = Stream { smmu: 1, id: 9 };
const ALL: [Stream; 4] = [FIRST, SECOND, OWN, OTHER];

const NO_ACCESS: Result<u64, DmaFault> = Err(DmaFault::Stage2(FaultKind::Translation));

/// A device with streams that belong to the partition, or to a stream endpoint.
pub fn device(
    spec: PartitionSpec,
    smmu: u32,
    streams: &[u32],
    endpoint: Option<u16>,
) -> PartitionSpec {
    spec.with(|spec| {
        spec.device = true;
        spec.device_properties = vec![("smmu-id", vec![smmu]), ("stream-ids", streams.to_vec())];
        if let Some(id) = endpoint {
            spec.device_properties
                .push(("stream-endpoint-id", vec![id.into()]));
            spec.properties.push(("stream-endpoint-ids", id.into()));
        }
    })
}

fn stage() -> Stage {
    stage_with(|spec| spec)
}

fn stage_with(change: impl Fn(PartitionSpec) -> PartitionSpec) -> Stage {
    Stage::of(
        |builder| builder.streams(&ALL),
        |spec| {
            let spec = change(spec);
            match spec.name.as_str() {
                "sp1" => device(spec, 1, &[7, 8], Some(SEPID)),
                "sp2" => device(spec, 2, &[7], None),
                _ => spec,
            }
        },
    )
}

/// Flag of a retrieval: the region is zeroed when its borrower dies while it has the region.
const ZERO_AFTER: u32 = 1 << 2;

/// Accesses twice, so that a stale TLB entry of the SMMU shows.
#[track_caller]
pub fn dma(
    stage: &Stage,
    stream: Stream,
    world: World,
    at: u64,
    access: Access,
) -> Result<u64, DmaFault> {
    let once = || stage.system.machine.dma(stream, world, at, access);
    let first = once();
    assert_eq!(once(), first);
    first
}

pub fn reads(stage: &Stage, stream: Stream, at: u64) -> bool {
    match dma(stage, stream, NonSecure, at, Access::Read) {
        Ok(address) => address == at,
        Err(fault) => {
            assert_eq!(Err(fault), NO_ACCESS);
            false
        }
    }
}

fn retrieve(handle: u64, permissions: u8) -> Transaction {
    Transaction {
        attributes: 0,
        ..Transaction::retrieve(0, SEPID, handle, permissions)
    }
}

pub fn relinquish_for(stage: &Stage, caller: u16, id: u16, handle: u64) -> Regs {
    stage.run(caller, move |sp| {
        sp.write(Secure, sp.tx(), &relinquish(handle, 0, &[id]))
            .unwrap();
        sp.call([MEM_RELINQUISH])
    })
}

// req: STRM-01, STRM-06, STRM-14
#[test]
fn streams_of_a_partition_see_what_it_sees() {
    let stage = stage();
    let own = partition_base(1) + 0x1_0000;
    assert_eq!(dma(&stage, OWN, Secure, own, Access::Write), Ok(own));
    assert_eq!(
        dma(&stage, OWN, Secure, partition_base(0), Access::Read),
        NO_ACCESS
    );
    assert!(!reads(&stage, OWN, NWD_PAGES));
    let handle = stage.nwd().send(
        MEM_LEND_64,
        &Transaction::lend(0, SP2, RW, &[(NWD_PAGES, 1)]),
    );
    let request = Transaction {
        attributes: 0,
        ..Transaction::retrieve(0, SP2, handle, RO)
    };
    stage.retrieve(SP2, request).unwrap();
    assert!(reads(&stage, OWN, NWD_PAGES));
    let write = dma(&stage, OWN, NonSecure, NWD_PAGES, Access::Write);
    assert_eq!(write, Err(DmaFault::Stage2(FaultKind::Permission)));
    stage.relinquish(SP2, handle);
    assert!(!reads(&stage, OWN, NWD_PAGES), "the SMMU forgot it");
    stage.nwd().reclaim(handle).success();
    stage.system.machine.check_tlbs();

    for world in [Secure, NonSecure] {
        let blocked = dma(&stage, OTHER, world, own, Access::Read);
        assert_eq!(blocked, Err(DmaFault::Blocked));
    }
}

// req: STRM-02, STRM-07, STRM-09, MEMD-74, MEMRQ-08, MEMRL-09
#[test]
fn a_proxy_retrieves_for_its_stream_endpoint() {
    let stage = stage();
    for at in [partition_base(0) + 0x1_0000, 0x0904_0000] {
        assert_eq!(dma(&stage, FIRST, Secure, at, Access::Read), NO_ACCESS);
    }
    let nwd = stage.nwd();
    let handle = nwd.send(
        MEM_LEND_64,
        &Transaction::lend(0, SEPID, RW, &[(NWD_PAGES, 2)]),
    );
    assert!(
        !reads(&stage, FIRST, NWD_PAGES),
        "not before its proxy wants it"
    );
    // Other partitions are not its proxy, and the proxy is not the receiver.
    stage.retrieve_refused(SP2, retrieve(handle, RW), INVALID_PARAMETERS);
    let own = Transaction {
        attributes: 0,
        ..Transaction::retrieve(0, SP1, handle, RW)
    };
    stage.retrieve_refused(SP1, own, INVALID_PARAMETERS);
    let response = stage.retrieve(SP1, retrieve(handle, RW)).unwrap();
    assert_eq!(response.receivers[0].id, SEPID);
    assert_eq!(response.constituents, [(NWD_PAGES, 2)]);

    for stream in [FIRST, SECOND] {
        assert!(reads(&stage, stream, NWD_PAGES + 0x1000));
        assert!(dma(&stage, stream, NonSecure, NWD_PAGES, Access::Write).is_ok());
        let fetch = dma(&stage, stream, NonSecure, NWD_PAGES, Access::Execute);
        assert_eq!(fetch, Err(DmaFault::Stage2(FaultKind::Permission)));
    }
    assert_eq!(
        stage.access(SP1, NonSecure, NWD_PAGES),
        [false; 3],
        "not the proxy's"
    );
    stage.retrieve_refused(SP1, retrieve(handle, RW), DENIED);
    nwd.refused([MEM_RECLAIM, handle & 0xffff_ffff, handle >> 32, 0], DENIED);

    for (caller, id) in [
        (SP2, SEPID),
        (SP2, SP2),
        (SP1, SP1),
        (SP1, SP2),
        (SP1, 0x8101),
    ] {
        let answer = relinquish_for(&stage, caller, id, handle);
        assert_eq!(
            answer.error(),
            Some(INVALID_PARAMETERS),
            "{caller:#x} for {id:#x}"
        );
    }
    relinquish_for(&stage, SP1, SEPID, handle).success();
    for stream in [FIRST, SECOND] {
        assert!(!reads(&stage, stream, NWD_PAGES));
    }
    nwd.reclaim(handle).success();
    stage.system.machine.check_tlbs();
}

// req: STRM-09, MEMD-27
#[test]
fn a_proxy_and_its_stream_endpoint_borrow_the_same_region() {
    let stage = stage();
    let nwd = stage.nwd();
    let mut share = Transaction::share(0, SP1, RW, &[(NWD_PAGES, 1)]);
    share.receivers.push(Receiver::new(SEPID, RO));
    let handle = nwd.send(MEM_SHARE_64, &share);
    let request = |for_stream: bool| {
        let mut request = Transaction::retrieve(0, SP1, handle, RW);
        request.receivers.push(Receiver::new(SEPID, RO));
        request.receivers[usize::from(!for_stream)].flags = 1;
        request
    };
    stage.retrieve(SP1, request(true)).unwrap();
    assert!(reads(&stage, FIRST, NWD_PAGES));
    assert_eq!(stage.access(SP1, NonSecure, NWD_PAGES), [false; 3]);
    stage.retrieve(SP1, request(false)).unwrap();
    assert_eq!(stage.access(SP1, NonSecure, NWD_PAGES), [true, true, false]);
    stage.relinquish(SP1, handle);
    assert!(reads(&stage, FIRST, NWD_PAGES));
    relinquish_for(&stage, SP1, SEPID, handle).success();
    nwd.reclaim(handle).success();
}

// req: STRM-12
#[test]
fn access_of_a_stream_endpoint_is_its_senders_to_choose() {
    let stage = stage();
    let nwd = stage.nwd();
    let donate = |permissions| Transaction {
        receivers: vec![Receiver::new(SEPID, permissions)],
        ..Transaction::donate(0, SEPID, &[(NWD_PAGES, 1)])
    };
    const EXECUTE_NEVER: u8 = 1 << 2;
    const EXECUTE: u8 = 2 << 2;
    for permissions in [0, EXECUTE_NEVER, RO | EXECUTE] {
        let refused = donate(permissions).encode(Layout::of(0x1_0002));
        nwd.memory_refused(MEM_DONATE_64, &refused, INVALID_PARAMETERS);
    }
    let handle = nwd.send(MEM_DONATE_64, &donate(RO | EXECUTE_NEVER));
    stage.retrieve_refused(SP1, retrieve(handle, RW), DENIED);
    stage.retrieve_refused(SP1, retrieve(handle, RO | EXECUTE), DENIED);
    stage.retrieve(SP1, retrieve(handle, RO)).unwrap();
    assert!(reads(&stage, FIRST, NWD_PAGES));
    let write = dma(&stage, FIRST, NonSecure, NWD_PAGES, Access::Write);
    assert_eq!(write, Err(DmaFault::Stage2(FaultKind::Permission)));
    // The stream endpoint owns the region for good.
    let again = Transaction::share(0, SP2, RO, &[(NWD_PAGES, 1)]);
    nwd.memory_refused(MEM_SHARE_64, &again.encode(Layout::of(0x1_0002)), DENIED);
}

// req: STRM-01, STRM-07, STRM-12
#[test]
fn a_partition_lends_to_a_stream_endpoint() {
    let stage = stage();
    let page = partition_base(2) + super::stage::OWN_PAGES;
    let handle = stage.run(SP3, move |sp| {
        sp.send(
            MEM_LEND_64,
            &Transaction::lend(SP3, SEPID, RW, &[(page, 1)]),
        )
    });
    let request = Transaction {
        sender: SP3,
        ..retrieve(handle, RW)
    };
    // Partitions that borrow Secure memory may execute it; their devices may not.
    let execute = Transaction {
        sender: SP3,
        ..retrieve(handle, RO | X)
    };
    stage.retrieve_refused(SP1, execute, DENIED);
    stage.retrieve(SP1, request).unwrap();
    assert_eq!(dma(&stage, SECOND, Secure, page, Access::Write), Ok(page));
    assert_eq!(stage.access(SP3, Secure, page), [false; 3]);
    relinquish_for(&stage, SP1, SEPID, handle).success();
    assert_eq!(dma(&stage, SECOND, Secure, page, Access::Read), NO_ACCESS);
    stage.run(SP3, move |sp| sp.reclaim(handle, 0)).success();
}

// req: STRM-09, STRM-14, MEMD-88
#[test]
fn a_stream_endpoint_loses_everything_with_its_proxy() {
    let stage = stage_with(|spec| spec.with(|sp| sp.takes_exceptions = false));
    let nwd = stage.nwd();
    let lend = |page: u64| Transaction::lend(0, SEPID, RW, &[(NWD_PAGES + page * 0x1000, 1)]);
    let handle = nwd.send(MEM_LEND_64, &lend(0));
    let request = Transaction {
        flags: ZERO_AFTER,
        ..retrieve(handle, RW)
    };
    stage.retrieve(SP1, request).unwrap();
    stage.system.machine.journal().pages_zeroed();
    assert_eq!(stage.kill(SP1).error(), Some(ABORTED));
    let zeroed = stage.system.machine.journal().pages_zeroed();
    assert_eq!(zeroed, 1, "nobody has to ask for it");
    for stream in [FIRST, SECOND] {
        let blocked = dma(&stage, stream, NonSecure, NWD_PAGES, Access::Read);
        assert_eq!(blocked, Err(DmaFault::Blocked));
    }
    nwd.reclaim(handle).success();
    let nobody = lend(1).encode(Layout::of(0x1_0002));
    nwd.memory_refused(MEM_LEND_64, &nobody, INVALID_PARAMETERS);
    stage.system.machine.check_tlbs();
}

// req: STRM-06, STRM-14
#[test]
fn devices_of_a_partition_that_fails_are_blocked() {
    for action in [0, 1, 3] {
        let stage = stage_with(|spec| {
            spec.with(|sp| {
                sp.takes_exceptions = false;
                sp.extra = Some(std::sync::Arc::new(|fdt| {
                    fdt.property_null("lifecycle-support").unwrap();
                }));
            })
            .property("abort-action", action)
        });
        let own = partition_base(1) + 0x1_0000;
        assert_eq!(dma(&stage, OWN, Secure, own, Access::Write), Ok(own));
        let handle = stage.nwd().send(
            MEM_LEND_64,
            &Transaction::lend(0, SP2, RW, &[(NWD_PAGES, 1)]),
        );
        let request = Transaction {
            attributes: 0,
            ..Transaction::retrieve(0, SP2, handle, RW)
        };
        stage.retrieve(SP2, request).unwrap();
        assert!(reads(&stage, OWN, NWD_PAGES));
        stage.kill(SP2);
        for (world, at) in [(Secure, own), (NonSecure, NWD_PAGES)] {
            for access in [Access::Read, Access::Write] {
                let blocked = dma(&stage, OWN, world, at, access);
                assert_eq!(blocked, Err(DmaFault::Blocked), "action {action}");
            }
        }
        // Memory of other partitions is not accessible.
        let other = dma(&stage, FIRST, Secure, own, Access::Read);
        assert_eq!(other, NO_ACCESS);
        stage.system.machine.check_tlbs();
    }
}

// req: STRM-07, STRM-09
#[test]
fn a_stream_endpoint_borrows_again_when_its_proxy_starts_anew() {
    let stage = stage_with(|spec| {
        let restarts = spec.name == "sp1";
        spec.with(|sp| {
            sp.takes_exceptions = false;
            if restarts {
                sp.extra = Some(std::sync::Arc::new(|fdt| {
                    fdt.property_null("lifecycle-support").unwrap();
                    fdt.property_u32("abort-action", 2).unwrap();
                }));
            }
        })
    });
    let nwd = stage.nwd();
    let lend = Transaction::lend(0, SEPID, RW, &[(NWD_PAGES, 1)]);
    for _ in 0..2 {
        let handle = nwd.send(MEM_LEND_64, &lend);
        stage.retrieve(SP1, retrieve(handle, RW)).unwrap();
        assert!(reads(&stage, FIRST, NWD_PAGES));
        assert_eq!(stage.kill(SP1).error(), Some(ABORTED));
        assert!(!reads(&stage, FIRST, NWD_PAGES), "attached, without access");
        nwd.reclaim(handle).success();
    }
    stage.system.machine.check_tlbs();
}

// req: STRM-06, STRM-14
#[test]
fn streams_of_a_partition_that_cannot_start_anew_stay_blocked() {
    let stage = stage_with(|spec| {
        let restarts = spec.name == "sp1";
        spec.with(|sp| {
            sp.takes_exceptions = false;
            if restarts {
                sp.extra = Some(std::sync::Arc::new(|fdt| {
                    fdt.property_null("lifecycle-support").unwrap();
                    fdt.property_u32("abort-action", 2).unwrap();
                }));
            }
        })
    });
    stage.system.machine.forget_stream(SECOND);
    stage.kill(SP1);
    let answer = stage.nwd().request(SP1, [0; 5]);
    assert_eq!(answer.error(), Some(ABORTED), "it is not restarted");
    for stream in [FIRST, SECOND] {
        let blocked = dma(&stage, stream, NonSecure, NWD_PAGES, Access::Read);
        assert_eq!(blocked, Err(DmaFault::Blocked));
    }
}

// req: STRM-03, STRM-15
#[test]
fn nothing_but_memory_reaches_a_stream_endpoint() {
    let stage = stage();
    let nwd = stage.nwd();
    assert_eq!(nwd.request(SEPID, [0; 5]).error(), Some(INVALID_PARAMETERS));
    let id = stage.run(SP1, |sp| sp.call([ID_GET]));
    assert_eq!(id.0[2] as u16, SP1);
    // Discovery lists PE endpoints only: bits 5:4 of their properties are 0.
    let found = nwd.call([PARTITION_INFO_GET, 0, 0, 0, 0, 0]);
    found.success();
    assert_eq!(found.0[2], 3);
    let rx = nwd.read(host_tests::system::NWD_RX, 3 * 24);
    for (info, expected) in rx.chunks(24).zip([SP1, SP2, SP3]) {
        assert_eq!(u16::from_le_bytes([info[0], info[1]]), expected);
        assert_eq!(info[4] & 0x30, 0);
    }
}

/// Returns whether each of two partitions boots.
fn boots(streams: &[Stream], first: PartitionSpec, second: PartitionSpec) -> [bool; 2] {
    let system = System::builder()
        .streams(streams)
        .sp(first)
        .sp(second)
        .boot();
    [SP1, SP2].map(|id| system.nwd().request(id, [0; 5]).error().is_none())
}

fn sp(name: &str) -> PartitionSpec {
    PartitionSpec::new(name)
}

// req: STRM-03, STRM-08, STRM-10
#[test]
fn ids_of_stream_endpoints_are_nobody_elses() {
    for id in [0, 5, 0x8000, 0x8001, 0x8002, 0xffc0, 0xfffe, 0xffff] {
        let first = device(sp("sp1"), 1, &[7], Some(id));
        assert_eq!(boots(&ALL, first, sp("sp2")), [false, true], "{id:#x}");
    }
    let first = || device(sp("sp1"), 1, &[7], Some(SEPID));
    let second = device(sp("sp2"), 1, &[8], Some(SEPID));
    assert_eq!(boots(&ALL, first(), second), [true, false]);
    let second = device(sp("sp2"), 1, &[8], Some(SEPID + 1));
    assert_eq!(boots(&ALL, first(), second), [true, true]);
    let second = sp("sp2").property("auxiliary-id", SEPID.into());
    assert_eq!(boots(&ALL, first(), second), [true, false]);
}

// req: STRM-02, MAN-21, MAN-35
#[test]
fn a_stream_belongs_to_one_endpoint() {
    let first = || device(sp("sp1"), 1, &[7, 8], None);
    let second = device(sp("sp2"), 1, &[8], None);
    assert_eq!(boots(&ALL, first(), second), [true, false]);
    let second = device(sp("sp2"), 1, &[8], Some(SEPID));
    assert_eq!(boots(&ALL, first(), second), [true, false]);
    let second = device(sp("sp2"), 2, &[7], Some(SEPID));
    assert_eq!(boots(&ALL, first(), second), [true, true]);
    // The manifest must state that the partition is the proxy of its device's stream endpoint.
    let unlisted = device(sp("sp1"), 1, &[7], Some(SEPID)).with(|sp| {
        sp.properties
            .retain(|(name, _)| *name != "stream-endpoint-ids");
    });
    assert_eq!(boots(&ALL, unlisted, sp("sp2")), [false, true]);
}

// req: STRM-14
#[test]
fn no_device_writes_to_a_partition_that_is_loaded_anew() {
    let restarted = |endpoint| {
        device(sp("sp1"), 1, &[7], endpoint).with(|sp| {
            let lifecycle = |fdt: &mut vm_fdt::FdtWriter| {
                fdt.property_null("lifecycle-support").unwrap();
                fdt.property_u32("abort-action", 2).unwrap();
            };
            sp.extra = Some(std::sync::Arc::new(lifecycle));
        })
    };
    assert_eq!(boots(&ALL, restarted(None), sp("sp2")), [false, true]);
    assert_eq!(boots(&ALL, restarted(Some(SEPID)), sp("sp2")), [true, true]);
}

// req: STRM-16
#[test]
fn a_device_that_no_smmu_confines_is_withheld() {
    for (streams, ids, is_there) in [
        (&[][..], &[7][..], false),
        (&[FIRST], &[7, 8], false),
        (&[FIRST], &[7], true),
    ] {
        for endpoint in [None, Some(SEPID)] {
            let spec = device(sp("sp1"), 1, ids, endpoint)
                .with(|sp| sp.device_properties.push(("interrupts", vec![LINE, 0xb10])))
                .script(move |sp: &mut Sp| {
                    sp.serve(|sp, _| {
                        let reads = sp.peek(World::Secure, SECURE_DEVICE.start).is_some();
                        let enabled = sp.call([ENABLE, LINE.into(), 1, 0]).0[0] == 0;
                        [reads.into(), enabled.into(), 0, 0, 0]
                    })
                });
            let system = System::builder().streams(streams).sp(spec).boot();
            // Declare memory there, so that accesses succeed.
            let mut memory = system.machine.memory();
            memory.declare(Secure, SECURE_DEVICE);
            drop(memory);
            let has = u64::from(is_there);
            let found = system.nwd().ask(SP1, [1; 5]);
            assert_eq!(found, [has, has, 0, 0, 0], "its registers, its interrupt");
        }
    }
}

// req: TIME-07, MEMRL-12, TIME-05, MEMRL-09
#[test]
fn a_proxy_resumes_what_it_relinquishes_for_its_stream_endpoint() {
    let stage = stage();
    let nwd = stage.nwd();
    let (base, pages) = (0x4200_0000, 600);
    nwd.write(base, &[0xaa; 16]);
    let lend = Transaction::lend(0, SEPID, RW, &[(base, pages)]);
    let handle = nwd.send(MEM_LEND_64, &lend);
    stage.retrieve(SP1, retrieve(handle, RW)).unwrap();
    let (low, high) = (handle & 0xffff_ffff, handle >> 32);
    stage.run(SP1, move |sp| {
        sp.write(Secure, sp.tx(), &relinquish(handle, 3, &[SEPID]))
            .unwrap();
        let paused = sp.call([MEM_RELINQUISH]);
        assert_eq!(paused.0[..3], [MEM_OP_PAUSE, low, high]);
    });
    // Nobody has the region meanwhile, and no other call continues the work.
    assert!(!reads(&stage, FIRST, base));
    assert_eq!(nwd.reclaim(handle).error(), Some(BUSY));
    stage.run(SP2, move |sp| {
        sp.refused([MEM_OP_RESUME, low, high], INVALID_PARAMETERS);
    });
    // If the memory does not answer, the call is undone: the stream endpoint, not its proxy, has
    // the region again.
    let machine = &stage.system.machine;
    let later = base + 400 * 0x1000;
    machine.memory().protect(NonSecure, later..later + 0x1000);
    stage.run(SP1, move |sp| {
        let undone = sp.call([MEM_OP_RESUME, low, high]);
        assert_eq!(undone.error(), Some(ABORTED));
        assert_eq!(sp.peek(NonSecure, base), None);
    });
    machine.memory().unprotect_all();
    assert!(reads(&stage, FIRST, base));
    stage.run(SP1, move |sp| {
        sp.write(Secure, sp.tx(), &relinquish(handle, 3, &[SEPID]))
            .unwrap();
        let mut answer = sp.call([MEM_RELINQUISH]);
        let mut slices = 1;
        while answer.function() == MEM_OP_PAUSE {
            answer = sp.call([MEM_OP_RESUME, low, high]);
            slices += 1;
        }
        answer.success();
        assert_eq!(slices, 3);
    });
    assert!(!reads(&stage, FIRST, base));
    nwd.reclaim(handle).success();
    assert_eq!(nwd.read(base, 16), [0; 16]);
}
// req: FRAG-15, STRM-09
#[test]
fn a_proxy_reads_a_response_for_each_of_its_endpoints() {
    let stage = stage();
    let nwd = stage.nwd();
    let ranges: Vec<_> = (0..600).map(|n| (0x4200_0000 + n * 0x2000, 1)).collect();
    let mut share = Transaction::share(0, SP1, RW, &ranges);
    share.receivers.push(Receiver::new(SEPID, RW));
    let bytes = share.encode(Layout::V1_2);
    let length = bytes.len() as u64;
    nwd.write(0x4400_0000, &bytes);
    let handle = nwd
        .call([MEM_SHARE_64, length, length, 0x4400_0000, 3])
        .handle();
    stage.run(SP1, move |sp| {
        let (low, high) = (handle & 0xffff_ffff, handle >> 32);
        for id in [SP1, SEPID] {
            let request = Transaction {
                flags: 1 << 10,
                ..Transaction::retrieve(0, id, handle, RW)
            };
            let answer = sp.memory_call(MEM_RETRIEVE_REQ_64, &request.encode(sp.layout));
            let [function, total, mut offset, ..] = answer.0;
            assert_eq!(function, MEM_RETRIEVE_RESP, "{answer:?}");
            sp.call([RX_RELEASE]).success();
            while offset < total {
                let answer = sp.call([MEM_FRAG_RX, low, high, offset, 0]);
                assert_eq!(
                    answer.function(),
                    MEM_FRAG_TX,
                    "{id:#x} at {offset}: {answer:?}"
                );
                offset += answer.0[3];
                sp.call([RX_RELEASE]).success();
            }
        }
    });
}
