//! Partition stop messages: how a partition stops for its new image, and how it refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::{PartitionSpec, Regs, Sp, System};

use super::stage::*;

/// Returns a partition that answers stop messages by `answer`, and other requests by `serve`.
fn stops(
    answer: impl Fn(&mut Sp, &Regs) -> Regs + Send + Sync + 'static,
    serve: impl Fn(&mut Sp, u64) -> u64 + Send + Sync + 'static,
) -> PartitionSpec {
    live("sp1", &[]).script(move |sp| {
        let version = image(sp);
        let mut message = sp.msg_wait();
        loop {
            message = if is_stop(&message) {
                answer(sp, &message)
            } else if matches!(message.0[0], DIRECT_REQ_32 | DIRECT_REQ_64) {
                let served = serve(sp, message.0[3]);
                sp.respond(&message, [version.into(), served, 0, 0, 0])
            } else {
                sp.msg_wait()
            };
        }
    })
}

/// Puts version 2 of a partition there, and starts its activation.
fn activate(system: &System, spec: &PartitionSpec) -> i32 {
    let package = version(spec, 2);
    stage(system, &package);
    start(system.nwd(), &package)
}

// req: LIVE-12
#[test]
fn a_partition_that_refuses_to_stop_waits_on() {
    for (said, told) in [
        (BUSY, BUSY),
        (NO_MEMORY, NO_MEMORY),
        (-77, DENIED),
        (5, DENIED),
    ] {
        let spec = stops(move |sp, _| stop(sp, said), |_, x3| x3);
        let system = boot(spec.clone());
        let before = system.snapshot();
        for n in 0..3 {
            assert_eq!(activate(&system, &spec), told);
            assert_eq!(before, system.snapshot());
            assert_eq!(finish(system.nwd()), DENIED);
            let answer = system.nwd().ask(SP1, [n; 5]);
            assert_eq!(answer[..2], [b's'.into(), n]);
        }
    }
    // One that knows no such messages.
    for code in [INVALID_PARAMETERS, NOT_SUPPORTED, -99] {
        let error = u64::from(code as u32);
        let spec = stops(move |sp, _| sp.call([ERROR, 0, error]), |_, x3| x3);
        let system = boot(spec.clone());
        let before = system.snapshot();
        let told = if code == -99 { DENIED } else { code };
        assert_eq!(activate(&system, &spec), told);
        assert_eq!(before, system.snapshot());
        assert_eq!(system.nwd().ask(SP1, [7; 5])[1], 7);
    }
}

// req: LIVE-14, LIVE-15
#[test]
fn a_partition_stops_as_it_should_or_not_at_all() {
    let spec = stops(
        |sp, message| {
            let id = u64::from(sp.id) << 16;
            let ids = route(SP1, SPMC);
            for bad in [
                // Another buffer.
                [DIRECT_RESP_64, ids, STOPPED, 0, 0, 0],
                [DIRECT_RESP_64, ids, STOPPED, 0, STATE, STATE_SIZE - 1],
                [DIRECT_RESP_64, ids, STOPPED, 0, STATE, STATE_SIZE / 0x1000],
                [DIRECT_RESP_64, ids, STOPPED, 0, STATE + 0x1000, STATE_SIZE],
                [DIRECT_RESP_64, ids, STOPPED, 0, STATE | 1 << 40, STATE_SIZE],
                // Another source or kind.
                [
                    DIRECT_RESP_64,
                    route(0x8002, SPMC),
                    STOPPED,
                    0,
                    STATE,
                    STATE_SIZE,
                ],
                [DIRECT_RESP_64, ids, STOP, 0, STATE, STATE_SIZE],
                [DIRECT_RESP_64, ids, STOPPED + 4, 0, STATE, STATE_SIZE],
            ] {
                sp.refused(bad, INVALID_PARAMETERS);
            }
            // Another receiver, no framework message, and ways to put it off.
            sp.refused(
                [DIRECT_RESP_64, id | 0x8002, STOPPED, 0, STATE, STATE_SIZE],
                DENIED,
            );
            sp.refused([DIRECT_RESP_64, ids, 0, 0, STATE, STATE_SIZE], DENIED);
            sp.refused([DIRECT_RESP2, ids], DENIED);
            sp.refused([YIELD], DENIED);
            sp.refused([MSG_WAIT], DENIED);
            // Nothing of the Normal world comes in between.
            assert!(!sp.interrupt());
            // Others may be asked.
            let helped = sp.call([DIRECT_REQ_64, route(SP1, 0x8002), 0, 5]);
            assert_eq!(helped.0[..4], [DIRECT_RESP_64, route(0x8002, SP1), 0, 5]);
            // A page of the image is lent, or is a buffer.
            sp.map_buffers();
            let page = sp.base() + 0x2000;
            let lend = Transaction::lend(SP1, 0x8002, RW, &[(page, 1)]);
            let handle = sp.send(MEM_LEND_64, &lend);
            let good = [DIRECT_RESP_64, ids, STOPPED, 0, STATE, STATE_SIZE];
            sp.refused(good, DENIED);
            sp.reclaim(handle, 0).success();
            sp.call([RXTX_UNMAP]).success();
            sp.call([RXTX_MAP_64, page, page + 0x1000, 1]).success();
            sp.refused(good, DENIED);
            sp.call([RXTX_UNMAP]).success();
            assert_eq!(message.0[2], STOP);
            let _ = sp.call([DIRECT_RESP_32, ids, STOPPED, 0, 1 << 40 | STATE, STATE_SIZE]);
            unreachable!("it has stopped");
        },
        |sp, x3| {
            // Nobody asked.
            let ids = route(SP1, SPMC);
            sp.refused([DIRECT_RESP_64, ids, STOPPED, 0, STATE, STATE_SIZE], DENIED);
            x3
        },
    );
    let system = System::builder()
        .sp(spec.clone())
        .sp(PartitionSpec::new("sp2"))
        .boot();
    assert_eq!(system.nwd().ask(SP1, [9; 5])[..2], [b's'.into(), 9]);
    assert_eq!(activate(&system, &spec), 0);
    assert_eq!(finish(system.nwd()), 0);
    assert_eq!(system.nwd().ask(SP1, [9; 5])[..2], [2, 9]);
}

// req: LIVE-11
#[test]
fn a_partition_without_state_says_so() {
    let spec = stops(
        |sp, _| {
            let ids = route(SP1, SPMC);
            sp.refused(
                [DIRECT_RESP_64, ids, STOPPED, 0, STATE, STATE_SIZE],
                INVALID_PARAMETERS,
            );
            sp.call([DIRECT_RESP_64, ids, STOPPED, 0, 0, 0])
        },
        |_, x3| x3,
    );
    let spec = spec.with(|spec| {
        spec.extra = Some(Arc::new(|fdt| {
            for name in ["lifecycle-support", "live-activation-support"] {
                fdt.property_null(name).unwrap();
            }
            fdt.property_u32("live-activation-register", 1).unwrap();
            fdt.property_array_u32("image-uuid", &[1, 2, 3, 4]).unwrap();
        }));
    });
    let system = boot(spec.clone());
    assert_eq!(activate(&system, &spec), 0);
    assert_eq!(finish(system.nwd()), 0);
    assert_eq!(system.nwd().ask(SP1, [9; 5])[..2], [2, 9]);
}

// req: LIVE-03, LIVE-11
#[test]
fn a_partition_that_dies_over_the_message_ends_as_its_manifest_says() {
    // By a call, by a fault, and by taking too long.
    for way in 0..3 {
        for (action, after) in [(0, None), (2, Some(b's'))] {
            let spec = stops(
                move |sp, _| match way {
                    0 => sp.call([ABORT_64]),
                    1 => {
                        sp.trap(0);
                        unreachable!("it is dead")
                    }
                    _ => sp.hang(),
                },
                |_, x3| x3,
            )
            .property("abort-action", action)
            .with(|spec| spec.takes_exceptions = false);
            let system = boot(spec.clone());
            assert_eq!(activate(&system, &spec), ABORTED);
            match after {
                Some(image) => assert_eq!(system.nwd().ask(SP1, [3; 5])[..2], [image.into(), 3]),
                None => {
                    assert!(system.spmc.partitions[0].is_dead());
                    assert_eq!(activate(&system, &spec), ABORTED);
                    assert_eq!(finish(system.nwd()), ABORTED);
                }
            }
        }
    }
}

// req: LIVE-03
#[test]
fn a_partition_that_works_is_not_stopped() {
    let spec = stops(
        |sp, _| stop(sp, 0),
        |sp, x3| {
            match x3 {
                1 => drop(sp.call([YIELD])),
                2 => assert!(sp.interrupt()),
                _ => {}
            }
            x3
        },
    )
    .version(3);
    let system = boot(spec.clone());
    let nwd = system.nwd();
    for x3 in [1, 2] {
        nwd.request(SP1, [x3, 0, 0, 0, 0]);
        let before = system.snapshot();
        assert_eq!(activate(&system, &spec), RETRY);
        assert_eq!(before, system.snapshot());
        let answer = nwd.call([RUN, u64::from(SP1) << 16]);
        assert_eq!(answer.0[3..5], [b's'.into(), x3], "{answer:x?}");
    }
    assert_eq!(activate(&system, &spec), 0);
}

// Interrupts of others are handled while a partition stops.
// req: LIVE-15, LSP-08
#[test]
fn others_handle_their_interrupts_while_a_partition_stops() {
    let handled = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&handled);
    let spec = stops(
        move |sp, _| {
            sp.gic(|gic| gic.pulse(LINE));
            sp.poll();
            assert_eq!(seen.load(SeqCst), 1);
            stop(sp, 0)
        },
        |_, x3| x3,
    );
    let system = System::builder()
        .sp(spec.clone())
        .sp(owner("owner", &handled))
        .boot();
    assert_eq!(activate(&system, &spec), 0);
    assert_eq!(handled.load(SeqCst), 1);
}
