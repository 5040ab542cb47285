//! INT: no PE is interrupted, and no context is loaded, for an interrupt that nobody handles there.
//! Each PE that must look is told.

use std::sync::Arc;
use std::thread;

use host_tests::ffa::*;
use host_tests::{PartitionSpec, Sp, System};

use super::interrupts::{DEACTIVATE, ENABLE, GET, LINE, with_device};
use super::meeting::Meeting;
use super::notification::caller;

const SP1: u16 = 0x8001;
const SP2: u16 = 0x8002;
const RUN_SP1: [u64; 2] = [RUN, (SP1 as u64) << 16];

const SEND_IPI: u64 = 0xff0a;
const IPI: u64 = 9;

/// Returns how often a PE was told to look for interrupts since there were `before` times.
fn looks(system: &System, before: usize) -> usize {
    system.machine.journal().looks - before
}

/// Fetches [`LINE`], which is signalled, and deactivates it.
fn handle(sp: &mut Sp) {
    assert_eq!(sp.signals(), (true, false));
    assert_eq!(sp.call([GET]).0[0], LINE.into());
    assert_eq!(sp.call([DEACTIVATE, LINE.into(), LINE.into()]).0[0], 0);
}

/// Makes the partition have interrupts of others queued.
fn queueing(spec: PartitionSpec) -> PartitionSpec {
    spec.with(|spec| spec.ns_interrupts = 0)
        .property("other-s-interrupts-action", 0)
}

/// Returns an owner of [`LINE`] that does `serve` in each request.
fn owner(serve: impl Fn(&mut Sp) + Send + Sync + 'static) -> PartitionSpec {
    let serve = Arc::new(serve);
    with_device(PartitionSpec::new("owner"), &[LINE], &[]).script(move |sp| {
        assert_eq!(sp.call([ENABLE, LINE.into(), 1, 0]).0[0], 0);
        let serve = Arc::clone(&serve);
        sp.serve(move |sp, request| {
            serve(sp);
            request.payload()
        })
    })
}

// req: INT-04, INT-07, SINT-02
#[test]
fn who_runs_sees_its_own_interrupt_and_nothing_else_happens() {
    for vcpus in [1, 4] {
        for queues in [false, true] {
            let spec = owner(|sp| {
                let costs = |sp: &Sp| sp.journal(|journal| (journal.loads, journal.looks));
                let before = costs(sp);
                sp.gic(|gic| gic.pulse(LINE));
                sp.poll();
                assert_eq!(costs(sp), before);
                handle(sp);
            });
            let spec = spec.vcpus(vcpus);
            let system = System::boot([if queues { queueing(spec) } else { spec }]);
            system.turn_on(1);
            assert_eq!(system.nwd().ask(SP1, [3; 5]), [3; 5]);
            let gic = system.machine.gic();
            assert!(!gic.has_interrupt(0) && !gic.has_interrupt(1));
        }
    }
}

// The interrupt comes to one PE while its owner, which moves, runs on another PE.
// req: INT-04, INT-14
#[test]
fn the_pe_that_runs_the_owner_is_told() {
    for by_partition in [false, true] {
        let meeting = Meeting::new();
        let there = meeting.clone();
        let owner = owner(move |sp| {
            there.attend();
            sp.poll();
            handle(sp);
        });
        let other = PartitionSpec::new("other").script(|sp| {
            sp.serve(|sp, request| {
                sp.poll();
                request.payload()
            })
        });
        let system = System::boot([owner, other]);
        system.turn_on(1);
        thread::scope(|scope| {
            let running = scope.spawn(|| system.pe(1).ask(SP1, [3; 5]));
            meeting.hold(|| {
                system.machine.gic().pulse(LINE);
                if by_partition {
                    system.nwd().ask(SP2, [4; 5]);
                } else {
                    system.nwd().call([INTERRUPT]);
                }
                assert!(system.machine.gic().has_interrupt(1));
            });
            assert_eq!(running.join().unwrap(), [3; 5]);
        });
    }
}

// The context can run nowhere else, and sees the interrupt when its chain continues.
// req: INT-08
#[test]
fn no_other_pe_is_told_of_an_interrupt_of_a_pinned_context() {
    let owner = owner(|sp| {
        let ids = u64::from(SP1) << 16 | u64::from(SP2);
        assert_eq!(sp.call([DIRECT_REQ_64, ids]).function(), DIRECT_RESP_64);
        handle(sp);
    });
    let other = PartitionSpec::new("other").script(|sp| {
        sp.serve(|sp, request| {
            assert!(sp.interrupt());
            request.payload()
        })
    });
    let system = System::boot([owner.vcpus(4), other]);
    system.turn_on(1);
    let nwd = system.nwd();
    assert_eq!(nwd.request(SP1, [5; 5]).function(), INTERRUPT);
    let before = looks(&system, 0);
    system.machine.gic().pulse(LINE);
    nwd.call([INTERRUPT]);
    assert_eq!(looks(&system, before), 0);
    assert_eq!(nwd.call(RUN_SP1).payload(), [5; 5]);
}

// A notification waits until its receiver runs, so the PE that works for the receiver has nothing
// to do.
// req: INT-08
#[test]
fn no_pe_is_interrupted_for_a_notification_of_who_is_blocked() {
    let sp1 = super::notification::caller("sp1").script(|sp| {
        sp.call([NOTIFICATION_BIND, SP1.into(), 0, 1]).success();
        sp.serve(|sp, request| {
            let ids = u64::from(SP1) << 16 | u64::from(SP2);
            let answer = sp.call([DIRECT_REQ_64, ids, 0, request.0[3]]);
            assert_eq!(answer.function(), DIRECT_RESP_64);
            answer.payload()
        })
    });
    let sp2 = PartitionSpec::new("sp2").script(|sp| {
        sp.serve(|sp, request| {
            assert!(sp.interrupt());
            request.payload()
        })
    });
    let system = System::boot([sp1, sp2]);
    system.turn_on(1);
    let nwd = system.nwd();
    assert_eq!(nwd.request(SP1, [7; 5]).function(), INTERRUPT);
    let before = looks(&system, 0);
    let set = [NOTIFICATION_SET, SP1.into(), 0, 1];
    system.pe(1).call(set).success();
    assert_eq!(looks(&system, before), 0);
    assert_eq!(nwd.call([RUN, u64::from(SP1) << 16]).payload()[0], 7);
}

// The partition's calls cost more as long as an interrupt is noted for it.
// req: INT-07
#[test]
fn nothing_stays_noted_of_what_was_handled_in_a_request() {
    let system = System::boot([owner(|sp| {
        sp.gic(|gic| gic.pulse(LINE));
        sp.poll();
        handle(sp);
        sp.call([FEATURES, RXTX_MAP_64]).success();
        assert!(sp.interrupt());
    })]);
    let nwd = system.nwd();
    assert_eq!(nwd.request(SP1, [6; 5]).function(), INTERRUPT);
    assert!(!system.spmc.partitions[0].may_have_interrupts());
    assert_eq!(nwd.call(RUN_SP1).payload(), [6; 5]);
}

/// Returns a partition that binds a notification, never fetches it, and answers requests.
fn notified(name: &str) -> PartitionSpec {
    caller(name).script(|sp| {
        let id = u64::from(sp.id);
        sp.call([NOTIFICATION_BIND, id, 0, 1]).success();
        sp.serve(|_, request| request.payload())
    })
}

/// After `prepare`, asks a partition that queues interrupts of others and that has something of its
/// own pending that it never fetches. The system also has the partition `other`.
#[track_caller]
fn asks_in_vain(other: PartitionSpec, prepare: impl FnOnce(&System)) {
    let system = System::boot([queueing(notified("queues")), other]);
    system.turn_on(1);
    let nwd = system.nwd();
    nwd.call([NOTIFICATION_SET, SP1.into(), 0, 1]).success();
    prepare(&system);
    for _ in 0..10 {
        assert!(!system.machine.gic().has_interrupt(0));
        nwd.ask(SP1, [0; 5]);
    }
}
// req: INT-07
#[test]
fn nobody_is_interrupted_for_what_nobody_handles() {
    asks_in_vain(PartitionSpec::new("other"), |_| {});
    // The partition waits for cycles of the Normal world.
    asks_in_vain(notified("notified"), |system| {
        let nwd = system.nwd();
        nwd.call([NOTIFICATION_SET, SP2.into(), 0, 1]).success();
    });
    // The partition does not wait.
    let preempted = owner(|sp| {
        sp.interrupt();
    });
    asks_in_vain(preempted, |system| {
        let nwd = system.nwd();
        assert_eq!(nwd.request(SP2, [0; 5]).function(), INTERRUPT);
        system.machine.gic().pulse(LINE);
        nwd.call([INTERRUPT]);
        assert!(system.machine.gic().is_active(LINE));
    });
    // The partition waits, and is dead.
    let dies = PartitionSpec::new("dies").vcpus(2).script(|sp| {
        assert_eq!(sp.call([ENABLE, IPI, 1, 0]).0[0], 0);
        sp.serve(|sp, _| {
            assert_eq!(sp.call([SEND_IPI, 0]).0[0], 0);
            sp.trap(0);
            unreachable!("it cannot take it")
        })
    });
    asks_in_vain(dies.with(|spec| spec.takes_exceptions = false), |system| {
        assert_eq!(system.pe(1).request(SP2, [0; 5]).error(), Some(ABORTED));
        system.nwd().call([INTERRUPT]);
    });
}

// A partition that leaves its interrupts to the scheduler is not interrupted for them, either.
// req: INT-05, INT-07
#[test]
fn what_is_left_to_the_scheduler_is_no_reason_to_look() {
    let leaves = owner(|sp| {
        sp.gic(|gic| gic.pulse(LINE));
        sp.poll();
    });
    let leaves = queueing(leaves.property("sri-interrupts-policy", 2));
    let system = System::boot([leaves]);
    system.nwd().ask(SP1, [0; 5]);
    assert!(!system.machine.gic().has_interrupt(0));
}
