//! The time that the watchdog measures: that of a partition that initialises, answers a power
//! management message or handles interrupts, and not that of partitions that it calls, or that
//! handle interrupts in between.

use host_tests::ffa::*;
use host_tests::{Nwd, PartitionSpec, Sp, System};

use crate::interrupts::{LINE, with_device};
use crate::log_lines::tells_of_timeout;

const ENABLE: u64 = 0xff03;
const GET: u64 = 0xff04;
const DEACTIVATE: u64 = 0xff08;
const SEND_IPI: u64 = 0xff0a;

const VICTIM: u16 = 0x8001;
const SLOW: u16 = 0x8002;
const RUN_VICTIM: [u64; 2] = [RUN, (VICTIM as u64) << 16];

/// `init-timeout-ms`, in microseconds.
const LIMIT: u64 = 30_000_000;

/// Returns a partition that works for the time in x3 of its requests.
fn victim() -> PartitionSpec {
    PartitionSpec::new("victim").script(|sp| {
        sp.serve(|sp, request| {
            sp.work(request.0[3]);
            request.payload()
        })
    })
}

/// Returns a partition whose second context exceeds its time while the victim works for it, for
/// `time`.
fn slow(time: u64) -> PartitionSpec {
    PartitionSpec::new("slow").vcpus(4).script(move |sp| {
        if sp.vcpu == 1 {
            sp.work(LIMIT - 10);
            sp.call([DIRECT_REQ_64, 0x8002_8001, 0, time]);
            unreachable!("its time is over");
        }
        sp.serve(|_, request| request.payload())
    })
}

/// Sends CPU_SUSPEND. Returns the status.
fn suspend(nwd: Nwd<'_>) -> u64 {
    nwd.call([DIRECT_REQ_32, 0xffff_8000, 0x8000_0000, 0x8400_0001])
        .0[3]
}
#[test]
fn who_serves_one_that_initialises_is_not_stopped() {
    let system = System::boot([victim(), slow(20)]);
    let nwd = system.nwd();
    assert!(tells_of_timeout("slow", || {
        assert_eq!(system.turn_on(1).function(), MSG_WAIT);
    }));
    assert_eq!(nwd.ask(VICTIM, [3; 5]), [3; 5]);
    nwd.refused([DIRECT_REQ_64, SLOW.into()], ABORTED);
}
// req: MSGW-15
#[test]
fn who_serves_it_for_too_long_is_seen_to_its_end_by_the_normal_world() {
    let system = System::boot([victim(), slow(3 * LIMIT)]);
    let nwd = system.nwd();
    let begin = system.machine.gic().now();
    assert_eq!(system.turn_on(1).function(), MSG_WAIT);
    assert_eq!(system.machine.gic().now() - begin, 2 * LIMIT);
    nwd.refused([DIRECT_REQ_64, VICTIM.into()], BUSY);
    assert_eq!(nwd.call(RUN_VICTIM).0[..2], [MSG_WAIT, RUN_VICTIM[1]]);
    assert_eq!(nwd.ask(VICTIM, [3; 5]), [3; 5]);
    nwd.refused([DIRECT_REQ_64, SLOW.into()], ABORTED);
}
// req: INT-10
#[test]
fn what_is_left_of_a_chain_inherits_nothing() {
    let victim = PartitionSpec::new("victim").script(|sp| {
        sp.serve(|sp, request| {
            assert!(!sp.interrupt(), "somebody initialises");
            sp.work(request.0[3]);
            assert!(sp.interrupt(), "nobody does any more");
            request.payload()
        })
    });
    let system = System::boot([victim, slow(3 * LIMIT)]);
    system.turn_on(1);
    let nwd = system.nwd();
    for expected in [INTERRUPT, MSG_WAIT] {
        assert_eq!(nwd.call(RUN_VICTIM).0[..2], [expected, RUN_VICTIM[1]]);
    }
}

// req: INT-10
#[test]
fn others_in_what_is_left_of_a_chain_inherit_of_each_other_alone() {
    // One of three partitions has Non-secure interrupts queued, which the partitions that it calls
    // inherit.
    for queued in 0..4 {
        let member = |index: u16| {
            PartitionSpec::new(&format!("sp{index}"))
                .with(|spec| spec.ns_interrupts = if index == queued { 0 } else { 2 })
                .script(move |sp| {
                    sp.serve(|sp, request| {
                        assert!(!sp.interrupt(), "somebody initialises");
                        if index == 2 {
                            sp.work(3 * LIMIT);
                        } else {
                            let own = u64::from(sp.id);
                            sp.call([DIRECT_REQ_64, own << 16 | (own + 1)]);
                        }
                        assert_eq!(sp.interrupt(), index < queued);
                        request.payload()
                    })
                })
        };
        let slow = PartitionSpec::new("slow").vcpus(4).script(|sp| {
            if sp.vcpu == 1 {
                sp.call([DIRECT_REQ_64, 0x8004_8001]);
                unreachable!("its time is over");
            }
            sp.msg_wait();
        });
        let system = System::boot([member(0), member(1), member(2), slow]);
        system.turn_on(1);
        let nwd = system.nwd();
        for _ in 0..queued.min(3) {
            assert_eq!(nwd.call(RUN_VICTIM).0[..2], [INTERRUPT, RUN_VICTIM[1]]);
        }
        assert_eq!(nwd.call(RUN_VICTIM).0[..2], [MSG_WAIT, RUN_VICTIM[1]]);
    }
}

/// Returns a partition that takes `time` to handle [`LINE`].
fn handler(time: u64) -> PartitionSpec {
    with_device(PartitionSpec::new("victim"), &[LINE], &[]).script(move |sp| {
        sp.call([ENABLE, LINE.into(), 1, 0]);
        let mut message = sp.msg_wait();
        loop {
            message = if message.0[0] == INTERRUPT {
                sp.work(time);
                sp.call([GET]);
                sp.call([DEACTIVATE, LINE.into(), LINE.into()]);
                sp.msg_wait()
            } else {
                let payload = message.payload();
                sp.respond(&message, payload)
            };
        }
    })
}

/// Returns a partition that has an interrupt of another one ten microseconds before its time for a
/// power management message is over, and works for `rest` after it.
fn interrupted(name: &str, rest: u64) -> PartitionSpec {
    PartitionSpec::new(name)
        .vcpus(4)
        .property("power-management-messages", 7)
        .script(move |sp: &mut Sp| {
            let mut next = sp.msg_wait();
            loop {
                next = if next.0[2] == 0 {
                    let payload = next.payload();
                    sp.respond(&next, payload)
                } else {
                    sp.work(LIMIT - 10);
                    sp.gic(|gic| gic.pulse(LINE));
                    sp.poll();
                    sp.work(rest);
                    sp.call([DIRECT_RESP_32, 0x8002_8000, 0x8000_0002])
                }
            }
        })
}
// req: INT-05
#[test]
fn a_handler_has_a_time_of_its_own() {
    for (time, fails) in [(20, false), (LIMIT - 1, false), (LIMIT, true)] {
        let system = System::boot([handler(time), interrupted("interrupted", 9)]);
        let nwd = system.nwd();
        assert_eq!(suspend(nwd), 0);
        let victim = nwd.request(VICTIM, [3; 5]).error();
        assert_eq!(victim, fails.then_some(ABORTED), "{time}");
        // The other partition loses no time, either.
        assert_eq!(nwd.ask(SLOW, [3; 5]), [3; 5]);
    }
}

// A handler has Non-secure interrupts masked, so only its time gives the PE back to the Normal
// world.
// req: INT-05, INT-06
#[test]
fn a_handler_that_does_not_end_does_not_keep_the_normal_world_from_its_pe() {
    for (time, fails) in [(LIMIT - 1, false), (LIMIT, true), (u64::MAX / 2, true)] {
        let system = System::boot([handler(time), victim()]);
        let nwd = system.nwd();
        let told = tells_of_timeout("victim", || {
            system.machine.gic().pulse(LINE);
            assert_eq!(nwd.call([INTERRUPT]).0[0], NORMAL_WORLD_RESUME);
        });
        assert_eq!(told, fails, "{time}");
        let error = nwd.request(VICTIM, [3; 5]).error();
        assert_eq!(error, fails.then_some(ABORTED), "{time}");
        // No time is measured when the Normal world runs again, or calls others.
        assert_eq!(nwd.ask(SLOW, [2 * LIMIT, 0, 0, 0, 0])[0], 2 * LIMIT);
    }
}

// The time of an interrupted partition stops, and continues after that.
// req: INT-05
#[test]
fn a_handler_leaves_the_other_one_the_time_that_it_had() {
    for (rest, fails) in [(9, false), (10, true)] {
        let system = System::boot([handler(20), interrupted("interrupted", rest)]);
        system.machine.gic().pass(1000);
        let nwd = system.nwd();
        suspend(nwd);
        let error = nwd.request(SLOW, [3; 5]).error();
        assert_eq!(error, fails.then_some(ABORTED), "{rest}");
    }
}
// req: INT-05, MSGW-15
#[test]
fn so_does_the_time_of_who_serves_one_that_was_stopped() {
    const HANDLING: u64 = 50;
    let victim = PartitionSpec::new("victim").script(|sp| {
        sp.serve(|sp, request| {
            sp.work(LIMIT);
            sp.gic(|gic| gic.pulse(LINE));
            sp.poll();
            sp.work(LIMIT);
            request.payload()
        })
    });
    let system = System::boot([victim, slow(0), handler(HANDLING)]);
    system.machine.gic().route(LINE, 1);
    let begin = system.machine.gic().now();
    system.turn_on(1);
    assert_eq!(system.machine.gic().now() - begin, 2 * LIMIT + HANDLING);
    assert_eq!(system.nwd().call(RUN_VICTIM).function(), MSG_WAIT);
}

// The other members of the chain have actions for Non-secure interrupts of their own.
// req: INT-10
#[test]
fn what_is_left_of_a_chain_keeps_its_own_masks() {
    let waits = |name: &str| {
        PartitionSpec::new(name).script(|sp: &mut Sp| {
            sp.serve(|sp, request| {
                sp.work(3 * LIMIT);
                assert!(!sp.interrupt(), "it, or its caller, has them queued");
                request.payload()
            })
        })
    };
    let passes_on = PartitionSpec::new("passes on").script(|sp| {
        sp.serve(|sp, _| sp.call([DIRECT_REQ_64, 0x8001_8003]).payload());
    });
    let queued = |spec: PartitionSpec| spec.with(|spec| spec.ns_interrupts = 0);
    for victim in [waits("victim"), passes_on] {
        let system = System::boot([queued(victim), slow(0), waits("last")]);
        system.turn_on(1);
        let answer = system.nwd().call(RUN_VICTIM);
        assert_eq!(answer.0[..2], [MSG_WAIT, RUN_VICTIM[1]]);
    }
}

// req: BOOT-10
#[test]
fn the_spmc_manifest_says_how_long_initialisation_may_take() {
    let in_time = |name: &str, time| {
        PartitionSpec::new(name).script(move |sp| {
            sp.work(time);
            sp.serve(|_, request| request.payload())
        })
    };
    let system = System::builder()
        .setting("init-timeout-ms", 7)
        .sp(in_time("in time", 7_000 - 1))
        .sp(in_time("too late", 7_000))
        .boot();
    assert_eq!(system.nwd().ask(VICTIM, [1; 5]), [1; 5]);
    assert_eq!(system.nwd().request(SLOW, [1; 5]).error(), Some(ABORTED));
}

/// The ways in which a handler has itself run again: it interrupts its own context, or lets its
/// device do so and enables the interrupt again that was masked.
const AGAIN: [fn(&mut Sp); 2] = [
    |sp| {
        sp.call([ENABLE, 9, 1, 0]);
        sp.call([SEND_IPI, 0]);
    },
    |sp| {
        sp.call([ENABLE, LINE.into(), 1, 0]);
        sp.gic(|gic| gic.pulse(LINE));
    },
];

// With Non-secure interrupts masked as long as each handler runs, the Normal world would never do
// more than a few instructions.
// req: INT-05, INT-06
#[test]
fn handlers_that_follow_each_other_without_a_pause_have_a_time_together() {
    for again in AGAIN {
        let attacker = with_device(PartitionSpec::new("attacker"), &[LINE], &[]);
        let attacker = attacker.script(move |sp: &mut Sp| {
            let mut message = sp.msg_wait();
            loop {
                message = if message.0[0] == INTERRUPT {
                    sp.work(LIMIT / 40);
                    let id = sp.call([GET]).0[0];
                    sp.call([DEACTIVATE, id, id]);
                    again(sp);
                    sp.msg_wait()
                } else {
                    again(sp);
                    let payload = message.payload();
                    sp.respond(&message, payload)
                };
            }
        });
        let system = System::boot([attacker, victim()]);
        let nwd = system.nwd();
        system.machine.gic().pass(1000);
        let begin = system.machine.gic().now();
        nwd.ask(VICTIM, [0; 5]);
        let is_dead = || system.spmc.partitions[0].is_dead();
        let told = tells_of_timeout("attacker", || {
            for _ in (0..1000).take_while(|_| !is_dead()) {
                system.machine.gic().pass(1);
                nwd.call([INTERRUPT]);
            }
        });
        let took = system.machine.gic().now() - begin;
        // What the first go took before others had the PE for a moment counts for nothing.
        assert!(told && (8 * LIMIT..9 * LIMIT).contains(&took), "{took}");
        nwd.refused([DIRECT_REQ_64, VICTIM.into()], ABORTED);
        assert_eq!(nwd.ask(SLOW, [3; 5]), [3; 5]);
    }
}

// The same handlers, with a pause of an eighth of their time between them.
// req: INT-05, INT-06
#[test]
fn handlers_that_leave_the_pe_to_others_go_on_for_ever() {
    let victim = handler(LIMIT / 2);
    let system = System::boot([victim]);
    let nwd = system.nwd();
    for n in 0..40 {
        system.machine.gic().pass(LIMIT / 16);
        system.machine.gic().pulse(LINE);
        assert_eq!(nwd.call([INTERRUPT]).0[0], NORMAL_WORLD_RESUME);
        assert_eq!(nwd.ask(VICTIM, [n; 5]), [n; 5]);
    }
}
