//! Notification calls of FF-A 1.3, whose maps have six words of 64 bits.

use std::sync::Arc;

use host_tests::ffa::*;
use host_tests::{Nwd, PartitionSpec, Regs, System};

const BOTH: u64 = 0x8001_8002;
const FROM_SPS: u64 = 1;
const ALL: u64 = 0xf;

/// Returns a call with the map in x3.
fn mapped(function: u64, x1: u64, x2: u64, map: u64) -> Regs {
    Regs::new([function, x1, x2, map])
}

fn receiver(name: &str) -> PartitionSpec {
    PartitionSpec::new(name).version(3).with(|spec| {
        spec.extra = Some(Arc::new(|fdt| {
            fdt.property_null("notification-support").unwrap();
        }));
    })
}

/// Returns bits of x3, x9, x15 and x16 of a successful `FFA_NOTIFICATION_GET2`, whose other
/// registers are zero.
#[track_caller]
fn taken(answer: Regs) -> [u64; 4] {
    assert_eq!(answer.0[0], SUCCESS_64, "{answer:?}");
    let mut rest = answer.0;
    for n in [0, 3, 9, 15, 16] {
        rest[n] = 0;
    }
    assert_eq!(rest, [0; 18]);
    [3, 9, 15, 16].map(|n| answer.0[n])
}

fn boot(partitions: impl IntoIterator<Item = PartitionSpec>) -> System {
    let builder = System::builder().el3(3, 3);
    let system = partitions
        .into_iter()
        .fold(builder, |all, sp| all.sp(sp))
        .boot();
    system.nwd().version(V1_3);
    system
}

// req: NTF-44, NTF-45, NTF-46
#[test]
fn partitions_notify_each_other_by_the_calls_of_1_3() {
    let system = boot([
        receiver("sender").script(|sp| {
            let mut request = sp.msg_wait();
            for (flags, map, code) in [
                (0, 0b110, None),
                (0, 0, Some(INVALID_PARAMETERS)),
                (0, 0b1000, Some(DENIED)),
                (4, 0b110, Some(INVALID_PARAMETERS)),
                (1 << 16, 0b110, Some(INVALID_PARAMETERS)),
                (1 << 32 | 1, 0b1_0000, Some(INVALID_PARAMETERS)),
                (1 << 63 | 1, 0b1_0000, Some(INVALID_PARAMETERS)),
                (1, 0b1_0000, None),
            ] {
                let answer = sp.call_with(mapped(NOTIFICATION_SET2, BOTH, flags, map));
                assert_eq!(answer.error(), code, "{flags:#x} {map:#x}");
            }
            // Notifications behind the first word are not there.
            for word in 4..9 {
                let mut call = mapped(NOTIFICATION_SET2, BOTH, 0, 0b110);
                call.0[word] = 1;
                assert_eq!(sp.call_with(call).error(), Some(INVALID_PARAMETERS));
            }
            sp.regs[8..18].fill(0);
            request = sp.respond(&request, [0; 5]);
            sp.respond(&request, [0; 5]);
        }),
        receiver("receiver").script(|sp| {
            for (flags, map, code) in [
                (0, 0b1110, None),
                (1, 0b1_0000, None),
                (0, 0b10, Some(DENIED)),
                (2, 0b10_0000, Some(INVALID_PARAMETERS)),
                (1 << 32, 0b10_0000, Some(INVALID_PARAMETERS)),
                (0, 0, Some(INVALID_PARAMETERS)),
            ] {
                let answer = sp.call_with(mapped(NOTIFICATION_BIND2, BOTH, flags, map));
                assert_eq!(answer.error(), code, "{flags:#x} {map:#x}");
            }
            for word in 4..9 {
                let mut call = mapped(NOTIFICATION_BIND2, BOTH, 0, 0b10_0000);
                call.0[word] = 1 << 63;
                assert_eq!(sp.call_with(call).error(), Some(INVALID_PARAMETERS));
            }
            let unbind = |map| mapped(NOTIFICATION_UNBIND2, BOTH, 0, map);
            // The other calls see the same notifications.
            let old = sp.call_with(Regs::new([NOTIFICATION_UNBIND, BOTH, 0, 0b1000]));
            assert_eq!(old.error(), None);
            assert_eq!(sp.call_with(unbind(0b1000)).error(), Some(DENIED));
            let request = sp.call_with(Regs::new([MSG_WAIT]));
            assert_eq!(sp.call_with(unbind(0b10)).error(), Some(DENIED), "pending");
            let get = |flags, kept| mapped(NOTIFICATION_GET2, 0x8002, flags, kept);
            assert_eq!(
                sp.call_with(get(1 << 4, 0)).error(),
                Some(INVALID_PARAMETERS)
            );
            assert_eq!(
                sp.call_with(get(1 << 32, 0)).error(),
                Some(INVALID_PARAMETERS)
            );
            assert_eq!(taken(sp.call_with(get(0, 0))), [0; 4]);
            assert_eq!(
                taken(sp.call_with(get(FROM_SPS, 0b10))),
                [0b1_0100, 0, 0, 0]
            );
            assert_eq!(taken(sp.call_with(get(ALL, 0))), [0b10, 0, 0, 0]);
            assert_eq!(taken(sp.call_with(get(ALL, 0))), [0; 4]);
            assert_eq!(sp.call_with(unbind(0b1_0110)).error(), None);
            sp.regs[8..18].fill(0);
            sp.respond(&request, [0; 5]);
        }),
    ]);
    let nwd = system.nwd();
    system
        .is_wide
        .store(true, std::sync::atomic::Ordering::Relaxed);
    nwd.version(V1_2);
    nwd.ask(0x8001, [0; 5]);
    nwd.ask(0x8002, [0; 5]);
}

fn get(nwd: &Nwd, flags: u64) -> Regs {
    nwd.call_with(Regs::new([NOTIFICATION_GET2, 0, flags]))
}

// req: NTF-44, NTF-46
#[test]
fn the_normal_world_has_them_too_where_el3_carries_1_3() {
    let system = boot([receiver("sp1").script(|sp| {
        let request = sp.msg_wait();
        let set = mapped(NOTIFICATION_SET2, 0x8001_0000, 0, 1 << 63);
        assert_eq!(sp.call_with(set).error(), None);
        sp.respond(&request, [0; 5]);
    })]);
    let nwd = system.nwd();
    nwd.call([NOTIFICATION_BITMAP_CREATE, 0, 1]).success();
    let bind = mapped(NOTIFICATION_BIND2, 0x8001_0000, 0, 1 << 63);
    assert_eq!(nwd.call_with(bind).error(), None);
    nwd.call_with(Regs::new([DIRECT_REQ_32, 0x8001]));
    // Those of VMs and of the Hypervisor are the Hypervisor's.
    assert_eq!(get(&nwd, 2).error(), Some(INVALID_PARAMETERS));
    assert_eq!(get(&nwd, 8).error(), Some(INVALID_PARAMETERS));
    assert_eq!(taken(get(&nwd, 5)), [1 << 63, 0, 0, 0]);
    // Without a bitmap there is nothing.
    nwd.call([NOTIFICATION_UNBIND, 0x8001_0000, 0, 0, 1 << 31])
        .success();
    nwd.call([NOTIFICATION_BITMAP_DESTROY, 0]).success();
    assert_eq!(taken(get(&nwd, 5)), [0; 4]);
}

// req: NTF-44
#[test]
fn older_callers_do_not_have_them() {
    let calls = [
        NOTIFICATION_BIND2,
        NOTIFICATION_UNBIND2,
        NOTIFICATION_SET2,
        NOTIFICATION_GET2,
    ];
    let system = System::boot([receiver("sp1").version(2).script(move |sp| {
        for call in calls {
            sp.refused([call, 0x8002_8001, 0, 1], NOT_SUPPORTED);
        }
        sp.msg_wait();
    })]);
    for call in calls {
        system
            .nwd()
            .refused([call, 0x8001_0000, 0, 1], NOT_SUPPORTED);
    }
}
