//! INT and ME: interrupts of partitions, by the state of their owner; Non-secure interrupts, by the
//! actions in manifests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::machine::SECURE_DEVICE;
use host_tests::{PartitionSpec, Sp, System};

const SP1: u16 = 0x8001;
const SP2: u16 = 0x8002;

/// Hafnium's calls for virtual interrupts.
pub const ENABLE: u64 = 0xff03;
pub const GET: u64 = 0xff04;
pub const DEACTIVATE: u64 = 0xff08;
const RECONFIGURE: u64 = 0xff09;
const SEND_IPI: u64 = 0xff0a;
const NONE: u64 = 0xffff_ffff;
const FAILED: u64 = u64::MAX;

const NOTIFICATION: u64 = 5;
const MANAGED_EXIT: u64 = 4;
const IPI: u64 = 9;
const TIMER: u64 = 3;

/// The interrupt of the device that the owner has.
pub const LINE: u32 = 40;
const OTHER: u32 = 41;

/// Adds a device to the manifest, with `interrupts`: SPI, level, Secure.
pub fn with_device(
    spec: PartitionSpec,
    lines: &'static [u32],
    more: &'static [&str],
) -> PartitionSpec {
    let base = SECURE_DEVICE.start;
    spec.with(|spec| {
        spec.extra = Some(Arc::new(move |fdt| {
            for name in more {
                fdt.property_null(name).unwrap();
            }
            let node = fdt.begin_node("device-regions").unwrap();
            fdt.property_string("compatible", "arm,ffa-manifest-device-regions")
                .unwrap();
            let device = fdt.begin_node("device").unwrap();
            fdt.property_u64("base-address", base).unwrap();
            fdt.property_u32("pages-count", 1).unwrap();
            fdt.property_u32("attributes", 3).unwrap();
            let attributes = |line: u32| match line {
                1056..1120 => 0x710,
                _ => 0xb10,
            };
            let cells = lines.iter().flat_map(|line| [*line, attributes(*line)]);
            let cells: Vec<u32> = cells.collect();
            fdt.property_array_u32("interrupts", &cells).unwrap();
            fdt.end_node(device).unwrap();
            fdt.end_node(node).unwrap();
        }));
    })
}

fn enable(sp: &mut Sp, id: u64) {
    assert_eq!(sp.call([ENABLE, id, 1, 0]).0[0], 0);
}

/// Handles an interrupt: makes the device deassert it, and deactivates it.
fn handle(sp: &mut Sp, count: &AtomicU64) {
    assert_eq!(sp.signals(), (true, false));
    let id = sp.call([GET]).0[0];
    assert_eq!(id, LINE.into());
    assert_eq!(sp.signals(), (false, false), "fetched, still signalled");
    sp.gic(|gic| gic.set_level(LINE, false));
    assert_eq!(sp.call([DEACTIVATE, id, id]).0[0], 0);
    count.fetch_add(1, SeqCst);
}

/// Returns a partition that owns [`LINE`] and counts what it handles while it waits.
fn owner(name: &str, count: &Arc<AtomicU64>) -> PartitionSpec {
    let count = Arc::clone(count);
    with_device(PartitionSpec::new(name), &[LINE], &[]).script(move |sp| {
        enable(sp, LINE.into());
        let mut message = sp.msg_wait();
        loop {
            message = match message.0[0] {
                INTERRUPT => {
                    assert_eq!(message.0[1..8], [0, LINE.into(), 0, 0, 0, 0, 0]);
                    handle(sp, &count);
                    // The message is no request, so there is nobody to answer.
                    let id = u64::from(sp.id);
                    sp.refused([DIRECT_RESP_64, id << 16], DENIED);
                    sp.msg_wait()
                }
                DIRECT_REQ_64 => {
                    let payload = message.payload();
                    sp.respond(&message, payload)
                }
                _ => sp.msg_wait(),
            };
        }
    })
}

fn counter() -> Arc<AtomicU64> {
    Arc::default()
}

// req: INT-04, INT-05, INT-06, INT-11, MODEL-07, SINT-01, SINT-08
#[test]
fn a_waiting_owner_is_run() {
    let count = counter();
    let system = System::boot([owner("owner", &count)]);
    let nwd = system.nwd();
    for n in 1..4 {
        system.machine.gic().set_level(LINE, true);
        let answer = nwd.call([INTERRUPT]);
        assert_eq!(answer.0, {
            let mut resume = [0; 18];
            resume[0] = NORMAL_WORLD_RESUME;
            resume
        });
        assert_eq!(count.load(SeqCst), n);
    }
    assert!(!system.machine.gic().has_interrupt(0));
    assert_eq!(nwd.ask(SP1, [1, 2, 3, 4, 5]), [1, 2, 3, 4, 5]);
}

// req: INT-04, INT-05, INT-14
#[test]
fn a_up_owner_is_run_on_whatever_pe() {
    let count = counter();
    let system = System::boot([owner("owner", &count)]);
    system.turn_on(1);
    // The owner ran on PE 1 and waits; the interrupt comes to PE 0.
    system.pe(1).ask(SP1, [0; 5]);
    system.machine.gic().set_level(LINE, true);
    system.nwd().call([INTERRUPT]);
    assert_eq!(count.load(SeqCst), 1);
}

// req: INT-04, SINT-02
#[test]
fn a_running_owner_sees_the_line() {
    let count = counter();
    let seen = Arc::clone(&count);
    let spec = with_device(PartitionSpec::new("owner"), &[LINE], &[]).script(move |sp| {
        enable(sp, LINE.into());
        let seen = Arc::clone(&seen);
        sp.serve(move |sp, request| {
            // Several times in one request, and again before the first one is deactivated.
            for _ in 0..3 {
                sp.gic(|gic| gic.set_level(LINE, true));
                sp.poll();
                handle(sp, &seen);
                sp.poll();
                assert_eq!(sp.signals(), (false, false));
            }
            sp.gic(|gic| gic.pulse(LINE));
            sp.poll();
            assert_eq!(sp.call([GET]).0[0], LINE.into());
            sp.gic(|gic| gic.pulse(LINE));
            sp.poll();
            assert_eq!(sp.call([GET]).0[0], NONE, "active");
            assert_eq!(sp.call([DEACTIVATE, LINE.into(), LINE.into()]).0[0], 0);
            sp.poll();
            handle(sp, &seen);
            request.payload()
        })
    });
    let system = System::boot([spec]);
    assert_eq!(system.nwd().ask(SP1, [9; 5]), [9; 5]);
    assert_eq!(count.load(SeqCst), 4);
}

// req: INT-07, SINT-07
#[test]
fn another_partition_is_interrupted() {
    let count = counter();
    let other = PartitionSpec::new("other").script(|sp: &mut Sp| {
        sp.serve(|sp, request| {
            sp.gic(|gic| gic.set_level(LINE, true));
            sp.poll();
            assert_eq!(sp.signals(), (false, false), "not its own");
            assert!(sp.gic(|gic| !gic.is_active(LINE)), "not handled at once");
            request.payload()
        })
    });
    let system = System::boot([owner("owner", &count), other]);
    assert_eq!(system.nwd().ask(SP2, [7; 5]), [7; 5]);
    assert_eq!(count.load(SeqCst), 1);
}

/// Returns a partition that has interrupts of others queued, and sees one come in each request.
fn queues(name: &str) -> PartitionSpec {
    PartitionSpec::new(name)
        .with(|spec| spec.ns_interrupts = 0)
        .property("other-s-interrupts-action", 0)
        .script(|sp: &mut Sp| {
            sp.serve(|sp, request| {
                sp.gic(|gic| gic.set_level(LINE, true));
                sp.poll();
                assert!(sp.gic(|gic| gic.is_active(LINE)), "handled at once");
                request.payload()
            })
        })
}

// req: INT-07, SINT-09
#[test]
fn another_partition_may_have_them_queued() {
    let count = counter();
    let other = queues("other");
    let system = System::boot([owner("owner", &count), other]);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(SP2, [7; 5]), [7; 5]);
    assert_eq!(count.load(SeqCst), 0);
    // The Normal world is stopped as soon as it gets the PE.
    assert!(system.machine.gic().has_interrupt(0));
    assert_eq!(nwd.call([INTERRUPT]).0[0], NORMAL_WORLD_RESUME);
    assert_eq!(count.load(SeqCst), 1);
}

// req: INT-07, SINT-09
#[test]
fn what_one_has_queued_is_handled_when_it_answers_another() {
    let count = counter();
    let asks = PartitionSpec::new("asks").script(|sp: &mut Sp| {
        sp.serve(|sp, request| {
            let ids = u64::from(sp.id) << 16 | 0x8003;
            let answer = sp.call([DIRECT_REQ_64, ids]);
            assert_eq!(answer.0[0], DIRECT_RESP_64);
            sp.poll();
            assert!(sp.gic(|gic| !gic.is_active(LINE)), "not handled at once");
            request.payload()
        })
    });
    let queued = queues("queued");
    let system = System::boot([owner("owner", &count), asks, queued]);
    assert_eq!(system.nwd().ask(SP2, [7; 5]), [7; 5]);
    assert_eq!(count.load(SeqCst), 1);
}

// req: INT-07, SINT-21
#[test]
fn an_interrupt_while_another_partition_initialises() {
    let count = counter();
    let late = PartitionSpec::new("late").script(|sp: &mut Sp| {
        sp.gic(|gic| gic.set_level(LINE, true));
        sp.poll();
        assert!(sp.gic(|gic| !gic.is_active(LINE)));
        sp.serve(|_, request| request.payload())
    });
    let system = System::boot([
        owner("owner", &count).with(|spec| spec.boot_order = Some(0)),
        late.with(|spec| spec.boot_order = Some(1)),
    ]);
    assert_eq!(count.load(SeqCst), 1);
    assert_eq!(system.nwd().ask(SP2, [3; 5]), [3; 5]);
}

// req: INT-08, SINT-03
#[test]
fn a_preempted_owner_sees_it_later() {
    let count = counter();
    let seen = Arc::clone(&count);
    let spec = with_device(PartitionSpec::new("owner"), &[LINE], &[]).script(move |sp| {
        enable(sp, LINE.into());
        let seen = Arc::clone(&seen);
        sp.serve(move |sp, request| {
            assert!(sp.interrupt());
            handle(sp, &seen);
            request.payload()
        })
    });
    let system = System::boot([spec]);
    let nwd = system.nwd();
    assert_eq!(nwd.request(SP1, [2; 5]).0[0], INTERRUPT);
    system.machine.gic().set_level(LINE, true);
    assert_eq!(nwd.call([INTERRUPT]).0[0], NORMAL_WORLD_RESUME);
    assert_eq!(count.load(SeqCst), 0);
    let resumed = nwd.call([RUN, u64::from(SP1) << 16]);
    assert_eq!(resumed.0[0], DIRECT_RESP_64);
    assert_eq!(count.load(SeqCst), 1);
}

// req: INT-09
#[test]
fn an_interrupt_of_nobody_is_masked() {
    let system = System::boot([PartitionSpec::new("one")]);
    let nwd = system.nwd();
    system.machine.gic().let_through(77);
    system.machine.gic().set_level(77, true);
    assert_eq!(nwd.call([INTERRUPT]).0[0], NORMAL_WORLD_RESUME);
    let gic = system.machine.gic();
    assert!(!gic.is_enabled(77) && !gic.is_active(77) && !gic.has_interrupt(0));
}

// req: INT-09
#[test]
fn a_source_that_is_never_cleared_is_masked() {
    let careless = with_device(PartitionSpec::new("careless"), &[LINE, OTHER], &[]).script(|sp| {
        enable(sp, LINE.into());
        loop {
            sp.msg_wait();
            let id = sp.call([GET]).0[0];
            if id != NONE {
                sp.call([DEACTIVATE, id, id]);
            }
        }
    });
    let system = System::boot([careless]);
    let nwd = system.nwd();
    system.machine.gic().set_level(LINE, true);
    let mut rounds = 0;
    while system.machine.gic().has_interrupt(0) {
        assert_eq!(nwd.call([INTERRUPT]).0[0], NORMAL_WORLD_RESUME);
        rounds += 1;
        assert!(rounds < 100, "never masked");
    }
    assert!(rounds > 10 && !system.machine.gic().is_enabled(LINE));
}

// req: INT-09
#[test]
fn the_interrupts_of_a_dead_partition_are_masked() {
    let dies = with_device(PartitionSpec::new("dies"), &[LINE], &[])
        .with(|spec| spec.takes_exceptions = false)
        .script(|sp| {
            enable(sp, LINE.into());
            sp.msg_wait();
            sp.trap(0);
        });
    let system = System::boot([dies]);
    let nwd = system.nwd();
    assert_eq!(nwd.request(SP1, [0; 5]).error(), Some(ABORTED));
    system.machine.gic().set_level(LINE, true);
    assert!(!system.machine.gic().has_interrupt(0));
}

// req: INT-13, SINT-23
#[test]
fn calls_for_interrupts() {
    let spec = with_device(PartitionSpec::new("one"), &[LINE], &[]).script(|sp| {
        assert_eq!(sp.call([GET]).0[0], NONE);
        for (id, outcome) in [
            (3, 0),
            (4, 0),
            (5, 0),
            (9, 0),
            (40, 0),
            (41, FAILED),
            (1, FAILED),
        ] {
            assert_eq!(sp.call([ENABLE, id, 1, 0]).0[0], outcome, "{id}");
        }
        for id in [40, 3] {
            assert_eq!(sp.call([DEACTIVATE, id, id]).0[0], 0, "not active");
        }
        assert_eq!(sp.call([DEACTIVATE, 41, 41]).0[0], FAILED, "not its own");
        let status = |sp: &mut Sp, id, value| sp.call([RECONFIGURE, id, 2, value]).0[0];
        assert_eq!(status(sp, 40, 0), 0);
        assert!(sp.gic(|gic| !gic.is_enabled(LINE)));
        assert_eq!(status(sp, 40, 1), 0);
        assert!(sp.gic(|gic| gic.is_enabled(LINE)));
        assert_eq!(
            [status(sp, 40, 2), status(sp, 41, 1), status(sp, 4, 1)],
            [FAILED; 3]
        );
        assert_eq!(sp.call([RECONFIGURE, 40, 0, 2]).0[0], 0);
        assert_eq!(sp.call([RECONFIGURE, 40, 0, 99]).0[0], FAILED);
        // The interrupt is Secure and stays Secure.
        assert_eq!(sp.call([RECONFIGURE, 40, 1, 1]).0[0], 0);
        assert_eq!(sp.call([RECONFIGURE, 40, 1, 0]).0[0], FAILED);
        assert_eq!(sp.call([SEND_IPI, 1]).0[0], FAILED);
        assert_eq!(sp.call([SEND_IPI, u64::MAX]).0[0], FAILED);
        // A partition may send an IPI to itself.
        assert_eq!(sp.call([SEND_IPI, 0]).0[0], 0);
        assert_eq!(sp.signals(), (true, false));
        assert_eq!(sp.call([GET]).0[0], 9);
        assert_eq!(sp.signals(), (false, false));
        // Disabled: pending, not signalled.
        assert_eq!(sp.call([ENABLE, 40, 0, 0]).0[0], 0);
        sp.call([RECONFIGURE, 40, 0, 0]);
        sp.gic(|gic| gic.pulse(LINE));
        sp.poll();
        assert_eq!(sp.signals(), (false, false));
        assert_eq!(sp.call([ENABLE, 40, 1, 1]).0[0], 0);
        assert_eq!(sp.signals(), (false, true), "as FIQ");
        assert_eq!(sp.call([GET]).0[0], 40);
        assert_eq!(sp.call([DEACTIVATE, 40, 41]).0[0], FAILED);
        assert_eq!(sp.call([DEACTIVATE, 40, 40]).0[0], 0);
        // There is no such call.
        for function in [0xff02, 0xff05, 0xff07, 0xff0b] {
            assert_eq!(sp.call([function]).0[0], FAILED);
        }
        sp.serve(|_, request| request.payload())
    });
    let system = System::boot([spec]);
    assert_eq!(system.nwd().ask(SP1, [1; 5]), [1; 5]);
}

// req: INT-05, SINT-24
#[test]
fn contexts_interrupt_each_other() {
    let count = counter();
    let seen = Arc::clone(&count);
    let spec = PartitionSpec::new("many")
        .vcpus(4)
        .script(move |sp: &mut Sp| {
            enable(sp, IPI);
            loop {
                let message = sp.msg_wait();
                match message.0[0] {
                    INTERRUPT => {
                        assert_eq!(message.0[2], IPI);
                        assert_eq!(sp.call([GET]).0[0], IPI);
                        assert_eq!(sp.call([DEACTIVATE, IPI, IPI]).0[0], 0);
                        seen.fetch_add(1 << (8 * sp.vcpu), SeqCst);
                    }
                    RUN => assert_eq!(sp.call([SEND_IPI, 1]).0[0], 0),
                    other => panic!("{other:#x}"),
                }
            }
        });
    let system = System::boot([spec]);
    system.turn_on(1);
    system.nwd().call([RUN, u64::from(SP1) << 16]);
    assert!(system.machine.gic().has_interrupt(1));
    assert_eq!(system.pe(1).call([INTERRUPT]).0[0], NORMAL_WORLD_RESUME);
    assert_eq!(count.load(SeqCst), 1 << 8);
}

// FF-A v1.1 section 10.6.
// req: NTF-37, FEAT-11
#[test]
fn the_notification_pending_interrupt() {
    let spec = with_device(
        PartitionSpec::new("one"),
        &[LINE],
        &["notification-support"],
    )
    .script(|sp: &mut Sp| {
        let id = u64::from(sp.id);
        sp.call([NOTIFICATION_BIND, id, 0, 1]).success();
        assert_eq!(sp.call([FEATURES, 1]).success()[0], NOTIFICATION);
        sp.serve(move |sp, request| {
            assert_eq!(sp.signals(), (true, false));
            if request.payload()[0] == 0 {
                assert_eq!(sp.call([GET]).0[0], NOTIFICATION);
                assert_eq!(sp.call([DEACTIVATE, NOTIFICATION, NOTIFICATION]).0[0], 0);
            }
            sp.call([NOTIFICATION_GET, id, 2]).success();
            assert_eq!(sp.signals(), (false, false));
            request.payload()
        })
    });
    let system = System::boot([spec]);
    let nwd = system.nwd();
    for how in [0, 1] {
        nwd.call([NOTIFICATION_SET, u64::from(SP1), 0, 1]).success();
        nwd.call([INTERRUPT]);
        // Cycles come only from the Normal world.
        assert_eq!(nwd.ask(SP1, [how; 5]), [how; 5]);
    }
}

/// Returns a partition that counts in `x3` how often it left by itself in successive requests.
fn polite(name: &str, virq: bool) -> PartitionSpec {
    let more: &[&str] = if virq { &["managed-exit-virq"] } else { &[] };
    with_device(PartitionSpec::new(name), &[OTHER], more)
        .with(|spec| spec.ns_interrupts = 1)
        .script(move |sp: &mut Sp| {
            assert_eq!(sp.call([FEATURES, 3]).success()[0], MANAGED_EXIT);
            sp.serve(move |sp, request| {
                let [what, ..] = request.payload();
                assert_eq!(sp.signals(), (false, false), "of an earlier request");
                assert!(sp.interrupt(), "masked");
                assert_eq!(sp.signals(), (virq, !virq));
                assert!(!sp.interrupt(), "not masked any more");
                if what == 1 {
                    assert_eq!(sp.call([GET]).0[0], MANAGED_EXIT);
                }
                [sp.pe() as u64, 0, 0, 0, 0]
            })
        })
}

// req: ME-02, ME-03, ME-04, ME-05, ME-07, ME-08, SINT-13
#[test]
fn managed_exit() {
    for virq in [false, true] {
        let system = System::boot([polite("polite", virq)]);
        let nwd = system.nwd();
        for how in [0, 1, 0] {
            nwd.ask(SP1, [how; 5]);
        }
    }
}

// A managed exit is for requests only.
// req: ME-02, ME-07, SINT-15
#[test]
fn who_has_cycles_of_run_is_preempted() {
    let spec = PartitionSpec::new("polite").with(|spec| spec.ns_interrupts = 1);
    let system = System::boot([spec.script(|sp: &mut Sp| {
        loop {
            sp.msg_wait();
            assert!(sp.interrupt());
            assert_eq!(sp.signals(), (false, false), "asked to leave");
        }
    })]);
    let run = [RUN, u64::from(SP1) << 16];
    for expected in [INTERRUPT, MSG_WAIT] {
        assert_eq!(system.nwd().call(run).function(), expected);
    }
}

// Timers of partitions: id 3.
// req: SINT-25
#[test]
fn a_timer_expires() {
    let spec = PartitionSpec::new("one").script(|sp: &mut Sp| {
        sp.serve(|sp, request| {
            sp.set_timer(true);
            assert_eq!(sp.signals(), (false, false), "not enabled");
            enable(sp, TIMER);
            assert_eq!(sp.signals(), (true, false));
            assert_eq!(sp.call([GET]).0[0], TIMER);
            sp.set_timer(true);
            assert_eq!(sp.call([DEACTIVATE, TIMER, TIMER]).0[0], 0);
            assert_eq!(sp.signals(), (true, false), "again");
            assert_eq!(sp.call([GET]).0[0], TIMER);
            sp.set_timer(true);
            sp.set_timer(false);
            assert_eq!(sp.signals(), (false, false), "taken back");
            assert_eq!(sp.call([GET]).0[0], NONE);
            request.payload()
        })
    });
    let system = System::boot([spec]);
    assert_eq!(system.nwd().ask(SP1, [1; 5]), [1; 5]);
}
