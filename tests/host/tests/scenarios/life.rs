//! The life of a partition, as callers at each version see it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use host_tests::ffa::*;
use host_tests::system::NWD_PAGES;
use host_tests::{PartitionSpec, Regs, Sp, System};

const SP1: u64 = 0x8001;
const STOP: u32 = 0;
const DESTROY: u32 = 1;
const PROPAGATE: u32 = 3;

/// Returns a partition that aborts when it is asked to.
fn mortal(action: Option<u32>) -> PartitionSpec {
    let spec = PartitionSpec::new("mortal").version(3);
    let spec = match action {
        None => spec,
        Some(action) => spec.property("abort-action", action).with(|spec| {
            spec.extra = Some(Arc::new(|fdt| {
                fdt.property_null("lifecycle-support").unwrap();
            }));
        }),
    };
    spec.script(|sp| {
        sp.msg_wait();
        sp.call([ABORT_64]);
    })
}

/// Answers each request with the code that its own request to the first partition gets.
fn asks(sp: &mut Sp) {
    sp.serve(|sp, request| {
        let ids = u64::from(sp.id) << 16 | SP1;
        let answer = sp.call([DIRECT_REQ_32, ids, 0]);
        assert_eq!(answer.function(), ERROR);
        let again = sp.call([DIRECT_REQ2, ids, 0, 0]);
        let code = |answer: &Regs| answer.0[2];
        if request.0[3] >= 2 {
            assert_eq!(code(&again), code(&answer));
        }
        [code(&answer), 0, 0, 0, 0]
    })
}

// req: LIFE-03, LIFE-04
#[test]
fn a_partition_that_failed_is_told_to_each_version_in_its_own_way() {
    for (action, at_1_3) in [
        (None, ABORTED),
        (Some(STOP), NOT_READY),
        (Some(PROPAGATE), NOT_READY),
        (Some(DESTROY), INVALID_PARAMETERS),
    ] {
        for minor in 0..4 {
            let system = System::builder()
                .el3(3, 3)
                .sp(mortal(action))
                .sp(PartitionSpec::new("asks").version(minor).script(asks))
                .boot();
            let nwd = system.nwd();
            let expected = if minor == 3 { at_1_3 } else { ABORTED };
            let nwd_expected = if expected == NOT_READY {
                BUSY
            } else {
                expected
            };
            assert_eq!(nwd.version(V1_0 + u64::from(minor)), V1_3);
            nwd.call([DIRECT_REQ_32, SP1]);
            let code = nwd.call([DIRECT_REQ_32, 0x8002, 0, minor.into()]).0[3];
            assert_eq!(code as u32 as i32, expected, "{action:?} 1.{minor}");
            nwd.refused([DIRECT_REQ_32, SP1, 0, 0, 0, 0, 0, 0], nwd_expected);
            nwd.refused([RUN, SP1 << 16], nwd_expected);
            if minor >= 2 {
                nwd.refused([DIRECT_REQ2, SP1, 0, 0], nwd_expected);
            }
        }
    }
}

// req: LIFE-03
#[test]
fn a_partition_that_starts_is_not_ready() {
    for (minor, expected) in [(2, BUSY), (3, NOT_READY)] {
        let first = PartitionSpec::new("first").version(minor).with(|spec| {
            // The partition that it calls boots later.
            spec.boot_order = Some(0);
        });
        let system = System::builder()
            .el3(3, 3)
            .sp(PartitionSpec::new("late").with(|spec| spec.boot_order = Some(1)))
            .sp(first.script(move |sp| {
                sp.refused([DIRECT_REQ_32, 0x8002_8001, 0, 0, 0, 0, 0, 0], expected);
                sp.msg_wait();
            }))
            .boot();
        assert!(!system.spmc.partitions[1].is_dead());
        assert_eq!(system.machine.spmd_version.load(Ordering::Relaxed), V1_3);
    }
}

// req: LIFE-05
#[test]
fn what_needs_no_work_of_a_partition_that_failed() {
    let page = NWD_PAGES;
    for action in [None, Some(STOP), Some(DESTROY)] {
        let mortal = mortal(action).with(|spec| {
            spec.messaging = 7;
            spec.extra = spec
                .extra
                .take()
                .map(|extra| -> host_tests::manifest::Extra {
                    Arc::new(move |fdt| {
                        extra(fdt);
                        fdt.property_null("notification-support").unwrap();
                    })
                });
        });
        let system = System::builder()
            .el3(3, 3)
            .sp(mortal)
            .sp(PartitionSpec::new("other").version(3))
            .boot();
        let nwd = system.nwd();
        nwd.version(V1_3);
        nwd.map_buffers();
        nwd.call([NOTIFICATION_BITMAP_CREATE, 0, 1]).success();
        let lent = nwd.send(MEM_LEND_64, &Transaction::lend(0, 0x8001, RW, &[(page, 1)]));
        nwd.call([DIRECT_REQ_32, SP1]);
        nwd.reclaim(lent).success();
        let share = Transaction::share(0, 0x8001, RW, &[(page, 1)]);
        let share = share.encode(Layout::V1_2);
        nwd.memory_refused(MEM_SHARE_64, &share, INVALID_PARAMETERS);
        nwd.refused([NOTIFICATION_SET, SP1, 0, 1, 0, 0, 0, 0], DENIED);
        nwd.refused(
            [NOTIFICATION_GET, SP1, 1, 0, 0, 0, 0, 0],
            INVALID_PARAMETERS,
        );
        nwd.call([NOTIFICATION_BIND, SP1 << 16, 0, 1]).success();
        nwd.call([NOTIFICATION_UNBIND, SP1 << 16, 0, 1]).success();
    }
}
